//! The event in the README and the responses in docs/api.md are those of the code.

use millrace_core::{
    Aggregate, AggregateId, Envelope, HistoryEntryOf, Metadata, Sequence, Timestamp, ViewOf,
    answer, view,
};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Channel, Event, PublicEvent};
use serde_json::{Value, json};

const OPENED: &str = "2026-11-21T03:32:59.155Z";
const CREDITED: &str = "2026-11-21T03:32:59.271Z";
const WITHDRAWN: &str = "2026-11-21T03:33:10.271Z";

/// The text of the first JSON object after `before` in a page, up to the end of the block of code.
fn object_after(page: &str, before: &str) -> String {
    let path = format!("{}/../{page}", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(&path).expect(&path);
    let (_, after) = page.split_once(before).expect(before);
    let object = after.find("\n{").expect("an object");
    let (object, _) = after[object..].split_once("```").expect("the block's end");
    object.trim().to_owned()
}

/// The JSON object after `request` in the documentation of the API.
fn documented(request: &str) -> Value {
    let object = object_after("docs/api.md", request);
    serde_json::from_str(&object).unwrap_or_else(|error| panic!("{request}: {error}"))
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

fn currency() -> Currency {
    Currency::stored("EUR").expect("a code")
}

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).expect("an amount")
}

/// The account of the examples after its opening, a credit of 50.00 and a withdrawal of 12.50.
fn history(id: &str) -> Vec<(ViewOf<Accounts>, HistoryEntryOf<Accounts>)> {
    let currency = currency();
    let events = [
        (OPENED, None, PublicEvent::AccountCreated { currency }),
        (
            CREDITED,
            Some("acec…"),
            PublicEvent::BalanceCredited {
                amount: amount(5000),
                currency,
            },
        ),
        (
            WITHDRAWN,
            Some("0c9a…"),
            PublicEvent::BalanceWithdrawn2 {
                amount: amount(1250),
                currency,
                channel: Channel::Online,
            },
        ),
    ];
    let mut history: Vec<(ViewOf<Accounts>, HistoryEntryOf<Accounts>)> = Vec::new();
    for (number, (at, correlation_id, event)) in (1..).zip(events) {
        let envelope = Envelope {
            subject: AggregateId::new(id).expect("an id"),
            sequence: Sequence::new(number).expect("a sequence"),
            time: time(at),
            correlation_id: correlation_id.map(str::to_owned),
            causation_id: None,
            trace_parent: None,
            event,
        };
        let before = history.last().map(|(view, _)| view);
        history.push(view::apply::<Accounts>(before, &envelope).expect("applies"));
    }
    history
}

#[test]
fn the_response_to_a_command_is_the_documented_one() {
    let documented = documented("HTTP/1.1 200");
    let id = documented["accountId"].as_str().expect("an id");
    let account = Aggregate::<Accounts>::new(AggregateId::new(id).expect("an id"));
    let events = [
        Event::AccountCreated {
            currency: currency(),
        },
        Event::BalanceCredited {
            amount: amount(5000),
        },
        Event::BalanceWithdrawn {
            amount: amount(1250),
            channel: Channel::Online.into(),
        },
    ];
    let appended = account.append(&events, time(OPENED), &Metadata::default());
    let (account, _) = appended.expect("appended");
    assert_eq!(json!(answer::accepted(&account)), documented);
}

#[test]
fn the_responses_to_queries_are_the_documented_ones() {
    let account = documented("GET /accounts/{id}?minSequence=3");
    let id = account["accountId"].as_str().expect("an id");
    let history = history(id);
    let (view, _) = history.last().expect("three events");
    assert_eq!(json!(answer::view::<Accounts>(view)), account);

    let newest_first = history.iter().rev().map(|(_, entry)| entry.clone());
    let page = answer::history_page::<Accounts>(
        view.id.clone(),
        newest_first.take(2).collect(),
        Sequence::new(2),
    );
    assert_eq!(
        json!(page),
        documented("GET /accounts/{id}/transactions?limit=2")
    );

    let request = "GET /accounts/{id}/balance?at=2026-11-21T03:33:00Z";
    let at = time("2026-11-21T03:33:00Z");
    let then = history.iter().rev().find(|(view, _)| view.updated_at <= at);
    let (then, _) = then.expect("the credit");
    let answered = answer::view_at::<Accounts>(&then.id, then.sequence, then.view, at);
    assert_eq!(json!(answered), documented(request));
}

#[test]
fn the_event_in_the_readme_has_the_published_bytes() {
    let shown = object_after("README.md", "## Subscribe to the events");
    // Each line but the first is indented by one space.
    let bytes = shown.replace("\n ", "");
    let envelope = Envelope::<PublicEvent>::parse::<Accounts>(bytes.as_bytes());
    let published = envelope.expect("an event").to_bytes::<Accounts>();
    assert_eq!(published.expect("bytes"), bytes.into_bytes());
}
