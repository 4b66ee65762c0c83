//! Views: those that are stale, which the view table's index lists, and the events that a view lacks.
//!
//! The projector repairs a view: the reconciler invokes it with the missing events, in the form in which
//! Kinesis delivers them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use millrace_core::{
    Attributes, Domain, Envelope, Sequence, StoredRow, StoredRowOf, Version, row, view,
};
use millrace_projector::stale::Stale;
use millrace_runtime::{Budget, Chain, ServiceError, isolated};
use millrace_translator::ports::EventRows;
use serde_json::{Value, json};

use crate::ports::{Marker, Publishes, Services};
use crate::report::{Finding, cut, number, time};
use crate::service::{Found, Permitted, Reconciler};

/// The most events of one invocation of the projector.
const MAX_EVENTS: usize = 500;
/// The most bytes of their data, before base64. A synchronous invocation takes 6 MB
/// ([limits](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)).
const MAX_EVENT_BYTES: usize = 3 * 1024 * 1024;

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
    records: Vec<Value>,
    bytes: usize,
}

impl Events {
    fn push(&mut self, aggregate: &str, sequence: Sequence, data: &[u8]) {
        self.bytes += data.len();
        self.records.push(record(aggregate, sequence, data));
    }

    const fn is_full(&self) -> bool {
        self.records.len() >= MAX_EVENTS || self.bytes >= MAX_EVENT_BYTES
    }
}

/// A record as Lambda delivers it from a Kinesis stream
/// ([example](https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html)).
fn record(aggregate: &str, sequence: Sequence, data: &[u8]) -> Value {
    json!({
        "eventID": format!("reconciler:{sequence}"),
        "eventName": "aws:kinesis:record",
        "eventSource": "aws:kinesis",
        "eventSourceARN": "",
        "eventVersion": "1.0",
        "invokeIdentityArn": "",
        "awsRegion": "",
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": aggregate,
            "sequenceNumber": sequence.to_string(),
            "data": BASE64.encode(data),
            "approximateArrivalTimestamp": 0.0,
        },
    })
}

/// A row as it is read for a view.
struct Read {
    version: Version,
    /// `None` if the row is a snapshot.
    sequence: Option<Sequence>,
    /// The event as it was published, if the view lacks it.
    data: Option<Vec<u8>>,
}

/// Reads a row. `context` contains the events before it. `None` if the row can't be read or its event can't
/// be encoded.
fn read_row<D: Domain>(
    domain: &D,
    context: &mut D::Context,
    row: &Attributes,
    after: Sequence,
) -> Option<Read> {
    let row = StoredRowOf::<D>::read(domain, row).ok()?;
    let version = row.version();
    let StoredRow::Event(event) = row else {
        return Some(Read {
            version,
            sequence: None,
            data: None,
        });
    };
    let sequence = event.sequence();
    let envelope = Envelope::publish::<D>(context, &event);
    let data = if sequence > after {
        Some(envelope?.to_bytes::<D>().ok()?)
    } else {
        None
    };
    Some(Read {
        version,
        sequence: Some(sequence),
        data,
    })
}

/// Whether an undecodable row has a version that no event has. Such a row was never published, so the events
/// after it don't depend on it.
fn has_no_events_version(row: &Attributes) -> bool {
    row::version(row).map_or(true, Version::is_snapshot)
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
        let (mut context, mut last_row) = (Default::default(), None);
        let (mut events, mut reached) = (Events::default(), Sequence::NONE);
        'pages: loop {
            if budget.left().is_zero() {
                return Err(NotRepaired::OutOfTime);
            }
            let before = last_row;
            let page = self
                .translator
                .rows()
                .page(id, last_row, None, MAX_EVENTS)
                .await?;
            for row in &page.rows {
                let domain = self.translator.domain();
                let read = isolated(|| read_row(domain, &mut context, row, after));
                let Ok(Some(read)) = read else {
                    if has_no_events_version(row) {
                        continue;
                    }
                    break 'pages;
                };
                last_row = Some(read.version);
                let Some(sequence) = read.sequence else {
                    continue;
                };
                if sequence != reached.next() {
                    break 'pages;
                }
                if let Some(data) = read.data {
                    events.push(id, sequence, &data);
                }
                if events.is_full() {
                    self.project(std::mem::take(&mut events)).await?;
                }
                reached = sequence;
                if reached >= through {
                    break 'pages;
                }
            }
            if !page.more || last_row == before {
                break;
            }
        }
        if !events.records.is_empty() {
            self.project(events).await?;
        }
        if reached < through {
            return Err(NotRepaired::Unreadable);
        }
        Ok(())
    }

    async fn project(&self, events: Events) -> Result<(), NotRepaired> {
        let payload = json!({ "Records": events.records });
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
