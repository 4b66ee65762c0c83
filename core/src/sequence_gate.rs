//! The sequence gate: whether an event is the next one for a consumer.

use crate::layout::Sequence;

/// What an event is to a consumer that has applied its aggregate's events through some sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceGate {
    /// It comes next: apply it.
    Next,
    /// It was applied before: skip it.
    Duplicate,
    /// Events from `missing` on have not arrived: apply nothing of this aggregate until they have.
    Gap {
        /// The first sequence that is missing.
        missing: Sequence,
    },
}

impl SequenceGate {
    /// Compares an event's sequence with the last one that was applied, which is
    /// [`Sequence::NONE`] before the first.
    #[must_use]
    pub fn check(applied: Sequence, event: Sequence) -> Self {
        if event <= applied {
            Self::Duplicate
        } else if event == applied.next() {
            Self::Next
        } else {
            Self::Gap {
                missing: applied.next(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::MAX_POSITION;

    fn check(applied: u64, event: u64) -> SequenceGate {
        let sequence = |number| Sequence::new(number).expect("in range");
        SequenceGate::check(sequence(applied), sequence(event))
    }

    #[test]
    fn an_event_is_next_a_duplicate_or_after_a_gap() {
        assert_eq!(check(0, 1), SequenceGate::Next);
        assert_eq!(check(7, 8), SequenceGate::Next);
        assert_eq!(check(7, 7), SequenceGate::Duplicate);
        assert_eq!(check(7, 1), SequenceGate::Duplicate);
        let missing = Sequence::new(8).expect("in range");
        assert_eq!(check(7, 9), SequenceGate::Gap { missing });
        assert_eq!(check(MAX_POSITION, MAX_POSITION), SequenceGate::Duplicate);
    }

    proptest! {
        #[test]
        fn whatever_arrives_each_event_is_applied_once_and_in_order(
            arrivals in prop::collection::vec(0_u64..8, 0..60),
        ) {
            let mut applied = Sequence::NONE;
            for event in arrivals {
                let event = Sequence::new(event).expect("in range");
                if SequenceGate::check(applied, event) == SequenceGate::Next {
                    prop_assert_eq!(event, applied.next());
                    applied = event;
                }
            }
        }
    }
}
