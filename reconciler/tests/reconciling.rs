//! The rules of a run, with services in memory.

use std::sync::Mutex;
use std::time::Duration;

use lambda_runtime::{Context, LambdaEvent};
use millrace_consumer::testing::kinesis_event;
use millrace_core::{Attribute, Attributes, Columns, Sequence, Timestamp};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Event};
use millrace_projector::service::Projector;
use millrace_projector::testing::MemoryReadModel;
use millrace_reconciler::ports::{Mapping, SEGMENTS, Source};
use millrace_reconciler::report::{Finding, Report};
use millrace_reconciler::service::{FunctionNames, Reconciler, Run};
use millrace_reconciler::state::{self, BatchState, Position};
use millrace_reconciler::testing::{Contents, MemoryServices, completed};
use millrace_runtime::metrics::Metric;
use millrace_runtime::testing::{TestAmbient, in_virtual_time, lost_call};
use millrace_runtime::{Ambient as _, Budget, ServiceError};
use millrace_translator::cursor::Suspension;
use millrace_translator::notification::{ChangeNotifications, InsertedRow};
use millrace_translator::service::Translator;
use millrace_translator::testing::TestServices;
use serde_json::{Value, json};

/// Longer than the reconciler waits for an event's delivery.
const LATER: i64 = 10 * 60 * 1000;

/// The time of a run.
const BUDGET: Duration = Duration::from_mins(4);

struct Fixture {
    services: TestServices<Accounts>,
    model: MemoryReadModel,
    contents: Mutex<Contents>,
    ambient: TestAmbient,
    pass_aggregates: u32,
}

fn accounts() -> Accounts {
    Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}

fn mapping(function: &str, source: Source) -> Mapping {
    Mapping {
        id: format!("mapping-of-{function}"),
        function: function.to_owned(),
        source,
        state: "Enabled".to_owned(),
        last_result: Some("OK".to_owned()),
    }
}

fn history(count: i64) -> Vec<Event> {
    let opened = Event::AccountCreated {
        currency: Currency::stored("SEK").expect("valid"),
    };
    let credits = (1..count).map(|n| Event::BalanceCredited {
        amount: Amount::new(n).expect("valid"),
    });
    std::iter::once(opened).chain(credits).collect()
}

fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}

fn dense(through: u64) -> Vec<u64> {
    (1..=through).collect()
}

fn at(millis: i64) -> Timestamp {
    let start = TestAmbient::default().now().unix_millis();
    Timestamp::from_unix_millis(start + millis).expect("valid")
}

impl Fixture {
    fn new() -> Self {
        Self {
            services: TestServices::new(accounts()),
            model: MemoryReadModel::default(),
            contents: Mutex::new(Contents {
                mappings: vec![
                    mapping("translator", Source::Events),
                    mapping("projector", Source::Domain),
                    mapping("archiver", Source::Domain),
                ],
                page_items: 2,
                ..Contents::default()
            }),
            ambient: TestAmbient::at(at(LATER)),
            pass_aggregates: 100,
        }
    }

    fn contents(&self) -> std::sync::MutexGuard<'_, Contents> {
        self.contents.lock().expect("unpoisoned")
    }

    fn set_state(&self, function: &str, state: &str) {
        let mut contents = self.contents();
        let mut mappings = contents.mappings.iter_mut();
        let mapping = mappings.find(|mapping| mapping.function == function);
        state.clone_into(&mut mapping.expect("a mapping").state);
    }

    fn append(&self, aggregate: &str, events: &[Event]) -> Vec<Attributes> {
        self.services.append(aggregate, events)
    }

    fn translator(
        &self,
    ) -> Translator<
        Accounts,
        &TestServices<Accounts>,
        &TestServices<Accounts>,
        &TestServices<Accounts>,
        &TestAmbient,
    > {
        Translator {
            domain: accounts(),
            rows: &self.services,
            cursors: &self.services,
            publisher: &self.services,
            ambient: &self.ambient,
        }
    }

    /// An aggregate's rows as they are stored now.
    fn rows(&self, aggregate: &str) -> Vec<Attributes> {
        self.services.world().table[aggregate]
            .values()
            .cloned()
            .collect()
    }

    /// Puts a row into the table at a place among the others.
    fn insert(&self, aggregate: &str, place: u64, row: Attributes) {
        let mut world = self.services.world();
        let rows = world.table.get_mut(aggregate).expect("rows");
        rows.insert(place, row);
    }

    /// Delivers rows to the translator.
    async fn translate(&self, aggregate: &str, rows: Vec<Attributes>) {
        let translator = self.translator();
        let mut notifications = ChangeNotifications::default();
        for (position, row) in rows.iter().enumerate() {
            let inserted = InsertedRow {
                position,
                aggregate: aggregate.into(),
                columns: &mut Columns::from(row),
            };
            notifications.add(&translator.domain, inserted);
        }
        let budget = Budget::lasting(Duration::from_mins(1));
        translator.translate(notifications, budget).await;
    }

    /// Delivers the records of the stream to the projector, but those of these sequences.
    async fn project(&self, aggregate: &str, without: &[u64]) {
        let payload = self.stream_payload(aggregate, without);
        self.invoke("projector", payload).await;
    }

    /// The records of the stream, as an event of the projector.
    fn stream_payload(&self, aggregate: &str, without: &[u64]) -> Value {
        let world = self.services.world();
        let records = world.stream.iter();
        let records = records
            .filter(|record| record.partition_key == aggregate)
            .filter(|record| {
                let event: Value = serde_json::from_slice(&record.data).expect("JSON");
                !without.contains(&event["data"]["sequence"].as_u64().expect("a number"))
            })
            .map(|record| (1, aggregate, &record.data[..]));
        kinesis_event(records)
    }

    /// What the functions do when the reconciler invokes them.
    async fn invoke(&self, function: &str, payload: Value) -> Value {
        let mut context = Context::default();
        context.deadline = u64::try_from(self.ambient.now().unix_millis()).expect("positive");
        context.deadline += 60_000;
        match function {
            "translator" => {
                let event = LambdaEvent::new(payload.to_string().into(), context);
                let translator = self.translator();
                let response = millrace_translator::handler::handle(&translator, event);
                serde_json::to_value(response.await.expect("a stream event"))
            }
            "projector" => {
                let projector = Projector {
                    domain: std::marker::PhantomData::<Accounts>,
                    model: &self.model,
                    ambient: &self.ambient,
                };
                let event = LambdaEvent::new(payload.to_string().into(), context);
                let response = millrace_projector::handler::handle(&projector, event);
                serde_json::to_value(response.await.expect("a Kinesis batch"))
            }
            _ => Ok(completed()),
        }
        .expect("JSON")
    }

    async fn run_as(&self, request_id: &str, dismissed: &[String]) -> Run {
        let invoke =
            |function: String, payload| async move { Some(self.invoke(&function, payload).await) };
        let reconciler = Reconciler {
            translator: self.translator(),
            services: MemoryServices::new(&self.services, &self.model, &self.contents, invoke),
            functions: FunctionNames {
                translator: "translator".to_owned(),
                projector: "projector".to_owned(),
                archiver: "archiver".to_owned(),
            },
            pass_aggregates: self.pass_aggregates,
        };
        let budget = Budget::lasting(BUDGET);
        let run = reconciler.run(request_id, dismissed, budget).await;
        run.expect("the run begins")
    }

    async fn run(&self) -> Report {
        match self.run_as("request", &[]).await {
            Run::Done(report) => *report,
            Run::LeaseHeld => panic!("no other run is under way"),
        }
    }

    fn damage(&self, aggregate: &str, version: u64) -> Attribute {
        let mut world = self.services.world();
        let rows = world.table.get_mut(aggregate).expect("rows");
        let row = rows.get_mut(&version).expect("a row");
        row.insert("Type".to_owned(), Attribute::text("REFUND"))
            .expect("a type")
    }

    fn repair(&self, aggregate: &str, version: u64, before: Attribute) {
        let mut world = self.services.world();
        let rows = world.table.get_mut(aggregate).expect("rows");
        let row = rows.get_mut(&version).expect("a row");
        row.insert("Type".to_owned(), before);
    }

    fn discard(&self, key: &str, function: &str, payload: &Value) {
        let function = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
        let object = json!({
            "requestContext": {"functionArn": function, "condition": "RetryAttemptsExhausted"},
            "payload": payload.to_string(),
        });
        let object = (at(0), object.to_string().into_bytes());
        self.contents().objects.insert(key.to_owned(), object);
    }

    fn batch_state(&self, key: &str) -> Option<BatchState> {
        let contents = self.contents();
        let item = contents
            .items
            .get(&(state::BATCH.to_owned(), key.to_owned()));
        item.map(BatchState::read)
    }

    fn view_sequence(&self, aggregate: &str) -> Option<i64> {
        let items = self.model.items();
        items.views.get(aggregate)?.get("Sequence")?.as_integer()
    }
}

fn rows_payload(aggregate: &str, versions: &[&str]) -> Value {
    let records: Vec<Value> = versions
        .iter()
        .map(|version| {
            let keys = json!({"Id": {"S": aggregate}, "Version": {"N": version}});
            json!({
                "eventID": version, "eventName": "INSERT", "eventVersion": "1.1",
                "eventSource": "aws:dynamodb", "awsRegion": "us-east-1", "eventSourceARN": "",
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_800_000_000, "Keys": keys, "NewImage": keys,
                    "SequenceNumber": version, "SizeBytes": 100, "StreamViewType": "NEW_IMAGE",
                },
            })
        })
        .collect();
    json!({ "Records": records })
}

fn assert_all_is_well(report: &Report) {
    assert_eq!(report.findings, [], "{report:?}");
    assert_eq!(report.not_read, [], "{report:?}");
    let gauges = report.gauges.metrics();
    let zero = gauges.iter().all(|(_, value)| *value == Some(0));
    assert!(zero, "{gauges:?}");
}

#[test]
fn without_anything_to_find_every_gauge_is_zero() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("a", &history(3));
        fixture.translate("a", rows).await;
        fixture.project("a", &[]).await;
        assert_all_is_well(&fixture.run().await);
        let measured = fixture.ambient.measured();
        for metric in [
            Metric::AggregatesBlocked,
            Metric::AggregatesParked,
            Metric::AggregatesLagging,
            Metric::ViewsStale,
            Metric::BatchesOpen,
            Metric::MappingsUnhealthy,
            Metric::OldestUnpublished,
        ] {
            assert!(measured.contains(&(metric, Some(0))), "{metric:?}");
        }
    });
}

#[test]
fn a_row_that_is_repaired_in_place_is_published_without_another_event() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.append("a", &history(4));
        let before = fixture.damage("a", 3);
        fixture.translate("a", fixture.rows("a")).await;
        assert_eq!(fixture.services.sequences("a"), dense(1));
        for _ in 0..2 {
            let report = fixture.run().await;
            assert_eq!(report.gauges.aggregates_blocked, Some(1));
            assert_eq!(report.gauges.aggregates_lagging, Some(0));
            let age = u64::try_from(LATER).expect("positive");
            assert_eq!(report.gauges.oldest_unpublished_millis, Some(age));
            let [
                Finding::Blocked {
                    id, sequence, row, ..
                },
            ] = &report.findings[..]
            else {
                panic!("{report:?}");
            };
            assert_eq!(
                (id.as_str(), *sequence, row.as_deref()),
                ("a", 2, Some("3"))
            );
        }
        fixture.repair("a", 3, before);
        let report = fixture.run().await;
        assert_eq!(report.repaired.published, 1);
        assert_eq!(report.gauges.aggregates_blocked, Some(0));
        assert_eq!(fixture.services.sequences("a"), dense(4));
        fixture.project("a", &[]).await;
        assert_all_is_well(&fixture.run().await);
    });
}

#[test]
fn a_newest_row_whose_version_cannot_be_read_is_found_and_reported() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("a", &history(2));
        fixture.translate("a", rows).await;
        fixture.project("a", &[]).await;
        let mut row = fixture.rows("a").pop().expect("a row");
        row.insert("Version".to_owned(), Attribute::Number("4.5".to_owned()));
        fixture.insert("a", 5, row);
        fixture.run().await;
        let report = fixture.run().await;
        assert!(!report.findings.is_empty(), "{report:?}");
    });
}

#[test]
fn an_event_whose_notification_was_lost_is_found_and_published() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.append("a", &history(3));
        fixture.ambient.set(at(LATER / 10));
        assert_eq!(
            fixture.run().await.repaired.published,
            0,
            "it may still be delivered"
        );
        assert_eq!(fixture.services.sequences("a"), dense(0));
        fixture.ambient.set(at(LATER));
        let report = fixture.run().await;
        assert_eq!(report.repaired.published, 1);
        assert_eq!(fixture.services.sequences("a"), dense(3));
        assert_eq!(report.gauges.aggregates_lagging, Some(0));
        // The projector gets the events from the stream, or from the next run.
        let report = fixture.run().await;
        assert_eq!(fixture.view_sequence("a"), Some(3), "{report:?}");
        assert_all_is_well(&fixture.run().await);
    });
}

#[test]
fn while_the_translators_mapping_is_disabled_all_is_reported_and_nothing_published() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.append("a", &history(3));
        fixture.set_state("translator", "Disabled");
        for _ in 0..5 {
            let report = fixture.run().await;
            assert_eq!(report.gauges.mappings_unhealthy, Some(1));
            assert_eq!(report.gauges.aggregates_lagging, Some(1), "{report:?}");
            assert!(matches!(
                &report.findings[..],
                [Finding::Mapping { function, state, .. }, Finding::Lagging { published_through: 0, events: 3, .. }]
                    if function == "translator" && state == "Disabled"
            ));
            assert_eq!(fixture.services.sequences("a"), dense(0));
        }
        fixture.set_state("translator", "Enabled");
        let report = fixture.run().await;
        assert_eq!(fixture.services.sequences("a"), dense(3), "{report:?}");
        fixture.project("a", &[]).await;
        assert_all_is_well(&fixture.run().await);
    });
}

#[test]
fn unknown_mappings_are_named_and_nothing_is_published() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.append("a", &history(3));
        fixture.contents().failing.push("mappings");
        let report = fixture.run().await;
        assert_eq!(report.gauges.mappings_unhealthy, None);
        assert_eq!(report.not_read[0].source, "mappings");
        assert_eq!(fixture.services.sequences("a"), dense(0));
    });
}

#[test]
fn a_stale_view_gets_the_events_that_it_lacks() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("a", &history(12));
        fixture.translate("a", rows).await;
        fixture.project("a", &[4]).await;
        assert_eq!(fixture.view_sequence("a"), Some(3));
        fixture.set_state("projector", "Disabled");
        let report = fixture.run().await;
        assert_eq!(report.gauges.views_stale, Some(1));
        assert!(
            matches!(
                &report.findings[..],
                [
                    Finding::Mapping { .. },
                    Finding::Stale {
                        sequence: 3,
                        until: 12,
                        ..
                    }
                ]
            ),
            "{report:?}"
        );
        fixture.set_state("projector", "Enabled");
        let report = fixture.run().await;
        assert_eq!(report.repaired.views_repaired, 1);
        assert_eq!(fixture.view_sequence("a"), Some(12));
        assert_all_is_well(&report);
        assert_eq!(fixture.model.items().history_of("a").count(), 12);
    });
}

#[test]
fn a_stale_view_gets_the_events_before_an_undecodable_row() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.append("a", &history(5));
        fixture.damage("a", 5);
        fixture.translate("a", fixture.rows("a")).await;
        assert_eq!(fixture.services.sequences("a"), dense(3));
        fixture.project("a", &[2]).await;
        assert_eq!(fixture.view_sequence("a"), Some(1));
        let report = fixture.run().await;
        assert_eq!(fixture.view_sequence("a"), Some(3), "{report:?}");
        assert_eq!(report.gauges.views_stale, Some(0));
        // A view that lacks nothing costs no invocation.
        let invocations = fixture.contents().invocations.len();
        fixture.run().await;
        assert_eq!(fixture.contents().invocations.len(), invocations);
    });
}

/// Such a row was never published, so the events after it do not change.
#[test]
fn a_stale_view_gets_the_events_after_a_row_that_is_no_event() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("a", &history(5));
        fixture.translate("a", rows.clone()).await;
        fixture.project("a", &[4]).await;
        assert_eq!(fixture.view_sequence("a"), Some(3));
        let mut odd = rows[2].clone();
        odd.insert("Version".into(), Attribute::Number("3.5".into()));
        let place = ("a".to_owned(), "3.5".to_owned());
        fixture.services.world().odd_rows.insert(place, odd);
        fixture.damage("a", 2);
        let report = fixture.run().await;
        assert_eq!(fixture.view_sequence("a"), Some(5), "{report:?}");
        assert_eq!(report.gauges.views_stale, Some(0));
    });
}

#[test]
fn an_aggregate_that_cannot_be_read_stops_no_other_and_is_reported_until_it_can_be() {
    let refused = || ServiceError::permanent("a simulated call", "refused");
    for error in [refused, lost_call as fn() -> ServiceError] {
        in_virtual_time(async {
            let fixture = Fixture::new();
            for n in 0..20 {
                fixture.append(&format!("a{n:02}"), &history(1));
            }
            fixture.contents().unreadable.insert("a00".into(), error);
            for _ in 0..3 {
                let report = fixture.run().await;
                assert!(!report.not_read.is_empty(), "{report:?}");
                assert_eq!(report.gauges.aggregates_lagging, None);
            }
            for n in 1..20 {
                let id = format!("a{n:02}");
                assert_eq!(fixture.services.sequences(&id), dense(1), "{id}");
            }
            fixture.contents().unreadable.clear();
            let report = fixture.run().await;
            assert_eq!(report.not_read, []);
            assert_eq!(fixture.services.sequences("a00"), dense(1), "{report:?}");
        });
    }
}

#[test]
fn a_run_ends_in_time_and_names_what_it_had_no_time_for() {
    const COUNT: u64 = 600;
    in_virtual_time(async {
        let fixture = Fixture {
            pass_aggregates: 200,
            ..Fixture::new()
        };
        for n in 0..COUNT {
            fixture.append(&format!("a{n:03}"), &history(1));
        }
        fixture.set_state("translator", "Disabled");
        fixture.contents().latency = Duration::from_secs(1);
        let mut last = None;
        for _ in 0..8 {
            let begun = tokio::time::Instant::now();
            let report = fixture.run().await;
            assert!(
                begun.elapsed() < BUDGET + Duration::from_secs(10),
                "{:?}",
                begun.elapsed()
            );
            last = Some(report);
        }
        let report = last.expect("a report");
        assert_eq!(report.gauges.aggregates_lagging, None);
        let not_read: Vec<&str> = report.not_read.iter().map(|it| &*it.source).collect();
        assert_eq!(not_read, ["the open aggregates"], "{:?}", report.not_read);

        fixture.set_state("translator", "Enabled");
        let is_published = |n: u64| fixture.services.sequences(&format!("a{n:03}")) == dense(1);
        for _ in 0..3 {
            fixture.run().await;
        }
        assert!((0..COUNT).all(is_published));
        fixture.contents().latency = Duration::ZERO;
        fixture.run().await;
        for n in 0..COUNT {
            fixture.project(&format!("a{n:03}"), &[]).await;
        }
        assert_all_is_well(&fixture.run().await);
    });
}

#[test]
fn stale_views_that_a_run_has_no_time_for_are_named() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        for n in 0..100 {
            let id = format!("a{n:02}");
            let rows = fixture.append(&id, &history(3));
            fixture.translate(&id, rows).await;
            fixture.project(&id, &[2]).await;
        }
        fixture.set_state("projector", "Disabled");
        fixture.contents().latency = Duration::from_secs(1);
        let begun = tokio::time::Instant::now();
        let report = fixture.run().await;
        assert!(begun.elapsed() < BUDGET + Duration::from_secs(10));
        assert_eq!(report.gauges.views_stale, None);
        let is_named = report
            .not_read
            .iter()
            .any(|it| it.source == "the stale views");
        assert!(is_named, "{:?}", report.not_read);
    });
}

/// Otherwise, runs that are killed while they repair would examine the same aggregates forever.
#[test]
fn a_run_that_is_killed_while_it_repairs_has_advanced_the_pass() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        for n in 0..100 {
            fixture.append(&format!("a{n:03}"), &history(1));
        }
        fixture.services.world().put_time = Duration::from_mins(5);
        fixture.contents().latency = Duration::from_secs(1);
        let killed = tokio::time::timeout(Duration::from_secs(70), fixture.run_as("killed", &[]));
        assert!(killed.await.is_err(), "the run ended before it was killed");
        let contents = fixture.contents();
        let key = (state::PROGRESS.to_owned(), state::PASS.to_owned());
        let position = Position::read(&contents.items[&key], SEGMENTS);
        assert!(position.aggregates > 50, "{position:?}");
        let open = contents
            .items
            .keys()
            .filter(|(kind, _)| kind == state::OPEN);
        assert_eq!(
            open.count() as u64,
            position.aggregates,
            "each is examined again"
        );
    });
}

#[test]
fn a_view_that_lacks_events_and_has_no_marker_is_found_and_stays_open_until_it_has_them() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("a", &history(3));
        fixture.translate("a", rows).await;
        fixture.set_state("projector", "Disabled");
        for _ in 0..5 {
            let report = fixture.run().await;
            assert_eq!(report.gauges.views_stale, Some(1), "{report:?}");
            assert!(
                matches!(
                    &report.findings[..],
                    [
                        Finding::Mapping { .. },
                        Finding::ViewLagging {
                            sequence: 0,
                            published_through: 3,
                            ..
                        }
                    ]
                ),
                "{report:?}"
            );
        }
        fixture.set_state("projector", "Enabled");
        assert_all_is_well(&fixture.run().await);
        assert_eq!(fixture.view_sequence("a"), Some(3));
        let open = fixture
            .contents()
            .items
            .keys()
            .any(|(kind, _)| kind == state::OPEN);
        assert!(!open);
    });
}

#[test]
fn a_discarded_batch_of_the_translator_is_resolved_when_the_cursors_include_it() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.append("a", &history(3));
        let before = fixture.damage("a", 3);
        fixture.discard(
            "one",
            "translator",
            &rows_payload("a", &["1", "2", "3", "4"]),
        );
        for _ in 0..2 {
            let report = fixture.run().await;
            assert_eq!(report.gauges.batches_open, Some(1), "{report:?}");
            assert_eq!(fixture.batch_state("one"), Some(BatchState::Open));
        }
        assert_eq!(fixture.services.sequences("a"), dense(1));
        fixture.repair("a", 3, before);
        let report = fixture.run().await;
        assert_eq!(report.repaired.batches_resolved, 1);
        assert_eq!(fixture.services.sequences("a"), dense(3));
        assert_eq!(report.gauges.batches_open, Some(0));
        assert_eq!(fixture.batch_state("one"), Some(BatchState::Resolved));
    });
}

#[test]
fn a_discarded_row_whose_sequence_cannot_be_read_is_handled_by_the_translator() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("a", &history(2));
        fixture.translate("a", rows).await;
        fixture.project("a", &[]).await;
        let mut row = fixture.rows("a").pop().expect("a row");
        let version = "3.5".to_owned();
        row.insert("Version".to_owned(), Attribute::Number(version.clone()));
        let key = ("a".to_owned(), version);
        fixture.services.world().odd_rows.insert(key, row);
        fixture.discard("one", "translator", &rows_payload("a", &["3.5"]));
        fixture.run().await;
        assert!(fixture.services.cursor("a").blocked().is_some());
        assert_eq!(fixture.batch_state("one"), Some(BatchState::Resolved));
        assert_eq!(fixture.run().await.gauges.aggregates_blocked, Some(1));
    });
}

#[test]
fn a_discarded_batch_of_the_projector_is_resolved_only_when_the_view_was_read() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("a", &history(3));
        fixture.translate("a", rows).await;
        fixture.model.set_unavailable("a");
        let events = fixture.stream_payload("a", &[]);
        fixture.discard("one", "projector", &events);
        let report = fixture.run().await;
        assert_eq!(report.gauges.batches_open, Some(1), "{report:?}");
    });
}

#[test]
fn a_batch_that_its_function_does_not_complete_stays_open() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        for (key, function) in [("one", "archiver"), ("two", "another")] {
            fixture.discard(key, function, &json!({"Records": []}));
        }
        let object = (at(0), b"no JSON".to_vec());
        fixture
            .contents()
            .objects
            .insert("three".to_owned(), object);
        let report = fixture.run().await;
        assert_eq!(report.gauges.batches_open, Some(2), "{report:?}");
        assert_eq!(report.repaired.batches_resolved, 1);
        assert_eq!(fixture.batch_state("one"), Some(BatchState::Resolved));
        let reasons: Vec<&str> = report
            .findings
            .iter()
            .map(|finding| match finding {
                Finding::Batch { reason, .. } => reason.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            reasons,
            [
                "the object isn't JSON",
                "another is not the translator, projector or archiver of this deployment"
            ]
        );
        // An operator decides that nothing is to be done.
        let Run::Done(report) = fixture
            .run_as("request", &["two".to_owned(), "three".to_owned()])
            .await
        else {
            panic!("no other run is under way");
        };
        assert_all_is_well(&report);
        assert_all_is_well(&fixture.run().await);
    });
}

#[test]
fn dismissing_a_batch_that_does_not_exist_is_an_error() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.discard("one", "unknown", &rows_payload("a", &["1"]));
        let dismissed = ["one".to_owned(), "two".to_owned()];
        let Run::Done(report) = fixture.run_as("request", &dismissed).await else {
            panic!("no other run is under way");
        };
        let not_read: Vec<&str> = report.not_read.iter().map(|it| &*it.source).collect();
        assert_eq!(not_read, ["dismissing two"]);
        assert_eq!(fixture.batch_state("one"), Some(BatchState::Dismissed));
        assert_eq!(fixture.batch_state("two"), None);
        assert_all_is_well(&fixture.run().await);
    });
}

#[test]
fn an_open_batch_whose_object_is_gone_is_still_reported() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.discard("one", "another", &json!({"Records": []}));
        fixture.run().await;
        fixture.contents().objects.clear();
        let report = fixture.run().await;
        assert_eq!(report.gauges.batches_open, Some(1), "{report:?}");
    });
}

#[test]
fn no_two_runs_overlap_and_a_lease_ends_by_itself() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let held = ("another".to_owned(), at(LATER + 1));
        fixture.contents().lease = Some(held);
        assert_eq!(
            fixture.run_as("request", &["one".to_owned()]).await,
            Run::LeaseHeld
        );
        assert!(
            fixture.contents().items.is_empty(),
            "a run without the lease writes nothing"
        );
        fixture.ambient.set(at(LATER + 1));
        assert!(matches!(fixture.run_as("request", &[]).await, Run::Done(_)));
        assert_eq!(fixture.contents().lease, None);
    });
}

/// A killed run keeps its lease until that expires, and what it has published.
#[test]
fn a_parked_aggregate_completes_although_it_receives_commands_and_three_runs_are_killed() {
    const PENDING: i64 = 5_000;
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("long", &history(PENDING));
        let template = rows.last().expect("a row").clone();
        let newest = sequence(PENDING.unsigned_abs());
        fixture.translate("long", vec![template.clone()]).await;
        let through = |fixture: &Fixture| match fixture.services.cursor("long").suspended {
            Some(Suspension::Parked(parked)) => Some(parked.through),
            _ => None,
        };
        assert_eq!(through(&fixture), Some(newest));
        // One event of an aggregate is put at a time, so a run publishes some thousand.
        fixture.services.world().put_time = Duration::from_millis(40);

        let begun = tokio::time::Instant::now();
        let advance = |fixture: &Fixture| {
            let elapsed = i64::try_from(begun.elapsed().as_millis()).expect("small");
            fixture.ambient.set(at(LATER + elapsed));
        };
        let appended = std::cell::Cell::new(newest);
        let commands = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                advance(&fixture);
                let next = appended.get().next();
                let version = next.version().expect("a version");
                let mut row = template.clone();
                row.insert("Version".into(), Attribute::number(version.get()));
                row.insert("Sequence".into(), Attribute::number(next.get()));
                fixture.insert("long", version.get(), row.clone());
                appended.set(next);
                fixture.translate("long", vec![row]).await;
            }
        };
        let runs = async {
            for run in 0..3 {
                let before = fixture.services.cursor("long").published_through;
                let request = format!("killed-{run}");
                let killed = fixture.run_as(&request, &[]);
                let killed = tokio::time::timeout(Duration::from_secs(50), killed).await;
                assert!(killed.is_err(), "run {run} ended before it was killed");
                assert!(fixture.services.cursor("long").published_through > before);
                assert!(
                    through(&fixture) > Some(newest),
                    "commands raise the marker"
                );
                // The lease outlives the run.
                assert_eq!(fixture.run_as("next", &[]).await, Run::LeaseHeld);
                tokio::time::sleep(Duration::from_mins(6)).await;
                advance(&fixture);
            }
            while through(&fixture).is_some() {
                fixture.run().await;
            }
        };
        tokio::select! {
            () = commands => unreachable!("commands don't end"),
            () = runs => {}
        }
        let appended = appended.get().get();
        let published = fixture.services.cursor("long").published_through.get();
        assert!(appended > newest.get() + 1_000, "{appended}");
        // The notification of the newest event may not be handled yet.
        assert!(published + 1 >= appended, "{published} of {appended}");
        let sequences = fixture.services.first_occurrences("long");
        assert_eq!(sequences, dense(published));
    });
}

#[test]
fn every_aggregate_is_visited_within_eleven_runs_if_ten_runs_have_room_for_all() {
    in_virtual_time(async {
        let fixture = Fixture {
            pass_aggregates: 40,
            ..Fixture::new()
        };
        for n in 0..400 {
            fixture.append(&format!("a{n:03}"), &history(1));
        }
        for _ in 0..11 {
            fixture.run().await;
        }
        for n in 0..400 {
            let id = format!("a{n:03}");
            assert_eq!(fixture.services.sequences(&id), dense(1), "{id}");
        }
        let report = fixture.run().await;
        assert!(report.pass.completed_passes >= 1, "{:?}", report.pass);
        assert_eq!(report.pass.last_aggregates, Some(400));
    });
}

#[test]
fn a_source_that_fails_is_named_and_has_no_gauge() {
    in_virtual_time(async {
        for (method, missing) in [
            (
                "marked",
                vec![
                    "aggregatesBlocked",
                    "aggregatesParked",
                    "viewsStale",
                    "oldestUnpublishedMillis",
                ],
            ),
            ("objects", vec!["batchesOpen"]),
            (
                "items",
                vec![
                    "batchesOpen",
                    "aggregatesLagging",
                    "viewsStale",
                    "oldestUnpublishedMillis",
                ],
            ),
            ("mappings", vec!["mappingsUnhealthy"]),
        ] {
            let fixture = Fixture::new();
            let rows = fixture.append("a", &history(2));
            fixture.translate("a", rows).await;
            fixture.project("a", &[]).await;
            fixture.contents().failing.push(method);
            let report = fixture.run().await;
            assert!(!report.not_read.is_empty(), "{method}");
            let gauges = serde_json::to_value(report.gauges).expect("JSON");
            for (name, value) in gauges.as_object().expect("an object") {
                assert_eq!(
                    value.is_null(),
                    missing.contains(&name.as_str()),
                    "{method}: {name}"
                );
            }
        }
    });
}

#[test]
fn a_marker_of_a_previous_release_is_listed_after_the_pass() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.append("a", &history(3));
        fixture.damage("a", 3);
        fixture.translate("a", fixture.rows("a")).await;
        fixture.project("a", &[]).await;
        fixture.contents().unlisted.push("a".to_owned());
        assert_eq!(fixture.run().await.gauges.aggregates_blocked, Some(0));
        assert!(
            fixture.services.world().marks.contains_key("a"),
            "it is marked again"
        );
    });
}

#[test]
fn a_cursor_that_is_ahead_of_the_events_table_is_blocked_and_reported() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let rows = fixture.append("a", &history(3));
        fixture.translate("a", rows).await;
        let sequence = Sequence::new(999).expect("valid");
        let mut cursor = fixture.services.cursor("a");
        cursor.published_through = sequence;
        fixture
            .services
            .world()
            .cursors
            .insert("a".to_owned(), Ok(cursor));
        fixture.run().await;
        let report = fixture.run().await;
        assert_eq!(report.gauges.aggregates_blocked, Some(1), "{report:?}");
        assert_eq!(
            fixture.services.cursor("a").published_through,
            sequence,
            "resetting it was not asked for"
        );
    });
}

#[test]
fn the_report_is_stored() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        let report = fixture.run().await;
        let contents = fixture.contents();
        let key = (state::REPORT.to_owned(), state::LAST.to_owned());
        let item = contents.items.get(&key).expect("a report");
        let Some(Attribute::Text(json)) = item.get(state::REPORT_JSON) else {
            panic!("{item:?}");
        };
        assert_eq!(
            serde_json::from_str::<Report>(json).expect("a report"),
            report
        );
    });
}

#[test]
fn an_error_of_a_mapping_counts_when_two_runs_find_one() {
    in_virtual_time(async {
        let fixture = Fixture::new();
        fixture.contents().mappings[1].last_result =
            Some("PROBLEM: Function call failed".to_owned());
        assert_eq!(fixture.run().await.gauges.mappings_unhealthy, Some(0));
        assert_eq!(fixture.run().await.gauges.mappings_unhealthy, Some(1));
        fixture.contents().mappings[1].last_result = Some("OK".to_owned());
        assert_eq!(fixture.run().await.gauges.mappings_unhealthy, Some(0));
    });
}
