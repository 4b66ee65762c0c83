//! [`Delivery`] on a Firehose delivery stream.

use aws_sdk_firehose::Client;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::Record;
use millrace_runtime::ServiceError;
use millrace_runtime::batch_put::{RecordOutcome, record_outcome};

use crate::ports::{Delivery, Packed};

const ACTION: &str = "PutRecordBatch on the delivery stream";

/// The Firehose delivery stream to the lake.
#[derive(Debug, Clone)]
pub struct DeliveryStream {
    client: Client,
    name: String,
}

impl DeliveryStream {
    /// The delivery stream of this name.
    #[must_use]
    pub const fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }
}

impl Delivery for DeliveryStream {
    async fn put(&self, records: &[Packed]) -> Result<Vec<RecordOutcome>, ServiceError> {
        let entries: Vec<Record> = records
            .iter()
            .map(|record| {
                Record::builder()
                    .data(Blob::new(record.data.clone()))
                    .build()
            })
            .collect::<Result<_, _>>()
            .map_err(|error| ServiceError::new(ACTION, error))?;
        let response = self
            .client
            .put_record_batch()
            .delivery_stream_name(&self.name)
            .set_records(Some(entries))
            .send()
            .await
            .map_err(|error| ServiceError::new(ACTION, error))?;
        let entries = response.request_responses.iter();
        Ok(entries
            .map(|entry| record_outcome(entry.error_code(), entry.record_id()))
            .collect())
    }
}
