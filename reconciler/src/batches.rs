//! Discarded batches: found in the failure bucket, repaired, and open until that is shown.

use std::collections::BTreeMap;

use millrace_core::{Attributes, Sequence, Timestamp};
use millrace_runtime::{Budget, Chain, ServiceError};

use crate::discarded::DiscardedBatch;
use crate::ports::{Publishes, Services};
use crate::report::{Finding, cut, time};
use crate::service::{Found, Permitted, Reconciler};
use crate::state::{self, BatchState};
use crate::views::{is_completed, sequence_of};

/// A batch that is neither resolved nor dismissed.
struct OpenBatch {
    object: String,
    since: Timestamp,
    /// Whether its state is stored.
    is_stored: bool,
}

/// What a function does with the events of its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
enum Outcome {
    Published,
    Projected,
    Archived,
}

/// Why a batch stays open.
#[derive(Debug, thiserror::Error)]
enum StaysOpen {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("the object was deleted before the batch was resolved; dismiss the batch")]
    Gone,
    #[error(transparent)]
    Invalid(#[from] crate::discarded::InvalidObject),
    #[error("{0} is not the translator, projector or archiver of this deployment")]
    UnknownFunction(String),
    #[error("{0}'s mapping isn't enabled or can't be read, so the batch isn't repaired")]
    NotPermitted(String),
    #[error("{0} was invoked with the batch again and did not complete it")]
    NotCompleted(String),
    #[error("{count} aggregates of the batch have events that are not {outcome}")]
    NotIncluded { count: usize, outcome: Outcome },
    #[error("the run's time was used up before the batch was examined")]
    OutOfTime,
}

impl<T: Publishes, S: Services> Reconciler<T, S> {
    /// Repairs the batches of the failure bucket that aren't ended, and reports those that stay open.
    pub(crate) async fn reconcile_batches(
        &self,
        permitted: Permitted,
        budget: Budget,
        found: &mut Found,
    ) {
        let batches = match self.open_batches().await {
            Ok(batches) => batches,
            Err(error) => return found.service_failed("the failure bucket", &error),
        };
        let mut open = 0;
        for batch in batches {
            let mut function = String::new();
            let repaired = if budget.left().is_zero() {
                Err(StaysOpen::OutOfTime)
            } else {
                self.repair_batch(&batch.object, permitted, budget, &mut function)
                    .await
            };
            let state = match &repaired {
                Ok(()) => BatchState::Resolved,
                Err(_) => BatchState::Open,
            };
            if state == BatchState::Resolved || !batch.is_stored {
                let item = state.to_item(batch.since, self.now());
                let put = self.services.put_item(state::BATCH, &batch.object, item);
                if let Err(error) = put.await {
                    found.service_failed("storing the state of a discarded batch", &error);
                }
            }
            let Err(error) = repaired else {
                found.repaired.batches_resolved += 1;
                continue;
            };
            open += 1;
            let reason = cut(&Chain(&error).to_string());
            tracing::error!(reason, "a discarded batch is open");
            found.findings.push(Finding::Batch {
                object: batch.object,
                function,
                since: time(batch.since),
                reason,
            });
        }
        found.gauges.batches_open = Some(open);
    }

    /// The batches that are neither resolved nor dismissed: of the bucket's objects, and of deleted objects
    /// whose stored state is open.
    async fn open_batches(&self) -> Result<Vec<OpenBatch>, ServiceError> {
        let mut states: BTreeMap<String, Attributes> = BTreeMap::new();
        loop {
            let after = states.last_key_value().map(|(name, _)| name.as_str());
            let page = self.services.items(state::BATCH, after).await?;
            let is_last = !page.more || page.items.is_empty();
            states.extend(page.items);
            if is_last {
                break;
            }
        }
        let is_open = |item: &Attributes| BatchState::read(item) == BatchState::Open;
        let mut open = Vec::new();
        let mut after = None;
        loop {
            let page = self.services.objects(after.as_deref()).await?;
            for object in page.objects {
                let state = states.remove(&object.key);
                if state.as_ref().is_none_or(is_open) {
                    open.push(OpenBatch {
                        since: object.written,
                        object: object.key,
                        is_stored: state.is_some(),
                    });
                }
            }
            after = page.after;
            if after.is_none() {
                break;
            }
        }
        let gone = states.into_iter().filter(|(_, item)| is_open(item));
        open.extend(gone.map(|(object, item)| OpenBatch {
            object,
            since: state::since(&item).unwrap_or_else(|| self.now()),
            is_stored: true,
        }));
        Ok(open)
    }

    /// Repairs a batch, and returns without an error only if it is shown to be repaired: the cursors or
    /// views were read and include its events, or the archiver has accepted it again.
    async fn repair_batch(
        &self,
        object: &str,
        permitted: Permitted,
        budget: Budget,
        function: &mut String,
    ) -> Result<(), StaysOpen> {
        let content = self.services.object(object).await?;
        let batch = DiscardedBatch::read(&content.ok_or(StaysOpen::Gone)?)?;
        function.clone_from(&batch.function);
        let (outcome, is_permitted) = if batch.function == self.functions.translator {
            (Outcome::Published, permitted.publish)
        } else if batch.function == self.functions.projector {
            (Outcome::Projected, permitted.project)
        } else if batch.function == self.functions.archiver {
            (Outcome::Archived, permitted.archive)
        } else {
            return Err(StaysOpen::UnknownFunction(batch.function));
        };
        let is_known = batch.is_complete && outcome != Outcome::Archived;
        if is_known && self.count_missing(&batch, outcome, budget).await? == 0 {
            return Ok(());
        }
        self.deliver_again(&batch, is_permitted).await?;
        match self.count_missing(&batch, outcome, budget).await? {
            0 => Ok(()),
            count => Err(StaysOpen::NotIncluded { count, outcome }),
        }
    }

    /// The number of aggregates whose events are not yet published or projected. It is 0 for the archiver:
    /// only the function's response shows whether a batch was completed.
    async fn count_missing(
        &self,
        batch: &DiscardedBatch,
        outcome: Outcome,
        budget: Budget,
    ) -> Result<usize, ServiceError> {
        match outcome {
            Outcome::Published => self.count_unpublished(batch, budget).await,
            Outcome::Projected => self.count_unprojected(batch).await,
            Outcome::Archived => Ok(0),
        }
    }

    async fn count_unpublished(
        &self,
        batch: &DiscardedBatch,
        budget: Budget,
    ) -> Result<usize, ServiceError> {
        let ids = batch.through.keys().cloned().collect();
        let cursors = self.cursors(&ids, budget).await?;
        let is_published = |id: &String, through: Sequence| match cursors.get(id) {
            Some(Ok(cursor)) => cursor.published_through >= through,
            Some(Err(_)) => false,
            None => through == Sequence::NONE,
        };
        let through = batch.through.iter();
        let unpublished = through.filter(|(id, through)| !is_published(id, **through));
        Ok(unpublished.count())
    }

    async fn count_unprojected(&self, batch: &DiscardedBatch) -> Result<usize, ServiceError> {
        let mut unprojected = 0;
        for (id, through) in &batch.through {
            let item = self.services.view(id).await?;
            let is_included = sequence_of(item.as_ref()).is_some_and(|reached| reached >= *through);
            unprojected += usize::from(!is_included);
        }
        Ok(unprojected)
    }

    /// Invokes the batch's function with its payload.
    async fn deliver_again(
        &self,
        batch: &DiscardedBatch,
        is_permitted: bool,
    ) -> Result<(), StaysOpen> {
        if !is_permitted {
            return Err(StaysOpen::NotPermitted(batch.function.clone()));
        }
        let response = self
            .services
            .invoke(&batch.function, &batch.payload)
            .await?;
        if is_completed(&response) {
            Ok(())
        } else {
            Err(StaysOpen::NotCompleted(batch.function.clone()))
        }
    }
}
