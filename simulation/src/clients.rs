//! The clients: they execute the workload's actions concurrently, start them in order, and send commands to the
//! writer in API Gateway's format.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lambda_events::encodings::Body;
use futures_util::future::{join, join_all};
use lambda_runtime::LambdaEvent;
use millrace_runtime::http::HttpEvent;
use serde_json::{Value, json};

use super::days::{self, MAPPINGS};
use super::expected;
use super::functions::Names;
use super::invocation::{WRITER, invoke};
use super::operators::{self, Operation};
use super::other_writers;
use super::queries;
use super::scenario::Command;
use super::services::Services;
use super::sim::Sim;
use super::workload::{Action, CALLERS};
use super::world::{Answer, Sent, World};

/// The writer's timeout in the CDK app.
const TIME: Duration = Duration::from_secs(15);
/// The most attempts of a command with a key while its outcome is unknown.
const REPEATS: usize = 6;
/// The number of commands with a key that are sent again at the end of the run.
const REPEATED: usize = 10;
/// The minimum time for which a key is honoured, in milliseconds, for every difference between two clocks.
const KEY_HONOURED: u64 = 12 * 60 * 60 * 1_000;

/// A request with a command, as it is sent to the writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) command: Command,
    pub(crate) correlation_id: String,
    pub(crate) key: Option<String>,
    pub(crate) if_match: Option<String>,
    pub(crate) causation_id: Option<String>,
    /// The sender's span, as a `traceparent`.
    pub(crate) trace_parent: Option<String>,
    /// The role that the sender has assumed.
    pub(crate) caller: Option<String>,
}

impl Request {
    /// A command that opens an aggregate.
    pub(crate) fn opening(names: &Names, command: Command) -> Self {
        Self {
            path: names.opening_path(),
            command,
            ..Self::default()
        }
    }

    /// A command to an aggregate.
    pub(crate) fn to(names: &Names, id: &str, command: Command) -> Self {
        Self {
            path: names.command_path(id, &command),
            command,
            ..Self::default()
        }
    }
}

/// Executes the actions with this number of concurrent clients, and returns after the last one. `first` is the number
/// of the first action, which identifies it.
pub(crate) async fn work(sim: &Arc<Sim>, actions: Vec<Action>, first: usize, clients: usize) {
    let actions = Arc::new(std::sync::Mutex::new(
        (first..).zip(actions).collect::<Vec<_>>().into_iter(),
    ));
    let clients = (0..clients).map(|_| {
        let (sim, actions) = (Arc::clone(sim), Arc::clone(&actions));
        async move {
            loop {
                let next = actions.lock().expect("unpoisoned").next();
                let Some((number, action)) = next else { return };
                act(&sim, number, action).await;
                sim.pause(0, 300).await;
            }
        }
    });
    join_all(clients).await;
    days::end_outages(sim);
}

fn note(sim: &Sim, number: usize, action: &Action) {
    let now = sim.elapsed();
    let mut world = sim.world();
    world.trace.note(now, format_args!("{number}: {action:?}"));
}

async fn act(sim: &Arc<Sim>, number: usize, action: Action) {
    note(sim, number, &action);
    match action {
        Action::Open {
            aggregate,
            command,
            has_key,
            caller,
        } => {
            let request = Request {
                correlation_id: format!("command-{number}"),
                key: has_key.then(|| format!("key-{number}")),
                trace_parent: span(number),
                caller: caller.map(role),
                ..Request::opening(&sim.world().names, command)
            };
            open(sim, aggregate, &request).await;
        }
        Action::Send {
            aggregate,
            command,
            has_key,
            is_conditional,
            has_cause,
            caller,
            is_key_shared,
            copies,
        } => {
            let id = id_of(sim, aggregate);
            let if_match = if is_conditional { seen(sim, &id) } else { None };
            let request = Request {
                correlation_id: format!("command-{number}"),
                key: has_key.then(|| format!("key-{number}")),
                if_match,
                causation_id: has_cause.then(|| format!("cause-{number}")),
                trace_parent: span(number),
                caller: caller.map(role),
                ..Request::to(&sim.world().names, &id, command)
            };
            // The previous version kept the keys of all callers together.
            if is_key_shared && !sim.world().upgrade.is_part_of_the_run() {
                let other = of_another(&request, sim.scenario.variation_of(&request.command));
                join(send(sim, &request, copies), send(sim, &other, 1)).await;
            } else {
                send(sim, &request, copies).await;
            }
        }
        Action::Other { aggregate, events } => append_other(sim, aggregate, events).await,
        Action::Poison {
            aggregate,
            damage,
            further_rows,
        } => {
            let id = id_of(sim, aggregate);
            sim.apply(|world, now| {
                other_writers::poison(world, &id, damage, now);
                for _ in 0..further_rows {
                    other_writers::append_other(world, &id, now);
                }
            });
        }
        Action::DamageView { aggregate } => {
            damage_view(sim, &id_of(sim, aggregate)).await;
        }
        Action::Repair { aggregate } => {
            let id = id_of(sim, aggregate);
            sim.apply(|world, now| other_writers::repair(world, &id, now));
        }
        Action::Intrude { aggregate, foreign } => {
            let id = id_of(sim, aggregate);
            sim.apply(|world, now| other_writers::intrude(world, &id, foreign, now));
        }
        Action::Legacy { .. }
        | Action::Crowd { .. }
        | Action::DamageCursor { .. }
        | Action::Reshard { .. }
        | Action::Break { .. } => {
            sim.apply(|world, now| disturb(world, &action, now));
        }
        Action::Query {
            aggregate,
            question,
        } => {
            let id = id_of(sim, aggregate);
            queries::query(sim, &id, question).await;
        }
        Action::Operate(operation) => operate(sim, operation),
        Action::Days(days) => {
            days::pass(sim, days).await;
            days::end_outages(sim);
        }
        Action::Suffer {
            mapping,
            outage,
            lasts,
        } => days::suffer(sim, MAPPINGS[mapping], outage, lasts).await,
        Action::Pause(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
    }
}

/// Executes an action that takes no time: one of another writer or of a service.
fn disturb(world: &mut World, action: &Action, now: u64) {
    match *action {
        Action::Legacy {
            aggregate,
            events,
            is_notified,
        } => {
            let id = format!("legacy-{aggregate}");
            world.aggregates.insert(aggregate, id.clone());
            other_writers::write_legacy(world, &id, events, is_notified, now);
        }
        Action::Crowd { aggregates } => other_writers::open_crowd(world, aggregates, now),
        Action::DamageCursor { aggregate, damage } => {
            if let Some(id) = world.aggregates.get(&aggregate).cloned() {
                operators::damage_cursor(world, &id, damage);
            }
        }
        Action::Reshard { table, split } => {
            world.count("shards split or merged", 1);
            match (table, split) {
                (true, true) => world.table_stream.split(&mut world.rng),
                (true, false) => world.table_stream.merge(&mut world.rng),
                (false, true) => world.domain_stream.split(&mut world.rng),
                (false, false) => world.domain_stream.merge(&mut world.rng),
            }
        }
        Action::Break { mapping, outage } => days::begin_outage(world, MAPPINGS[mapping], outage),
        _ => {}
    }
}

/// Starts an operator's command without waiting for its end.
fn operate(sim: &Arc<Sim>, operation: Operation) {
    let aggregate = match operation {
        Operation::Redrive { aggregate, .. } => aggregate,
        Operation::Republish { aggregate, .. } | Operation::Rebuild { aggregate, .. } => {
            Some(aggregate)
        }
    };
    let id = aggregate.map(|aggregate| id_of(sim, aggregate));
    let sim = Arc::clone(sim);
    tokio::spawn(async move { operators::operate(&sim, operation, id).await });
}

/// Another caller's request with the same key.
fn of_another(request: &Request, command: Command) -> Request {
    Request {
        command,
        correlation_id: format!("{}-of-another", request.correlation_id),
        caller: Some(role(CALLERS)),
        ..request.clone()
    }
}

/// Lets another writer append this number of events.
async fn append_other(sim: &Sim, aggregate: usize, events: usize) {
    let id = format!("older-{aggregate}");
    for _ in 0..events {
        sim.apply(|world, now| {
            world.aggregates.insert(aggregate, id.clone());
            other_writers::append_other(world, &id, now);
        });
        sim.pause(0, 50).await;
    }
}

/// Damages a view, and replaces it a short time later, as an operator does.
async fn damage_view(sim: &Sim, id: &str) {
    if sim.apply(|world, _| other_writers::damage_view(world, id)) {
        sim.pause(0, 1_000).await;
        sim.apply(|world, _| other_writers::replace_view(world, id));
    }
}

async fn open(sim: &Arc<Sim>, aggregate: usize, request: &Request) {
    for answer in send(sim, request, 1).await {
        if let Answer::Definite {
            status: 201, body, ..
        } = answer
        {
            let body: Value = serde_json::from_str(&body).expect("JSON");
            let mut world = sim.world();
            let id = body[world.names.id].as_str().expect("an id").to_owned();
            world.aggregates.insert(aggregate, id);
        }
    }
}

/// An aggregate's id; an unknown id if the aggregate isn't opened yet.
fn id_of(sim: &Sim, aggregate: usize) -> String {
    let world = sim.world();
    let id = world.aggregates.get(&aggregate).cloned();
    id.unwrap_or_else(|| format!("unknown-{aggregate}"))
}

/// The entity tag that a client may have read from the view or from the response to the newest command.
fn seen(sim: &Sim, id: &str) -> Option<String> {
    let mut world = sim.world();
    let newest = expected::aggregate(&world, id).events.len();
    let sequence = if world.rng.bool() {
        i64::try_from(newest).ok()?
    } else {
        world.views.get(id)?.get("Sequence")?.as_integer()?
    };
    Some(format!("\"{sequence}\""))
}

/// Whether a command is sent to functions of the previous version. Its copies and immediate retries go to the same
/// version: if both versions execute copies of a command concurrently, its key has no effect, because neither
/// version looks for the record that the other one stores.
fn version(sim: &Sim) -> bool {
    let now = sim.elapsed();
    let mut world = sim.world();
    let World { upgrade, rng, .. } = &mut *world;
    let is_previous = upgrade.is_previous(now, rng);
    if is_previous {
        world.count("commands to the previous version", 1);
    }
    is_previous
}

/// Sends some commands with a key again, at the end of the run. Their outcomes must not change.
pub(crate) async fn repeat(sim: &Arc<Sim>) {
    let now = sim.elapsed();
    let sent: Vec<(usize, Request)> = {
        let world = sim.world();
        let has_key =
            |(_, sent): &(usize, &Sent)| sent.request.key.is_some() && now < sent.at + KEY_HONOURED;
        let keyed = world.commands.iter().enumerate().filter(has_key);
        let keyed = keyed.map(|(index, sent)| (index, sent.request.clone()));
        keyed.take(REPEATED).collect()
    };
    for (index, request) in sent {
        let answer = once(sim, &request, false).await;
        let mut world = sim.world();
        world.count("commands sent again at the end", 1);
        world.commands[index].answers.push(answer);
    }
}

/// Sends a command, repeats it while it has a key and its outcome is unknown, and records the responses.
pub(crate) async fn send(sim: &Arc<Sim>, request: &Request, copies: usize) -> Vec<Answer> {
    let at = sim.elapsed();
    let is_previous = version(sim);
    let one = async || {
        let mut answers = Vec::new();
        for _ in 0..REPEATS {
            let answer = once(sim, request, is_previous).await;
            let is_known = answer != Answer::Unknown;
            answers.push(answer);
            if is_known || request.key.is_none() {
                break;
            }
            sim.pause(0, 4_000).await;
        }
        answers
    };
    let all = join_all((0..copies).map(|_| one())).await;
    let answers: Vec<Answer> = all.into_iter().flatten().collect();
    let mut world = sim.world();
    for answer in &answers {
        world.count(
            match answer {
                Answer::Definite { status: 0..300, .. } => "commands accepted",
                Answer::Definite { .. } => "commands refused",
                Answer::Unknown => "commands of unknown outcome",
            },
            1,
        );
    }
    world.commands.push(Sent {
        request: request.clone(),
        at,
        is_previous,
        answers: answers.clone(),
    });
    answers
}

/// The span in which a client sends the command with this number. One half of the commands belongs to no trace.
fn span(number: usize) -> Option<String> {
    number.is_multiple_of(2).then(|| {
        let flags = number / 2 % 2;
        format!("00-{:032x}-ffffffff{number:08x}-{flags:02x}", number + 1)
    })
}

/// The ARN of a caller's assumed role, without the session's name.
fn role(caller: u8) -> String {
    format!("arn:aws:sts::123456789012:assumed-role/teller-{caller}")
}

async fn once(sim: &Arc<Sim>, request: &Request, is_previous: bool) -> Answer {
    let mut headers = BTreeMap::from([
        ("content-type", "application/json"),
        ("x-correlation-id", &*request.correlation_id),
    ]);
    if let Some(key) = &request.key {
        headers.insert("idempotency-key", key);
    }
    if let Some(tag) = &request.if_match {
        headers.insert("if-match", tag);
    }
    if let Some(id) = &request.causation_id {
        headers.insert("x-causation-id", id);
    }
    if let Some(span) = &request.trace_parent {
        headers.insert("traceparent", span);
    }
    // Each time that a client assumes its role, its session has another name.
    let session = sim.world().rng.u8(..);
    let authorizer = request
        .caller
        .as_ref()
        .map(|role| json!({"iam": {"userArn": format!("{role}/session-{session}")}}));
    let event: HttpEvent = serde_json::from_value(json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "http": {"method": "POST", "path": request.path},
            "authorizer": authorizer,
        },
        "body": request.command.body(),
        "isBase64Encoded": false,
    }))
    .expect("an HTTP API event");
    let first = BTreeMap::new();
    let answer = invoke(sim, WRITER, TIME, first, |services, context| async move {
        let invocation = Arc::clone(&services.invocation);
        let services = Services {
            is_previous,
            ..services
        };
        let scenario = Arc::clone(&services.sim.scenario);
        let event = LambdaEvent::new(event, context);
        let response = scenario.write(services, event).await;
        (response, invocation.looked_at())
    })
    .await;
    // If the function returns nothing, API Gateway responds with 500, without a problem's body.
    answer.map_or(Answer::Unknown, |(response, looked_at)| {
        read(response, looked_at)
    })
}

/// Reads a response according to the API's documentation: after a 503, or a 5xx without a problem's body, the
/// outcome is unknown.
fn read(response: ApiGatewayV2httpResponse, looked_at: u64) -> Answer {
    let header = |name: &str| {
        let value = response.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let status = u16::try_from(response.status_code).expect("a status");
    let is_problem = header("content-type").is_some_and(|it| it == "application/problem+json");
    if status == 503 || status >= 500 && !is_problem {
        return Answer::Unknown;
    }
    Answer::Definite {
        status,
        etag: header("etag"),
        location: header("location"),
        looked_at,
        body: match response.body {
            Some(Body::Text(text)) => text,
            _ => String::new(),
        },
    }
}
