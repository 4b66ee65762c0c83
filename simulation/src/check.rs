//! Checks the properties when the simulation is quiescent. Property 2 is also checked at every save of a cursor,
//! and property 3 at every save of a view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_core::{Attribute, Attributes, Timestamp, Version, row, view};
use millrace_projector::stale::Stale;
use millrace_translator::cursor::{Block, Suspension};
use serde_json::{Value, json};

use super::consumer;
use super::dynamodb::events::text;
use super::expected::{self, Aggregate, sequence_in};
use super::functions::{ArchiverFunction, Function as _, ProjectorFunction, TranslatorFunction};
use super::log::Stored;
use super::operators::is_excused;
use super::reconciler::is_batch_open;
use super::scenario::members;
use super::world::{Answer, Change, Event, Sent, World};

/// The time after the end of the faults within which a batch that they affected may still be discarded, in
/// milliseconds.
const AFTERMATH: u64 = 120_000;

/// The attributes of a view's item that don't follow from its events.
const BESIDES_THE_FOLD: [&str; 5] = [
    "StaleIn",
    "StaleSequence",
    "StaleReason",
    "StaleSince",
    "Revision",
];

/// The point of the run at which the world is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiescence {
    /// The faults are over. An aggregate that was damaged and repaired may be incomplete until another event
    /// of it is announced.
    AfterFaults,
    /// Every aggregate that accepts commands has another event.
    AfterFurtherEvents,
    /// Operators have run all commands that repair something.
    Repaired,
}

/// Checks all properties, and records the first violation.
pub(crate) fn check(world: &mut World, quiescence: Quiescence) {
    let published = stream_is_history(world);
    consumer::check(world, &published, quiescence);
    no_batch_is_discarded(world);
    lake_holds_the_stream(world);
    commands_are_kept(world);
    for id in world.events.ids() {
        let aggregate = expected::aggregate(world, &id);
        let broken = aggregate.events.iter().find_map(|event| {
            let what = world.scenario.invariant(&event.own.state).err()?;
            Some((event.sequence, what))
        });
        if let Some((sequence, what)) = broken {
            world.violated("W", format!("{id}: {what} at {sequence}"));
        }
        if let Err((property, what)) = is_completed_or_reported(
            world,
            &id,
            &aggregate,
            published.get(&id).copied().unwrap_or(0),
            quiescence,
        ) {
            let about = if world.damaged.contains(&id) || world.damaged.is_empty() {
                property
            } else {
                "5"
            };
            world.violated(about, format!("{id}: {what}, {quiescence:?}"));
        }
        snapshots_are_folds(world, &id, &aggregate);
        view_is_fold(world, &id);
        history_is_complete(world, &id, &aggregate);
    }
}

/// Property W: a snapshot is the fold of the events before it.
fn snapshots_are_folds(world: &mut World, id: &str, aggregate: &Aggregate) {
    let wrong = world.events.of(id).find_map(|(halves, row)| {
        let version = halves / 2;
        let included = usize::try_from(version - (version + 8) / 10).expect("few");
        let last = aggregate.events.get(..included)?.last()?;
        let is_right = world.scenario.is_snapshot_of(row, &last.own.state);
        (text(row, row::TYPE) == "SNAPSHOT" && !is_right).then_some(version)
    });
    if let Some(version) = wrong {
        world.violated("W", format!("{id}: the snapshot at {version} is wrong"));
    }
}

/// Property 4, after the translator has handled notifications: each event that they announce is published, or
/// the cursor records that it isn't. The notifications aren't delivered again.
pub(crate) fn notifications_are_kept(world: &mut World, records: &[Stored<Change>]) {
    let mut announced: BTreeMap<&str, u64> = BTreeMap::new();
    for Stored { record, .. } in records {
        let version = text(&record.row, row::VERSION).parse();
        let version = version.ok().and_then(Version::new);
        if let Some(version) = version.filter(|it| !it.is_snapshot()) {
            let through = announced.entry(&record.aggregate).or_default();
            *through = version.sequence().get().max(*through);
        }
    }
    for (id, through) in announced {
        let events = expected::aggregate(world, id).events.len();
        // Removed rows are not checked.
        let through = through.min(u64::try_from(events).expect("few"));
        let cursor = world.cursors.get(id).cloned().unwrap_or_default();
        let is_kept = match &cursor.suspended {
            Some(Suspension::Blocked(_)) => true,
            Some(Suspension::Parked(parked)) => through <= parked.through.get(),
            None => through <= cursor.published_through.get(),
        };
        if !is_kept && !world.ever_damaged_cursors.contains(id) {
            let what = format!(
                "{id}: event {through} was announced, and is neither published nor in the cursor: {cursor:?}"
            );
            world.violated("4", what);
        }
    }
}

/// Property 1: the first occurrences of each aggregate's events are in order, and duplicates are
/// byte-identical. Returns the last sequence of each aggregate.
fn stream_is_history(world: &mut World) -> BTreeMap<String, u64> {
    let mut aggregates: BTreeMap<String, (Arc<Aggregate>, u64)> = BTreeMap::new();
    let mut wrong = None;
    for stored in world.domain_stream.in_order() {
        if stored.record.is_from_other_producer {
            continue;
        }
        let id = &stored.record.partition_key;
        let (aggregate, last) = aggregates
            .entry(id.clone())
            .or_insert_with(|| (expected::aggregate(world, id), 0));
        let data = &stored.record.data;
        let sequence = sequence_in(data).unwrap_or(0);
        let event = usize::try_from(sequence)
            .ok()
            .and_then(|sequence| aggregate.events.get(sequence.checked_sub(1)?));
        if event.is_none_or(|event| event.bytes != *data) {
            let shown = String::from_utf8_lossy(data);
            wrong = Some(format!("{id}: {shown} is not an event of the aggregate"));
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
    aggregates
        .into_iter()
        .map(|(id, (_, last))| (id, last))
        .collect()
}

/// Property 5: no batch is discarded after the end of the faults.
fn no_batch_is_discarded(world: &mut World) {
    let end = world.plan.until + AFTERMATH;
    let late = world.discarded.iter().find(|it| it.at > end).cloned();
    if let Some(discarded) = late {
        let what = format!(
            "{}: discarded by the {}",
            discarded.aggregate, discarded.function
        );
        world.violated("5", what);
    }
}

/// Property 3, for a stored view: every column has the value that is expected from the events, and there is
/// no other column except the stale attributes and the revision.
pub(crate) fn view_is_fold(world: &mut World, id: &str) {
    let Some(item) = world.views.get(id) else {
        return;
    };
    if world.damaged_views.contains(id) {
        return;
    }
    let aggregate = expected::aggregate(world, id);
    let sequence = item.get("Sequence").and_then(Attribute::as_integer);
    let included = sequence.and_then(|sequence| usize::try_from(sequence).ok());
    let events = included.and_then(|included| aggregate.events.get(..included));
    let columns = events.map(|events| {
        expected::view(id, events).unwrap_or_else(|| {
            // The item has stale attributes only, because no event has been applied yet.
            [
                ("Id", Attribute::text(id)),
                ("Sequence", Attribute::number(0)),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
        })
    });
    let mut shown = item.clone();
    shown.retain(|name, _| !BESIDES_THE_FOLD.contains(&&**name));
    if columns.as_ref() != Some(&shown) {
        let what = format!("{id}: the view {shown:?} isn't the fold of the events: {columns:?}");
        world.violated("3", what);
    }
}

/// Property 3, for the history: it has exactly one item for each event that the view includes, and every column
/// has the expected value.
fn history_is_complete(world: &mut World, id: &str, aggregate: &Aggregate) {
    let included = world
        .views
        .get(id)
        .and_then(|item| item[view::SEQUENCE].as_integer())
        .unwrap_or(0);
    let included = u64::try_from(included).expect("few");
    let (first, last) = ((id.to_owned(), 0), (id.to_owned(), u64::MAX));
    let stored: BTreeMap<u64, &Attributes> = world
        .lines
        .range(first..=last)
        .map(|((_, sequence), item)| (*sequence, item))
        .collect();
    let sequences = stored.keys().copied().chain(1..=included);
    let wrong = sequences.into_iter().find(|sequence| {
        let index = usize::try_from(*sequence).expect("few").checked_sub(1);
        let event = index.and_then(|index| aggregate.events.get(index));
        let columns = event.map(|event| expected::history_item(id, event));
        stored.get(sequence).copied() != columns.as_ref()
    });
    if let Some(sequence) = wrong {
        let shown = stored.get(&sequence);
        let what = format!("{id}: the history's item {sequence} is wrong: {shown:?}");
        world.violated("3", what);
    }
}

/// Properties 4 and 5 for one aggregate: every event is published, projected and archived, or its absence
/// is reported.
fn is_completed_or_reported(
    world: &World,
    id: &str,
    aggregate: &Aggregate,
    published: u64,
    quiescence: Quiescence,
) -> Result<(), (&'static str, String)> {
    let committed = u64::try_from(aggregate.events.len()).expect("few");
    let cursor = world.cursors.get(id).cloned().unwrap_or_default();
    let is_blocked = cursor.blocked().is_some_and(|it| !it.reason.is_empty());
    // A record in the failure destination counts as reported until another event of its aggregate is
    // announced. An aggregate with an undecodable or missing row gets no other event.
    let has_no_further_event = quiescence == Quiescence::AfterFaults || aggregate.is_in_trouble;
    let is_set_aside = (has_no_further_event
        || world.is_further_event_missed(TranslatorFunction::NAME, id))
        && world.is_discarded(TranslatorFunction::NAME, id);
    if is_excused(world, id, has_no_further_event) {
        return Ok(());
    }
    // An operator's command reset the cursor, and ended before it had published all events again.
    let is_reset =
        cursor.blocked().is_some_and(Block::is_reset) && world.ever_damaged_cursors.contains(id);
    let may_be_blocked = aggregate.is_in_trouble
        || (quiescence == Quiescence::AfterFaults && (is_reset || world.damaged.contains(id)));
    if aggregate.is_in_trouble && !is_blocked && !is_set_aside {
        return Err((
            "4",
            "its events can't be published, and nothing reports it".to_owned(),
        ));
    }
    if is_blocked && !may_be_blocked {
        return Err(("4", format!("blocked without a damaged row: {cursor:?}")));
    }
    if published < committed && !is_blocked && !is_set_aside {
        return Err(("4", format!("{published} of {committed} events published")));
    }
    // If the aggregate is blocked, the stream may contain an event that was never acknowledged.
    let is_lagging = cursor.published_through.get() < published;
    if is_lagging && !is_blocked && !is_set_aside {
        return Err(("4", format!("published through {published}: {cursor:?}")));
    }
    projected(world, id, published, has_no_further_event)
}

/// Property 4 for one aggregate's view: it includes every published event, or is reported as stale.
fn projected(
    world: &World,
    id: &str,
    published: u64,
    has_no_further_event: bool,
) -> Result<(), (&'static str, String)> {
    let item = world.views.get(id);
    let shown = item.and_then(|item| item[view::SEQUENCE].as_integer());
    let shown = u64::try_from(shown.unwrap_or(0)).expect("never negative");
    let stale = item.and_then(Stale::read);
    let is_discarded = world.is_discarded(ProjectorFunction::NAME, id);
    let has_no_further_event =
        has_no_further_event || world.is_further_event_missed(ProjectorFunction::NAME, id);
    if shown < published && stale.is_none() && !(has_no_further_event && is_discarded) {
        return Err(("4", format!("{shown} of {published} events in the view")));
    }
    if let Some(stale) = stale
        && !is_discarded
        && !world.disturbed.contains(id)
    {
        return Err((
            "4",
            format!("stale without a missed event: {}", stale.reason),
        ));
    }
    Ok(())
}

/// Property 4 for the lake: it has a record for each record of the stream, and no other. The record of an event
/// is the event; any other record is in an `UnreadableRecord`.
fn lake_holds_the_stream(world: &mut World) {
    let mut lines: BTreeSet<&[u8]> = BTreeSet::new();
    let mut unreadable: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut wrong = None;
    for data in &world.lake {
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            match line.split_last() {
                Some((b'\n', line)) if line.windows(16).any(|it| it == b"UnreadableRecord") => {
                    match serde_json::from_slice::<BTreeMap<String, String>>(line) {
                        Ok(columns) => drop(unreadable.insert(columns["id"].clone(), columns)),
                        Err(error) => wrong = Some(format!("an unreadable record: {error}")),
                    }
                }
                Some((b'\n', line)) => drop(lines.insert(line)),
                _ => wrong = Some("the lake contains a line without a line feed".to_owned()),
            }
        }
    }
    let mut events: BTreeSet<&[u8]> = BTreeSet::new();
    for stored in world.domain_stream.in_order() {
        let event = &stored.record;
        let is_noise = event.is_from_other_producer && sequence_in(&event.data).is_none();
        let is_there = if is_noise {
            let id = format!("shardId-000000000000:{}", stored.number);
            let columns = unreadable.remove(&id);
            columns.is_some_and(|columns| is_kept_as_unreadable(&columns, event))
        } else {
            events.insert(&event.data);
            lines.contains(&event.data[..])
        };
        let is_gone = event.is_from_other_producer
            && world.republished_to_lake.contains(&event.partition_key);
        if !is_there
            && !is_gone
            && !is_batch_open(world, ArchiverFunction::NAME, &event.partition_key)
            && !world.is_missed(ArchiverFunction::NAME, &event.partition_key)
        {
            let (of, sequence) = (&event.partition_key, sequence_in(&event.data));
            wrong = Some(format!("{of}: the lake lacks {sequence:?}"));
        }
    }
    if let Some(line) = lines.difference(&events).next() {
        let shown = String::from_utf8_lossy(line);
        wrong = Some(format!(
            "the lake contains a record that was never on the stream: {shown}"
        ));
    }
    if let Some((id, _)) = unreadable.first_key_value() {
        wrong = Some(format!(
            "the lake contains {id}, which was never on the stream"
        ));
    }
    if let Some(what) = wrong {
        world.violated("4", what);
    }
}

fn is_kept_as_unreadable(columns: &BTreeMap<String, String>, event: &Event) -> bool {
    let mut columns = columns.clone();
    let time = columns.remove("time").map(|time| Timestamp::parse(&time));
    let rest = [
        ("specversion", "1.0"),
        ("source", "urn:millrace:archiver"),
        ("type", "UnreadableRecord"),
        ("subject", &event.partition_key),
        ("datacontenttype", "application/octet-stream"),
        ("data_base64", &STANDARD.encode(&event.data)),
    ];
    columns.remove("id");
    time.is_some_and(|time| time.is_ok())
        && columns.len() == rest.len()
        && rest
            .iter()
            .all(|(name, value)| columns.get(*name).is_some_and(|it| it == value))
}

/// Property W: an accepted command has exactly its events, and its response agrees with the last one; a refused
/// command has none; commands with one key append once and get equal responses.
fn commands_are_kept(world: &mut World) {
    let mut rows: BTreeMap<String, Vec<&Attributes>> = BTreeMap::new();
    for row in world.events.all() {
        rows.entry(text(row, "CorrelationId"))
            .or_default()
            .push(row);
    }
    let broken = world.commands.iter().find_map(|sent| {
        let rows = rows.get(&sent.request.correlation_id);
        is_kept(world, sent, rows.map_or(&[], Vec::as_slice)).err()
    });
    if let Some(what) = broken {
        world.violated("W", what);
    }
}

fn is_kept(world: &World, sent: &Sent, rows: &[&Attributes]) -> Result<(), String> {
    let of = &sent.request.correlation_id;
    // An acceptance, or the domain's refusal, is the outcome of all copies.
    let decided: BTreeSet<(u16, &str, Option<&str>, Option<&str>)> = sent
        .answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Definite {
                status: status @ (0..300 | 422),
                body,
                etag,
                location,
                ..
            } => Some((*status, &**body, etag.as_deref(), location.as_deref())),
            Answer::Definite { .. } | Answer::Unknown => None,
        })
        .collect();
    if decided.len() > 1 {
        return Err(format!(
            "{of}: its copies got different responses: {decided:?}"
        ));
    }
    let decided = decided.first();
    let committed = world.committed.get(of);
    let refused = sent.answers.iter().find(|answer| {
        matches!(answer, Answer::Definite { status: 400..500, looked_at, .. }
            if committed.is_some_and(|at| at < looked_at))
    });
    if let Some(refused) = refused {
        return Err(format!(
            "{of}: refused after its event was committed at {committed:?}: {refused:?}"
        ));
    }
    let is_unknown = sent.answers.contains(&Answer::Unknown);
    let leads_to = world.scenario.leads_to(&sent.request.command, rows);
    let is_right = match decided {
        Some((0..300, ..)) => leads_to.is_ok(),
        Some(_) => rows.is_empty(),
        None => rows.is_empty() || is_unknown && leads_to.is_ok(),
    };
    if !is_right {
        let (key, count) = (&sent.request.key, rows.len());
        let what = leads_to.err().unwrap_or_default();
        return Err(format!(
            "{of} with key {key:?}: {count} events, {:?}: {what}",
            sent.answers
        ));
    }
    for row in rows {
        is_as_asked(world, sent, row).map_err(|what| format!("{of}: {what} in {row:?}"))?;
    }
    let Some(row) = rows.last() else {
        return Ok(());
    };
    if let Some((status, body, etag, location)) = decided {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let id = text(row, row::ID);
        let aggregate = expected::aggregate(world, &id);
        let event = aggregate
            .events
            .iter()
            .rfind(|event| event.correlation_id == *of);
        let is_opening = sent.request.path == world.names.opening_path();
        let place = is_opening.then(|| format!("/{}/{id}", world.names.collection));
        let is_right = event.is_some_and(|event| {
            let mut shown = members(&event.own.accepted);
            shown.insert(world.names.id.to_owned(), json!(id));
            shown.insert("sequence".to_owned(), json!(event.sequence));
            body == Value::Object(shown) && *etag == Some(&*format!("\"{}\"", event.sequence))
        });
        if !is_right || *location != place.as_deref() || *status != 200 + u16::from(is_opening) {
            return Err(format!(
                "{of}: the response is {decided:?}, the stored event {event:?}"
            ));
        }
    }
    Ok(())
}

/// Whether the writer's span is a child of the client's, or begins a trace that isn't sampled.
fn is_traced(client: Option<&str>, own: &str) -> bool {
    let own: Vec<&str> = own.split('-').collect();
    let client: Option<Vec<&str>> = client.map(|span| span.split('-').collect());
    match (client.as_deref(), &own[..]) {
        (Some([_, trace, caller, flags]), own) => {
            own.len() == 4
                && [own[0], own[1], own[3]] == ["00", *trace, *flags]
                && own[2] != *caller
        }
        (None, ["00", trace, parent, "00"]) => (trace.len(), parent.len()) == (32, 16),
        (_, _) => false,
    }
}

/// Checks that a row belongs to the request's aggregate and has the request's causation id, caller and trace.
/// Returns the difference as an error.
fn is_as_asked(world: &World, sent: &Sent, row: &Attributes) -> Result<(), &'static str> {
    let request = &sent.request;
    let path = world
        .names
        .command_path(&text(row, row::ID), &request.command);
    if request.path != path && request.path != world.names.opening_path() {
        return Err("another aggregate");
    }
    let command_id = text(row, row::COMMAND_ID);
    let cause = request.causation_id.as_ref().unwrap_or(&command_id);
    if text(row, "CausationId") != *cause {
        return Err("another cause");
    }
    let actor = text(row, "Actor");
    let role = actor.rsplit_once('/').map(|(role, _)| role);
    let is_left_out = sent.is_previous && role.is_none();
    if role != request.caller.as_deref() && !is_left_out {
        return Err("another caller");
    }
    let own = text(row, "TraceParent");
    if !(is_traced(request.trace_parent.as_deref(), &own) || sent.is_previous && own.is_empty()) {
        return Err("another trace");
    }
    Ok(())
}
