//! The ids that travel with every command and event.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::trace::TraceParent;

/// The longest id, in characters. An aggregate's id is the partition key of its events on Kinesis,
/// which takes 1 to 256 Unicode characters
/// ([PutRecordsRequestEntry](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsRequestEntry.html)).
pub const MAX_ID_CHARS: usize = 256;

/// Names one aggregate. It is the table's hash key, the events' `subject` and
/// their partition key. Any string of 1 to [`MAX_ID_CHARS`] characters, none of them a control
/// character; older producers chose their own form, so nothing more is asked of it.
///
/// `T` is the type of the string: `String`, or `Cow<str>` if it is borrowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AggregateId<T = String>(T);

/// A string that can't be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not an id: 1 to {MAX_ID_CHARS} characters, none of them a control character")]
pub struct InvalidId;

impl AggregateId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`InvalidId`] if it is empty, too long, or contains a control character.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidId> {
        Self::checked(id.into())
    }
}

impl AggregateId<Cow<'_, str>> {
    /// The same id with a string of its own.
    #[must_use]
    pub fn into_owned(self) -> AggregateId {
        AggregateId(self.0.into_owned())
    }
}

impl<T: AsRef<str>> AggregateId<T> {
    /// Reads an id of any string type.
    pub(crate) fn checked(id: T) -> Result<Self, InvalidId> {
        if is_printable(id.as_ref()) {
            Ok(Self(id))
        } else {
            Err(InvalidId)
        }
    }

    /// The id as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

impl<T: AsRef<str>> fmt::Display for AggregateId<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a string may be an id, a correlation id or a causation id.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    // Most ids are ASCII. All bytes are compared, because a loop that may end early compares one at a
    // time.
    let is_other = |byte: u8| !(b' '..=b'~').contains(&byte);
    if !text
        .bytes()
        .fold(false, |found, byte| found | is_other(byte))
    {
        return (1..=MAX_ID_CHARS).contains(&text.len());
    }
    text.chars().count() <= MAX_ID_CHARS && !text.chars().any(char::is_control)
}

/// The first character of every id that no aggregate has. Items with such an id are kept in the
/// events table and are neither events nor snapshots; whatever lists ids or reads the table's
/// stream skips them.
const RESERVED: char = '\u{1}';

/// Whether an item's id is reserved, and so no aggregate's.
#[must_use]
pub fn is_reserved_id(id: &str) -> bool {
    id.starts_with(RESERVED)
}

/// The ids that an event is appended with. Rows of the legacy layout have none of them, so each is
/// optional; what is absent here is absent from the public event too.
///
/// `T` is the type of the strings: `String`, or `Cow<str>` if they are borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata<T = String> {
    /// The command that appended the event; unique to one attempt of one client request, so that
    /// a writer recognises its own row after an ambiguous failure.
    pub command_id: Option<T>,
    /// The business conversation it belongs to; handed on from request to event unchanged.
    pub correlation_id: Option<T>,
    /// The message that directly caused the event.
    pub causation_id: Option<T>,
    /// The writer's span for the command.
    pub trace_parent: Option<TraceParent>,
    /// The authenticated caller of the command. It stays in the events table and is never
    /// published.
    pub actor: Option<T>,
}

impl<T> Default for Metadata<T> {
    fn default() -> Self {
        Self {
            command_id: None,
            correlation_id: None,
            causation_id: None,
            trace_parent: None,
            actor: None,
        }
    }
}

impl Metadata<Cow<'_, str>> {
    /// The same ids with strings of their own.
    #[must_use]
    pub fn into_owned(self) -> Metadata {
        Metadata {
            command_id: self.command_id.map(Cow::into_owned),
            correlation_id: self.correlation_id.map(Cow::into_owned),
            causation_id: self.causation_id.map(Cow::into_owned),
            trace_parent: self.trace_parent,
            actor: self.actor.map(Cow::into_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_kinesis_takes_as_a_partition_key() {
        assert!(AggregateId::new("a").is_ok());
        assert!(AggregateId::new("é".repeat(MAX_ID_CHARS)).is_ok());
    }

    #[test]
    fn no_aggregate_has_a_reserved_id() {
        assert!(is_reserved_id("\u{1}millrace"));
        assert!(AggregateId::new("\u{1}millrace").is_err());
        for id in ["", "a", "a\u{1}"] {
            assert!(!is_reserved_id(id), "{id:?}");
        }
    }

    #[test]
    fn refuses_empty_long_and_control_characters() {
        assert!(AggregateId::new(" ~".repeat(MAX_ID_CHARS / 2)).is_ok());
        assert_eq!(
            AggregateId::new("é".repeat(MAX_ID_CHARS + 1)),
            Err(InvalidId)
        );
        for control in ['\u{1f}', '\u{7f}', '\u{80}'] {
            assert_eq!(AggregateId::new(format!("a{control}")), Err(InvalidId));
        }
        assert_eq!(AggregateId::new(""), Err(InvalidId));
        assert_eq!(
            AggregateId::new("x".repeat(MAX_ID_CHARS + 1)),
            Err(InvalidId)
        );
        assert_eq!(AggregateId::new("a\nb"), Err(InvalidId));
    }
}
