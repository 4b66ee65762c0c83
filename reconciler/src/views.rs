//! Views: those that are stale, which the view table's index lists, and the events that a view lacks.
//!
//! The projector repairs a view: the reconciler invokes it with the missing events, in the form in which
//! Kinesis delivers them.

use std::collections::BTreeSet;

use millrace_core::{Attributes, Sequence, view};
use millrace_projector::stale::Stale;
use millrace_runtime::kinesis_event::{Delivered, EventRecord, MAX_EVENT_BYTES, MAX_EVENTS};
use millrace_runtime::{Ambient as _, Budget, Chain, ServiceError};
use millrace_translator::published::{PublishedEvent, PublishedEvents, ReadError};
use serde_json::{Value, json};

use crate::ports::{Marker, Publishes, Services};
use crate::report::{Finding, cut, number, time};
use crate::service::{Found, Permitted, Reconciler};

/// Why a view could not be repaired.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRepaired {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("the projector did not complete the events")]
    NotCompleted,
    #[error(
        "the view can't be read, or an event that it needs is missing or can't be read or encoded"
    )]
    Unreadable,
    #[error("the run's time was used up")]
    OutOfTime,
}

/// Events in the order of their aggregate, to be projected.
#[derive(Default)]
struct Events {
    events: Vec<PublishedEvent>,
    bytes: usize,
}

impl Events {
    fn push(&mut self, event: PublishedEvent) {
        self.bytes += event.data.len();
        self.events.push(event);
    }

    const fn is_full(&self) -> bool {
        self.events.len() >= MAX_EVENTS || self.bytes >= MAX_EVENT_BYTES
    }
}

/// Whether a function's response reports no record.
pub(crate) fn is_completed(response: &Value) -> bool {
    let failures = response["batchItemFailures"].as_array();
    failures.is_some_and(Vec::is_empty)
}

/// The last event that a view's item includes; `None` if the item can't be read.
pub(crate) fn sequence_of(item: Option<&Attributes>) -> Option<Sequence> {
    let Some(item) = item else {
        return Some(Sequence::NONE);
    };
    let number = item.get(view::SEQUENCE)?.as_integer()?;
    u64::try_from(number).ok().and_then(Sequence::new)
}

impl<T: Publishes, S: Services> Reconciler<T, S> {
    /// Repairs the views that are stale, as far as their events are published, and reports those that are
    /// stale still. Returns the aggregates that the index lists.
    pub(crate) async fn reconcile_stale(
        &self,
        permitted: Permitted,
        budget: Budget,
        found: &mut Found,
    ) -> BTreeSet<String> {
        let ids = match self.marked(Marker::Stale).await {
            Ok(ids) => ids,
            Err(error) => {
                found.service_failed("the index of stale views", &error);
                return BTreeSet::new();
            }
        };
        let (mut stale, mut is_read) = (0, true);
        for (examined, id) in self.rotated(ids.iter().collect()).into_iter().enumerate() {
            if budget.left().is_zero() {
                is_read = false;
                found.out_of_time("the stale views", examined, ids.len());
                break;
            }
            match self
                .reconcile_stale_view(id, permitted, budget, found)
                .await
            {
                Ok(is_stale) => stale += u64::from(is_stale),
                Err(error) => {
                    is_read = false;
                    found.service_failed("a stale view", &error);
                }
            }
        }
        found.gauges.views_stale = is_read.then_some(stale);
        ids
    }

    /// Repairs one view, and returns whether it is stale still.
    async fn reconcile_stale_view(
        &self,
        id: &str,
        permitted: Permitted,
        budget: Budget,
        found: &mut Found,
    ) -> Result<bool, ServiceError> {
        let item = self.services.view(id).await?;
        if item.as_ref().and_then(Stale::read).is_none() {
            return Ok(false);
        }
        if permitted.project
            && let Err(error) = self.repair_view(id, item.as_ref(), budget).await
        {
            tracing::warn!(error = %Chain(&error), "a view could not be repaired; the next run retries it");
        }
        let item = self.services.view(id).await?;
        let Some(stale) = item.as_ref().and_then(Stale::read) else {
            found.repaired.views_repaired += 1;
            return Ok(false);
        };
        found.findings.push(Finding::Stale {
            id: id.to_owned(),
            sequence: sequence_of(item.as_ref()).map_or(0, number),
            until: number(stale.until),
            reason: cut(&stale.reason),
            since: time(stale.since),
        });
        Ok(true)
    }

    /// Invokes the projector with the published events that a view lacks, in order.
    ///
    /// # Errors
    /// [`NotRepaired`]: the view includes the events before the one that could not be projected.
    pub(crate) async fn repair_view(
        &self,
        id: &str,
        item: Option<&Attributes>,
        budget: Budget,
    ) -> Result<(), NotRepaired> {
        let after = sequence_of(item).ok_or(NotRepaired::Unreadable)?;
        let cursors = self.cursors(&[id.to_owned()].into(), budget).await?;
        let Some(Ok(cursor)) = cursors.get(id) else {
            return Ok(());
        };
        let through = cursor.published_through;
        if after >= through {
            return Ok(());
        }
        let (domain, rows) = (self.translator.domain(), self.translator.rows());
        let mut published = PublishedEvents::new(domain, rows, id, after, through);
        let mut events = Events::default();
        loop {
            if budget.left().is_zero() {
                return Err(NotRepaired::OutOfTime);
            }
            let (event, is_readable) = match published.next().await {
                Ok(event) => (event, true),
                Err(ReadError::Service(error)) => return Err(error.into()),
                Err(ReadError::Unreadable { .. } | ReadError::Missing(_)) => (None, false),
            };
            let is_last = event.is_none();
            if let Some(event) = event {
                events.push(event);
            }
            if events.is_full() || (is_last && !events.events.is_empty()) {
                self.project(id, std::mem::take(&mut events)).await?;
            }
            if is_last {
                return if is_readable {
                    Ok(())
                } else {
                    Err(NotRepaired::Unreadable)
                };
            }
        }
    }

    async fn project(&self, id: &str, events: Events) -> Result<(), NotRepaired> {
        let now = self.translator.ambient().now();
        let records = events.events.iter().map(|event| {
            EventRecord::new(Delivered {
                by: "reconciler",
                stream: "",
                aggregate: id,
                sequence_number: event.sequence.to_string(),
                data: &event.data,
                at: now,
            })
        });
        let payload = json!({ "Records": records.collect::<Vec<_>>() });
        let response = self
            .services
            .invoke(&self.functions.projector, &payload)
            .await?;
        if is_completed(&response) {
            Ok(())
        } else {
            Err(NotRepaired::NotCompleted)
        }
    }
}
