//! The writer, the translator, the projector, the archiver and the reader over services in memory, without AWS,
//! without an emulator and without faults. A domain's tests can follow a command from its request to a query's
//! response.
//!
//! Each function's crate has its own test double (feature `testing`). [`Pipeline::deliver`] copies rows and events
//! from one double to the next, in place of the streams.
//!
//! ```
//! # use millrace_simulation::pipeline::Pipeline;
//! # use millrace_domain::Accounts;
//! # let domain = Accounts::read(|_| Some("EUR".to_owned())).expect("a currency");
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
//! # runtime.expect("a runtime").block_on(async {
//! let pipeline = Pipeline::new(domain);
//! let (status, opened) = pipeline.post("/accounts", &serde_json::json!({})).await;
//! assert_eq!(status, 201);
//! pipeline.deliver().await;
//! let id = opened["accountId"].as_str().expect("an id");
//! assert_eq!(pipeline.events_of(id)[0]["type"], "AccountCreated");
//! let (status, account) = pipeline.get(&format!("/accounts/{id}")).await;
//! assert_eq!((status, &account["sequence"]), (200, &1.into()));
//! # });
//! ```

use std::marker::PhantomData;
use std::time::Duration;

use millrace_archiver::service::Archiver;
use millrace_archiver::testing::MemoryDeliveryStream;
use millrace_consumer::testing::kinesis_records;
use millrace_core::{AggregateId, Attributes, Project, Sequence, row};
use millrace_projector::service::Projector;
use millrace_projector::testing::MemoryReadModel;
use millrace_reader::service::Reader;
use millrace_reader::testing::InMemoryReadModel;
use millrace_runtime::Budget;
use millrace_runtime::http::{Request, Response};
use millrace_runtime::testing::TestAmbient;
use millrace_translator::testing::TestServices;
use millrace_writer::service::Writer;
use millrace_writer::testing::InMemoryEventStore;
use serde_json::Value;

/// The deadline of an invocation, far longer than any invocation takes.
const TIME: Duration = Duration::from_secs(10);

/// The functions over services in memory.
#[derive(Debug)]
pub struct Pipeline<D> {
    /// The writer's tables.
    pub store: InMemoryEventStore,
    /// The read models.
    pub model: MemoryReadModel,
    /// The delivery stream to the lake.
    pub lake: MemoryDeliveryStream,
    domain: D,
    translator: TestServices<D>,
    ambient: TestAmbient,
}

impl<D: Project + Clone> Pipeline<D> {
    /// The functions of a domain, with empty tables and streams.
    #[must_use]
    pub fn new(domain: D) -> Self {
        Self {
            domain: domain.clone(),
            store: InMemoryEventStore::default(),
            model: MemoryReadModel::default(),
            lake: MemoryDeliveryStream::default(),
            translator: TestServices::new(domain),
            ambient: TestAmbient::default(),
        }
    }

    /// Sends a command, and returns the response's status and body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let json = ("content-type".to_owned(), "application/json".to_owned());
        let request = Request {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: [json].into(),
            body: body.to_string().into_bytes(),
            ..Request::default()
        };
        let writer = Writer {
            domain: self.domain.clone(),
            store: &self.store,
            ambient: &self.ambient,
        };
        shown(&writer.answer(&request, Budget::lasting(TIME)).await.0)
    }

    /// Sends a query, and returns the response's status and body.
    ///
    /// # Panics
    /// If an item of the read models has no key.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let request = Request {
            method: "GET".to_owned(),
            path: path.to_owned(),
            ..Request::default()
        };
        let model = self.read_model();
        let reader = Reader {
            domain: PhantomData::<D>,
            documents: &[],
            model: &model,
            ambient: &self.ambient,
        };
        shown(&reader.answer(&request, Budget::lasting(TIME)).await)
    }

    /// Delivers all new rows to the translator, and all new events to the projector and the archiver.
    ///
    /// # Panics
    /// If a function doesn't complete its batch.
    pub async fn deliver(&self) {
        let rows = self.new_rows();
        let before = self.translator.world().stream.len();
        let outcome = self.translator.translate(&rows).await;
        assert_eq!(outcome.resume_at, None, "{outcome:?}");
        let records: Vec<(String, Vec<u8>)> = self.translator.world().stream[before..]
            .iter()
            .map(|record| (record.partition_key.clone(), record.data.clone()))
            .collect();
        let records: Vec<(&str, Vec<u8>)> = records
            .iter()
            .map(|(key, data)| (key.as_str(), data.clone()))
            .collect();
        let projector = Projector {
            domain: PhantomData::<D>,
            model: &self.model,
            ambient: &self.ambient,
        };
        let records = kinesis_records(&records);
        let projecting = projector.project(records.clone(), Budget::lasting(TIME));
        let outcome = projecting.await;
        assert_eq!(outcome.resume_at, None, "{outcome:?}");
        let archiver = Archiver {
            domain: PhantomData::<D>,
            delivery: &self.lake,
            ambient: &self.ambient,
        };
        let outcome = archiver.archive(&records, Budget::lasting(TIME)).await;
        assert_eq!(outcome.resume_at, None, "{outcome:?}");
    }

    /// The public events of an aggregate, in the order of the stream.
    ///
    /// # Panics
    /// If an event is not JSON.
    #[must_use]
    pub fn events_of(&self, id: &str) -> Vec<Value> {
        let world = self.translator.world();
        let records = world.stream.iter();
        records
            .filter(|record| record.partition_key == id)
            .map(|record| serde_json::from_slice(&record.data).expect("events are JSON"))
            .collect()
    }

    /// The event rows that the translator hasn't received yet. The mapping's filter refuses snapshots.
    fn new_rows(&self) -> Vec<Attributes> {
        let mut world = self.translator.world();
        let mut new = Vec::new();
        for id in self.store.ids() {
            let table = world.table.entry(id.clone()).or_default();
            for row in self.store.rows_of(&id) {
                let version = row::version(&row).expect("a row has a version").get();
                let is_new = table.insert(version, row.clone()).is_none();
                if is_new && !row::is_plainly_a_snapshot(&row) {
                    new.push(row);
                }
            }
        }
        new
    }

    /// Copies the projector's items to the reader's double.
    fn read_model(&self) -> InMemoryReadModel {
        let model = InMemoryReadModel::default();
        let items = self.model.items();
        let id = |id: &String| AggregateId::new(id.as_str()).expect("items have ids");
        for (aggregate, item) in &items.views {
            model.put_view(&id(aggregate), item.clone());
        }
        for ((aggregate, sequence), item) in &items.history {
            let sequence = u64::try_from(*sequence).ok().and_then(Sequence::new);
            let sequence = sequence.expect("items have sequences");
            model.put_entry(&id(aggregate), sequence, item.clone());
        }
        model
    }
}

fn shown(response: &Response) -> (u16, Value) {
    let body = serde_json::from_str(&response.body).expect("responses are JSON");
    (response.status, body)
}
