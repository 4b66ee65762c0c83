//! Clients' queries to the reader while the functions run. Each response must be the fold of an aggregate's events
//! up to a sequence that the view had between the request and the response.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::encodings::Body;
use lambda_runtime::LambdaEvent;
use millrace_core::{Attributes, Timestamp, view};
use millrace_runtime::http::HttpEvent;
use serde_json::{Value, json};

use super::expected::{self, ExpectedEvent};
use super::invocation::invoke;
use super::scenario::members;
use super::sim::Sim;
use super::world::World;

/// The reader's timeout in the CDK app.
const TIME: Duration = Duration::from_secs(15);

/// A query of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// The aggregate's view, with a `minSequence` of this number above the view's current sequence.
    View { at_least: Option<u64> },
    /// The whole history, in pages of at most `limit` entries.
    History { limit: u64 },
    /// The view this number of milliseconds ago, if the domain has [`millrace_core::Project::VIEW_AT`].
    ViewAt { ago: i64 },
}

/// A response, and the sequences that the view had before and after it.
struct Answer {
    status: i64,
    etag: Option<String>,
    body: Value,
    before: u64,
    after: u64,
}

/// Sends a query, and checks the response.
pub(crate) async fn query(sim: &Arc<Sim>, id: &str, question: Question) {
    let asked = match question {
        Question::View { at_least } => view_of(sim, id, at_least).await,
        Question::History { limit } => history(sim, id, limit).await,
        Question::ViewAt { ago } => view_at(sim, id, ago).await,
    };
    if let Err(what) = asked {
        // A damaged view has another time of opening, on which only this query depends.
        let is_of_time = matches!(question, Question::ViewAt { .. });
        if is_of_time && sim.world().ever_damaged_views.contains(id) {
            return;
        }
        sim.world()
            .violated("3", format!("{id}: {question:?}: {what}"));
    }
}

async fn view_of(sim: &Arc<Sim>, id: &str, at_least: Option<u64>) -> Result<(), String> {
    let at_least = at_least.map(|more| projected(&sim.world(), id) + more);
    let query = at_least.map_or_else(|| json!({}), |it| json!({ "minSequence": it.to_string() }));
    let path = path(sim, id, "");
    let Some(answer) = ask(sim, &path, id, query).await? else {
        return Ok(());
    };
    let sequence = answer.body["sequence"].as_u64().unwrap_or_default();
    answer.contains(sequence)?;
    let world = sim.world();
    let events = &expected::aggregate(&world, id).events;
    let is_fold = shows_view(events, sequence, &answer.body);
    if !is_fold || answer.etag != Some(format!("\"{sequence}\"")) || Some(sequence) < at_least {
        return Err(format!("{} with {:?}", answer.body, answer.etag));
    }
    Ok(())
}

async fn history(sim: &Arc<Sim>, id: &str, limit: u64) -> Result<(), String> {
    let history = sim.scenario.names().history;
    let path = path(sim, id, history);
    let mut query = json!({ "limit": limit.to_string() });
    let mut next = None;
    loop {
        let Some(answer) = ask(sim, &path, id, query.clone()).await? else {
            return Ok(());
        };
        let page = answer.body[history].as_array();
        for entry in page.into_iter().flatten() {
            let sequence = entry["sequence"].as_u64().unwrap_or_default();
            match next {
                None => answer.contains(sequence)?,
                Some(next) if next == sequence => {}
                Some(next) => return Err(format!("sequence {sequence} instead of {next}")),
            }
            next = sequence.checked_sub(1);
            let world = sim.world();
            let events = &expected::aggregate(&world, id).events;
            let event = after(events, sequence);
            if !event.is_some_and(|event| shows(&event.own.entry, entry)) {
                return Err(entry.to_string());
            }
        }
        let Some(before) = answer.body["next"].as_u64() else {
            return match next {
                Some(0) => Ok(()),
                _ => Err(format!("the last page ends before {next:?}")),
            };
        };
        query["before"] = json!(before.to_string());
    }
}

async fn view_at(sim: &Arc<Sim>, id: &str, ago: i64) -> Result<(), String> {
    let Some(view_at) = sim.scenario.names().view_at else {
        return Ok(());
    };
    let at = Timestamp::from_unix_millis(sim.now().unix_millis() - ago).expect("this century");
    let path = path(sim, id, view_at);
    let Some(answer) = ask(sim, &path, id, json!({ "at": at.to_string() })).await? else {
        return Ok(());
    };
    let sequence = answer.body["sequence"].as_u64().unwrap_or_default();
    let at = answer.body["at"].as_str().unwrap_or_default();
    let at = Timestamp::parse(at).map_err(|error| error.to_string())?;
    let world = sim.world();
    let events = &expected::aggregate(&world, id).events;
    // An event takes effect no earlier than the events before it.
    let effective = |sequence: u64| {
        let through = usize::try_from(sequence).expect("few");
        events
            .get(..through)
            .and_then(|events| events.iter().map(|it| it.time).max())
    };
    let is_last = sequence >= answer.before || effective(sequence + 1) > Some(at);
    let is_fold = shows_view(events, sequence, &answer.body);
    if sequence > answer.after || effective(sequence) > Some(at) || !is_last || !is_fold {
        return Err(answer.body.to_string());
    }
    Ok(())
}

impl Answer {
    fn contains(&self, sequence: u64) -> Result<(), String> {
        if (self.before..=self.after).contains(&sequence) {
            return Ok(());
        }
        let Self { before, after, .. } = self;
        Err(format!("{sequence}, of a view from {before} to {after}"))
    }
}

fn path(sim: &Sim, id: &str, last: &str) -> String {
    let path = format!("/{}/{id}/{last}", sim.scenario.names().collection);
    path.trim_end_matches('/').to_owned()
}

/// The event of this sequence.
fn after(events: &[ExpectedEvent], sequence: u64) -> Option<&ExpectedEvent> {
    let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
    events.get(index)
}

fn shows_view(events: &[ExpectedEvent], sequence: u64, body: &Value) -> bool {
    after(events, sequence).is_some_and(|event| shows(&event.own.view, body))
}

/// Whether a response shows these columns.
fn shows(columns: &Attributes, body: &Value) -> bool {
    members(columns)
        .iter()
        .all(|(name, value)| body[name] == *value)
}

fn projected(world: &World, id: &str) -> u64 {
    let item = world.views.get(id);
    let sequence = item.and_then(|item| item.get(view::SEQUENCE)?.as_integer());
    u64::try_from(sequence.unwrap_or_default()).expect("never negative")
}

/// Queries the reader. `None` if there is no response, or a response without a view, because the aggregate has no
/// view yet or a service failed.
async fn ask(sim: &Arc<Sim>, path: &str, id: &str, query: Value) -> Result<Option<Answer>, String> {
    let before = projected(&sim.world(), id);
    let is_at = query.get("at").is_some();
    let event: HttpEvent = serde_json::from_value(json!({
        "version": "2.0",
        "routeKey": "GET /{proxy+}",
        "rawPath": path,
        "headers": {},
        "queryStringParameters": query,
        "requestContext": {"http": {"method": "GET", "path": path}},
        "isBase64Encoded": false,
    }))
    .expect("an HTTP API event");
    let first = BTreeMap::new();
    let answer = invoke(sim, "reader", TIME, first, |services, context| async move {
        let scenario = Arc::clone(&services.sim.scenario);
        scenario
            .read(services, LambdaEvent::new(event, context))
            .await
    });
    let Ok(response) = answer.await else {
        return Ok(None);
    };
    let mut world = sim.world();
    world.count("queries answered", 1);
    let answer = Answer {
        status: response.status_code,
        etag: response
            .headers
            .get("etag")
            .and_then(|tag| Some(tag.to_str().ok()?.to_owned())),
        body: match response.body {
            Some(Body::Text(text)) => serde_json::from_str(&text).expect("JSON"),
            _ => Value::Null,
        },
        before,
        after: projected(&world, id),
    };
    match answer.status {
        200 => Ok(Some(answer)),
        503 => Ok(None),
        // The aggregate had no event at that time, or there is no view yet.
        404 if before == 0 || is_at => Ok(None),
        status => Err(format!("{status} {}", answer.body)),
    }
}
