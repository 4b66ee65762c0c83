//! Those who write past the writer: an older producer, somebody who damages rows and mends them, and
//! somebody who puts on the domain stream what doesn't belong there.

use millrace_core::{Attribute, Attributes, Version, row};

use super::dynamodb::events::{halves, text};
use super::expected::{self, DEFAULT_CURRENCY, is_readable};
use super::functions::{Function as _, Translate};
use super::workload::Damage;
use super::world::{Event, World};

/// A row as an older producer writes it.
fn older_row(id: &str, version: u64, row_type: &str) -> Attributes {
    [
        (row::ID, Attribute::text(id)),
        (row::VERSION, Attribute::number(version)),
        (row::TYPE, Attribute::text(row_type)),
        ("Timestamp", Attribute::text("2026-11-20T20:59:58Z")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn credit(id: &str, version: u64) -> Attributes {
    let mut row = older_row(id, version, "CREDIT");
    row.insert("Amount".to_owned(), Attribute::number(version + 100));
    row
}

fn is_snapshot(version: u64) -> bool {
    Version::new(version).is_some_and(Version::is_snapshot)
}

fn next_version(world: &World, id: &str) -> u64 {
    world
        .events
        .of(id)
        .last()
        .map_or(1, |(halves, _)| halves / 2 + 1)
}

/// Writes one event behind the account's last, and the snapshot that is due before it.
pub(crate) fn append_older(world: &mut World, id: &str, now: u64) {
    let account = expected::account(world, id);
    let mut version = next_version(world, id);
    if version == 1 {
        world.put_row(older_row(id, 1, "CREATED"), now);
        return;
    }
    if is_snapshot(version) {
        if account.is_in_trouble {
            return;
        }
        let mut snapshot = older_row(id, version, "SNAPSHOT");
        let balance = account.events.last().map_or(0, |event| event.balance);
        snapshot.insert("Balance".to_owned(), Attribute::number(balance));
        // An older producer knows the default alone.
        if account.currency() != DEFAULT_CURRENCY {
            let currency = Attribute::text(account.currency());
            snapshot.insert("Currency".to_owned(), currency);
        }
        world.put_row(snapshot, now);
        version += 1;
    }
    world.put_row(credit(id, version), now);
}

/// Writes an account of so many events that was there before the table had a stream. Its last row
/// may be the first that the stream shows.
pub(crate) fn write_legacy(world: &mut World, id: &str, events: u64, is_notified: bool, now: u64) {
    world.count("long accounts", 1);
    let (mut version, mut balance) = (1, 0);
    world.events.put(older_row(id, version, "CREATED"));
    for event in 2..=events {
        version += 1;
        if is_snapshot(version) {
            let mut snapshot = older_row(id, version, "SNAPSHOT");
            snapshot.insert("Balance".to_owned(), Attribute::number(balance));
            world.events.put(snapshot);
            version += 1;
        }
        balance += version + 100;
        let change = world.events.put(credit(id, version));
        if is_notified && event == events {
            world.emit(change, now);
        }
    }
    if !is_notified {
        // Nothing reports it until there is news of it.
        world.missed.insert((Translate::NAME, id.to_owned()));
    }
}

/// Opens so many accounts at once.
pub(crate) fn open_crowd(world: &mut World, accounts: usize, now: u64) {
    world.count("accounts opened in a crowd", accounts);
    for account in 0..accounts {
        let id = format!("crowd-{account}");
        if world.events.of(&id).next().is_none() {
            world.put_row(older_row(&id, 1, "CREATED"), now);
        }
    }
}

/// Damages an account behind its last row.
pub(crate) fn poison(world: &mut World, id: &str, damage: Damage, now: u64) {
    // An account has one trouble at a time, and none at the place of a snapshot.
    let version = next_version(world, id);
    if version == 1 || is_snapshot(version) || expected::account(world, id).is_in_trouble {
        return;
    }
    let mut row = credit(id, version);
    let mut set = |name: &str, value| row.insert(name.to_owned(), value);
    match damage {
        Damage::TextAmount => drop(set("Amount", Attribute::text("12"))),
        Damage::FractionalAmount => drop(set("Amount", Attribute::Number("1.5".to_owned()))),
        Damage::BoolAmount => drop(set("Amount", Attribute::Other("BOOL"))),
        Damage::NumberType => drop(set(row::TYPE, Attribute::number(3))),
        Damage::UnknownType => drop(set(row::TYPE, Attribute::text("REFUND"))),
        Damage::WrongSequence => drop(set("Sequence", Attribute::number(version + 7))),
        Damage::FutureSchema => drop(set("SchemaVersion", Attribute::number(9))),
        Damage::FractionalVersion => {
            drop(set(
                row::VERSION,
                Attribute::Number(format!("{}.5", version - 1)),
            ));
        }
        Damage::NoAmount => drop(row.remove("Amount")),
        Damage::NoType => drop(row.remove(row::TYPE)),
        Damage::NoTimestamp => drop(row.remove("Timestamp")),
        Damage::Hole => {
            if is_snapshot(version + 1) {
                return;
            }
            row = credit(id, version + 1);
        }
    }
    world.count("damaged rows", 1);
    world.damaged.insert(id.to_owned());
    world.put_row(row, now);
}

/// Damages an account's view without a change of its sequence; says whether there was one to damage.
/// The previous version can't tell a damaged view from the one that replaces it, so nobody does both
/// beside it.
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

/// Puts a view in place of a damaged one, at the same sequence, as an operator's rebuild does that
/// was overtaken by new events.
pub(crate) fn replace_view(world: &mut World, id: &str) {
    let revision = Attribute::text(format!("operator-{:016x}", world.rng.u64(..)));
    let account = expected::account(world, id);
    world.damaged_views.remove(id);
    let Some(view) = world.views.get_mut(id) else {
        return;
    };
    let sequence = view.get("Sequence").and_then(Attribute::as_integer);
    let included = sequence.and_then(|sequence| usize::try_from(sequence).ok());
    let events = included.and_then(|included| account.events.get(..included));
    view.extend(
        events
            .and_then(|events| expected::view(id, events))
            .unwrap_or_default(),
    );
    view.insert("Revision".to_owned(), revision);
}

/// Mends an account: damaged rows become what they should have been, missing ones are put there, and
/// what can't belong there is removed.
pub(crate) fn repair(world: &mut World, id: &str, now: u64) {
    if !expected::account(world, id).is_in_trouble {
        return;
    }
    world.count("repairs", 1);
    let damaged: Vec<String> = world
        .events
        .of(id)
        .filter(|(_, row)| !is_readable(row))
        .map(|(_, row)| text(row, row::VERSION))
        .collect();
    for version in damaged {
        if halves(&version) % 2 == 1 {
            if let Some(change) = world.events.remove(id, &version) {
                world.emit(change, now);
            }
        } else {
            world.put_row(credit(id, halves(&version) / 2), now);
        }
    }
    for version in 1..next_version(world, id) {
        let is_there = world.events.get(id, &version.to_string()).is_some();
        if !is_there && !is_snapshot(version) {
            world.put_row(credit(id, version), now);
        }
    }
}

/// Puts on the domain stream, under an account's key, what can't be read, or what is another's.
pub(crate) fn intrude(world: &mut World, key: &str, foreign: bool, now: u64) {
    let others: Vec<Vec<u8>> = world
        .domain_stream
        .in_order()
        .iter()
        .filter(|stored| !stored.record.is_strange && stored.record.partition_key != key)
        .map(|stored| stored.record.data.clone())
        .collect();
    let data = if foreign && !others.is_empty() {
        others[world.rng.usize(0..others.len())].clone()
    } else {
        let mut noise = vec![0; world.rng.usize(0..40)];
        world.rng.fill(&mut noise);
        noise
    };
    world.count("strange records", 1);
    world.disturbed.insert(key.to_owned());
    let event = Event {
        partition_key: key.to_owned(),
        data,
        is_strange: true,
    };
    world.domain_stream.append(key, now, event);
}
