//! The version gate: of what is delivered at least once and perhaps with a hole, each event passes
//! once and in order. It knows sequences and nothing else, so any consumer can use it.

use millrace_domain::Sequence;

/// What an event is to a consumer that has applied all up to some sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It was applied before: skip it.
    Repeat,
    /// It is the next: apply it.
    Next,
    /// Events before it are missing, the first of them at this sequence: apply nothing.
    Gap {
        /// What should have come.
        missing: Sequence,
    },
}

/// Holds an event's sequence against what was applied.
#[must_use]
pub fn gate(applied: Sequence, incoming: Sequence) -> Gate {
    let next = applied.next();
    match incoming.cmp(&next) {
        std::cmp::Ordering::Less => Gate::Repeat,
        std::cmp::Ordering::Equal => Gate::Next,
        std::cmp::Ordering::Greater => Gate::Gap { missing: next },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    #[test]
    fn each_event_passes_once_and_in_order() {
        let missing = sequence(4);
        for (applied, incoming, passes) in [
            (0, 1, Gate::Next),
            (3, 4, Gate::Next),
            (3, 3, Gate::Repeat),
            (3, 1, Gate::Repeat),
            (3, 5, Gate::Gap { missing }),
            (3, 9, Gate::Gap { missing }),
        ] {
            assert_eq!(gate(sequence(applied), sequence(incoming)), passes);
        }
    }
}
