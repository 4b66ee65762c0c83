//! [`Publisher`] on the domain stream, a Kinesis data stream.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kinesis::operation::put_records::PutRecordsError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use millrace_runtime::ServiceError;
use millrace_runtime::batch_put::{RecordOutcome, record_outcome};

use crate::ports::{Publisher, PutError, Record};

const ACTION: &str = "PutRecords on the domain stream";

/// The Kinesis stream of domain events. It must use user partition keys: with automatic record
/// distribution Kinesis ignores them, and with them all order
/// ([on-demand partition keys](https://docs.aws.amazon.com/streams/latest/dev/service-managed-pk-when-to-use.html)).
#[derive(Debug, Clone)]
pub struct DomainStream {
    client: Client,
    name: String,
}

impl DomainStream {
    /// The stream of this name.
    #[must_use]
    pub const fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }
}

impl Publisher for DomainStream {
    async fn put(&self, records: &[Record]) -> Result<Vec<RecordOutcome>, PutError> {
        let entries: Vec<PutRecordsRequestEntry> = records
            .iter()
            .map(|record| {
                PutRecordsRequestEntry::builder()
                    .partition_key(&record.partition_key)
                    .data(Blob::new(record.data.clone()))
                    .build()
            })
            .collect::<Result<_, _>>()
            .map_err(|error| ServiceError::new(ACTION, error))?;
        let answer = self
            .client
            .put_records()
            .stream_name(&self.name)
            .set_records(Some(entries))
            .send()
            .await
            .map_err(put_error)?;
        let entries = answer.records.iter();
        Ok(entries
            .map(|entry| record_outcome(entry.error_code(), entry.sequence_number()))
            .collect())
    }
}

/// Distinguishes a refusal of what the call contains from a failure of the service. A stream or a key
/// that is missing, disabled or forbidden affects every call, until it is repaired.
fn put_error(error: SdkError<PutRecordsError, HttpResponse>) -> PutError {
    match error.code() {
        Some(code @ ("InvalidArgumentException" | "ValidationException")) => PutError::Refused {
            code: code.to_owned(),
        },
        _ => ServiceError::new(ACTION, error).into(),
    }
}
