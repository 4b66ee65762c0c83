//! The delivery stream as the archiver sees it: what it takes lies in the lake.

use millrace_projector::archive::{Delivery, Rejected};
use millrace_projector::pack::{MAX_CALL, MAX_RECORD, MAX_RECORDS, Packed};
use millrace_runtime::ServiceError;

use super::faults::Fault;
use super::sabotage::Sabotage;
use super::services::Services;

impl Delivery for Services {
    async fn put(&self, records: &[Packed]) -> Result<Vec<Result<(), Rejected>>, ServiceError> {
        let records = records.to_vec();
        let answer: Vec<Result<(), Rejected>> = self
            .write("PutRecordBatch", move |world, now| {
                let bytes: usize = records.iter().map(|record| record.data.len()).sum();
                let largest = records.iter().map(|record| record.data.len()).max();
                if records.len() > MAX_RECORDS || bytes > MAX_CALL || largest > Some(MAX_RECORD) {
                    world.violated("4", "a call to Firehose is beyond its limits");
                }
                records
                    .into_iter()
                    .map(|record| {
                        if world.strikes(Fault::DeliveryRejected, now) {
                            return Err(Rejected {
                                code: "ServiceUnavailableException".to_owned(),
                            });
                        }
                        world.lake.push(record.data);
                        Ok(())
                    })
                    .collect()
            })
            .await?;
        if self.is_sabotaged(Sabotage::RejectedDeliveriesIgnored) {
            return Ok(vec![Ok(()); answer.len()]);
        }
        Ok(answer)
    }
}
