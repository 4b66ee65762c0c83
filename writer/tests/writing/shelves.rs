//! What the account domain doesn't cover: a command that leads to no event, to several, or to events that
//! can't be encoded as rows. The domain is a shelf of articles.

use std::time::Duration;

use millrace_core::{Attribute, Domain, Refusal, row};
use millrace_runtime::Budget;
use millrace_runtime::http::Response;
use millrace_runtime::testing::TestAmbient;
use millrace_writer::ports::MAX_TRANSACTION_ITEMS;
use millrace_writer::service::Writer;
use millrace_writer::testing::{Fault, InMemoryEventStore};
use serde::{Deserialize, Serialize};

use crate::fixtures::{body, code, header, request};

struct Shelves;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Command {
    /// Opens a shelf; without articles there is no event.
    Stock { articles: u64 },
    /// Takes articles, one event each.
    Take { articles: u64 },
    /// Leads to an event that has no form as a row.
    Weigh {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase")]
enum Event {
    Stocked { articles: u64 },
    Taken {},
    Weighed { grams: f64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shelf {
    articles: u64,
}

#[derive(Serialize)]
struct Accepted {
    articles: u64,
}

impl Domain for Shelves {
    const COLLECTION: &'static str = "shelves";
    const ID: &'static str = "shelfId";
    const OPENS: &'static str = "stock";
    const BEGINS: &'static str = "Stocked";

    type Command = Command;
    type Event = Event;
    type State = Shelf;
    type PublicEvent = Event;
    type Context = ();
    type Accepted = Accepted;

    fn decide(&self, _: Option<&Shelf>, command: Command) -> Result<Vec<Event>, Refusal> {
        Ok(match command {
            Command::Stock { articles: 0 } => Vec::new(),
            Command::Stock { articles } => vec![Event::Stocked { articles }],
            Command::Take { articles } => (0..articles).map(|_| Event::Taken {}).collect(),
            Command::Weigh {} => vec![Event::Weighed { grams: 0.5 }],
        })
    }

    fn evolve(shelf: Option<Shelf>, event: &Event) -> Option<Shelf> {
        let before = shelf.map_or(0, |shelf| shelf.articles);
        let articles = match event {
            Event::Stocked { articles } => *articles,
            Event::Taken {} => before.saturating_sub(1),
            Event::Weighed { .. } => before,
        };
        Some(Shelf { articles })
    }

    fn publish((): &mut (), event: &Event) -> Option<Event> {
        Some(event.clone())
    }

    fn accepted(shelf: &Shelf) -> Accepted {
        Accepted {
            articles: shelf.articles,
        }
    }
}

/// The tables, with a shelf of 500 articles, and its path.
async fn with_shelf() -> (InMemoryEventStore, String) {
    let store = InMemoryEventStore::default();
    let stocked = post(&store, "/shelves", &[], r#"{"articles":500}"#).await;
    assert_eq!(stocked.status, 201);
    let path = header(&stocked, "location").expect("a path").to_owned();
    (store, path)
}

async fn post(
    store: &InMemoryEventStore,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let writer = Writer {
        domain: Shelves,
        store,
        ambient: TestAmbient::default(),
    };
    let budget = Budget::lasting(Duration::from_secs(10));
    let request = request("POST", path, headers, body);
    writer.answer(&request, budget).await.0
}

fn id(path: &str) -> &str {
    path.rsplit('/').next().expect("a last segment")
}

#[tokio::test(start_paused = true)]
async fn all_events_of_a_command_are_appended_in_one_call() {
    let (store, path) = with_shelf().await;
    let taken = post(&store, &format!("{path}/take"), &[], r#"{"articles":12}"#).await;
    assert_eq!(
        (taken.status, header(&taken, "etag")),
        (200, Some("\"13\""))
    );
    assert_eq!(body(&taken)["articles"], 488);
    assert_eq!(body(&taken)["sequence"], 13);
    let rows = store.rows_of(id(&path));
    let types: Vec<_> = rows.iter().map(|row| row[row::TYPE].clone()).collect();
    let mut expected = vec!["Stocked", "SNAPSHOT"];
    expected.extend(["Taken"; 9]);
    expected.push("SNAPSHOT");
    expected.extend(["Taken"; 3]);
    assert_eq!(
        types,
        expected.iter().map(Attribute::text).collect::<Vec<_>>()
    );
    assert_eq!(store.tokens().len(), 2);
    // One command is one span.
    let events = store.events_of(id(&path));
    let mut spans: Vec<_> = events[1..].iter().map(|row| &row["TraceParent"]).collect();
    spans.dedup();
    assert_eq!(spans.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn more_events_than_a_transaction_takes_are_refused() {
    let (store, path) = with_shelf().await;
    let many = format!(r#"{{"articles":{MAX_TRANSACTION_ITEMS}}}"#);
    let refused = post(&store, &format!("{path}/take"), &[], &many).await;
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (413, "too-large-to-store")
    );
    assert_eq!(store.row_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_several_events_is_looked_up() {
    let (store, path) = with_shelf().await;
    store.fault(Fault::StoredAndLost);
    let taken = post(&store, &format!("{path}/take"), &[], r#"{"articles":12}"#).await;
    assert_eq!((taken.status, &body(&taken)["sequence"]), (200, &13.into()));
    assert_eq!(store.events_of(id(&path)).len(), 13);
}

#[tokio::test(start_paused = true)]
async fn a_command_without_an_event_is_answered_with_the_state_and_appends_nothing() {
    let (store, path) = with_shelf().await;
    let take = format!("{path}/take");
    let taken = post(&store, &take, &[], r#"{"articles":0}"#).await;
    assert_eq!((taken.status, header(&taken, "etag")), (200, Some("\"1\"")));
    assert_eq!(body(&taken)["articles"], 500);
    assert_eq!(header(&taken, "location"), None);
    assert_eq!((store.row_count(), store.tokens().len()), (2, 1));

    // With a key, the outcome is kept.
    let key = [("idempotency-key", "k")];
    let first = post(&store, &take, &key, r#"{"articles":0}"#).await;
    post(&store, &take, &[], r#"{"articles":1}"#).await;
    let repeat = post(&store, &take, &key, r#"{"articles":0}"#).await;
    assert_eq!((repeat.status, &repeat.body), (200, &first.body));
    assert_eq!(header(&repeat, "idempotent-replayed"), Some("true"));
    assert_eq!((store.row_count(), store.record_count()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_be_stored_are_refused_and_not_appended() {
    let (store, path) = with_shelf().await;
    for (path, body) in [
        // An event with a float, another event than the first one, and no event at all.
        (&*format!("{path}/weigh"), "{}"),
        ("/shelves/unknown/take", r#"{"articles":1}"#),
        ("/shelves", r#"{"articles":0}"#),
    ] {
        let refused = post(&store, path, &[("idempotency-key", "k")], body).await;
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (500, "events-not-storable"),
            "{path}"
        );
    }
    assert_eq!((store.row_count(), store.record_count()), (2, 0));
}
