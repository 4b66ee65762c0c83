//! `millrace redrive` and `millrace republish`: events from the events table onto the stream, in
//! order, by the translator itself.
//!
//! Both hand the translator an aggregate's newest row as news. What lies before it and isn't
//! published yet, the translator fetches from the table, as it does for any hole. To republish, the
//! cursor it starts from is put back, and the stored one stays where it is.

use std::collections::{BTreeSet, HashMap};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use millrace_domain::{RowError, Sequence};
use millrace_runtime::{Budget, ServiceError};
use millrace_translator::batch::Translator;
use millrace_translator::cursor::{Block, Cursor, CursorStore};
use millrace_translator::dynamodb::{CursorTable, EventsTable};
use millrace_translator::kinesis::DomainStream;
use millrace_translator::news::Inserted;
use serde_json::json;

use super::checkpoint::Checkpoint;
use super::deployment::Deployment;
use super::verify::NOT_WELL;
use super::{CONCURRENCY, aggregates};
use crate::args::{Redrive, Republish};
use crate::output::Output;
use crate::progress::{Progress, Step};

/// How long one aggregate may take in a row; then it is told as not through.
const PATIENCE: Duration = Duration::from_mins(10);

/// How publishing an aggregate ended.
enum Ending {
    Through(Sequence),
    Blocked(Box<Block>),
    NotThrough,
}

pub(crate) async fn redrive(
    deployment: &Deployment,
    redrive: &Redrive,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let ids = candidates(deployment, redrive, progress).await?;
    if redrive.dry_run {
        return dry_run(&ids, "redrive", output);
    }
    let step = progress.start("Redriving");
    let endings = stream::iter(&ids).map(async |id| {
        let translator = deployment.translator(deployment.cursors());
        let ending = publish_to_the_end(deployment, &translator, id).await?;
        Ok::<_, anyhow::Error>((id, ending))
    });
    tell(
        endings.buffer_unordered(CONCURRENCY),
        ids.len(),
        step,
        output,
    )
    .await
}

pub(crate) async fn republish(
    deployment: &Deployment,
    republish: &Republish,
    output: Output,
    progress: &Progress,
    state: &std::path::Path,
) -> Result<ExitCode> {
    let all = if let Some(account) = &republish.account {
        aggregates::one(deployment, account.as_str()).await?
    } else {
        let step = progress.start("Listing accounts");
        let ids = aggregates::all(deployment, &step).await?;
        step.done();
        ids
    };
    let name = format!(
        "republish-{}-{}",
        deployment.names.events_table, republish.from
    );
    let checkpoint = Checkpoint::open(&state.join("operations"), &name)?;
    let ids: BTreeSet<String> = all
        .into_iter()
        .filter(|id| republish.account.is_some() || !checkpoint.holds(id))
        .collect();
    if checkpoint.len() > 0 && republish.account.is_none() {
        output.text(format_args!(
            "Going on where it was stopped: {} accounts are through already.",
            checkpoint.len()
        ))?;
    }
    if republish.dry_run {
        return dry_run(&ids, "republish", output);
    }
    let step = progress.start("Republishing");
    let from = republish.from;
    let endings = stream::iter(&ids).map(async |id| {
        let cursors = PutBack::new(deployment.cursors(), from);
        let translator = deployment.translator(cursors);
        let ending = publish_to_the_end(deployment, &translator, id).await?;
        if republish.account.is_none() && !matches!(ending, Ending::NotThrough) {
            checkpoint.add(id)?;
        }
        Ok::<_, anyhow::Error>((id, ending))
    });
    let code = tell(
        endings.buffer_unordered(CONCURRENCY),
        ids.len(),
        step,
        output,
    )
    .await?;
    checkpoint.finish()?;
    Ok(code)
}

/// Publishes until a consistent read that is made after the last acknowledged put finds nothing
/// newer. What is committed after that read reaches the stream behind it, through the live
/// translator; so a consumer that skipped a live event as a gap still gets it.
async fn publish_to_the_end<C: CursorStore>(
    deployment: &Deployment,
    translator: &Translator<EventsTable, C, DomainStream, millrace_runtime::System>,
    id: &str,
) -> Result<Ending> {
    let budget = Budget::lasting(PATIENCE);
    loop {
        let Some(newest) = aggregates::newest(deployment, id).await? else {
            return Ok(Ending::Through(Sequence::NONE));
        };
        let target = aggregates::sequence_of(&newest);
        let news = Inserted {
            position: 0,
            aggregate: id.to_owned(),
            image: newest,
        };
        let outcome = translator.translate(vec![news], budget).await;
        if outcome.resume_at.is_some() {
            return Ok(Ending::NotThrough);
        }
        let cursor = match translator.cursors.load(&[id]).await?.remove(id) {
            Some(Ok(cursor)) => cursor,
            Some(Err(error)) => bail!("the cursor of {id} can't be read: {error}"),
            None => return Ok(Ending::NotThrough),
        };
        if let Some(block) = cursor.blocked {
            return Ok(Ending::Blocked(Box::new(block)));
        }
        let again = aggregates::newest(deployment, id).await?;
        let again = again.as_ref().and_then(aggregates::sequence_of);
        if again == target && Some(cursor.published_through) >= target {
            return Ok(Ending::Through(cursor.published_through));
        }
    }
}

/// Cursors put back to where republishing begins. What is published moves them on; the stored ones
/// move only where that passes them.
struct PutBack {
    stored: CursorTable,
    begin: Sequence,
    /// Each cursor as it is stored, and where it is put back to.
    cursors: Mutex<HashMap<String, (Cursor, Cursor)>>,
}

impl PutBack {
    fn new(stored: CursorTable, from: Sequence) -> Self {
        let begin = Sequence::new(from.get().saturating_sub(1)).unwrap_or(Sequence::NONE);
        Self {
            stored,
            begin,
            cursors: Mutex::default(),
        }
    }

    fn held(&self, aggregate: &str) -> Option<(Cursor, Cursor)> {
        let cursors = self.cursors.lock().expect("nobody panics while holding it");
        cursors.get(aggregate).cloned()
    }

    fn hold(&self, aggregate: &str, stored: Cursor, held: Cursor) {
        let mut cursors = self.cursors.lock().expect("nobody panics while holding it");
        cursors.insert(aggregate.to_owned(), (stored, held));
    }
}

impl CursorStore for PutBack {
    async fn load(
        &self,
        aggregates: &[&str],
    ) -> Result<HashMap<String, Result<Cursor, RowError>>, ServiceError> {
        let mut loaded = self.stored.load(aggregates).await?;
        for aggregate in aggregates {
            let stored = match loaded.remove(*aggregate) {
                Some(Err(error)) => {
                    loaded.insert((*aggregate).to_owned(), Err(error));
                    continue;
                }
                Some(Ok(stored)) => stored,
                None => Cursor::default(),
            };
            let held = self.held(aggregate).map(|(_, held)| held);
            let cursor = held.unwrap_or_else(|| Cursor {
                // Beyond the stored cursor it would leave a hole on the stream.
                published_through: self.begin.min(stored.published_through),
                context: None,
                blocked: stored.blocked.clone(),
            });
            self.hold(aggregate, stored, cursor.clone());
            loaded.insert((*aggregate).to_owned(), Ok(cursor));
        }
        Ok(loaded)
    }

    async fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        _read: Option<&Block>,
    ) -> Result<(), ServiceError> {
        let stored = self.held(aggregate).map_or_else(Cursor::default, |it| it.0);
        self.hold(aggregate, stored.clone(), cursor.clone());
        if cursor.published_through < stored.published_through {
            return Ok(());
        }
        let block = stored.blocked.as_ref();
        self.stored.save(aggregate, cursor, block).await?;
        self.hold(aggregate, cursor.clone(), cursor.clone());
        Ok(())
    }

    async fn mark(&self, aggregate: &str, block: &Block) -> Result<(), ServiceError> {
        self.stored.mark(aggregate, block).await
    }
}

async fn candidates(
    deployment: &Deployment,
    redrive: &Redrive,
    progress: &Progress,
) -> Result<BTreeSet<String>> {
    if let Some(account) = &redrive.account {
        return aggregates::one(deployment, account.as_str()).await;
    }
    let step = progress.start("Looking for accounts that are not through");
    let both = !redrive.blocked && !redrive.behind;
    let mut ids = BTreeSet::new();
    if redrive.blocked || both {
        let table = &deployment.names.cursor_table;
        let blocked = Some("attribute_exists(Blocked)");
        ids = aggregates::ids(&deployment.clients.dynamodb, table, blocked, &step).await?;
    }
    if redrive.behind || both {
        let all = aggregates::all(deployment, &step).await?;
        let (total, mut done) = (all.len(), 0);
        let mut looked = stream::iter(all)
            .map(async |id| Ok::<_, anyhow::Error>((is_behind(deployment, &id).await?, id)))
            .buffer_unordered(CONCURRENCY);
        while let Some((behind, id)) = looked.try_next().await? {
            done += 1;
            step.counted(done, total);
            if behind {
                ids.insert(id);
            }
        }
    }
    step.done();
    Ok(ids)
}

async fn is_behind(deployment: &Deployment, id: &str) -> Result<bool> {
    let newest = aggregates::newest(deployment, id).await?;
    let Some(newest) = newest.as_ref() else {
        return Ok(false);
    };
    let cursor = deployment.cursors().load(&[id]).await?.remove(id);
    Ok(match (cursor, aggregates::sequence_of(newest)) {
        (Some(Ok(cursor)), Some(sequence)) => cursor.published_through < sequence,
        _ => true,
    })
}

fn dry_run(ids: &BTreeSet<String>, what: &str, output: Output) -> Result<ExitCode> {
    for id in ids {
        output.result(format_args!("would {what} {id}"), &json!({ "account": id }))?;
    }
    output.text(format_args!("{} accounts; nothing was done.", ids.len()))?;
    Ok(ExitCode::SUCCESS)
}

async fn tell<'a>(
    endings: impl stream::Stream<Item = Result<(&'a String, Ending)>>,
    total: usize,
    step: Step,
    output: Output,
) -> Result<ExitCode> {
    let mut endings = std::pin::pin!(endings);
    let (mut done, mut through) = (0, 0);
    while let Some((id, ending)) = endings.try_next().await? {
        done += 1;
        step.counted(done, total);
        match ending {
            Ending::Through(sequence) => {
                through += 1;
                output.result(
                    format_args!("✓ {id}: published through {sequence}"),
                    &json!({ "account": id, "publishedThrough": sequence }),
                )?;
            }
            Ending::Blocked(block) => {
                let (sequence, reason) = (block.sequence, &block.reason);
                output.result(
                    format_args!("✗ {id}: blocked at event {sequence}: {reason}"),
                    &json!({ "account": id, "blockedAt": sequence, "reason": reason }),
                )?;
            }
            Ending::NotThrough => output.result(
                format_args!("✗ {id}: not through, a service did not let it"),
                &json!({ "account": id, "notThrough": true }),
            )?,
        }
    }
    step.done();
    output.result(
        format_args!("{through} of {total} accounts are through."),
        &json!({ "accounts": total, "through": through }),
    )?;
    Ok(if through == total {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    })
}
