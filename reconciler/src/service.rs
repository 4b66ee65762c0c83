//! The steps of a run: mappings, suspended aggregates, stale views, discarded batches, and the slow pass.

use std::time::Duration;

use millrace_core::Timestamp;
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};
use tracing::{Instrument as _, info_span};

use crate::handler::RESERVE;
use crate::mapping::{failing, is_delivering, unhealthy};
use crate::ports::{Mapping, Publishes, Services, Source};
use crate::report::{
    Finding, Gauges, MAX_FINDINGS, MAX_NOT_READ, NotRead, Pass, Repaired, Report, cut, time,
};
use crate::state::{self, BatchState};

/// The names of the functions that the reconciler knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionNames {
    /// The translator.
    pub translator: String,
    /// The projector.
    pub projector: String,
    /// The archiver.
    pub archiver: String,
}

/// The reconciler with its services.
#[derive(Debug, Clone)]
pub struct Reconciler<T, S> {
    /// The translator, with the services that it publishes through.
    pub translator: T,
    /// The other services.
    pub services: S,
    /// The functions' names.
    pub functions: FunctionNames,
    /// The most aggregates that a run examines in the slow pass. Each costs four reads.
    pub pass_aggregates: u32,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// The run examined what its report says.
    Done(Box<Report>),
    /// Nothing was done, because another run is under way.
    LeaseHeld,
}

/// What a run has found so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) gauges: Gauges,
    pub(crate) findings: Vec<Finding>,
    pub(crate) not_read: Vec<NotRead>,
    pub(crate) repaired: Repaired,
    /// The times of the oldest unpublished events, one for each aggregate that has some.
    pub(crate) unpublished: Vec<Timestamp>,
}

/// What a run may do, according to the mappings: while a function's mapping isn't enabled, the reconciler
/// doesn't do the function's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permitted {
    pub(crate) publish: bool,
    pub(crate) project: bool,
    pub(crate) archive: bool,
}

impl Found {
    pub(crate) fn service_failed(&mut self, source: &str, error: &ServiceError) {
        let reason = cut(&Chain(error).to_string());
        tracing::error!(
            source,
            reason,
            "an operation of the run failed; the next run retries it"
        );
        self.not_read(source, reason);
    }

    /// Reports that the run had no time for all of a source.
    pub(crate) fn out_of_time(&mut self, source: &str, examined: usize, of: usize) {
        tracing::warn!(
            source,
            examined,
            of,
            "the run's time for a source is used up; a later run examines the rest"
        );
        let reason =
            format!("{examined} of {of} were examined before the run's time for them was used up");
        self.not_read(source, reason);
    }

    fn not_read(&mut self, source: &str, reason: String) {
        let source = source.to_owned();
        let not_read = NotRead { source, reason };
        if self.not_read.len() < MAX_NOT_READ && !self.not_read.contains(&not_read) {
            self.not_read.push(not_read);
        }
    }
}

/// A part of a budget's remaining time.
pub(crate) fn share(budget: Budget, part: f64) -> Budget {
    Budget::lasting(budget.left().mul_f64(part))
}

impl<T: Publishes, S: Services> Reconciler<T, S> {
    /// Runs once: examines, repairs, reports, and continues the slow pass, until everything is done or the
    /// budget is spent. `dismissed` are the keys of discarded batches that an operator dismisses.
    ///
    /// A run that ends early loses nothing: each repair is safe to repeat, and what wasn't examined is
    /// named in the report.
    ///
    /// # Errors
    /// [`ServiceError`] if the lease could not be taken.
    pub async fn run(
        &self,
        request_id: &str,
        dismissed: &[String],
        budget: Budget,
    ) -> Result<Run, ServiceError> {
        let started = self.now();
        // The budget and its reserve are the invocation's time.
        let until = time_after(started, budget.left() + RESERVE);
        if !self.services.acquire(request_id, started, until).await? {
            tracing::info!("another run is under way");
            return Ok(Run::LeaseHeld);
        }
        let (found, pass) = self.reconcile(dismissed, budget).await;
        let report = self.report(request_id, started, found, pass);
        self.translator
            .ambient()
            .measure(request_id, &report.gauges.metrics());
        self.store(&report).await;
        if let Err(error) = self.services.release(request_id).await {
            tracing::warn!(error = %Chain(&error), "the lease could not be released; it expires");
        }
        Ok(Run::Done(Box::new(report)))
    }

    async fn reconcile(&self, dismissed: &[String], budget: Budget) -> (Found, Pass) {
        let mut found = Found::default();
        for object in dismissed {
            match self.dismiss(object).await {
                Ok(true) => {}
                Ok(false) => {
                    let reason = "there is no discarded batch with this key".to_owned();
                    found.not_read(&format!("dismissing {}", cut(object)), reason);
                }
                Err(error) => found.service_failed("dismissing a discarded batch", &error),
            }
        }
        let permitted = self.check_mappings(&mut found).await;
        let suspended = self.reconcile_suspended(permitted, share(budget, 0.4), &mut found);
        let suspended = suspended.instrument(info_span!("suspended")).await;
        let stale = self.reconcile_stale(permitted, share(budget, 0.3), &mut found);
        let stale = stale.instrument(info_span!("stale")).await;
        let batches = self.reconcile_batches(permitted, share(budget, 0.3), &mut found);
        batches.instrument(info_span!("batches")).await;
        let listed = crate::pass::Listed { suspended, stale };
        let pass = self.continue_pass(permitted, &listed, share(budget, 0.8), &mut found);
        let pass = pass.instrument(info_span!("pass")).await;
        found.gauges.oldest_unpublished_millis = self.oldest_unpublished(&found);
        (found, pass)
    }

    /// Dismisses a discarded batch. `false` if there is none: neither an object nor a stored state.
    async fn dismiss(&self, object: &str) -> Result<bool, ServiceError> {
        let is_known = self.services.item(state::BATCH, object).await?.is_some()
            || self.services.object(object).await?.is_some();
        if is_known {
            let item = BatchState::Dismissed.to_item(self.now(), self.now());
            self.services.put_item(state::BATCH, object, item).await?;
        }
        Ok(is_known)
    }

    /// The age of the oldest event that isn't published; `None` if a source of it could not be read.
    fn oldest_unpublished(&self, found: &Found) -> Option<u64> {
        let Gauges {
            aggregates_blocked: Some(_),
            aggregates_parked: Some(_),
            aggregates_lagging: Some(_),
            ..
        } = found.gauges
        else {
            return None;
        };
        let Some(oldest) = found.unpublished.iter().min() else {
            return Some(0);
        };
        let age = self.now().unix_millis() - oldest.unix_millis();
        Some(u64::try_from(age).unwrap_or_default())
    }

    /// Reports the mappings that don't deliver. Without knowing them, nothing is published or projected:
    /// an operator may have disabled a mapping on purpose.
    async fn check_mappings(&self, found: &mut Found) -> Permitted {
        let (events, domain) = (
            self.services.mappings(Source::Events).await,
            self.services.mappings(Source::Domain).await,
        );
        let mappings: Vec<Mapping> = match (events, domain) {
            (Ok(events), Ok(domain)) => events.into_iter().chain(domain).collect(),
            (Err(error), _) | (_, Err(error)) => {
                found.service_failed("mappings", &error);
                return Permitted {
                    publish: false,
                    project: false,
                    archive: false,
                };
            }
        };
        let failed_before = match self.stored_failing().await {
            Ok(failed_before) => failed_before,
            Err(error) => {
                found.service_failed("the mappings' results of the previous run", &error);
                Vec::new()
            }
        };
        let FunctionNames {
            translator,
            projector,
            archiver,
        } = &self.functions;
        let expected = [
            (translator.as_str(), Source::Events),
            (projector.as_str(), Source::Domain),
            (archiver.as_str(), Source::Domain),
        ];
        let unhealthy = unhealthy(&mappings, &failed_before.into_iter().collect(), &expected);
        found.gauges.mappings_unhealthy = u64::try_from(unhealthy.len()).ok();
        found.findings.extend(unhealthy.into_iter().map(|it| {
            tracing::error!(
                mapping = it.mapping.id,
                reason = it.reason,
                "a mapping doesn't deliver"
            );
            Finding::Mapping {
                uuid: it.mapping.id,
                function: it.mapping.function,
                state: it.mapping.state,
                reason: it.reason,
            }
        }));
        self.store_failing(&mappings, found).await;
        let delivers = |(function, source): (&str, Source)| {
            mappings.iter().any(|mapping| {
                mapping.function == function && mapping.source == source && is_delivering(mapping)
            })
        };
        Permitted {
            publish: delivers(expected[0]),
            project: delivers(expected[1]),
            archive: delivers(expected[2]),
        }
    }

    async fn stored_failing(&self) -> Result<Vec<String>, ServiceError> {
        let item = self
            .services
            .item(state::PROGRESS, state::FAILING_MAPPINGS)
            .await?;
        Ok(item.map(|item| state::read_ids(&item)).unwrap_or_default())
    }

    async fn store_failing(&self, mappings: &[Mapping], found: &mut Found) {
        let item = state::ids_item(failing(mappings));
        let put = self
            .services
            .put_item(state::PROGRESS, state::FAILING_MAPPINGS, item);
        if let Err(error) = put.await {
            found.service_failed("storing the mappings' results", &error);
        }
    }

    fn report(&self, request_id: &str, started: Timestamp, found: Found, pass: Pass) -> Report {
        let millis = self.now().unix_millis() - started.unix_millis();
        let mut findings = found.findings;
        let findings_omitted = findings.len().saturating_sub(MAX_FINDINGS);
        findings.truncate(MAX_FINDINGS);
        Report {
            at: time(started),
            request_id: request_id.to_owned(),
            millis: u64::try_from(millis).unwrap_or_default(),
            gauges: found.gauges,
            findings,
            findings_omitted,
            repaired: found.repaired,
            not_read: found.not_read,
            pass,
        }
    }

    async fn store(&self, report: &Report) {
        let item = state::report_item(report);
        let stored = self.services.put_item(state::REPORT, state::LAST, item);
        if let Err(error) = stored.await {
            tracing::error!(error = %Chain(&error), "the report could not be stored");
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.translator.ambient().now()
    }
}

/// A time this much later.
fn time_after(time: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(time.unix_millis().saturating_add(millis)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_a_source_once_and_not_without_end() {
        let mut found = Found::default();
        for _ in 0..3 {
            found.out_of_time("views", 1, 2);
        }
        assert_eq!(found.not_read.len(), 1);
        for examined in 0..1_000 {
            found.out_of_time("views", examined, 1_000);
        }
        assert_eq!(found.not_read.len(), MAX_NOT_READ);
    }
}
