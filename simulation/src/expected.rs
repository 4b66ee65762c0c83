//! The values that are expected from the events table's rows, computed independently of the code under test.
//! This module defines the bytes of public events and core's columns a second time, according to their
//! documentation. The scenario gives the domain's values.

use std::sync::Arc;

use millrace_core::{Attribute, Attributes, Timestamp, row};
use serde_json::Value;

use super::dynamodb::events::text;
use super::functions::Names;
use super::panics;
use super::scenario::{Expected, Fold};
use super::world::World;

/// The expected values of an event.
#[derive(Debug, Clone)]
pub(crate) struct ExpectedEvent {
    pub(crate) sequence: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) time: Timestamp,
    /// The latest time of any event up to this one.
    pub(crate) effective_at: Timestamp,
    pub(crate) correlation_id: String,
    /// The domain's values.
    pub(crate) own: Expected,
}

/// An aggregate's events up to the first missing or unreadable one, and whether any row of the aggregate can't be
/// published.
#[derive(Clone)]
pub(crate) struct Aggregate {
    pub(crate) events: Vec<ExpectedEvent>,
    pub(crate) is_in_trouble: bool,
    /// Whether an event is missing or unreadable, so that later rows add nothing.
    is_stopped: bool,
    /// The last row that it includes, in halves.
    pub(crate) through: u64,
    fold: Box<dyn Fold>,
}

impl Clone for Box<dyn Fold> {
    fn clone(&self) -> Self {
        self.boxed()
    }
}

impl World {
    /// Whether a row can be read, judged by its form alone. This covers every way in which a row is damaged.
    pub(crate) fn is_readable(&self, row: &Attributes) -> bool {
        let is_text = |name| matches!(row.get(name), Some(Attribute::Text(_)));
        let version = text(row, row::VERSION).parse::<u64>();
        let sequence = text(row, "Sequence");
        let schema = text(row, "SchemaVersion");
        is_text(row::TYPE)
            && is_text("Timestamp")
            && version.is_ok_and(|version| {
                sequence.is_empty() || sequence == (version - (version + 8) / 10).to_string()
            })
            && (schema.is_empty()
                || schema
                    .parse()
                    .is_ok_and(|schema| (1..=self.names.schema).contains(&schema)))
            && !panics::is_damaged(row)
            && self.scenario.is_readable(row)
    }
}

/// The expected values of an aggregate. Rows that the cached fold includes aren't folded again.
pub(crate) fn aggregate(world: &World, id: &str) -> Arc<Aggregate> {
    let fresh = || Aggregate::new(world.scenario.fold());
    world.events.folded(id, fresh, |aggregate, rows| {
        for (halves, row) in rows {
            if aggregate.is_stopped {
                return;
            }
            aggregate.fold(world, id, halves, row);
        }
    })
}

impl Aggregate {
    fn new(fold: Box<dyn Fold>) -> Self {
        Self {
            events: Vec::new(),
            is_in_trouble: false,
            is_stopped: false,
            through: 0,
            fold,
        }
    }

    fn fold(&mut self, world: &World, id: &str, halves: u64, row: &Attributes) {
        self.through = halves;
        // A row between two versions is not an event. No event after it can be published.
        if halves % 2 == 1 {
            self.is_in_trouble = true;
            return;
        }
        let next = u64::try_from(self.events.len()).expect("few") + 1;
        // There are nine events between two snapshots; the first snapshot has version 2.
        let due = next + (next + 7) / 9;
        let version = text(row, row::VERSION);
        let is_snapshot = text(row, row::TYPE) == "SNAPSHOT";
        if !world.is_readable(row) || (!is_snapshot && version != due.to_string()) {
            self.is_in_trouble = true;
            self.is_stopped = true;
        } else if !is_snapshot {
            let own = self.fold.apply(row);
            let event = expected(&world.names, id, next, row, self.events.last(), own);
            self.events.push(event);
        }
    }

    /// The state after the last event.
    pub(crate) fn state(&self) -> Attributes {
        let last = self.events.last();
        last.map(|event| event.own.state.clone())
            .unwrap_or_default()
    }
}

fn expected(
    names: &Names,
    id: &str,
    sequence: u64,
    row: &Attributes,
    before: Option<&ExpectedEvent>,
    own: Expected,
) -> ExpectedEvent {
    let time = Timestamp::parse(&text(row, "Timestamp")).expect("a readable row");
    let correlation_id = text(row, "CorrelationId");
    let causation_id = text(row, "CausationId");
    let trace_parent = text(row, "TraceParent");
    let bytes = public_bytes(
        names,
        id,
        sequence,
        &own,
        time,
        &[
            ("correlationid", &correlation_id),
            ("causationid", &causation_id),
            ("traceparent", &trace_parent),
        ],
    );
    ExpectedEvent {
        sequence,
        bytes,
        time,
        effective_at: before.map_or(time, |before| before.effective_at.max(time)),
        correlation_id,
        own,
    }
}

/// An event's bytes on the domain stream.
pub(crate) fn public_bytes(
    names: &Names,
    id: &str,
    sequence: u64,
    own: &Expected,
    time: Timestamp,
    metadata: &[(&str, &str)],
) -> Vec<u8> {
    let Names {
        collection,
        id: id_member,
        ..
    } = names;
    let Expected { data, .. } = own;
    let (name, version) = own.type_and_version();
    let metadata: String = metadata
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(member, value)| {
            let json = Value::from(*value).to_string();
            [
                "\"".to_owned(),
                (*member).to_owned(),
                "\":".to_owned(),
                json,
                ",".to_owned(),
            ]
        })
        .collect();
    let comma = if data.is_empty() { "" } else { "," };
    let bytes = format!(
        r#"{{"specversion":"1.0","id":"{id}:{sequence}","source":"urn:millrace:{collection}","type":"{name}","subject":"{id}","time":"{time}","datacontenttype":"application/json","dataschema":"urn:millrace:schema:{name}:{version}",{metadata}"data":{{"{id_member}":"{id}","sequence":{sequence}{comma}{data}}}}}"#
    );
    bytes.into_bytes()
}

/// Adds columns to the domain's.
fn item(own: &Attributes, columns: &[(&str, Attribute)]) -> Attributes {
    let mut item = own.clone();
    let columns = columns.iter().cloned();
    item.extend(columns.map(|(name, value)| (name.to_owned(), value)));
    item
}

/// The columns of a view that includes these events; `None` if there are no events.
pub(crate) fn view(id: &str, events: &[ExpectedEvent]) -> Option<Attributes> {
    let (first, last) = (events.first()?, events.last()?);
    Some(item(
        &last.own.view,
        &[
            ("Id", Attribute::text(id)),
            ("Sequence", Attribute::number(last.sequence)),
            ("OpenedAt", Attribute::text(first.time)),
            ("UpdatedAt", Attribute::text(last.effective_at)),
        ],
    ))
}

/// The columns of an event's history item.
pub(crate) fn history_item(id: &str, event: &ExpectedEvent) -> Attributes {
    let mut columns = item(
        &event.own.entry,
        &[
            ("Id", Attribute::text(id)),
            ("Sequence", Attribute::number(event.sequence)),
            ("Type", Attribute::text(event.own.type_and_version().0)),
            ("Time", Attribute::text(event.time)),
            ("EffectiveAt", Attribute::text(event.effective_at)),
        ],
    );
    if !event.correlation_id.is_empty() {
        let id = Attribute::text(&event.correlation_id);
        columns.insert("CorrelationId".to_owned(), id);
    }
    columns
}

/// The sequence that an event's `id` contains.
pub(crate) fn sequence_in(data: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(data).ok()?;
    let (_, after) = text.split_once(r#""id":""#)?;
    let (id, _) = after.split_once('"')?;
    id.rsplit_once(':')?.1.parse().ok()
}
