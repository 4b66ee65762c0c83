//! The attributes of a stale view's item: since when it is stale, why, and which event the view has to
//! include to be no longer stale.
//!
//! The attributes are part of the view's own item. An aggregate that has no view yet has an item of
//! these attributes alone, at sequence 0, which readers treat as no view.

use millrace_core::layout::MAX_POSITION;
use millrace_core::{Attribute, Attributes, Sequence, Timestamp, spread};

/// The attribute with the sequence that the view has to reach.
pub const SEQUENCE: &str = "StaleSequence";
/// The attribute with the reason.
const REASON: &str = "StaleReason";
/// The attribute with the time; the range key of the index that lists stale views.
pub const SINCE: &str = "StaleSince";
/// The hash key of that index.
pub const IN: &str = "StaleIn";
/// The marker's name in that key.
pub const MARKER: &str = "stale";

/// The most bytes of a reason that are kept. An error names attributes at any depth, and the item has
/// little room left.
const MAX_REASON_BYTES: usize = 2_000;

/// Why a view is stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The view is no longer stale once it includes the event of this sequence.
    pub until: Sequence,
    /// The reason, at most 2,000 bytes.
    pub reason: String,
    /// When the view became stale.
    pub since: Timestamp,
}

impl Stale {
    /// Stale until the view reaches `until`. A long reason is cut.
    #[must_use]
    pub fn new(until: Sequence, mut reason: String, since: Timestamp) -> Self {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        Self {
            until,
            reason,
            since,
        }
    }

    /// Reads the attributes of a view's item; `None` if the view isn't stale. With attributes that
    /// can't be read the view stays stale: it is until the highest sequence there is.
    #[must_use]
    pub fn read(item: &Attributes) -> Option<Self> {
        let text = |name: &str| match item.get(name) {
            Some(Attribute::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let until = item.get(SEQUENCE)?.as_integer();
        let until = until
            .and_then(|n| u64::try_from(n).ok())
            .and_then(Sequence::new);
        Some(Self {
            until: until.unwrap_or_else(last_sequence),
            reason: text(REASON).unwrap_or_default(),
            since: text(SINCE)
                .and_then(|since| Timestamp::parse(&since).ok())
                .unwrap_or_else(|| Timestamp::from_unix_millis(0).expect("1970 is valid")),
        })
    }

    /// The attributes of this aggregate's view item.
    #[must_use]
    pub fn to_attributes(&self, aggregate: &str) -> Attributes {
        let partition = spread::partition(aggregate);
        [
            (IN, Attribute::text(spread::index_key(MARKER, partition))),
            (SEQUENCE, Attribute::number(self.until.get())),
            (REASON, Attribute::text(&self.reason)),
            (SINCE, Attribute::text(self.since)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Stale for this reason next to an earlier one: since the first, until both are over.
    #[must_use]
    pub fn added_to(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.until >= self.until => before,
            Some(before) => Self {
                until: self.until,
                ..before
            },
            None => self,
        }
    }
}

fn last_sequence() -> Sequence {
    Sequence::new(MAX_POSITION).expect("the highest there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(until: u64, reason: &str) -> Stale {
        Stale::new(
            Sequence::new(until).expect("valid"),
            reason.to_owned(),
            Timestamp::from_unix_millis(5).expect("valid"),
        )
    }

    #[test]
    fn is_read_as_it_was_written() {
        let written = stale(7, "why");
        let attributes = written.to_attributes("a");
        assert_eq!(Stale::read(&attributes), Some(written));
        let partition = spread::partition("a");
        let key = Attribute::text(format!("stale/{partition}"));
        assert_eq!(attributes.get(IN), Some(&key));
        assert_eq!(Stale::read(&Attributes::new()), None);
    }

    #[test]
    fn a_view_with_damaged_attributes_stays_stale() {
        let mut damaged = stale(7, "why").to_attributes("a");
        damaged.insert(SEQUENCE.to_owned(), Attribute::text("x"));
        damaged.remove(SINCE);
        let read = Stale::read(&damaged).expect("stale");
        assert_eq!(read.until.get(), (1 << 53) - 1, "no view gets there");
        assert_eq!(read.reason, "why");
    }

    #[test]
    fn reasons_add_up() {
        let first = stale(7, "first");
        assert_eq!(first.clone().added_to(None), first);
        let both = stale(9, "second").added_to(Some(first.clone()));
        assert_eq!(both, stale(9, "first"));
        assert_eq!(stale(5, "less").added_to(Some(first.clone())), first);
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        assert_eq!(stale(7, &"x".repeat(2_000)).reason.len(), 2_000);
        assert_eq!(stale(7, &"€".repeat(1_000)).reason, "€".repeat(666));
    }
}
