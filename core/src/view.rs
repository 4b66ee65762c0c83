//! The read model: an aggregate's view, and the history of its events. Core's columns, and the
//! domain's own next to them.
//!
//! Both are folds of the public events alone. Which event may be applied next is the
//! [`SequenceGate`](crate::SequenceGate)'s decision; here, the event given is taken to be the next.

use crate::attribute::{Attribute, Attributes};
use crate::columns::Columns;
use crate::decode::{decode_attribute, decode_struct};
use crate::domain::{Data, Project};
use crate::encode::{encode_struct, variant_name};
use crate::envelope::{Envelope, type_and_version};
use crate::error::{DecodeError, EncodeError};
use crate::ids::AggregateId;
use crate::layout::Sequence;
use crate::time::Timestamp;

/// The hash key of both tables.
pub const ID: &str = "Id";
/// The view's sequence, and the range key of the history.
pub const SEQUENCE: &str = "Sequence";
const TYPE: &str = "Type";
const TIME: &str = "Time";
const EFFECTIVE_AT: &str = "EffectiveAt";
const OPENED_AT: &str = "OpenedAt";
const UPDATED_AT: &str = "UpdatedAt";
const CORRELATION_ID: &str = "CorrelationId";
/// Core's columns of a history item, but its hash key.
pub const HISTORY_COLUMNS: [&str; 5] = [SEQUENCE, TYPE, TIME, EFFECTIVE_AT, CORRELATION_ID];
/// What the projector keeps in a view's item: the value that its conditional writes change, and why
/// the view is stale.
const PROJECTORS: [&str; 5] = [
    "Revision",
    "StaleSequence",
    "StaleReason",
    "StaleSince",
    "StaleIn",
];

/// An aggregate at one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View<V> {
    /// The aggregate.
    pub id: AggregateId,
    /// The last event that the view includes.
    pub sequence: Sequence,
    /// The time of the first event.
    pub opened_at: Timestamp,
    /// The latest time of any event up to `sequence`.
    pub updated_at: Timestamp,
    /// What the domain shows.
    pub view: V,
}

/// An event in its aggregate's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry<E> {
    /// The aggregate.
    pub id: AggregateId,
    /// The event's position among its aggregate's events.
    pub sequence: Sequence,
    /// The public event's type.
    pub event_type: String,
    /// When the event happened.
    pub time: Timestamp,
    /// From when on the view after the event counts: the latest time of any event up to this one. It
    /// never runs backwards along the sequence, so the view at a time can be searched for.
    pub effective_at: Timestamp,
    /// The business conversation that the event belongs to.
    pub correlation_id: Option<String>,
    /// What the domain shows of the event.
    pub entry: E,
}

/// A view of the domain `D`.
pub type ViewOf<D> = View<<D as Project>::View>;

/// A history entry of the domain `D`.
pub type HistoryEntryOf<D> = HistoryEntry<<D as Project>::Entry>;

/// Whether core claims a column of this name in a view's item or in a history entry's.
#[must_use]
pub fn is_reserved_column(name: &str) -> bool {
    matches!(
        name,
        ID | SEQUENCE | TYPE | TIME | EFFECTIVE_AT | OPENED_AT | UPDATED_AT | CORRELATION_ID
    ) || PROJECTORS.contains(&name)
}

/// The view and the history's entry after `envelope`, the event that comes next. `before` is `None`
/// for the first.
///
/// # Errors
/// [`EncodeError`] if the domain's public event is no enum.
pub fn apply<D: Project>(
    before: Option<&ViewOf<D>>,
    envelope: &Envelope<D::PublicEvent>,
) -> Result<(ViewOf<D>, HistoryEntryOf<D>), EncodeError> {
    let (view, entry) = D::project(before.map(|before| &before.view), &envelope.event);
    let updated_at = before.map_or(envelope.time, |before| before.updated_at.max(envelope.time));
    let view = View {
        id: envelope.subject.clone(),
        sequence: envelope.sequence,
        opened_at: before.map_or(envelope.time, |before| before.opened_at),
        updated_at,
        view,
    };
    let entry = HistoryEntry {
        id: envelope.subject.clone(),
        sequence: envelope.sequence,
        event_type: type_and_version(variant_name(&envelope.event)?)
            .0
            .to_owned(),
        time: envelope.time,
        effective_at: updated_at,
        correlation_id: envelope.correlation_id.clone(),
        entry,
    };
    Ok((view, entry))
}

impl<V: Data> View<V> {
    /// The view's item.
    ///
    /// # Errors
    /// [`EncodeError`] if the domain's view is no struct, or a field has no form as an attribute.
    pub fn to_item(&self) -> Result<Attributes, EncodeError> {
        let mut item = encode_struct(&self.view)?;
        add(&mut item, ID, Attribute::text(&self.id));
        add(&mut item, SEQUENCE, Attribute::number(self.sequence.get()));
        add(&mut item, OPENED_AT, Attribute::text(self.opened_at));
        add(&mut item, UPDATED_AT, Attribute::text(self.updated_at));
        Ok(item)
    }

    /// Reads a view's item. An item of sequence 0 is no view yet: it marks an aggregate of which
    /// nothing could be applied.
    ///
    /// # Errors
    /// [`DecodeError`] that names the attribute which is missing or wrong.
    pub fn read(item: &Attributes) -> Result<Option<Self>, DecodeError> {
        let sequence = sequence(item)?;
        if sequence == Sequence::NONE {
            return Ok(None);
        }
        Ok(Some(Self {
            id: id(item)?,
            sequence,
            opened_at: required(item, OPENED_AT)?,
            updated_at: required(item, UPDATED_AT)?,
            view: decode_struct(&Columns::from(item), is_reserved_column)?,
        }))
    }
}

impl<E: Data> HistoryEntry<E> {
    /// The entry's item.
    ///
    /// # Errors
    /// [`EncodeError`] if the domain's entry is no struct, or a field has no form as an attribute.
    pub fn to_item(&self) -> Result<Attributes, EncodeError> {
        let mut item = encode_struct(&self.entry)?;
        add(&mut item, ID, Attribute::text(&self.id));
        add(&mut item, SEQUENCE, Attribute::number(self.sequence.get()));
        add(&mut item, TYPE, Attribute::text(&self.event_type));
        add(&mut item, TIME, Attribute::text(self.time));
        add(&mut item, EFFECTIVE_AT, Attribute::text(self.effective_at));
        if let Some(id) = &self.correlation_id {
            add(&mut item, CORRELATION_ID, Attribute::text(id));
        }
        Ok(item)
    }

    /// Reads an entry's item.
    ///
    /// # Errors
    /// [`DecodeError`] that names the attribute which is missing or wrong.
    pub fn read(item: &Attributes) -> Result<Self, DecodeError> {
        let correlation_id = item
            .contains_key(CORRELATION_ID)
            .then(|| required(item, CORRELATION_ID));
        Ok(Self {
            id: id(item)?,
            sequence: sequence(item)?,
            event_type: required(item, TYPE)?,
            time: required(item, TIME)?,
            effective_at: required(item, EFFECTIVE_AT)?,
            correlation_id: correlation_id.transpose()?,
            entry: decode_struct(&Columns::from(item), is_reserved_column)?,
        })
    }
}

fn add(item: &mut Attributes, name: &str, value: Attribute) {
    item.insert(name.to_owned(), value);
}

fn required<'a, T: serde::Deserialize<'a>>(
    item: &'a Attributes,
    name: &str,
) -> Result<T, DecodeError> {
    let value = item.get(name).ok_or_else(|| DecodeError::missing(name))?;
    decode_attribute(name, value)
}

fn id(item: &Attributes) -> Result<AggregateId, DecodeError> {
    AggregateId::new(required::<&str>(item, ID)?)
        .map_err(|error| DecodeError::new(ID, error.to_string()))
}

fn sequence(item: &Attributes) -> Result<Sequence, DecodeError> {
    Sequence::new(required(item, SEQUENCE)?)
        .ok_or_else(|| DecodeError::new(SEQUENCE, "is not an integer from 0 to 2^53-1"))
}
