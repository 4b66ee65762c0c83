//! Accounts' events for the tests of other crates (feature `testing`).

use std::ops::RangeInclusive;

use millrace_core::{AggregateId, Sequence, Timestamp};

use crate::money::{Amount, Currency};
use crate::{Accounts, PublicEvent};

/// The envelope of an account's public event.
pub type Envelope = millrace_core::Envelope<PublicEvent>;

/// JSON values that a command refuses as its `amount`.
pub const INVALID_AMOUNTS: [&str; 12] = [
    "-1",
    "0",
    "0.5",
    "5.0",
    "1e3",
    "9007199254740992",
    "99999999999999999999",
    "\"5\"",
    "null",
    "true",
    "[5]",
    "{}",
];

/// The account's event with this sequence: the opening for 1, otherwise a credit of 10. Each event's time
/// is one millisecond after the previous event's.
///
/// # Panics
/// If `id` isn't a valid id, or `sequence` isn't a valid sequence.
#[must_use]
pub fn event(id: &str, sequence: u64) -> Envelope {
    let currency = Currency::stored("EUR").expect("a code");
    let amount = Amount::new(10).expect("positive");
    let first = Timestamp::parse("2026-11-20T21:03:05Z").expect("a time");
    let millis = first.unix_millis() + sequence.cast_signed();
    Envelope {
        subject: AggregateId::new(id).expect("an id"),
        sequence: Sequence::new(sequence).expect("a sequence"),
        time: Timestamp::from_unix_millis(millis).expect("a time"),
        correlation_id: None,
        causation_id: None,
        trace_parent: None,
        event: match sequence {
            1 => PublicEvent::AccountCreated { currency },
            _ => PublicEvent::BalanceCredited { amount, currency },
        },
    }
}

/// The account's events with these sequences.
///
/// # Panics
/// As [`event`].
#[must_use]
pub fn events(id: &str, sequences: RangeInclusive<u64>) -> Vec<Envelope> {
    sequences.map(|sequence| event(id, sequence)).collect()
}

/// An account's event for each id and sequence, in this order.
///
/// # Panics
/// As [`event`].
#[must_use]
pub fn events_of(ids: &[(&str, u64)]) -> Vec<Envelope> {
    ids.iter()
        .map(|(id, sequence)| event(id, *sequence))
        .collect()
}

/// The data of the event's record in the domain stream.
///
/// # Panics
/// If the event can't be encoded.
#[must_use]
pub fn bytes(event: &Envelope) -> Vec<u8> {
    event.to_bytes::<Accounts>().expect("encodes")
}

/// The partition key and the data of each event's record in the domain stream.
///
/// # Panics
/// As [`bytes`].
#[must_use]
pub fn records(events: &[Envelope]) -> Vec<(&str, Vec<u8>)> {
    events
        .iter()
        .map(|event| (event.subject.as_str(), bytes(event)))
        .collect()
}
