//! The delivery stream behind [`Delivery`].

use aws_sdk_firehose::Client;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{PutRecordBatchResponseEntry, Record};
use millrace_runtime::ServiceError;

use crate::ports::{Delivery, Packed, Rejected};

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
    async fn put(&self, records: &[Packed]) -> Result<Vec<Result<(), Rejected>>, ServiceError> {
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
        Ok(response.request_responses.iter().map(accepted).collect())
    }
}

/// Whether an entry of the response says that Firehose has accepted its record: it has an id and no
/// error. The response's status is 200 either way.
fn accepted(entry: &PutRecordBatchResponseEntry) -> Result<(), Rejected> {
    match (&entry.error_code, &entry.record_id) {
        (None, Some(_)) => Ok(()),
        (Some(code), _) => Err(Rejected { code: code.clone() }),
        (None, None) => Err(Rejected {
            code: "no record id".to_owned(),
        }),
    }
}
