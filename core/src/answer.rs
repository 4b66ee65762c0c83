//! The JSON responses to commands and queries: core's members, and the domain's next to them.
//!
//! A member has the name of the domain's column, with a lower-case first letter: `OpenLines` becomes
//! `openLines`. `None` and `()` leave a member out.

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::aggregate::Aggregate;
use crate::domain::{Domain, Project};
use crate::encode::{FieldSink, TaggedSerializer};
use crate::error::EncodeError;
use crate::ids::AggregateId;
use crate::layout::Sequence;
use crate::time::Timestamp;
use crate::view::{HistoryEntryOf, ViewOf};

/// A JSON object of core's members, the domain's, and core's again.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    before: Vec<(&'static str, Value)>,
    own: T,
    after: Vec<(&'static str, Value)>,
}

/// A page of an aggregate's history, newest entry first.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage<T> {
    id_member: &'static str,
    id: AggregateId,
    history: &'static str,
    entries: Vec<Answer<T>>,
    next: Option<Sequence>,
}

/// The response to a command that led to this aggregate: id, sequence, and what
/// [`Domain::accepted`] shows. `None` for an aggregate without events, which no command leads to.
#[must_use]
pub fn accepted<D: Domain>(aggregate: &Aggregate<D>) -> Option<Answer<D::Accepted>> {
    let own = D::accepted(aggregate.state()?);
    Some(Answer {
        before: vec![
            (D::ID, id(aggregate.id())),
            ("sequence", sequence(aggregate.sequence())),
        ],
        own,
        after: Vec::new(),
    })
}

/// The response to the query of a view.
#[must_use]
pub fn view<D: Project>(view: &ViewOf<D>) -> Answer<D::View> {
    Answer {
        before: vec![(D::ID, id(&view.id))],
        own: view.view.clone(),
        after: vec![
            ("sequence", sequence(view.sequence)),
            ("openedAt", time(view.opened_at)),
            ("updatedAt", time(view.updated_at)),
        ],
    }
}

/// The response to the query of a view at `at`, which `view` was after the event of this sequence.
#[must_use]
pub fn view_at<D: Project>(
    aggregate: &AggregateId,
    through: Sequence,
    view: D::View,
    at: Timestamp,
) -> Answer<D::View> {
    Answer {
        before: vec![(D::ID, id(aggregate))],
        own: view,
        after: vec![("sequence", sequence(through)), ("at", time(at))],
    }
}

/// The response to the query of a page of the history, newest first. The next page begins before `next`.
#[must_use]
pub fn history_page<D: Project>(
    id: AggregateId,
    newest_first: Vec<HistoryEntryOf<D>>,
    next: Option<Sequence>,
) -> HistoryPage<D::Entry> {
    HistoryPage {
        id_member: D::ID,
        id,
        history: D::HISTORY,
        entries: newest_first.into_iter().map(history_entry::<D>).collect(),
        next,
    }
}

/// An entry of a page of the history.
#[must_use]
pub fn history_entry<D: Project>(entry: HistoryEntryOf<D>) -> Answer<D::Entry> {
    let correlation_id = entry.correlation_id.map(|id| ("correlationId", id.into()));
    Answer {
        before: vec![
            ("sequence", sequence(entry.sequence)),
            ("type", entry.event_type.into()),
        ],
        own: entry.entry,
        after: [("time", time(entry.time))]
            .into_iter()
            .chain(correlation_id)
            .collect(),
    }
}

fn id(id: &AggregateId) -> Value {
    id.as_str().into()
}

fn sequence(sequence: Sequence) -> Value {
    sequence.get().into()
}

fn time(time: Timestamp) -> Value {
    time.to_string().into()
}

impl<T: Serialize> Serialize for Answer<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.before {
            map.serialize_entry(name, value)?;
        }
        let mut members = MemberSink {
            map: &mut map,
            failed: None,
        };
        let own = self.own.serialize(TaggedSerializer::new(&mut members));
        if let Some(error) = members.failed {
            return Err(error);
        }
        own.map_err(S::Error::custom)?;
        for (name, value) in &self.after {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<T: Serialize> Serialize for HistoryPage<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.id_member, &self.id)?;
        map.serialize_entry(self.history, &self.entries)?;
        if let Some(next) = &self.next {
            map.serialize_entry("next", next)?;
        }
        map.end()
    }
}

/// Passes the domain's fields on as members. The map's own error can't be an [`EncodeError`], so it
/// is kept aside.
struct MemberSink<'m, M: SerializeMap> {
    map: &'m mut M,
    failed: Option<M::Error>,
}

impl<M: SerializeMap> FieldSink for MemberSink<'_, M> {
    fn begin(&mut self, _: Option<&'static str>) -> Result<(), EncodeError> {
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        if matches!(serde_json::to_value(value), Ok(Value::Null)) {
            return Ok(());
        }
        self.map
            .serialize_entry(&member_name(name), value)
            .map_err(|error| {
                self.failed = Some(error);
                EncodeError::new("has no form in JSON").in_field(name)
            })
    }
}

/// The name of the member that shows a column: `openLines` for `OpenLines`.
#[must_use]
pub fn member_name(column: &str) -> String {
    let mut letters = column.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
