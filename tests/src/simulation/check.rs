//! The properties that must always hold, over the world at rest. Two of them are also checked at the
//! moment at which they could be broken: the cursor's when one is saved, the view's when one is.

use std::collections::{BTreeMap, BTreeSet};

use millrace_domain::{Timestamp, View, view};
use millrace_projector::stale::Stale;

use super::dynamodb::events::text;
use super::expected::{self, Account, sequence_in};
use super::functions::{Archive, Function as _, Project, Translate};
use super::world::{Answer, Sent, World};

/// How long after the faults have ended a batch that they hit may still be given up on.
const AFTERMATH: u64 = 120_000;

/// When the world is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The faults are over. What was damaged and mended may wait for news of its account.
    AfterFaults,
    /// Every account that can be continued has had news.
    AfterNews,
}

/// Checks everything; notes the first violation.
pub(crate) fn check(world: &mut World, rest: Rest) {
    let published = stream_is_history(world);
    nothing_given_up(world);
    lake_holds_the_stream(world);
    commands_are_kept(world);
    for id in world.events.ids() {
        let account = expected::account(world, &id);
        if let Some(event) = account.events.iter().find(|event| event.balance < 0) {
            world.violated("W", format!("{id}: below zero at {}", event.sequence));
        }
        if let Err((property, what)) = is_through_or_reported(
            world,
            &id,
            &account,
            published.get(&id).copied().unwrap_or(0),
            rest,
        ) {
            let about = if world.damaged.contains(&id) || world.damaged.is_empty() {
                property
            } else {
                "5"
            };
            world.violated(about, format!("{id}: {what}, {rest:?}"));
        }
        view_is_fold(world, &id);
        lines_are_history(world, &id, &account);
    }
}

/// Property 1: each account's events come first in order, and always in the same bytes. Answers with
/// the last one of each.
fn stream_is_history(world: &mut World) -> BTreeMap<String, u64> {
    let mut accounts: BTreeMap<String, (Account, u64)> = BTreeMap::new();
    let mut wrong = None;
    for stored in world.domain_stream.in_order() {
        if stored.record.is_strange {
            continue;
        }
        let id = &stored.record.partition_key;
        let (account, last) = accounts
            .entry(id.clone())
            .or_insert_with(|| (expected::account(world, id), 0));
        let data = &stored.record.data;
        let sequence = sequence_in(data).unwrap_or(0);
        let event = usize::try_from(sequence)
            .ok()
            .and_then(|sequence| account.events.get(sequence.checked_sub(1)?));
        if event.is_none_or(|event| event.bytes != *data) {
            let shown = String::from_utf8_lossy(data);
            wrong = Some(format!("{id}: {shown} is none of its events"));
        } else if sequence > *last + 1 {
            wrong = Some(format!("{id}: {sequence} came first after {last}"));
        } else {
            *last = sequence.max(*last);
        }
        if wrong.is_some() {
            break;
        }
    }
    if let Some(what) = wrong {
        world.violated("1", what);
    }
    accounts
        .into_iter()
        .map(|(id, (_, last))| (id, last))
        .collect()
}

/// Property 5: once the faults are over, no batch is given up on.
fn nothing_given_up(world: &mut World) {
    let end = world.plan.until + AFTERMATH;
    let late = world.discarded.iter().find(|it| it.at > end).cloned();
    if let Some(discarded) = late {
        let what = format!(
            "{}: given up on by the {}",
            discarded.aggregate, discarded.function
        );
        world.violated("5", what);
    }
}

/// Property 3, for a view as it lies there.
pub(crate) fn view_is_fold(world: &mut World, id: &str) {
    let Some(item) = world.views.get(id) else {
        return;
    };
    let shown = match View::read(item) {
        Ok(Some(shown)) => shown,
        Ok(None) => return,
        Err(error) => {
            world.violated("3", format!("{id}: its view can't be read: {error}"));
            return;
        }
    };
    let sequence = shown.sequence.get();
    let account = expected::account(world, id);
    let included = usize::try_from(sequence).expect("few");
    let is_fold = account.events.get(..included).is_some_and(|events| {
        let latest: Option<Timestamp> = events.iter().map(|event| event.time).max();
        events.last().map(|event| event.balance) == Some(shown.balance.minor_units())
            && latest == Some(shown.updated_at)
            && events.first().map(|event| event.time) == Some(shown.opened_at)
    });
    if !is_fold {
        let what = format!("{id}: its view at {sequence} isn't the fold of its events");
        world.violated("3", what);
    }
}

/// Property 3, for the transaction history: a line for each event that the view includes.
fn lines_are_history(world: &mut World, id: &str, account: &Account) {
    let included = world
        .views
        .get(id)
        .and_then(|item| item[view::SEQUENCE].as_integer())
        .unwrap_or(0);
    let included = usize::try_from(included).expect("few");
    for event in account.events.iter().take(included) {
        let line = world.lines.get(&(id.to_owned(), event.sequence));
        let is_right = line.is_some_and(|line| {
            text(line, "Balance") == event.balance.to_string()
                && text(line, "Time") == event.time.to_string()
                && text(line, "CorrelationId") == event.correlation_id
        });
        if !is_right {
            let what = format!("{id}: its history's line {} is wrong", event.sequence);
            world.violated("3", what);
            return;
        }
    }
}

/// Properties 4 and 5 for one account: everything everywhere, or reported.
fn is_through_or_reported(
    world: &World,
    id: &str,
    account: &Account,
    published: u64,
    rest: Rest,
) -> Result<(), (&'static str, String)> {
    let committed = u64::try_from(account.events.len()).expect("few");
    let cursor = world.cursors.get(id).cloned().unwrap_or_default();
    let is_blocked = cursor
        .blocked
        .as_ref()
        .is_some_and(|it| !it.reason.is_empty());
    // A record in the failure destination is reported there, until news of its account comes; an
    // account in trouble gets none.
    let has_no_news = rest == Rest::AfterFaults || account.is_in_trouble;
    let is_set_aside = has_no_news && world.is_discarded(Translate::NAME, id);
    let may_be_blocked =
        account.is_in_trouble || (rest == Rest::AfterFaults && world.damaged.contains(id));
    if account.is_in_trouble && !is_blocked && !is_set_aside {
        return Err(("4", "it can't be published, and nothing says so".to_owned()));
    }
    if is_blocked && !may_be_blocked {
        return Err(("4", format!("blocked for no reason: {cursor:?}")));
    }
    if published < committed && !is_blocked && !is_set_aside {
        return Err(("4", format!("{published} of {committed} events published")));
    }
    // Where it stands still, an event may be on the stream that was never acknowledged.
    let is_behind = cursor.published_through.get() < published;
    if is_behind && !is_blocked && !is_set_aside {
        return Err(("4", format!("published through {published}: {cursor:?}")));
    }
    projected(world, id, published, has_no_news)
}

/// The same for its view.
fn projected(
    world: &World,
    id: &str,
    published: u64,
    has_no_news: bool,
) -> Result<(), (&'static str, String)> {
    let item = world.views.get(id);
    let shown = item.and_then(|item| item[view::SEQUENCE].as_integer());
    let shown = u64::try_from(shown.unwrap_or(0)).expect("never negative");
    let stale = item.and_then(Stale::read);
    let is_discarded = world.is_discarded(Project::NAME, id);
    if shown < published && stale.is_none() && !(has_no_news && is_discarded) {
        return Err(("4", format!("{shown} of {published} events in the view")));
    }
    if let Some(stale) = stale
        && !is_discarded
        && !world.disturbed.contains(id)
    {
        return Err(("4", format!("stale for no reason: {}", stale.reason)));
    }
    Ok(())
}

/// Property 4 for the lake: a line for each record of the stream, and each line a whole one.
fn lake_holds_the_stream(world: &mut World) {
    let mut lines: BTreeSet<&[u8]> = BTreeSet::new();
    let mut unreadable = 0;
    let mut wrong = None;
    for data in &world.lake {
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            match line.split_last() {
                Some((b'\n', line)) => {
                    unreadable += usize::from(line.windows(16).any(|it| it == b"UnreadableRecord"));
                    lines.insert(line);
                }
                _ => wrong = Some("the lake holds a line that doesn't end".to_owned()),
            }
        }
    }
    let mut strange = 0;
    for stored in world.domain_stream.in_order() {
        let event = &stored.record;
        if world.is_discarded(Archive::NAME, &event.partition_key) {
            continue;
        }
        let is_noise = event.is_strange && sequence_in(&event.data).is_none();
        strange += usize::from(is_noise);
        if !is_noise && !lines.contains(&event.data[..]) {
            let (of, sequence) = (&event.partition_key, sequence_in(&event.data));
            wrong = Some(format!("{of}: the lake doesn't hold {sequence:?}"));
        }
    }
    if unreadable < strange {
        wrong = Some(format!(
            "the lake holds {unreadable} of {strange} unreadable records"
        ));
    }
    if let Some(what) = wrong {
        world.violated("4", what);
    }
}

/// The writer's promises: an acceptance is one event, with the sequence and balance that the answer
/// tells; a refusal leaves nothing; a key appends once.
fn commands_are_kept(world: &mut World) {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for row in world.events.all() {
        *rows.entry(text(row, "CorrelationId")).or_default() += 1;
    }
    let broken = world.commands.iter().find_map(|sent| {
        let rows = rows.get(&sent.correlation_id).copied().unwrap_or(0);
        is_kept(world, sent, rows).err()
    });
    if let Some(what) = broken {
        world.violated("W", what);
    }
}

fn is_kept(world: &World, sent: &Sent, rows: usize) -> Result<(), String> {
    let of = &sent.correlation_id;
    let accepted: BTreeSet<&str> = sent
        .answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Definite {
                status: 0..300,
                body,
            } => Some(body.as_str()),
            Answer::Definite { .. } | Answer::Unknown => None,
        })
        .collect();
    let is_unknown = sent.answers.contains(&Answer::Unknown);
    let is_right = match accepted.len() {
        0 => rows <= usize::from(is_unknown),
        1 => rows == 1,
        _ => return Err(format!("{of}: its copies were answered differently")),
    };
    if !is_right {
        let key = if sent.has_key { "with" } else { "without" };
        return Err(format!(
            "{of} {key} a key: {rows} events, {:?}",
            sent.answers
        ));
    }
    for body in accepted {
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let id = body["accountId"].as_str().expect("an id");
        let account = expected::account(world, id);
        let event = account
            .events
            .iter()
            .find(|event| event.correlation_id == *of);
        if event.is_none_or(|event| {
            body["sequence"] != event.sequence || body["balance"] != event.balance
        }) {
            return Err(format!("{of}: answered with {body}, stored as {event:?}"));
        }
    }
    Ok(())
}
