//! The mark on a view that is known to be behind, or may be: since when, why, and what it has to
//! reach to be trusted again.
//!
//! It lies on the view's own item. Where there is no view yet, the item holds nothing but the mark
//! and sequence 0, which readers take for no view.

use millrace_domain::{Attribute, Attributes, Sequence, Timestamp};

/// The attribute that says what the view has to reach.
pub const SEQUENCE: &str = "StaleSequence";
/// The attribute that says why.
pub const REASON: &str = "StaleReason";
/// The attribute that says since when.
pub const SINCE: &str = "StaleSince";

/// A view's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The mark is gone once the view has reached this.
    pub until: Sequence,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Stale {
    /// Reads the mark of a view's item; `None` where there is none. A mark that is damaged still is
    /// one: what can't be read of it is filled with what keeps it in place.
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

    /// The mark's attributes.
    #[must_use]
    pub fn to_attributes(&self) -> Attributes {
        [
            (SEQUENCE, Attribute::number(self.until.get())),
            (REASON, Attribute::text(&self.reason)),
            (SINCE, Attribute::text(self.since)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The mark after more trouble: it began when the first did, and ends when the last is over.
    #[must_use]
    pub fn also(before: Option<Self>, more: Self) -> Self {
        match before {
            Some(before) if before.until >= more.until => before,
            Some(before) => Self {
                until: more.until,
                ..before
            },
            None => more,
        }
    }
}

fn last_sequence() -> Sequence {
    Sequence::new(millrace_domain::layout::MAX_POSITION).expect("the highest there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(until: u64, reason: &str) -> Stale {
        Stale {
            until: Sequence::new(until).expect("valid"),
            reason: reason.to_owned(),
            since: Timestamp::from_unix_millis(5).expect("valid"),
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = stale(7, "why");
        assert_eq!(Stale::read(&mark.to_attributes()), Some(mark));
        assert_eq!(Stale::read(&Attributes::new()), None);
    }

    #[test]
    fn a_damaged_mark_stays_a_mark() {
        let mut damaged = stale(7, "why").to_attributes();
        damaged.insert(SEQUENCE.to_owned(), Attribute::text("x"));
        damaged.remove(SINCE);
        let read = Stale::read(&damaged).expect("a mark");
        assert_eq!(read.until.get(), (1 << 53) - 1, "no view gets there");
        assert_eq!(read.reason, "why");
    }

    #[test]
    fn trouble_adds_up() {
        let first = stale(7, "first");
        assert_eq!(Stale::also(None, first.clone()), first);
        let both = Stale::also(Some(first.clone()), stale(9, "second"));
        assert_eq!(both, stale(9, "first"));
        assert_eq!(Stale::also(Some(first.clone()), stale(5, "less")), first);
    }
}
