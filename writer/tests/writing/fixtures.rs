//! A writer of accounts over tables in memory, and requests.

use std::time::Duration;

use millrace_core::{Aggregate, AggregateId, Attribute, Attributes, Metadata, Timestamp, row};
use millrace_domain::money::Amount;
use millrace_domain::{Accounts, Event};
use millrace_runtime::Budget;
use millrace_runtime::http::{Request, Response};
use millrace_runtime::testing::TestAmbient;
use millrace_writer::service::Writer;
use millrace_writer::testing::InMemoryEventStore;
use serde_json::Value;

/// A writer's tables and clock.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) store: InMemoryEventStore,
    pub(crate) ambient: TestAmbient,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            store: InMemoryEventStore::with_other_command(credit_of_another),
            ambient: TestAmbient::at(at(0)),
        }
    }
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).expect("valid")
}

pub(crate) fn accounts() -> Accounts {
    Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}

/// Another command's credit of 1.
fn credit_of_another(
    id: &AggregateId,
    newest_first: &[Attributes],
    now: Timestamp,
) -> Vec<Attributes> {
    let credit = Event::BalanceCredited {
        amount: Amount::new(1).expect("valid"),
    };
    let metadata = Metadata {
        command_id: Some("other".to_owned()),
        ..Metadata::default()
    };
    let account = Aggregate::load(&accounts(), id.clone(), newest_first).expect("readable");
    let (_, rows) = account
        .append(&[credit], now, &metadata)
        .expect("a credit has a row");
    rows.into_iter().map(|(_, row)| row).collect()
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        body: body.as_bytes().to_vec(),
        ..Request::default()
    };
    if !body.is_empty() {
        let json = "application/json".to_owned();
        request.headers.insert("content-type".to_owned(), json);
    }
    for (name, value) in headers {
        let (name, value) = ((*name).to_owned(), (*value).to_owned());
        request.headers.insert(name, value);
    }
    request
}

impl Setting {
    /// With these rows.
    pub(crate) fn with_rows(rows: &[Attributes]) -> Self {
        let setting = Self::default();
        for row in rows {
            setting.store.insert(row.clone());
        }
        setting
    }

    /// With an account `a` whose balance is 100, at sequence 2.
    pub(crate) async fn with_account() -> Self {
        let setting = Self::default();
        let opened = setting.post("/accounts", &[], "").await;
        assert_eq!(opened.status, 201);
        let id = body(&opened)["accountId"]
            .as_str()
            .expect("named")
            .to_owned();
        for mut row in setting.store.take_rows() {
            assert_eq!(row[row::ID], Attribute::text(&id));
            row.insert(row::ID.to_owned(), Attribute::text("a"));
            setting.store.insert(row);
        }
        let credited = setting
            .post("/accounts/a/credit", &[], r#"{"amount":100}"#)
            .await;
        assert_eq!(credited.status, 200);
        setting
    }

    pub(crate) fn writer(&self) -> Writer<Accounts, &InMemoryEventStore, &TestAmbient> {
        Writer {
            domain: accounts(),
            store: &self.store,
            ambient: &self.ambient,
        }
    }

    pub(crate) async fn answer(&self, request: &Request) -> Response {
        let budget = Budget::lasting(Duration::from_secs(10));
        self.writer().answer(request, budget).await.0
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.answer(&request("POST", path, headers, body)).await
    }
}

pub(crate) fn body(response: &Response) -> Value {
    serde_json::from_str(&response.body).expect("JSON")
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut headers = response.headers.iter();
    headers
        .find(|(other, _)| *other == name)
        .map(|(_, value)| value.as_str())
}

/// The last part of a problem's type.
pub(crate) fn code(response: &Response) -> String {
    let body = body(response);
    let code = body["type"].as_str().and_then(|it| it.rsplit(':').next());
    code.unwrap_or_else(|| panic!("no problem: {response:?}"))
        .to_owned()
}
