//! The archiver's delivery stream: records that it accepts are in the lake immediately.

use millrace_archiver::ports::{Delivery, Packed};
use millrace_runtime::ServiceError;
use millrace_runtime::batch_put::{RecordOutcome, Rejected};

use super::faults::Fault;
use super::sabotage::Sabotage;
use super::service_limits;
use super::services::Services;

const ACTION: &str = "PutRecordBatch";

impl Delivery for Services {
    async fn put(&self, records: &[Packed]) -> Result<Vec<RecordOutcome>, ServiceError> {
        let records = records.to_vec();
        let answer: Vec<RecordOutcome> = self
            .write(ACTION, move |world, now| {
                if let Err(what) = service_limits::put_record_batch(&records) {
                    world.violated("4", &what);
                    return Err(ServiceError::new(ACTION, what));
                }
                let answer = records
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
                    .collect();
                Ok(answer)
            })
            .await??;
        if self.is_sabotaged(Sabotage::RejectedDeliveriesIgnored) {
            return Ok(vec![Ok(()); answer.len()]);
        }
        Ok(answer)
    }
}
