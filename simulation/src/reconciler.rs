//! The reconciler: a schedule invokes it next to the live functions, sometimes twice at the same time. Its code
//! runs over the simulated services, with their faults, and may be killed between any two calls.
//!
//! After the faults, its last report must name everything that is incomplete. A discarded batch that only an
//! earlier report named counts as not reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use millrace_core::ids::is_reserved_id;
use millrace_core::{Attribute, Attributes, Timestamp, row, spread, view};
use millrace_projector::ports::{ReadModel as _, Saved};
use millrace_projector::stale::Stale;
use millrace_reconciler::ports::{
    FailureBucket, Functions, Mapping, MarkedPage, Marker, ObjectInfo, ObjectPage, SEGMENTS,
    Source, Store, StoredPage, Tables, Views,
};
use millrace_reconciler::report::{Finding, Report};
use millrace_reconciler::service::FunctionNames;
use millrace_reconciler::state::{self, BatchState};
use millrace_runtime::ServiceError;
use serde_json::{Value, json};

use super::dynamodb::events::text;
use super::expected;
use super::faults::Fault;
use super::functions::{ArchiverFunction, Function, ProjectorFunction, TranslatorFunction};
use super::invocation::invoke;
use super::log::{Stored, hash};
use super::mapping::{Outage, fails_at_start};
use super::sabotage::Sabotage;
use super::services::Services;
use super::sim::Sim;
use super::world::World;

/// The function's name.
pub(crate) const RECONCILER: &str = "reconciler";
/// The reconciler's timeout in the CDK app.
const TIME: Duration = Duration::from_mins(5);
/// The other functions' timeout in the CDK app.
const FUNCTION_TIME: Duration = Duration::from_mins(1);
/// The most runs after the faults until a run changes nothing.
const MAX_RUNS: u32 = 60;
/// The pause between two runs after the faults. After five minutes, the reconciler no longer waits for an event's
/// delivery.
const PAUSE: Duration = Duration::from_mins(6);

/// The state of the reconciler's services, and values for the checks.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The schedule's interval, in milliseconds.
    pub(crate) interval: u64,
    /// The most aggregates of one run's pass.
    pub(crate) pass_aggregates: u32,
    /// The failure bucket.
    objects: BTreeMap<String, Object>,
    /// The reconciler table.
    items: BTreeMap<(String, String), Attributes>,
    lease: Option<(String, Timestamp)>,
    /// The number of consecutive runs in which a function's mapping didn't deliver.
    outage_runs: BTreeMap<(&'static str, Outage), u32>,
    /// The report of the last run that ended.
    report: Option<Report>,
    /// The last invocation that began to write to the reconciler table, and the invocations that wrote before it.
    writer: Option<u64>,
    earlier_writers: BTreeSet<u64>,
}

/// An object of the failure bucket.
#[derive(Debug)]
struct Object {
    written: Timestamp,
    content: Vec<u8>,
    aggregates: BTreeSet<String>,
}

impl State {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self {
            interval: [60_000, 300_000][rng.usize(0..2)],
            pass_aggregates: [8, 40, 2_000][rng.usize(0..3)],
            ..Self::default()
        }
    }
}

pub(crate) fn functions() -> FunctionNames {
    FunctionNames {
        translator: TranslatorFunction::NAME.to_owned(),
        projector: ProjectorFunction::NAME.to_owned(),
        archiver: ArchiverFunction::NAME.to_owned(),
    }
}

/// Writes a discarded batch into the failure bucket, as Lambda does.
pub(crate) fn discard<F: Function>(
    world: &mut World,
    records: &[Stored<F::Record>],
    at: Timestamp,
) {
    let arn = format!(
        "arn:aws:lambda:eu-north-1:000000000000:function:{}",
        F::NAME
    );
    let content = json!({
        "requestContext": {"functionArn": arn, "condition": "RetryAttemptsExhausted"},
        "version": "1.0",
        "payload": F::payload(records).to_string(),
    });
    let count = world.reconciler.objects.len();
    let key = format!("aws/lambda/{}/{count:06}", F::NAME);
    let keys = records.iter().map(|it| F::key(&it.record).to_owned());
    let object = Object {
        written: at,
        content: content.to_string().into_bytes(),
        aggregates: keys.collect(),
    };
    world.reconciler.objects.insert(key, object);
}

/// The `LastProcessingResult` that Lambda reports for a mapping.
fn last_result(world: &World, function: &str) -> &'static str {
    if world.outages.get(function) == Some(&Outage::NoPermission) {
        "PROBLEM: Cannot access stream. Please ensure the role can perform the GetRecords, \
         GetShardIterator, and DescribeStream Actions on your stream in IAM."
    } else if world.failed_calls.contains(function) {
        "PROBLEM: Function call failed"
    } else {
        "OK"
    }
}

/// The functions whose mapping doesn't deliver, if the Lambda API already shows it.
fn outages(world: &World) -> BTreeSet<(&'static str, Outage)> {
    let outages = world.outages.iter();
    let shown = outages.filter(|(function, outage)| {
        **outage != Outage::FailsAtStart || world.failed_calls.contains(*function)
    });
    shown
        .map(|(function, outage)| (*function, *outage))
        .collect()
}

/// Property 4: the third consecutive run during an outage reports the mapping, unless a run could not read one of
/// its sources.
fn outages_are_reported(
    world: &mut World,
    begin: &BTreeSet<(&'static str, Outage)>,
    report: Option<&Report>,
) {
    let lasting = outages(world);
    let runs = &mut world.reconciler.outage_runs;
    let report = report.filter(|report| report.not_read.is_empty());
    runs.retain(|outage, _| report.is_some() && lasting.contains(outage));
    let Some(report) = report else { return };
    for outage in begin.intersection(&lasting) {
        *runs.entry(*outage).or_default() += 1;
    }
    let is_named = |name: &str| {
        let mut findings = report.findings.iter();
        findings
            .any(|finding| matches!(finding, Finding::Mapping { function, .. } if function == name))
    };
    let mut long = runs.iter().filter(|(_, runs)| **runs > 2);
    let silent = long.find(|((function, _), _)| !is_named(function));
    if let Some(((function, _), _)) = silent {
        let what =
            format!("the {function}'s mapping doesn't deliver, and the report doesn't name it");
        world.violated("4", what);
    }
}

/// Invokes the reconciler until the simulation ends.
pub(crate) async fn schedule(sim: Arc<Sim>) {
    loop {
        let (interval, twice) = {
            let mut world = sim.world();
            (world.reconciler.interval, world.rng.u8(0..8) == 0)
        };
        tokio::time::sleep(Duration::from_millis(interval)).await;
        for _ in 0..if twice { 2 } else { 1 } {
            let sim = Arc::clone(&sim);
            tokio::spawn(async move { run(&sim).await });
        }
    }
}

/// Runs the reconciler once; `None` if the run has no report.
async fn run(sim: &Arc<Sim>) -> Option<Report> {
    let begin = outages(&sim.world());
    let report = report(sim).await;
    outages_are_reported(&mut sim.world(), &begin, report.as_ref());
    report
}

async fn report(sim: &Arc<Sim>) -> Option<Report> {
    let report = invoke(
        sim,
        RECONCILER,
        TIME,
        BTreeMap::new(),
        |services, context| {
            let scenario = Arc::clone(&services.sim.scenario);
            scenario.reconcile(services, context)
        },
    );
    let report: Report = serde_json::from_value(report.await.ok()??).ok()?;
    sim.world().reconciler.report = Some(report.clone());
    Some(report)
}

/// Runs the reconciler after the faults until it has examined all aggregates and repairs nothing more.
pub(crate) async fn settle(sim: &Arc<Sim>) {
    if sim.world().is_sabotaged(Sabotage::ReconcilerOff) {
        return;
    }
    let mut quiet_since = None;
    for _ in 0..MAX_RUNS {
        tokio::time::sleep(PAUSE).await;
        let Some(report) = run(sim).await else {
            continue;
        };
        if !report.not_read.is_empty() {
            let what = format!(
                "sources were not read, although no service fails: {:?}",
                report.not_read
            );
            sim.world().violated("4", what);
            return;
        }
        let has_repaired = report.repaired != millrace_reconciler::report::Repaired::default();
        let passes = report.pass.completed_passes;
        if has_repaired || quiet_since.is_none() {
            quiet_since = Some(passes);
        } else if quiet_since.is_some_and(|since| passes >= since + 2) {
            return;
        }
    }
}

/// Property 4: the last report names every incomplete aggregate and every unresolved batch.
pub(crate) fn nothing_is_silent(world: &mut World) {
    let Some(report) = world.reconciler.report.clone() else {
        return world.violated("4", "the reconciler has no report");
    };
    if report.findings_omitted > 0 {
        return;
    }
    let is_ended = |object: &String| {
        let key = (state::BATCH.to_owned(), object.clone());
        let item = world.reconciler.items.get(&key);
        item.is_some_and(|item| BatchState::read(item) != BatchState::Open)
    };
    let mut objects = world.reconciler.objects.keys();
    let silent = objects.find(|object| !is_ended(object) && !is_batch_named(&report, object));
    if let Some(object) = silent {
        let what = format!("the discarded batch {object} is neither resolved nor reported");
        return world.violated("4", what);
    }
    for id in world.events.ids() {
        if world.damaged_views.contains(&id) || is_reported(world, &report, &id) {
            continue;
        }
        let events = expected::aggregate(world, &id).events.len();
        let events = u64::try_from(events).expect("few");
        let cursor = world.cursors.get(&id).cloned().unwrap_or_default();
        let view = world.views.get(&id);
        let shown = view.and_then(|view| view.get(view::SEQUENCE)?.as_integer());
        let shown = u64::try_from(shown.unwrap_or(0)).unwrap_or(0);
        let published = cursor.published_through.get();
        let is_stale = view.and_then(Stale::read).is_some();
        if published != events || cursor.blocked().is_some() || shown < events || is_stale {
            let what = format!(
                "{id}: {events} events, published through {published}, {shown} in the view, stale \
                 {is_stale}, but the reconciler doesn't report it: {report:?}"
            );
            return world.violated("4", what);
        }
    }
}

fn is_batch_named(report: &Report, key: &str) -> bool {
    let mut findings = report.findings.iter();
    findings.any(|finding| matches!(finding, Finding::Batch { object, .. } if object == key))
}

fn is_reported(world: &World, report: &Report, aggregate: &str) -> bool {
    report.findings.iter().any(|finding| match finding {
        Finding::Blocked { id, .. }
        | Finding::Parked { id, .. }
        | Finding::Lagging { id, .. }
        | Finding::Stale { id, .. }
        | Finding::ViewLagging { id, .. } => id == aggregate,
        Finding::Batch { object, .. } => {
            let object = world.reconciler.objects.get(object);
            object.is_some_and(|object| object.aggregates.contains(aggregate))
        }
        Finding::Mapping { .. } => false,
    })
}

/// Whether the last report names a discarded batch of this function that has a record of the aggregate.
pub(crate) fn is_batch_open(world: &World, function: &str, aggregate: &str) -> bool {
    let report = world.reconciler.report.iter();
    let mut findings = report.flat_map(|report| &report.findings);
    findings.any(|finding| {
        let Finding::Batch {
            object,
            function: of,
            ..
        } = finding
        else {
            return false;
        };
        let object = world.reconciler.objects.get(object);
        of == function && object.is_some_and(|object| object.aggregates.contains(aggregate))
    })
}

impl Tables for Services {
    async fn marked(
        &self,
        marker: Marker,
        partition: u8,
        after: Option<&Attributes>,
    ) -> Result<MarkedPage, ServiceError> {
        let after = after.map(|key| text(key, row::ID));
        let is_stale = self.strikes(Fault::IndexStale);
        self.read("Query of an index", |world| {
            let mut ids: Vec<String> = match marker {
                Marker::Blocked => {
                    let blocked = world.cursors.iter();
                    let blocked = blocked.filter(|(_, cursor)| cursor.blocked().is_some());
                    blocked.map(|(id, _)| id.clone()).collect()
                }
                Marker::Parked => {
                    let parked = world.cursors.iter();
                    let parked = parked.filter(|(_, cursor)| cursor.parked().is_some());
                    parked.map(|(id, _)| id.clone()).collect()
                }
                Marker::Stale => {
                    let views = world.views.iter();
                    let stale = views.filter(|(_, view)| Stale::read(view).is_some());
                    stale.map(|(id, _)| id.clone()).collect()
                }
            };
            if is_stale {
                // The index lacks some new markers, and still lists some removed ones.
                let World { cursors, rng, .. } = world;
                ids.retain(|_| rng.bool());
                ids.extend(cursors.keys().filter(|_| rng.u8(0..4) == 0).cloned());
                ids.sort_unstable();
                ids.dedup();
            }
            ids.retain(|id| spread::partition(id) == partition);
            ids.retain(|id| after.as_ref().is_none_or(|after| id > after));
            let most = world.rng.usize(1..20);
            let more = ids.len() > most;
            ids.truncate(most);
            let last = ids.last().filter(|_| more);
            let after = last.map(|id| [(row::ID.to_owned(), Attribute::text(id))].into());
            MarkedPage { ids, after }
        })
        .await
    }

    async fn next_id(
        &self,
        segment: u32,
        after: Option<&str>,
    ) -> Result<Option<String>, ServiceError> {
        self.read("Scan of one row", |world| {
            let mut ids = world.events.ids_after(after);
            let next = ids.find(|id| hash(id) % SEGMENTS == segment && !is_reserved_id(id));
            next.cloned()
        })
        .await
    }

    async fn newest_row(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        self.read("Query of the newest row", |world| {
            let mut rows = world.visible_rows(aggregate);
            rows.next_back().map(|(_, row)| row.clone())
        })
        .await
    }
}

impl Views for Services {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        millrace_projector::ports::ReadModel::view(self, aggregate).await
    }

    async fn mark_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Result<Saved, ServiceError> {
        self.set_stale(aggregate, attributes, read).await
    }
}

impl Functions for Services {
    async fn mappings(&self, source: Source) -> Result<Vec<Mapping>, ServiceError> {
        self.read("ListEventSourceMappings", |world| {
            let names: &[&str] = match source {
                Source::Events => &[TranslatorFunction::NAME],
                Source::Domain => &[ProjectorFunction::NAME, ArchiverFunction::NAME],
            };
            let mapping = |name: &&str| Mapping {
                id: format!("mapping-of-{name}"),
                function: (*name).to_owned(),
                source,
                state: if world.outages.get(name) == Some(&Outage::Disabled) {
                    "Disabled".to_owned()
                } else {
                    "Enabled".to_owned()
                },
                last_result: Some(last_result(world, name).to_owned()),
            };
            names.iter().map(mapping).collect()
        })
        .await
    }

    async fn invoke(&self, function: &str, payload: &Value) -> Result<Value, ServiceError> {
        const ACTION: &str = "Invoke";
        self.read(ACTION, |_| ()).await?;
        let reported = if function == TranslatorFunction::NAME {
            self.invoke_with::<TranslatorFunction>(payload).await
        } else if function == ProjectorFunction::NAME {
            self.invoke_with::<ProjectorFunction>(payload).await
        } else if function == ArchiverFunction::NAME {
            self.invoke_with::<ArchiverFunction>(payload).await
        } else {
            let what = format!("the reconciler invokes {function}");
            self.sim.world().violated("R", what);
            None
        };
        let reported = reported.ok_or_else(|| ServiceError::new(ACTION, "no response"))?;
        let failures: Vec<Value> = reported
            .into_iter()
            .map(|number| json!({ "itemIdentifier": number }))
            .collect();
        Ok(json!({ "batchItemFailures": failures }))
    }
}

impl Services {
    async fn invoke_with<F: Function>(&self, payload: &Value) -> Option<Vec<String>> {
        if fails_at_start::<F>(&self.sim.world()) {
            return None;
        }
        let payload = payload.clone();
        let none = BTreeMap::new();
        let handle = |services, context| F::handle_payload(services, context, payload);
        invoke(&self.sim, F::NAME, FUNCTION_TIME, none, handle)
            .await
            .ok()
    }

    /// Records the run that writes to the reconciler table. A run must not write again after another run has
    /// written.
    fn note_writer(&self) {
        let number = self.invocation.number();
        let mut world = self.sim.world();
        let state = &mut world.reconciler;
        if state.writer == Some(number) {
            return;
        }
        let earlier = state.writer.replace(number);
        state.earlier_writers.extend(earlier);
        if state.earlier_writers.contains(&number) {
            world.violated("R", "two runs of the reconciler write at the same time");
        }
    }
}

impl FailureBucket for Services {
    async fn objects(&self, after: Option<&str>) -> Result<ObjectPage, ServiceError> {
        self.read("ListObjectsV2", |world| {
            if world.is_sabotaged(Sabotage::BatchResolvedUnseen) {
                return ObjectPage::default();
            }
            let most = world.rng.usize(1..20);
            let objects = world.reconciler.objects.iter();
            let mut objects: Vec<ObjectInfo> = objects
                .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
                .map(|(key, object)| ObjectInfo {
                    key: key.clone(),
                    written: object.written,
                })
                .collect();
            let more = objects.len() > most;
            objects.truncate(most);
            let last = objects.last().map(|object| object.key.clone());
            ObjectPage {
                after: last.filter(|_| more),
                objects,
            }
        })
        .await
    }

    async fn object(&self, key: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        self.read("GetObject", |world| {
            let object = world.reconciler.objects.get(key);
            object.map(|object| object.content.clone())
        })
        .await
    }
}

impl Store for Services {
    async fn acquire(
        &self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, ServiceError> {
        let owner = owner.to_owned();
        self.write("PutItem of the lease", move |world, _| {
            let is_ignored = world.is_sabotaged(Sabotage::LeaseIgnored);
            let lease = &mut world.reconciler.lease;
            let is_held = lease
                .as_ref()
                .is_some_and(|(holder, ends)| *holder != owner && *ends > now);
            if is_held && !is_ignored {
                return false;
            }
            *lease = Some((owner, until));
            true
        })
        .await
    }

    async fn release(&self, owner: &str) -> Result<(), ServiceError> {
        let owner = owner.to_owned();
        self.write("DeleteItem of the lease", move |world, _| {
            world
                .reconciler
                .lease
                .take_if(|(holder, _)| *holder == owner);
        })
        .await
    }

    async fn item(&self, kind: &str, name: &str) -> Result<Option<Attributes>, ServiceError> {
        let key = (kind.to_owned(), name.to_owned());
        self.read("GetItem of the reconciler's", |world| {
            world.reconciler.items.get(&key).cloned()
        })
        .await
    }

    async fn put_item(
        &self,
        kind: &str,
        name: &str,
        attributes: Attributes,
    ) -> Result<(), ServiceError> {
        self.note_writer();
        let key = (kind.to_owned(), name.to_owned());
        self.write("PutItem of the reconciler's", move |world, _| {
            world.reconciler.items.insert(key, attributes);
        })
        .await
    }

    async fn delete_item(&self, kind: &str, name: &str) -> Result<(), ServiceError> {
        self.note_writer();
        let key = (kind.to_owned(), name.to_owned());
        self.write("DeleteItem of the reconciler's", move |world, _| {
            world.reconciler.items.remove(&key);
        })
        .await
    }

    async fn items(&self, kind: &str, after: Option<&str>) -> Result<StoredPage, ServiceError> {
        self.read("Query of the reconciler's items", |world| {
            let most = world.rng.usize(1..20);
            let items = world.reconciler.items.iter();
            let mut items: Vec<(String, Attributes)> = items
                .filter(|((of, name), _)| {
                    of == kind && after.is_none_or(|after| name.as_str() > after)
                })
                .map(|((_, name), item)| (name.clone(), item.clone()))
                .collect();
            let more = items.len() > most;
            items.truncate(most);
            StoredPage { items, more }
        })
        .await
    }
}

/// A record of the domain stream in the format of a Kinesis event.
pub(crate) fn kinesis_payload(batch: &[Stored<super::world::Event>]) -> Value {
    let records: Vec<Value> = batch
        .iter()
        .map(|Stored { number, record, .. }| {
            json!({
                "eventID": format!("shardId-000000000000:{number}"),
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": record.partition_key,
                    "sequenceNumber": number.to_string(),
                    "data": STANDARD.encode(&record.data),
                    "approximateArrivalTimestamp": 1_795_208_400.5,
                },
            })
        })
        .collect();
    json!({ "Records": records })
}
