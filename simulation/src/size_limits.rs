//! A named history with commands, events and records at the services' size limits and above them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use millrace_core::{Sequence, Timestamp, view};
use millrace_projector::stale::Stale;
use millrace_runtime::Budget;
use millrace_translator::ports::Record;
use millrace_translator::publishing::{Progress, Queue, publish};
use serde_json::Value;

use super::clients::{Request, send};
use super::expected::public_bytes;
use super::functions::{Function as _, TranslatorFunction};
use super::invocation::invoke;
use super::log::Log;
use super::other_writers::other_row;
use super::sim::Sim;
use super::upgrade::Upgrade;
use super::world::{Answer, Event, World};
use super::{Options, Simulation, carry, in_virtual_time, map_as_deployed, until_quiescent, world};

/// A record at the stream's limit, in bytes.
const RECORD: usize = 1024 * 1024;

/// A command, event or record that is too large affects only its own aggregate and is reported. All others are
/// processed, in calls that the services accept.
pub(super) fn oversized_data_affects_only_its_own_aggregate(
    simulation: &Simulation,
) -> Result<(), String> {
    in_virtual_time(run(simulation))
}

async fn run(simulation: &Simulation) -> Result<(), String> {
    let options = Options {
        most_faults: 0,
        ..Options::default()
    };
    let sim = Sim::new(World {
        upgrade: Upgrade::NONE,
        ..world(&simulation.scenario, &mut Rng::with_seed(0), options)
    });
    let outcome = steps(&sim).await;
    // A call over a limit is reported first, because it may cause the other violations.
    let violation = sim.world().violation.take();
    violation.map_or(outcome, |violation| Err(violation.to_string()))
}

async fn steps(sim: &Arc<Sim>) -> Result<(), String> {
    command(sim).await?;
    publish_full_puts(sim).await?;
    for (aggregate, sequence, quotes) in events_of_other_producers() {
        put(sim, aggregate, event(sim, aggregate, sequence, quotes));
    }
    // Records that fit a stream with a raised limit, but not a Firehose record.
    put(sim, "noise", vec![b'x'; 1_500_000]);
    tokio::spawn(carry(Arc::clone(sim)));
    map_as_deployed(sim, 2_000);
    until_quiescent(sim).await;
    views(sim)?;
    lake(sim)
}

/// A command that is too large is refused, with and without a key, and appends no row.
async fn command(sim: &Arc<Sim>) -> Result<(), String> {
    let names = sim.scenario.names();
    let opening = sim.scenario.draw_opening(&mut Rng::with_seed(0));
    let opening = Request {
        correlation_id: "open".to_owned(),
        ..Request::opening(&names, opening)
    };
    let opened = send(sim, &opening, 1).await;
    let Some(Answer::Definite {
        status: 201, body, ..
    }) = opened.first()
    else {
        return Err(format!("opening: {opened:?}"));
    };
    let body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let id = body[names.id].as_str().unwrap_or_default();
    let key = Some("key".to_owned());
    for (number, (key, caller, expected)) in [
        (None, 409_600, 413),
        (key.clone(), 409_600, 413),
        (key, 400_000, 200),
        (None, 400_000, 200),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request {
            key,
            caller: Some("x".repeat(caller)),
            correlation_id: format!("command-{number}"),
            ..Request::to(&names, id, sim.scenario.accepted_command())
        };
        let before = sim.world().events.of(id).count();
        let answers = send(sim, &request, 1).await;
        let is_right = matches!(&answers[..], [Answer::Definite { status, body, .. }]
            if *status == expected && (*status == 200 || body.contains("too-large-to-store")));
        let appended = sim.world().events.of(id).count() - before;
        if !is_right || appended != usize::from(expected == 200) {
            return Err(format!("command {number}: {appended} rows, {answers:?}"));
        }
    }
    Ok(())
}

/// Publishes thirteen aggregates with an event at the stream's limit. The last one has a second event, which is
/// over the limit.
async fn publish_full_puts(sim: &Arc<Sim>) -> Result<(), String> {
    let sequence = |n: u64| Sequence::new(n).expect("valid");
    let mut queues: Vec<Queue> = (0..13)
        .map(|aggregate| {
            let mut queue = Queue::default();
            for event in 1..=(if aggregate == 12 { 2 } else { 1 }) {
                let partition_key = format!("full-{aggregate:02}");
                let bytes = RECORD - partition_key.len() + usize::from(event == 2);
                let record = Record {
                    partition_key,
                    data: vec![b'0' + u8::try_from(event).expect("small"); bytes],
                    trace_id: None,
                };
                queue.push(sequence(event), record);
            }
            queue
        })
        .collect();
    let time = Duration::from_mins(1);
    let publishing = async move |services: super::services::Services| {
        let mut all: Vec<&mut Queue> = queues.iter_mut().collect();
        let progress = publish(&services, &mut all, Budget::lasting(time), &services).await;
        (progress, queues)
    };
    let published = invoke(
        sim,
        TranslatorFunction::NAME,
        time,
        BTreeMap::new(),
        |it, _| publishing(it),
    );
    let (progress, mut queues) = published.await.map_err(|_| "publishing was lost")?;
    let last = queues.pop().and_then(|mut queue| queue.take_refused());
    let refused = last.map(|refused| refused.refusal.to_string());
    let expected = "the event's record has 1048577 bytes, and the domain stream's limit is 1048576";
    let all = queues.iter().map(Queue::acknowledged);
    if progress != Progress::Done
        || refused.as_deref() != Some(expected)
        || !all.into_iter().all(|it| it == Some(sequence(1)))
    {
        return Err(format!("{progress:?}, {refused:?}"));
    }
    let mut world = sim.world();
    for aggregate in 0..13 {
        let key = format!("full-{aggregate:02}");
        let stored = world.domain_stream.in_order();
        let first_bytes: Vec<u8> = stored
            .iter()
            .filter(|stored| stored.record.partition_key == key)
            .map(|stored| stored.record.data[0])
            .collect();
        if first_bytes != b"1" {
            return Err(format!("{key}: {first_bytes:?}"));
        }
    }
    // The records aren't events. They are removed, so that no consumer reads them.
    world.domain_stream = Log::new(2);
    Ok(())
}

/// The events that another producer puts on the stream: aggregate, sequence, and the number of quotes in the
/// correlation id. A quote has two bytes in JSON, and one in an item.
fn events_of_other_producers() -> Vec<(&'static str, u64, usize)> {
    let mut events = Vec::new();
    for sequence in 1..=22 {
        // If the call were split by the number of items alone, its items would have 17 MB.
        events.push(("large", sequence, 400_000));
        if sequence <= 3 {
            events.push(("small", sequence, 10));
            events.push(("over", sequence, if sequence == 2 { 409_600 } else { 10 }));
            // A lake record that is larger than a Firehose record.
            events.push(("line", sequence, if sequence == 3 { 512_000 } else { 10 }));
        }
    }
    events
}

/// A public event of an aggregate whose rows another writer wrote.
fn event(sim: &Sim, aggregate: &str, sequence: u64, quotes: usize) -> Vec<u8> {
    let mut fold = sim.scenario.fold();
    let mut own = fold.apply(&other_row(aggregate, 1, sim.scenario.other_opening()));
    for event in 2..=sequence {
        // The second event has version 3, because version 2 is a snapshot.
        let version = event + (event + 7) / 9;
        own = fold.apply(&other_row(
            aggregate,
            version,
            sim.scenario.other_event(version),
        ));
    }
    let names = sim.scenario.names();
    let time = Timestamp::parse("2026-11-20T21:00:00.000Z").expect("a time");
    let correlation_id = "\"".repeat(quotes);
    let metadata = [("correlationid", &*correlation_id)];
    public_bytes(&names, aggregate, sequence, &own, time, &metadata)
}

fn put(sim: &Sim, key: &str, data: Vec<u8>) {
    sim.apply(|world, now| {
        // The events have no rows, so no view is expected.
        world.damaged_views.insert(key.to_owned());
        let record = Event {
            partition_key: key.to_owned(),
            data,
            is_from_other_producer: true,
        };
        world.domain_stream.append(key, now, record);
    });
}

fn views(sim: &Sim) -> Result<(), String> {
    let world = sim.world();
    for (aggregate, through, reason) in [
        ("large", 22, None),
        ("small", 3, None),
        ("over", 1, Some("event 2 leads to a history item of 409")),
        ("line", 2, Some("event 3 leads to a history item of 512")),
    ] {
        let item = world.views.get(aggregate);
        let sequence = item.and_then(|item| item.get(view::SEQUENCE)?.as_integer());
        let stale = item.and_then(Stale::read).map(|stale| stale.reason);
        let is_reason = match (reason, &stale) {
            (None, None) => true,
            (Some(reason), Some(stale)) => stale.starts_with(reason),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let lines = (aggregate.to_owned(), 0)..(aggregate.to_owned(), u64::MAX);
        let lines = world.lines.range(lines).count();
        if sequence != Some(through) || !is_reason || i64::try_from(lines) != Ok(through) {
            return Err(format!(
                "{aggregate}: {sequence:?}, {lines} lines, {stale:?}"
            ));
        }
    }
    Ok(())
}

/// Checks that the lake contains each record of the stream, unchanged or in parts that add up to it.
fn lake(sim: &Sim) -> Result<(), String> {
    let world = sim.world();
    let mut whole: Vec<&[u8]> = Vec::new();
    let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for data in &world.lake {
        for line in data
            .split(|byte| *byte == b'\n')
            .filter(|it| !it.is_empty())
        {
            if line.windows(16).any(|it| it == b"UnreadableRecord") {
                let event: BTreeMap<String, String> =
                    serde_json::from_slice(line).map_err(|error| error.to_string())?;
                let id = &event["id"];
                let id = id.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
                let part = STANDARD
                    .decode(&event["data_base64"])
                    .map_err(|error| error.to_string())?;
                parts.entry(id).or_default().extend(part);
            } else {
                whole.push(line);
            }
        }
    }
    for stored in world.domain_stream.in_order() {
        let id = format!("shardId-000000000000:{}", stored.number);
        let data = &stored.record.data;
        if !whole.contains(&&data[..]) && parts.get(&id) != Some(data) {
            let (key, bytes) = (&stored.record.partition_key, data.len());
            return Err(format!("{key}: the lake lacks a record of {bytes} bytes"));
        }
    }
    let is_small = |item: &&Event| item.partition_key == "small";
    let stored = world.domain_stream.in_order();
    let small = stored.iter().map(|stored| &stored.record).filter(is_small);
    if small
        .into_iter()
        .any(|event| !whole.contains(&&event.data[..]))
    {
        return Err("an event that fits isn't in the lake unchanged".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use millrace_archiver::ports::{Delivery, Packed};
    use millrace_core::{Attribute, Attributes, Timestamp, Version};
    use millrace_projector::ports::ReadModel as _;
    use millrace_translator::ports::{Publisher, PutError};
    use millrace_writer::ports::{Append, Appended, EventStore as _};

    use super::*;
    use crate::services::Services;
    use crate::shelves::Shelves;

    /// Makes a call. Returns whether it was refused, and the violation.
    fn call<F: Future<Output = bool> + Send + 'static>(
        call: impl FnOnce(Services) -> F,
    ) -> (bool, Option<String>) {
        in_virtual_time(async {
            let options = Options {
                most_faults: 0,
                ..Options::default()
            };
            let simulation = Simulation::new(Shelves);
            let world = world(&simulation.scenario, &mut Rng::with_seed(0), options);
            let sim = Sim::new(world);
            let time = Duration::from_mins(1);
            let called = invoke(&sim, "a test", time, BTreeMap::new(), |it, _| call(it));
            let is_refused = called.await.expect("answered");
            let violation = sim.world().violation.take();
            (is_refused, violation.map(|violation| violation.what))
        })
    }

    fn refused(what: &str) -> (bool, Option<String>) {
        (true, Some(what.to_owned()))
    }

    const TAKEN: (bool, Option<String>) = (false, None);

    fn records(sizes: Vec<usize>) -> (bool, Option<String>) {
        call(async move |services| {
            let records: Vec<Record> = sizes
                .iter()
                .enumerate()
                .map(|(number, size)| Record {
                    partition_key: format!("{number:03}"),
                    data: vec![0; size - 3],
                    trace_id: None,
                })
                .collect();
            let put = Publisher::put(&services, &records).await;
            matches!(put, Err(PutError::Refused { .. }))
        })
    }

    #[test]
    fn kinesis_refuses_a_call_over_a_limit() {
        assert_eq!(records(vec![9; 500]), TAKEN);
        assert_eq!(records(vec![RECORD; 10]), TAKEN);
        for (sizes, what) in [
            (
                vec![9; 501],
                "PutRecords with 501 entries; the limit is 500",
            ),
            (
                vec![9, RECORD + 1],
                "PutRecords with 1048577 bytes in an entry; the limit is 1048576",
            ),
            (
                [vec![RECORD; 9], vec![RECORD - 8, 9]].concat(),
                "PutRecords with 10485761 bytes; the limit is 10485760",
            ),
        ] {
            assert_eq!(records(sizes), refused(what));
        }
    }

    fn packed(sizes: Vec<usize>) -> (bool, Option<String>) {
        call(async move |services| {
            let record = |size: &usize| Packed {
                first: 0,
                data: vec![b'x'; *size],
            };
            let records: Vec<Packed> = sizes.iter().map(record).collect();
            Delivery::put(&services, &records).await.is_err()
        })
    }

    #[test]
    fn firehose_refuses_a_call_over_a_limit() {
        let largest = 1_024_000;
        let rest = 4 * 1024 * 1024 - 4 * largest;
        assert_eq!(packed(vec![9; 500]), TAKEN);
        assert_eq!(packed([vec![largest; 4], vec![rest]].concat()), TAKEN);
        for (sizes, what) in [
            (
                vec![9; 501],
                "PutRecordBatch with 501 entries; the limit is 500",
            ),
            (
                vec![largest + 1],
                "PutRecordBatch with 1024001 bytes in an entry; the limit is 1024000",
            ),
            (
                [vec![largest; 4], vec![rest + 1]].concat(),
                "PutRecordBatch with 4194305 bytes; the limit is 4194304",
            ),
        ] {
            assert_eq!(packed(sizes), refused(what));
        }
    }

    fn item(filler: &str) -> Attributes {
        [
            ("Id", Attribute::text("a")),
            ("Sequence", Attribute::number(1)),
            ("Filler", Attribute::text(filler)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The size of an item's filler: the limit without three names, an id and a number.
    const FILLER: usize = 409_600 - (2 + 1) - (8 + 2) - 6;

    fn history(items: Vec<Attributes>) -> (bool, Option<String>) {
        call(async move |services| services.put_history(items).await.is_err())
    }

    #[test]
    fn dynamodb_refuses_a_batch_over_a_limit() {
        let quotes = "\"".repeat(FILLER);
        assert_eq!(history(vec![item(&quotes); 19]), TAKEN);
        let (is_refused, what) = history(vec![item(&quotes); 20]);
        assert!(is_refused && what.is_some_and(|it| it.ends_with("the limit is 16000000")));
        assert_eq!(history(vec![item(""); 25]), TAKEN);
        for (items, what) in [
            (
                vec![item(""); 26],
                "BatchWriteItem with 26 entries; the limit is 25",
            ),
            (
                vec![item(&"x".repeat(FILLER + 1))],
                "BatchWriteItem with 409601 bytes in an entry; the limit is 409600",
            ),
        ] {
            assert_eq!(history(items), refused(what));
        }
    }

    fn append(rows: u64, filler: usize) -> (bool, Option<String>) {
        call(async move |services| {
            let row = |version| {
                let mut row = item(&"x".repeat(filler));
                row.insert("Version".to_owned(), Attribute::number(version));
                row.remove("Sequence");
                (Version::new(version).expect("valid"), row)
            };
            let append = Append {
                token: "token".to_owned(),
                rows: (1..=rows).map(row).collect(),
                record: None,
                now: Timestamp::from_unix_millis(0).expect("valid"),
            };
            let appended = services.append(append).await;
            matches!(appended, Ok(Appended::TooLarge))
        })
    }

    #[test]
    fn dynamodb_refuses_an_append_over_a_limit() {
        // `Version` is one letter shorter than `Sequence`.
        let largest = FILLER + 1;
        for (rows, filler, what) in [
            (
                1,
                largest + 1,
                "TransactWriteItems with 409601 bytes in an entry; the limit is 409600",
            ),
            (
                11,
                largest,
                "TransactWriteItems with 4505600 bytes; the limit is 4194304",
            ),
            (
                101,
                9,
                "TransactWriteItems with 101 entries; the limit is 100",
            ),
        ] {
            assert_eq!(append(rows, filler), refused(what));
        }
        let (is_refused, what) = append(10, largest);
        let what = what.unwrap_or_default();
        assert!(!is_refused && !what.contains("the limit is"), "{what}");
    }
}
