//! Writes that don't come from the functions: rows of another writer, damage and repair of rows, and foreign
//! records on the domain stream.

use std::sync::Arc;

use millrace_core::{Attribute, Attributes, Version, row};

use super::dynamodb::events::{halves, text};
use super::expected;
use super::functions::{Function as _, TranslatorFunction};
use super::panics;
use super::scenario::Scenario;
use super::workload::Damage;
use super::world::{Event, World};

/// Another writer's row: the domain's columns without metadata.
pub(crate) fn other_row(id: &str, version: u64, mut row: Attributes) -> Attributes {
    let columns = [
        (row::ID, Attribute::text(id)),
        (row::VERSION, Attribute::number(version)),
        ("Timestamp", Attribute::text("2026-11-20T20:59:58Z")),
    ];
    row.extend(columns.map(|(name, value)| (name.to_owned(), value)));
    row
}

fn opening(scenario: &dyn Scenario, id: &str) -> Attributes {
    other_row(id, 1, scenario.other_opening())
}

fn event(scenario: &dyn Scenario, id: &str, version: u64) -> Attributes {
    other_row(id, version, scenario.other_event(version))
}

fn snapshot(scenario: &dyn Scenario, id: &str, version: u64, state: &Attributes) -> Attributes {
    let mut row = scenario.other_snapshot(state);
    row.insert(row::TYPE.to_owned(), Attribute::text("SNAPSHOT"));
    other_row(id, version, row)
}

fn is_snapshot(version: u64) -> bool {
    Version::new(version).is_some_and(Version::is_snapshot)
}

fn next_version(world: &World, id: &str) -> u64 {
    world
        .events
        .of(id)
        .next_back()
        .map_or(1, |(halves, _)| halves / 2 + 1)
}

/// Appends one event to the aggregate, and before it a snapshot if its version is due.
pub(crate) fn append_other(world: &mut World, id: &str, now: u64) {
    let scenario = Arc::clone(&world.scenario);
    let aggregate = expected::aggregate(world, id);
    let mut version = next_version(world, id);
    if version == 1 {
        world.put_row(opening(&*scenario, id), now);
        return;
    }
    if is_snapshot(version) {
        if aggregate.is_in_trouble {
            return;
        }
        world.put_row(snapshot(&*scenario, id, version, &aggregate.state()), now);
        version += 1;
    }
    world.put_row(event(&*scenario, id, version), now);
}

/// Writes an aggregate with this number of events, as if they were older than the table's stream. If
/// `is_notified`, the stream contains the last row.
pub(crate) fn write_legacy(world: &mut World, id: &str, events: u64, is_notified: bool, now: u64) {
    world.count("long aggregates", 1);
    let scenario = Arc::clone(&world.scenario);
    let mut fold = scenario.fold();
    let mut version = 1;
    let first = opening(&*scenario, id);
    let mut state = fold.apply(&first).state;
    world.events.put(first);
    for number in 2..=events {
        version += 1;
        if is_snapshot(version) {
            let snapshot = snapshot(&*scenario, id, version, &state);
            world.events.put(snapshot);
            version += 1;
        }
        let row = event(&*scenario, id, version);
        state = fold.apply(&row).state;
        let change = world.events.put(row);
        if is_notified && number == events {
            world.emit(change, now);
        }
    }
    if !is_notified {
        // Nothing reports the aggregate until another event of it is announced.
        world
            .missed
            .insert((TranslatorFunction::NAME, id.to_owned()));
    }
}

/// Opens this number of aggregates at the same time.
pub(crate) fn open_crowd(world: &mut World, aggregates: usize, now: u64) {
    world.count("aggregates opened at the same time", aggregates);
    let scenario = Arc::clone(&world.scenario);
    for aggregate in 0..aggregates {
        let id = format!("crowd-{aggregate}");
        if world.events.of(&id).next().is_none() {
            world.put_row(opening(&*scenario, &id), now);
        }
    }
}

/// Damages an aggregate with an undecodable or missing row after its last row.
pub(crate) fn poison(world: &mut World, id: &str, damage: Damage, now: u64) {
    // An aggregate has at most one damage at a time, and none at the version of a snapshot.
    let version = next_version(world, id);
    if version == 1 || is_snapshot(version) || expected::aggregate(world, id).is_in_trouble {
        return;
    }
    let scenario = Arc::clone(&world.scenario);
    let mut row = event(&*scenario, id, version);
    let later_schema = world.names.schema + 8;
    let mut set = |name: &str, value| row.insert(name.to_owned(), value);
    match damage {
        Damage::Own(damage) => (damage.apply)(&mut row),
        Damage::NumberType => drop(set(row::TYPE, Attribute::number(3))),
        Damage::UnknownType => drop(set(row::TYPE, Attribute::text("UNKNOWN"))),
        Damage::WrongSequence => drop(set("Sequence", Attribute::number(version + 7))),
        Damage::FutureSchema => drop(set("SchemaVersion", Attribute::number(later_schema))),
        Damage::FractionalVersion => {
            drop(set(
                row::VERSION,
                Attribute::Number(format!("{}.5", version - 1)),
            ));
        }
        Damage::NoType => drop(row.remove(row::TYPE)),
        Damage::NoTimestamp => drop(row.remove("Timestamp")),
        Damage::Panics => panics::damage(&mut row),
        Damage::FarAhead => return appear_far_ahead(world, id, version, now),
        Damage::Hole => {
            if is_snapshot(version + 1) {
                return;
            }
            row = event(&*scenario, id, version + 1);
        }
    }
    if !matches!(damage, Damage::Hole) && world.is_readable(&row) {
        let what = format!("{id}: the scenario can read a row with {damage:?}");
        world.violated("E", what);
    }
    world.count("damaged rows", 1);
    world.damaged.insert(id.to_owned());
    world.put_row(row, now);
}

/// Writes an event's row far ahead of the others, and removes it. The translator is notified of both changes.
fn appear_far_ahead(world: &mut World, id: &str, version: u64, now: u64) {
    let mut far = version + 2 * millrace_translator::MAX_PENDING;
    if is_snapshot(far) {
        far += 1;
    }
    world.count("rows that appear far ahead", 1);
    world.damaged.insert(id.to_owned());
    let scenario = Arc::clone(&world.scenario);
    world.put_row(event(&*scenario, id, far), now);
    if let Some(change) = world.events.remove(id, &far.to_string()) {
        world.emit(change, now);
    }
}

/// Damages an aggregate's view without changing its sequence. Returns whether there was a view. The previous
/// version can't distinguish a damaged view from its replacement, so views aren't damaged in runs with functions
/// of that version.
pub(crate) fn damage_view(world: &mut World, id: &str) -> bool {
    if world.upgrade.is_part_of_the_run() || !world.damaged_views.insert(id.to_owned()) {
        return false;
    }
    let view = world.views.get_mut(id);
    let Some(view) = view.filter(|view| view.contains_key("OpenedAt")) else {
        world.damaged_views.remove(id);
        return false;
    };
    world.ever_damaged_views.insert(id.to_owned());
    let another = Attribute::text("2001-01-01T00:00:00.000Z");
    view.insert("OpenedAt".to_owned(), another);
    world.count("views damaged and replaced", 1);
    true
}

/// Replaces a damaged view by the fold of the events up to the same sequence, as an operator's rebuild does if new
/// events were appended meanwhile.
pub(crate) fn replace_view(world: &mut World, id: &str) {
    let revision = Attribute::text(format!("operator-{:016x}", world.rng.u64(..)));
    let aggregate = expected::aggregate(world, id);
    world.damaged_views.remove(id);
    let Some(view) = world.views.get_mut(id) else {
        return;
    };
    let sequence = view.get("Sequence").and_then(Attribute::as_integer);
    let included = sequence.and_then(|sequence| usize::try_from(sequence).ok());
    let events = included.and_then(|included| aggregate.events.get(..included));
    view.extend(
        events
            .and_then(|events| expected::view(id, events))
            .unwrap_or_default(),
    );
    view.insert("Revision".to_owned(), revision);
}

/// Repairs an aggregate: replaces damaged rows by correct ones, adds missing rows, and removes rows between two
/// versions.
pub(crate) fn repair(world: &mut World, id: &str, now: u64) {
    if !expected::aggregate(world, id).is_in_trouble {
        return;
    }
    world.count("repairs", 1);
    let scenario = Arc::clone(&world.scenario);
    let damaged: Vec<String> = world
        .events
        .of(id)
        .filter(|(_, row)| !world.is_readable(row))
        .map(|(_, row)| text(row, row::VERSION))
        .collect();
    for version in damaged {
        if halves(&version) % 2 == 1 {
            if let Some(change) = world.events.remove(id, &version) {
                world.emit(change, now);
            }
        } else {
            world.put_row(event(&*scenario, id, halves(&version) / 2), now);
        }
    }
    for version in 1..next_version(world, id) {
        let is_there = world.events.get(id, &version.to_string()).is_some();
        if !is_there && !is_snapshot(version) {
            world.put_row(event(&*scenario, id, version), now);
        }
    }
}

/// Puts an unreadable record or another aggregate's event on the domain stream, with an aggregate's key.
pub(crate) fn intrude(world: &mut World, key: &str, foreign: bool, now: u64) {
    let others: Vec<Vec<u8>> = world
        .domain_stream
        .in_order()
        .iter()
        .filter(|stored| {
            !stored.record.is_from_other_producer && stored.record.partition_key != key
        })
        .map(|stored| stored.record.data.clone())
        .collect();
    let data = if foreign && !others.is_empty() {
        others[world.rng.usize(0..others.len())].clone()
    } else {
        let mut noise = vec![0; world.rng.usize(0..40)];
        world.rng.fill(&mut noise);
        noise
    };
    world.count("foreign records", 1);
    world.disturbed.insert(key.to_owned());
    let event = Event {
        partition_key: key.to_owned(),
        data,
        is_from_other_producer: true,
    };
    world.domain_stream.append(key, now, event);
}
