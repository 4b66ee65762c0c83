//! What the account domain doesn't cover: a history whose entries have no fields, so that a view can't be
//! restored from them, and one refusal for all times. The domain is a shelf of articles.

use std::marker::PhantomData;
use std::time::Duration;

use millrace_core::{Domain, Envelope, Project, Refusal, View, view};
use millrace_reader::service::Reader;
use millrace_reader::testing::InMemoryReadModel;
use millrace_runtime::Budget;
use millrace_runtime::http::Response;
use millrace_runtime::testing::TestAmbient;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fixtures::{assert_problem, at, body, get, id, sequence};

struct Shelves;

#[derive(Deserialize)]
enum Command {
    Stock {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Stocked {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shelf {
    stocked: u64,
}

impl Domain for Shelves {
    const COLLECTION: &'static str = "shelves";
    const ID: &'static str = "shelfId";
    const OPENS: &'static str = "Stock";
    const BEGINS: &'static str = "Stocked";

    type Command = Command;
    type Event = Event;
    type State = Shelf;
    type PublicEvent = Event;
    type Context = ();
    type Accepted = ();

    fn decide(&self, _: Option<&Shelf>, Command::Stock {}: Command) -> Result<Vec<Event>, Refusal> {
        Ok(vec![Event::Stocked {}])
    }

    fn evolve(before: Option<Shelf>, _: &Event) -> Option<Shelf> {
        Some(stocked_once_more(before.as_ref()))
    }

    fn publish((): &mut (), event: &Event) -> Option<Event> {
        Some(event.clone())
    }

    fn accepted(_: &Shelf) {}
}

impl Project for Shelves {
    type View = Shelf;
    type Entry = ();
    const HISTORY: &'static str = "history";
    const VIEW_AT: Option<&'static str> = Some("stock");

    fn project(before: Option<&Shelf>, _: &Event) -> (Shelf, ()) {
        (stocked_once_more(before), ())
    }

    fn not_found() -> Refusal {
        Refusal::unknown("shelf-not-found", "there is no such shelf")
    }
}

fn stocked_once_more(before: Option<&Shelf>) -> Shelf {
    Shelf {
        stocked: before.map_or(0, |shelf| shelf.stocked) + 1,
    }
}

/// A shelf that was stocked at 10, 20 and 30 milliseconds.
fn model() -> InMemoryReadModel {
    let model = InMemoryReadModel::default();
    let mut before: Option<View<Shelf>> = None;
    for number in 1..=3 {
        let envelope = Envelope {
            subject: id(),
            sequence: sequence(number),
            time: at(i64::try_from(number).expect("small") * 10),
            correlation_id: None,
            causation_id: None,
            trace_parent: None,
            event: Event::Stocked {},
        };
        let (view, entry) =
            view::apply::<Shelves>(before.as_ref(), &envelope).expect("shelves have views");
        model.put_view(&id(), view.to_item().expect("shelves have views"));
        let item = entry.to_item().expect("shelves have entries");
        model.put_entry(&id(), entry.sequence, item);
        before = Some(view);
    }
    model
}

async fn ask(path: &str) -> Response {
    let model = model();
    let reader = Reader {
        domain: PhantomData::<Shelves>,
        documents: &[],
        model: &model,
        ambient: TestAmbient::default(),
    };
    let budget = Budget::lasting(Duration::from_secs(10));
    reader.answer(&get(path), budget).await
}

#[tokio::test]
async fn queries_have_the_domains_names() {
    let view = ask("/shelves/a").await;
    assert_eq!(
        body(&view),
        json!({
            "shelfId": "a", "stocked": 3, "sequence": 3,
            "openedAt": "1970-01-01T00:00:00.010Z", "updatedAt": "1970-01-01T00:00:00.030Z",
        })
    );
    let history = ask("/shelves/a/history?limit=1").await;
    assert_eq!(
        body(&history),
        json!({
            "shelfId": "a",
            "history": [
                {"sequence": 3, "type": "Stocked", "time": "1970-01-01T00:00:00.030Z"},
            ],
            "next": 3,
        })
    );
    assert_eq!(body(&ask("/shelves/a/stock").await)["stocked"], 3);
    assert_problem(&ask("/shelves/b").await, 404, "shelf-not-found");
    assert_problem(&ask("/accounts/a").await, 404, "not-found");
}

#[tokio::test]
async fn a_time_before_the_first_event_is_answered_as_an_unknown_aggregate_by_default() {
    let response = ask("/shelves/a/stock?at=1970-01-01T00:00:00.009Z").await;
    assert_problem(&response, 404, "shelf-not-found");
}

#[tokio::test]
async fn an_entry_that_does_not_tell_the_view_is_500_and_never_another_view() {
    for time in ["10", "19", "20"] {
        let response = ask(&format!("/shelves/a/stock?at=1970-01-01T00:00:00.0{time}Z")).await;
        assert_problem(&response, 500, "read-model-damaged");
    }
}
