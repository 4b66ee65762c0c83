//! Accounts' events as records of the domain stream, and the archiver of accounts.

use std::marker::PhantomData;

use millrace_archiver::service::Archiver;
use millrace_archiver::testing::MemoryDeliveryStream;
use millrace_consumer::KinesisRecord;
use millrace_consumer::testing::kinesis_records;
use millrace_domain::Accounts;
use millrace_domain::testing::{Envelope, records};
use millrace_runtime::testing::TestAmbient;

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

/// A batch of records, in this order.
pub(crate) fn batch(events: &[Envelope]) -> Vec<KinesisRecord<'static>> {
    kinesis_records(&records(events))
}
