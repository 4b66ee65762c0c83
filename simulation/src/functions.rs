//! The functions and the operators' commands, with the scenario's domain. Only this module of the engine is
//! generic over the domain; all others use [`Simulated`].
//!
//! For functions with an event source mapping, it also states which log and which of its records each function
//! reads, and how the mapping delivers them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lambda_events::streams::{DynamoDbEventResponse, KinesisEventResponse};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use lambda_runtime::{Context, LambdaEvent};
use millrace_archiver::service::Archiver;
use millrace_cli::args::Model;
use millrace_cli::operate::aggregates;
use millrace_cli::operate::histories::InTable;
use millrace_cli::operate::publish::{Outcome, Publication, Redriven, Selection as Redrivable};
use millrace_cli::operate::rebuild::{Outcome as Rebuilt, Rebuilder};
use millrace_cli::operate::replayer::{Replayer, Selection};
use millrace_cli::operate::targets::Records;
use millrace_cli::operate::targets::function::FunctionTarget;
use millrace_core::{Attributes, Domain, Project, Sequence, row, settings};
use millrace_projector::service::Projector;
use millrace_reader::service::Reader;
use millrace_reconciler::service::Reconciler;
use millrace_runtime::http::HttpEvent;
use millrace_runtime::{Ambient as _, Chain, ServiceError};
use millrace_translator::service::Translator;
use millrace_writer::service::Writer;
use serde_json::{Value, json};

use super::check;
use super::consumer::{Progress, Replayed};
use super::dynamodb::operators::Scanned;
use super::expected::sequence_in;
use super::log::{Log, Stored};
use super::operators::{ReadModel, Run};
use super::panics::Panicking;
use super::reconciler::{self, kinesis_payload};
use super::scenario::{Command, Fold, Scenario};
use super::service_limits::members;
use super::services::Services;
use super::world::{Change, Event, World};

/// A boxed future of a call.
type Call<T> = BoxFuture<'static, T>;
type HttpInvocation = LambdaEvent<HttpEvent>;
type BatchInvocation = LambdaEvent<Bytes>;

/// The names of a domain that the engine uses in requests and expects in responses and events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub(crate) collection: &'static str,
    /// The member with the aggregate's id.
    pub(crate) id: &'static str,
    pub(crate) history: &'static str,
    pub(crate) view_at: Option<&'static str>,
    /// The schema version of rows.
    pub(crate) schema: u32,
}

impl Names {
    pub(crate) fn opening_path(&self) -> String {
        format!("/{}", self.collection)
    }

    pub(crate) fn command_path(&self, id: &str, command: &Command) -> String {
        format!("/{}/{id}/{}", self.collection, command.name)
    }
}

/// A scenario whose domain's type the engine doesn't know.
pub(crate) trait Simulated: Scenario {
    fn names(&self) -> Names;

    /// The settings item, which the writer creates before all other items.
    fn settings_row(&self) -> Attributes;

    /// The expectation of an aggregate without rows.
    fn fold(&self) -> Box<dyn Fold>;

    fn write(&self, services: Services, event: HttpInvocation) -> Call<ApiGatewayV2httpResponse>;

    fn read(&self, services: Services, event: HttpInvocation) -> Call<ApiGatewayV2httpResponse>;

    fn translate(&self, services: Services, event: BatchInvocation) -> Call<DynamoDbEventResponse>;

    fn project(&self, services: Services, event: BatchInvocation) -> Call<KinesisEventResponse>;

    fn archive(&self, services: Services, event: BatchInvocation) -> Call<KinesisEventResponse>;

    /// Runs the reconciler; returns its response, or `None` if it has none.
    fn reconcile(&self, services: Services, context: Context) -> Call<Option<Value>>;

    /// Runs `redrive` for one aggregate, or for all that aren't caught up.
    fn redrive(
        &self,
        services: Services,
        id: Option<String>,
        reset_cursor: bool,
    ) -> Call<Result<BTreeMap<String, Redriven>, ServiceError>>;

    fn republish(&self, services: Services, id: String, from: Sequence, run: Run) -> Call<Outcome>;

    fn rebuild(&self, services: Services, model: ReadModel, id: String) -> Call<Rebuilt>;

    /// Runs `replay` to the consumer, for these aggregates or for all.
    fn replay(
        &self,
        services: Services,
        only: Option<BTreeSet<String>>,
        progress: Progress,
    ) -> Call<Replayed>;
}

impl<S: Scenario> Simulated for S {
    fn names(&self) -> Names {
        Names {
            collection: S::Domain::COLLECTION,
            id: S::Domain::ID,
            history: S::Domain::HISTORY,
            view_at: S::Domain::VIEW_AT,
            schema: S::Domain::SCHEMA,
        }
    }

    fn settings_row(&self) -> Attributes {
        settings::to_row(&self.domain())
    }

    fn fold(&self) -> Box<dyn Fold> {
        Box::new(self.expectation())
    }

    fn write(&self, services: Services, event: HttpInvocation) -> Call<ApiGatewayV2httpResponse> {
        let writer = Writer {
            domain: Panicking(self.domain()),
            store: services.clone(),
            ambient: services,
        };
        Box::pin(async move { millrace_writer::handler::handle(&writer, event).await })
    }

    fn read(&self, services: Services, event: HttpInvocation) -> Call<ApiGatewayV2httpResponse> {
        let reader = Reader {
            domain: PhantomData::<Panicking<S::Domain>>,
            documents: &[],
            model: services.clone(),
            ambient: services,
        };
        Box::pin(async move { millrace_reader::handler::handle(&reader, event).await })
    }

    fn translate(&self, services: Services, event: BatchInvocation) -> Call<DynamoDbEventResponse> {
        let translator = Translator {
            domain: Panicking(self.domain()),
            rows: services.clone(),
            cursors: services.clone(),
            publisher: services.clone(),
            ambient: services,
        };
        Box::pin(async move {
            let handling = millrace_translator::handler::handle(&translator, event);
            handling.await.expect("a stream event")
        })
    }

    fn project(&self, services: Services, event: BatchInvocation) -> Call<KinesisEventResponse> {
        let projector = Projector {
            domain: PhantomData::<Panicking<S::Domain>>,
            model: services.clone(),
            ambient: services,
        };
        Box::pin(async move {
            let handling = millrace_projector::handler::handle(&projector, event);
            handling.await.expect("a Kinesis batch")
        })
    }

    fn archive(&self, services: Services, event: BatchInvocation) -> Call<KinesisEventResponse> {
        let archiver = Archiver {
            domain: PhantomData::<Panicking<S::Domain>>,
            delivery: services.clone(),
            ambient: services,
        };
        Box::pin(async move {
            let handling = millrace_archiver::handler::handle(&archiver, event);
            handling.await.expect("a Kinesis batch")
        })
    }

    fn reconcile(&self, services: Services, mut context: Context) -> Call<Option<Value>> {
        context.request_id = format!("run-{}", services.invocation.number());
        let pass_aggregates = services.sim.world().reconciler.pass_aggregates;
        let reconciler = Reconciler {
            translator: Translator {
                domain: Panicking(self.domain()),
                rows: services.clone(),
                cursors: services.clone(),
                publisher: services.clone(),
                ambient: services.clone(),
            },
            services,
            functions: reconciler::functions(),
            pass_aggregates,
        };
        let event = LambdaEvent::new(Value::Null, context);
        Box::pin(async move {
            let handling = millrace_reconciler::handler::handle(&reconciler, event);
            handling.await.ok()
        })
    }

    fn redrive(
        &self,
        services: Services,
        id: Option<String>,
        reset_cursor: bool,
    ) -> Call<Result<BTreeMap<String, Redriven>, ServiceError>> {
        Box::pin(redriven(
            Panicking(self.domain()),
            services,
            id,
            reset_cursor,
        ))
    }

    fn republish(&self, services: Services, id: String, from: Sequence, run: Run) -> Call<Outcome> {
        let publication = publication(Panicking(self.domain()), &services);
        Box::pin(async move { publication.republish(&id, from, &run).await })
    }

    fn rebuild(&self, services: Services, model: ReadModel, id: String) -> Call<Rebuilt> {
        let rebuilder = Rebuilder {
            domain: Panicking(self.domain()),
            events: services.clone(),
            model: services.clone(),
            ambient: services,
        };
        let model = match model {
            ReadModel::View => Model::Views,
            ReadModel::History => Model::History,
        };
        Box::pin(async move { rebuilder.rebuild(model, &id).await })
    }

    fn replay(
        &self,
        services: Services,
        only: Option<BTreeSet<String>>,
        progress: Progress,
    ) -> Call<Replayed> {
        Box::pin(replayed(Panicking(self.domain()), services, only, progress))
    }
}

async fn replayed<D: Project + Clone>(
    domain: D,
    services: Services,
    only: Option<BTreeSet<String>>,
    progress: Progress,
) -> Replayed {
    let failed = |error: ServiceError| Chain(&error).to_string();
    let ids = if let Some(ids) = only {
        ids
    } else {
        let all = Scanned::Events(services.clone());
        aggregates::list(&all, |_| ()).await.map_err(failed)?
    };
    let records = Records::new(String::new(), services.now());
    let target = FunctionTarget::new(services.clone(), services.clone(), records)
        .with_batch_size(progress.batch_size);
    let histories = ids.into_iter().map(|id| {
        let history = InTable::new(&domain, &services, &services, &services, id.clone());
        Ok((id, history))
    });
    let mut outcomes = BTreeMap::new();
    let replayer = Replayer::new(&target, &progress, Selection::ALL, None);
    let replaying = replayer.replay(stream::iter(histories), |ended, _| {
        if let Some((id, outcome)) = ended {
            outcomes.insert(id.to_owned(), outcome.clone());
        }
        Ok(())
    });
    replaying.await.map_err(|error| format!("{error:#}"))?;
    Ok(outcomes)
}

fn publication<D: Project + Clone>(
    domain: D,
    services: &Services,
) -> Publication<D, Services, Services, Services, Services> {
    Publication {
        events: services.clone(),
        cursors: services.clone(),
        publisher: services.clone(),
        ambient: services.clone(),
        domain,
    }
}

async fn redriven<D: Project + Clone>(
    domain: D,
    services: Services,
    id: Option<String>,
    reset_cursor: bool,
) -> Result<BTreeMap<String, Redriven>, ServiceError> {
    let publication = publication(domain, &services);
    let ids: BTreeSet<String> = if let Some(id) = id {
        [id].into()
    } else {
        let selection = Redrivable {
            blocked: true,
            lagging: true,
        };
        let all = Scanned::Events(services.clone());
        let blocked = Scanned::Blocked(services);
        publication
            .select(selection, &all, &blocked, |_, _| ())
            .await?
    };
    let mut redriven = BTreeMap::new();
    let report = |id: &str, ended: &Redriven| {
        redriven.insert(id.to_owned(), ended.clone());
        Ok(())
    };
    let summary = publication.redrive_all(&ids, reset_cursor, report).await;
    summary.expect("a summary without output");
    Ok(redriven)
}

/// A function that reads a log.
pub(crate) trait Function: Copy + Send + Sync + 'static {
    /// A record of its log.
    type Record: Clone + Send + Sync + 'static;
    /// Its name.
    const NAME: &'static str;

    fn log(world: &World) -> &Log<Self::Record>;

    /// Whether the mapping's filter passes a record. A mapping without a filter passes all records.
    fn passes(_record: &Self::Record) -> bool {
        true
    }

    /// The key by which a record's lane is chosen.
    fn key(record: &Self::Record) -> &str;

    /// The first sequence that the batch contains of each aggregate.
    fn first_sequences(_batch: &[Stored<Self::Record>]) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Checks the conditions that must hold after the function has handled these records.
    fn check_handled(_world: &mut World, _records: &[Stored<Self::Record>]) {}

    /// The event with which Lambda delivers a batch.
    fn payload(batch: &[Stored<Self::Record>]) -> Value;

    /// Handles an event, and returns the sequence numbers that it reports.
    fn handle_payload(
        services: Services,
        context: Context,
        payload: Value,
    ) -> impl Future<Output = Vec<String>> + Send + 'static;
}

/// The translator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TranslatorFunction;

/// The projector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProjectorFunction;

/// The archiver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArchiverFunction;

impl Function for TranslatorFunction {
    type Record = Change;
    const NAME: &'static str = "translator";

    fn log(world: &World) -> &Log<Change> {
        &world.table_stream
    }

    fn passes(change: &Change) -> bool {
        change.passes_filter
    }

    fn key(change: &Change) -> &str {
        &change.aggregate
    }

    fn check_handled(world: &mut World, records: &[Stored<Change>]) {
        check::notifications_are_kept(world, records);
    }

    fn payload(batch: &[Stored<Change>]) -> Value {
        let records: Vec<Value> = batch
            .iter()
            .map(|Stored { number, record, .. }| table_record(record.name, &record.row, *number))
            .collect();
        json!({ "Records": records })
    }

    async fn handle_payload(services: Services, context: Context, payload: Value) -> Vec<String> {
        let scenario = Arc::clone(&services.sim.scenario);
        let response = scenario
            .translate(services, invocation(context, &payload))
            .await;
        let failures = response.batch_item_failures.into_iter();
        failures
            .map(|failure| failure.item_identifier.unwrap_or_default())
            .collect()
    }
}

impl Function for ProjectorFunction {
    type Record = Event;
    const NAME: &'static str = "projector";

    fn log(world: &World) -> &Log<Event> {
        &world.domain_stream
    }

    fn key(event: &Event) -> &str {
        &event.partition_key
    }

    fn first_sequences(batch: &[Stored<Event>]) -> BTreeMap<String, u64> {
        let mut first = BTreeMap::new();
        for Stored { record, .. } in batch {
            if let Some(sequence) = sequence_in(&record.data) {
                first
                    .entry(record.partition_key.clone())
                    .or_insert(sequence);
            }
        }
        first
    }

    fn payload(batch: &[Stored<Event>]) -> Value {
        kinesis_payload(batch)
    }

    async fn handle_payload(services: Services, context: Context, payload: Value) -> Vec<String> {
        let scenario = Arc::clone(&services.sim.scenario);
        reported(
            scenario
                .project(services, invocation(context, &payload))
                .await,
        )
    }
}

impl Function for ArchiverFunction {
    type Record = Event;
    const NAME: &'static str = "archiver";

    fn log(world: &World) -> &Log<Event> {
        &world.domain_stream
    }

    fn key(event: &Event) -> &str {
        &event.partition_key
    }

    fn payload(batch: &[Stored<Event>]) -> Value {
        kinesis_payload(batch)
    }

    async fn handle_payload(services: Services, context: Context, payload: Value) -> Vec<String> {
        let scenario = Arc::clone(&services.sim.scenario);
        reported(
            scenario
                .archive(services, invocation(context, &payload))
                .await,
        )
    }
}

/// The sequence numbers that a consumer reports.
fn reported(response: KinesisEventResponse) -> Vec<String> {
    let failures = response.batch_item_failures.into_iter();
    failures
        .map(|failure| failure.item_identifier.unwrap_or_default())
        .collect()
}

/// A change in the format in which Lambda delivers records of the table's stream.
pub(crate) fn table_record(name: &str, row: &Attributes, number: u64) -> Value {
    let image = members(row);
    let number = number.to_string();
    json!({
        "eventID": format!("event-{number}"),
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-north-1",
        "eventSourceARN": "arn:aws:dynamodb:eu-north-1:000000000000:table/events/stream/1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_800_000_000,
            "Keys": {"Id": image[row::ID], "Version": image[row::VERSION]},
            "NewImage": image,
            "SequenceNumber": number,
            "SizeBytes": 100,
            "StreamViewType": "NEW_IMAGE",
        },
    })
}

fn invocation(context: Context, payload: &Value) -> BatchInvocation {
    LambdaEvent::new(Bytes::from(payload.to_string()), context)
}
