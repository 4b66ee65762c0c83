//! Accounts' events as records of the domain stream, and the archiver of accounts.

use std::marker::PhantomData;

use millrace_archiver::service::Archiver;
use millrace_archiver::testing::MemoryDeliveryStream;
use millrace_core::{AggregateId, Sequence, Timestamp};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, PublicEvent};
use millrace_runtime::kinesis::KinesisRecord;
use millrace_runtime::testing::{TestAmbient, kinesis_record};

/// An account's event.
pub(crate) type Envelope = millrace_core::Envelope<PublicEvent>;

/// The archiver of accounts.
pub(crate) fn archiver<'a>(
    lake: &'a MemoryDeliveryStream,
    ambient: &'a TestAmbient,
) -> Archiver<Accounts, &'a MemoryDeliveryStream, &'a TestAmbient> {
    Archiver {
        domain: PhantomData,
        delivery: lake,
        ambient,
    }
}

/// An event's bytes.
pub(crate) fn bytes(event: &Envelope) -> Vec<u8> {
    event.to_bytes::<Accounts>().expect("encodes")
}

/// An account's events: an opening, then credits of 10.
pub(crate) fn events(id: &str, sequences: std::ops::RangeInclusive<u64>) -> Vec<Envelope> {
    let currency = Currency::stored("EUR").expect("a code");
    let amount = Amount::new(10).expect("positive");
    let first = Timestamp::parse("2026-11-20T21:03:05Z").expect("a time");
    let time = |sequence: u64| {
        let millis = first.unix_millis() + sequence.cast_signed();
        Timestamp::from_unix_millis(millis).expect("a time")
    };
    sequences
        .map(|sequence| Envelope {
            subject: AggregateId::new(id).expect("an id"),
            sequence: Sequence::new(sequence).expect("a sequence"),
            time: time(sequence),
            correlation_id: None,
            causation_id: None,
            event: match sequence {
                1 => PublicEvent::AccountCreated { currency },
                _ => PublicEvent::BalanceCredited { amount, currency },
            },
        })
        .collect()
}

/// A batch of records, in this order.
pub(crate) fn batch(events: &[Envelope]) -> Vec<KinesisRecord> {
    events
        .iter()
        .enumerate()
        .map(|(position, event)| kinesis_record(position, event.subject.as_str(), &bytes(event)))
        .collect()
}
