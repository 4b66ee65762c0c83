//! Accounts' events as records of the domain stream, and the archiver of accounts.

use std::marker::PhantomData;

use millrace_archiver::service::Archiver;
use millrace_archiver::testing::MemoryDeliveryStream;
use millrace_core::{AggregateId, Domain};
use millrace_domain::Accounts;
use millrace_runtime::kinesis::KinesisRecord;
use millrace_runtime::testing::TestAmbient;

/// An account's event.
pub(crate) type Envelope = millrace_core::Envelope<<Accounts as Domain>::PublicEvent>;

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
    sequences
        .map(|sequence| {
            let (of, amount) = if sequence == 1 {
                ("AccountCreated", "")
            } else {
                ("BalanceCredited", "\"amount\":10,")
            };
            let json = format!(
                "{{\"specversion\":\"1.0\",\"id\":\"{id}:{sequence}\",\
                 \"source\":\"urn:millrace:accounts\",\"type\":\"{of}\",\"subject\":\"{id}\",\
                 \"time\":\"2026-11-20T21:03:05.{sequence:03}Z\",\
                 \"datacontenttype\":\"application/json\",\
                 \"dataschema\":\"urn:millrace:schema:{of}:1\",\
                 \"data\":{{\"accountId\":\"{id}\",\"sequence\":{sequence},{amount}\
                 \"currency\":\"EUR\"}}}}"
            );
            Envelope::parse::<Accounts>(json.as_bytes()).expect("an event")
        })
        .collect()
}

/// A batch of records, in this order.
pub(crate) fn batch(events: &[Envelope]) -> Vec<KinesisRecord> {
    events
        .iter()
        .enumerate()
        .map(|(position, event)| record(position, event.subject.as_str(), &bytes(event)))
        .collect()
}

pub(crate) fn record(position: usize, key: &str, data: &[u8]) -> KinesisRecord {
    AggregateId::new(key).expect("an id");
    KinesisRecord {
        position,
        stream_id: format!("shard:{position}"),
        partition_key: key.to_owned(),
        arrival: None,
        data: data.to_vec(),
    }
}
