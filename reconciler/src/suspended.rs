//! Blocked and parked aggregates, which the cursor table's index lists.

use std::collections::{BTreeMap, BTreeSet};

use millrace_core::{Attribute, Sequence, Timestamp, row, spread};
use millrace_runtime::{Ambient, Budget, ServiceError};
use millrace_translator::cursor::{Cursor, Suspension, load_all};
use millrace_translator::ports::EventRows;

use crate::ports::{Marker, Publishes, Services};
use crate::report::{Finding, cut, number, time};
use crate::service::{Found, Permitted, Reconciler};

/// How many aggregates are published concurrently. With more, each would have less memory.
pub(crate) const TOGETHER: usize = 200;
/// For how many aggregates the time of the oldest unpublished event is read from its row. For the others,
/// the marker's time is used.
const MAX_OLDEST: usize = 50;

impl<T: Publishes, S: Services> Reconciler<T, S> {
    /// The aggregates with a marker, as the index lists them.
    pub(crate) async fn marked(&self, marker: Marker) -> Result<BTreeSet<String>, ServiceError> {
        let mut ids = BTreeSet::new();
        for partition in 0..spread::PARTITIONS {
            let mut after = None;
            loop {
                let page = self
                    .services
                    .marked(marker, partition, after.as_ref())
                    .await?;
                ids.extend(page.ids);
                after = page.after;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(ids)
    }

    /// Publishes the pending events of blocked and parked aggregates, and reports those that are still
    /// suspended. Returns the aggregates that the index lists.
    pub(crate) async fn reconcile_suspended(
        &self,
        permitted: Permitted,
        budget: Budget,
        found: &mut Found,
    ) -> BTreeSet<String> {
        let (mut ids, mut is_read) = (BTreeSet::new(), true);
        for marker in [Marker::Blocked, Marker::Parked] {
            match self.marked(marker).await {
                Ok(marked) => ids.extend(marked),
                Err(error) => {
                    is_read = false;
                    found.service_failed(
                        &format!("the index of {} aggregates", <&str>::from(marker)),
                        &error,
                    );
                }
            }
        }
        if permitted.publish {
            self.publish_all(&ids, budget).await;
        }
        match self.cursors(&ids, budget).await {
            Ok(cursors) => {
                let (blocked, parked) = self.report_suspended(&ids, cursors, found).await;
                if is_read {
                    found.gauges.aggregates_blocked = Some(blocked);
                    found.gauges.aggregates_parked = Some(parked);
                }
            }
            Err(error) => found.service_failed("the cursors of suspended aggregates", &error),
        }
        ids
    }

    /// Publishes the pending events of these aggregates, until the budget is spent.
    pub(crate) async fn publish_all(&self, ids: &BTreeSet<String>, budget: Budget) {
        let ids = self.rotated(ids.iter().cloned().collect());
        for together in ids.chunks(TOGETHER) {
            if budget.left().is_zero() {
                return;
            }
            self.translator
                .publish_pending(together.to_vec(), budget)
                .await;
        }
    }

    /// The list, rotated to a random start: if a run has no time for all of it, a later run handles the
    /// rest.
    pub(crate) fn rotated<I>(&self, mut list: Vec<I>) -> Vec<I> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "any place will do to begin at"
        )]
        let first = (self.translator.ambient().fraction() * list.len() as f64) as usize;
        let first = first.min(list.len());
        list.rotate_left(first);
        list
    }

    /// The stored cursors of these aggregates.
    pub(crate) async fn cursors(
        &self,
        ids: &BTreeSet<String>,
        budget: Budget,
    ) -> Result<BTreeMap<String, Result<Cursor, millrace_core::DecodeError>>, ServiceError> {
        let wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
        let (cursors, ambient) = (self.translator.cursors(), self.translator.ambient());
        let loaded = load_all(cursors, &wanted, budget, ambient).await?;
        Ok(loaded.into_iter().collect())
    }

    async fn report_suspended(
        &self,
        ids: &BTreeSet<String>,
        mut cursors: BTreeMap<String, Result<Cursor, millrace_core::DecodeError>>,
        found: &mut Found,
    ) -> (u64, u64) {
        let (mut blocked, mut parked) = (0, 0);
        for id in ids {
            let cursor = match cursors.remove(id) {
                None => continue,
                Some(Ok(cursor)) => cursor,
                Some(Err(error)) => {
                    blocked += 1;
                    found.findings.push(Finding::Blocked {
                        id: id.clone(),
                        sequence: 0,
                        row: None,
                        reason: cut(&format!("the cursor can't be read: {error}")),
                        since: String::new(),
                    });
                    continue;
                }
            };
            let since = match &cursor.suspended {
                None => {
                    found.repaired.published += 1;
                    continue;
                }
                Some(Suspension::Blocked(block)) => {
                    blocked += 1;
                    found.findings.push(Finding::Blocked {
                        id: id.clone(),
                        sequence: number(block.sequence),
                        row: block.row.clone(),
                        reason: cut(&block.reason),
                        since: time(block.since),
                    });
                    block.since
                }
                Some(Suspension::Parked(marker)) => {
                    parked += 1;
                    found.findings.push(Finding::Parked {
                        id: id.clone(),
                        through: number(marker.through),
                        published_through: number(cursor.published_through),
                        since: time(marker.since),
                    });
                    marker.since
                }
            };
            let oldest = if found.unpublished.len() < MAX_OLDEST {
                self.first_unpublished(id, cursor.published_through).await
            } else {
                None
            };
            found.unpublished.push(oldest.unwrap_or(since));
        }
        (blocked, parked)
    }

    /// The time of the event after this one; `None` if its row can't be read.
    pub(crate) async fn first_unpublished(
        &self,
        id: &str,
        published_through: Sequence,
    ) -> Option<Timestamp> {
        let version = published_through.next().version()?;
        let row = self.translator.rows().row(id, &version.to_string()).await;
        match row.ok()??.get(row::TIMESTAMP)? {
            Attribute::Text(text) => Timestamp::parse(text).ok(),
            _ => None,
        }
    }
}
