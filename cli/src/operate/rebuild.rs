//! `millrace rebuild`: a read model anew from the events table, beside the old one, and then in its
//! place.
//!
//! What is built is kept in a table beside the live one, under its name and `-rebuild`. Only when
//! every aggregate in it is the fold of its events is the live table touched, aggregate by
//! aggregate: a view is one item, replaced by one write, unless the projector has moved it on
//! meanwhile; then it is folded once more. Lines of the history are put by their sequence, below
//! the view that says how many there are. So a reader sees an aggregate as it was or as it is, never
//! a part of it, and the projector goes on throughout.
//!
//! A run that was killed goes on with what lies in the table beside.

use std::collections::{BTreeSet, HashMap};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, BillingMode, TableStatus};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use millrace_domain::{Attribute, Attributes, HistoryEntry, Sequence, View, view};
use millrace_projector::dynamodb::Tables;
use millrace_projector::history;
use millrace_projector::model::{REVISION, ReadModel as _, Saved};
use millrace_projector::stale::Stale;
use millrace_runtime::dynamodb::to_item;
use millrace_runtime::{Ambient as _, System};
use serde_json::json;

use super::deployment::Deployment;
use super::standing::Told;
use super::verify::NOT_WELL;
use super::{CONCURRENCY, aggregates};
use crate::args::{Model, Rebuild};
use crate::output::Output;
use crate::progress::Progress;

/// Between two looks at a table that is being made.
const PAUSE: Duration = Duration::from_millis(200);
/// A table is made within a minute as a rule.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often an aggregate is folded again because events come while it is.
const TRIES: u32 = 20;

struct Rebuilding<'a> {
    deployment: &'a Deployment,
    model: Model,
    /// The model's own table, and the one beside it.
    live: &'a str,
    beside: String,
}

pub(crate) async fn run(
    deployment: &Deployment,
    rebuild: &Rebuild,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let live = match rebuild.model {
        Model::Accounts => &deployment.names.accounts_table,
        Model::Transactions => &deployment.names.transactions_table,
    };
    let rebuilding = Rebuilding {
        deployment,
        model: rebuild.model,
        live,
        beside: format!("{live}-rebuild"),
    };
    let step = progress.start("Listing accounts");
    let ids = aggregates::all(deployment, &step).await?;
    let orphans = rebuilding.orphans(&ids, &step).await?;
    step.done();
    if rebuild.dry_run {
        output.result(
            format_args!(
                "would build {} accounts anew from their events, and remove {}",
                ids.len(),
                orphans.len()
            ),
            &json!({ "accounts": ids.len(), "orphans": orphans.len() }),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    rebuilding.make_table().await?;
    rebuilding
        .each(
            &ids,
            "Building beside the live model",
            progress,
            async |id| rebuilding.build(id).await,
        )
        .await?;
    let differing = rebuilding
        .each(
            &ids,
            "Catching up, and checking parity",
            progress,
            async |id| rebuilding.check(id).await,
        )
        .await?;
    if !differing.is_empty() {
        for (id, reason) in &differing {
            output.result(
                format_args!("✗ {id}: {reason}"),
                &json!({ "account": id, "detail": reason }),
            )?;
        }
        output.result(
            format_args!("The live model was not touched."),
            &json!({ "parity": false, "differing": differing.len() }),
        )?;
        return Ok(ExitCode::from(NOT_WELL));
    }
    rebuilding
        .each(&ids, "Switching", progress, async |id| {
            rebuilding.switch(id).await
        })
        .await?;
    for id in &orphans {
        rebuilding.remove(id).await?;
    }
    rebuilding.drop_table().await?;
    output.result(
        format_args!(
            "Parity: {} accounts are the fold of their events; {} without events were removed.",
            ids.len(),
            orphans.len()
        ),
        &json!({ "parity": true, "accounts": ids.len(), "orphans": orphans.len() }),
    )?;
    Ok(ExitCode::SUCCESS)
}

impl Rebuilding<'_> {
    fn client(&self) -> &Client {
        &self.deployment.clients.dynamodb
    }

    /// Does one thing for each aggregate. Answers with what was found wrong.
    async fn each(
        &self,
        ids: &BTreeSet<String>,
        name: &'static str,
        progress: &Progress,
        work: impl AsyncFn(&str) -> Result<Option<String>>,
    ) -> Result<Vec<(String, String)>> {
        let step = progress.start(name);
        let (total, mut done) = (ids.len(), 0);
        let mut found = Vec::new();
        let mut works = std::pin::pin!(
            stream::iter(ids)
                .map(|id| {
                    let work = work(id);
                    async move { Ok::<_, anyhow::Error>((id, work.await?)) }
                })
                .buffer_unordered(CONCURRENCY)
        );
        while let Some((id, wrong)) = works.try_next().await? {
            done += 1;
            step.counted(done, total);
            found.extend(wrong.map(|wrong| (id.clone(), wrong)));
        }
        step.done();
        Ok(found)
    }

    /// What the events make of an aggregate, as far as its rows can be read; behind a row that
    /// can't, nothing was ever published.
    async fn told(&self, id: &str) -> Result<Told> {
        let table = &self.deployment.names.events_table;
        let rows = aggregates::items(self.client(), table, id).await?;
        Ok(Told::of(&rows, self.deployment.settings))
    }

    async fn build(&self, id: &str) -> Result<Option<String>> {
        let newest = aggregates::newest(self.deployment, id).await?;
        let newest = newest.as_ref().and_then(aggregates::sequence_of);
        if newest.is_some() && self.built(id).await? == newest {
            return Ok(None);
        }
        self.put_beside(&self.told(id).await?).await?;
        Ok(None)
    }

    /// How far an aggregate is built.
    async fn built(&self, id: &str) -> Result<Option<Sequence>> {
        Ok(match self.model {
            Model::Accounts => self.view_beside(id).await?.map(|view| view.sequence),
            Model::Transactions => {
                let lines = aggregates::items(self.client(), &self.beside, id).await?;
                Sequence::new(lines.len().try_into()?)
            }
        })
    }

    async fn view_beside(&self, id: &str) -> Result<Option<View>> {
        let item = aggregates::item(self.client(), &self.beside, id).await?;
        Ok(item.as_ref().map_or(Ok(None), View::read)?)
    }

    async fn put_beside(&self, told: &Told) -> Result<()> {
        match self.model {
            Model::Accounts => {
                if let Some(view) = &told.view {
                    self.client()
                        .put_item()
                        .table_name(&self.beside)
                        .set_item(Some(to_item(view.to_attributes())))
                        .send()
                        .await
                        .with_context(|| format!("could not write {}", self.beside))?;
                }
                Ok(())
            }
            Model::Transactions => self.put_lines(&self.beside, &told.lines).await,
        }
    }

    async fn put_lines(&self, table: &str, lines: &[HistoryEntry]) -> Result<()> {
        let tables = Tables::new(self.client().clone(), String::new(), table.to_owned());
        let items = lines.iter().map(HistoryEntry::to_attributes).collect();
        history::put_all(&tables, &System, items)
            .await
            .with_context(|| format!("could not write {table}"))
    }

    /// Catches up, and reads back what was built: it has to be the fold of the events.
    async fn check(&self, id: &str) -> Result<Option<String>> {
        for _ in 0..TRIES {
            let told = self.told(id).await?;
            if self.is_built(id, &told).await? {
                return Ok(None);
            }
            self.put_beside(&told).await?;
        }
        Ok(Some(
            "what was built is not the fold of its events".to_owned(),
        ))
    }

    async fn is_built(&self, id: &str, told: &Told) -> Result<bool> {
        Ok(match self.model {
            Model::Accounts => self.view_beside(id).await? == told.view,
            Model::Transactions => {
                let lines = aggregates::items(self.client(), &self.beside, id).await?;
                let lines: Result<Vec<_>, _> = lines.iter().map(HistoryEntry::read).collect();
                lines? == told.lines
            }
        })
    }

    /// Puts an aggregate in its place, from the table beside; what has come since, from its events.
    async fn switch(&self, id: &str) -> Result<Option<String>> {
        match self.model {
            Model::Accounts => self.switch_view(id).await?,
            Model::Transactions => self.switch_lines(id).await?,
        }
        Ok(None)
    }

    async fn switch_view(&self, id: &str) -> Result<()> {
        let mut built = self.view_beside(id).await?;
        for _ in 0..TRIES {
            let Some(view) = &built else { return Ok(()) };
            let live = aggregates::item(self.client(), self.live, id).await?;
            let through = live
                .as_ref()
                .and_then(|item| item.get(view::SEQUENCE)?.as_integer());
            if through.unwrap_or_default() > i64::try_from(view.sequence.get())? {
                built = self.told(id).await?.view;
                continue;
            }
            let mut item = view.to_attributes();
            item.insert(REVISION.to_owned(), Attribute::text(System.unique_id()));
            let stale = live.as_ref().and_then(Stale::read);
            if let Some(stale) = stale.filter(|stale| stale.until > view.sequence) {
                item.extend(stale.to_attributes());
            }
            let tables = Tables::new(self.client().clone(), self.live.to_owned(), String::new());
            let saved = tables.save_view(item, live.as_ref()).await;
            if saved.with_context(|| format!("could not write {}", self.live))? == Saved::Stored {
                return Ok(());
            }
        }
        bail!("the view of {id} was moved each time it was to be replaced")
    }

    /// Lines don't depend on each other and never change, so they are put as they are. One that lies
    /// at no event's place stays, and `verify` tells of it.
    async fn switch_lines(&self, id: &str) -> Result<()> {
        let told = self.told(id).await?;
        let live = aggregates::items(self.client(), self.live, id).await?;
        let read = |item: &Attributes| HistoryEntry::read(item).ok();
        let right: HashMap<u64, HistoryEntry> = live
            .iter()
            .filter_map(read)
            .map(|line| (line.sequence.get(), line))
            .collect();
        let wrong: Vec<HistoryEntry> = told
            .lines
            .iter()
            .filter(|line| right.get(&line.sequence.get()) != Some(line))
            .cloned()
            .collect();
        self.put_lines(self.live, &wrong).await
    }

    /// The aggregates that the live model holds and the events don't.
    async fn orphans(
        &self,
        ids: &BTreeSet<String>,
        step: &crate::progress::Step,
    ) -> Result<Vec<String>> {
        let live = aggregates::ids(self.client(), self.live, step).await?;
        let mut orphans = Vec::new();
        for id in live.into_iter().filter(|id| !ids.contains(id)) {
            // One that was opened after the ids were listed is none.
            if aggregates::newest(self.deployment, &id).await?.is_none() {
                orphans.push(id);
            }
        }
        Ok(orphans)
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let items = match self.model {
            Model::Accounts => vec![None],
            Model::Transactions => aggregates::items(self.client(), self.live, id)
                .await?
                .into_iter()
                .map(|line| line.get(view::SEQUENCE)?.as_integer())
                .collect(),
        };
        for sequence in items {
            let mut delete = self
                .client()
                .delete_item()
                .table_name(self.live)
                .key(view::ID, AttributeValue::S(id.to_owned()));
            if let Some(sequence) = sequence {
                delete = delete.key(view::SEQUENCE, AttributeValue::N(sequence.to_string()));
            }
            delete
                .send()
                .await
                .with_context(|| format!("could not delete from {}", self.live))?;
        }
        Ok(())
    }

    /// Makes the table beside, with the live one's keys, unless a run that was killed left it.
    async fn make_table(&self) -> Result<()> {
        let client = self.client();
        let describe = |table: &str| client.describe_table().table_name(table).send();
        let live = describe(self.live)
            .await
            .with_context(|| format!("could not look at {}", self.live))?
            .table
            .context("the table has no description")?;
        match describe(&self.beside).await {
            Ok(_) => {}
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_dynamodb::operation::describe_table::DescribeTableError::is_resource_not_found_exception) =>
            {
                client
                    .create_table()
                    .table_name(&self.beside)
                    .set_key_schema(live.key_schema)
                    .set_attribute_definitions(live.attribute_definitions)
                    .billing_mode(BillingMode::PayPerRequest)
                    .send()
                    .await
                    .with_context(|| format!("could not make {}", self.beside))?;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("could not look at {}", self.beside));
            }
        }
        let active = async {
            loop {
                let table = describe(&self.beside).await?.table;
                let status = table.and_then(|table| table.table_status);
                if status == Some(TableStatus::Active) {
                    return Ok::<_, anyhow::Error>(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, active)
            .await
            .with_context(|| format!("{} did not become active", self.beside))?
    }

    async fn drop_table(&self) -> Result<()> {
        self.client()
            .delete_table()
            .table_name(&self.beside)
            .send()
            .await
            .map(|_| ())
            .with_context(|| format!("could not remove {}", self.beside))
    }
}
