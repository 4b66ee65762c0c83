//! A reader of accounts, histories to fill its read model with, and requests.

use std::marker::PhantomData;
use std::time::Duration;

use millrace_core::{
    AggregateId, Attribute, Envelope, HistoryEntryOf, Sequence, Timestamp, ViewOf, view,
};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, PublicEvent};
use millrace_reader::ports::ReadModel;
use millrace_reader::service::Reader;
use millrace_reader::testing::InMemoryReadModel;
use millrace_runtime::Budget;
use millrace_runtime::http::{Request, Response};
use millrace_runtime::testing::TestAmbient;
use serde_json::Value;

pub(crate) const VIEW: &str = "/accounts/a";
pub(crate) const HISTORY: &str = "/accounts/a/transactions";
pub(crate) const VIEW_AT: &str = "/accounts/a/balance";

/// The view and the history entry after an event.
pub(crate) type Projected = (ViewOf<Accounts>, HistoryEntryOf<Accounts>);

/// The aggregate that histories are of.
pub(crate) fn id() -> AggregateId {
    AggregateId::new("a").expect("valid")
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).expect("valid")
}

pub(crate) fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}

/// The view and the history entry after each of these times' events, in order. Each has another balance.
pub(crate) fn history(times: &[i64]) -> Vec<Projected> {
    let currency = Currency::stored("EUR").expect("valid");
    let amount = Amount::new(100).expect("valid");
    let mut events: Vec<Projected> = Vec::new();
    for (number, &time) in (1..).zip(times) {
        let event = if number == 1 {
            PublicEvent::AccountCreated { currency }
        } else {
            PublicEvent::BalanceCredited { amount, currency }
        };
        let envelope = Envelope {
            subject: id(),
            sequence: sequence(number),
            time: at(time),
            correlation_id: None,
            causation_id: None,
            trace_parent: None,
            event,
        };
        let before = events.last().map(|(view, _)| view);
        events.push(view::apply::<Accounts>(before, &envelope).expect("accounts have views"));
    }
    events
}

/// The read model after the projector has applied these events.
pub(crate) fn model(events: &[Projected]) -> InMemoryReadModel {
    let model = InMemoryReadModel::default();
    project(&model, events);
    model
}

/// Writes what the projector writes for these events.
pub(crate) fn project(model: &InMemoryReadModel, events: &[Projected]) {
    put_entries(model, events);
    if let Some((view, _)) = events.last() {
        model.put_view(&id(), view.to_item().expect("accounts have views"));
    }
}

/// Writes the history entries only, as the projector does before it writes the view.
pub(crate) fn put_entries(model: &InMemoryReadModel, events: &[Projected]) {
    for (_, entry) in events {
        let item = entry.to_item().expect("accounts have entries");
        model.put_entry(&id(), entry.sequence, item);
    }
}

/// A read model with an item of sequence 0, as of an aggregate of which nothing could be applied.
pub(crate) fn stub() -> InMemoryReadModel {
    let model = InMemoryReadModel::default();
    let item = [
        (view::ID.to_owned(), Attribute::text(id())),
        (view::SEQUENCE.to_owned(), Attribute::number(0)),
    ];
    model.put_view(&id(), item.into());
    model
}

/// A reader whose clock shows a second after 1970 began.
pub(crate) fn reader<M: ReadModel>(model: M) -> Reader<Accounts, M, TestAmbient> {
    Reader {
        domain: PhantomData,
        documents: &[("openapi.json", r#"{"openapi":"3.1.1"}"#)],
        model,
        ambient: TestAmbient::at(at(1000)),
    }
}

pub(crate) fn get(path: &str) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Request {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: query
            .split('&')
            .filter_map(|parameter| parameter.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..Request::default()
    }
}

pub(crate) async fn ask(model: impl ReadModel, request: &Request) -> Response {
    let budget = Budget::lasting(Duration::from_secs(10));
    reader(model).answer(request, budget).await
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut values = response.headers.iter().filter(|(held, _)| *held == name);
    let value = values.next().map(|(_, value)| value.as_str());
    assert_eq!(values.next(), None, "{name} is there once");
    value
}

pub(crate) fn body(response: &Response) -> Value {
    serde_json::from_str(&response.body).expect("JSON")
}

#[track_caller]
pub(crate) fn assert_problem(response: &Response, status: u16, code: &str) {
    assert_eq!(response.status, status, "{}", response.body);
    assert_eq!(
        header(response, "content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        body(response)["type"],
        format!("urn:millrace:problem:{code}")
    );
}
