//! Invalid requests to the HTTP API: each gets its problem response and appends nothing.

use anyhow::{Context as _, Result, ensure};
use millrace_domain::testing::INVALID_AMOUNTS;
use reqwest::{Method, StatusCode};

use crate::pipeline::Pipeline;
use crate::verify;

const JSON: (&str, &str) = ("content-type", "application/json");
/// A body size far above the limit for commands.
const A_MEGABYTE: usize = 1 << 20;

struct Case {
    what: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    pointer: Option<&'static str>,
}

impl Case {
    fn post(what: &'static str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            what,
            method: Method::POST,
            path: path.to_owned(),
            headers: vec![(JSON.0, JSON.1.to_owned())],
            body: body.into(),
            status: 400,
            code: "malformed-request",
            pointer: None,
        }
    }

    fn get(what: &'static str, path: &str) -> Self {
        Self {
            method: Method::GET,
            headers: Vec::new(),
            ..Self::post(what, path, "")
        }
    }

    fn at(self, pointer: &'static str) -> Self {
        Self {
            pointer: Some(pointer),
            ..self
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn gets(self, status: u16, code: &'static str) -> Self {
        Self {
            status,
            code,
            ..self
        }
    }
}

fn commands(id: &str) -> Vec<Case> {
    let credit = format!("/accounts/{id}/credit");
    let withdraw = format!("/accounts/{id}/withdraw");
    let account = format!("/accounts/{id}");
    let mut cases = vec![
        Case::post("cut short", &credit, r#"{"amount":"#),
        Case::post("not JSON", &credit, "amount=5"),
        Case::post("no body", &credit, ""),
        Case::post("an array", &credit, "[5]"),
        Case::post("not UTF-8", &credit, b"{\"amount\":5,\"\xff\":1}".to_vec()),
        Case::post("no amount", &credit, "{}"),
        Case::post("an unknown field", &credit, r#"{"amount":5,"note":"x"}"#),
        Case::post("a field twice", &credit, r#"{"amount":5,"amount":6}"#),
        Case::post("a second object", &credit, r#"{"amount":5} {"amount":6}"#),
        Case::post(
            "a currency in a credit",
            &credit,
            r#"{"amount":5,"currency":"EUR"}"#,
        ),
        Case::post("an invalid currency", "/accounts", r#"{"currency":"EURO"}"#).at("#/currency"),
        Case::post("a number as currency", "/accounts", r#"{"currency":978}"#).at("#/currency"),
        Case::post("an opening with an amount", "/accounts", r#"{"amount":5}"#),
        Case::post("a megabyte", &credit, vec![b' '; A_MEGABYTE]).gets(413, "content-too-large"),
        Case::post("a form", &credit, "amount=5")
            .with(JSON.0, "application/x-www-form-urlencoded")
            .gets(415, "unsupported-media-type"),
        Case::post(
            "another account's command",
            "/accounts/unknown/credit",
            r#"{"amount":5}"#,
        )
        .gets(404, "account-not-found"),
        Case::get("an id with an encoded ?", "/accounts/unknown%3Fx"),
        Case::post(
            "an id with an encoded /",
            "/accounts/no%2Fbody/credit",
            r#"{"amount":5}"#,
        )
        .gets(404, "not-found"),
        Case::post("no such path", "/elsewhere", "{}").gets(404, "not-found"),
        Case::post("no such command", &format!("{account}/close"), "{}").gets(404, "not-found"),
        Case {
            method: Method::DELETE,
            ..Case::post("a deletion", &account, "")
        }
        .gets(405, "method-not-allowed"),
        Case {
            method: Method::PUT,
            ..Case::post("a replacement", &credit, r#"{"amount":5}"#)
        }
        .gets(405, "method-not-allowed"),
        Case::get("a GET of a command's path", &credit).gets(405, "method-not-allowed"),
        Case::post("more than the balance", &withdraw, r#"{"amount":501}"#)
            .gets(422, "insufficient-funds"),
        Case::post(
            "more than the balance limit",
            &credit,
            r#"{"amount":9007199254740991}"#,
        )
        .gets(422, "balance-limit"),
        Case::post("an outdated state", &credit, r#"{"amount":5}"#)
            .with("if-match", "\"1\"")
            .gets(412, "precondition-failed"),
        Case::post("a state without quotes", &credit, r#"{"amount":5}"#).with("if-match", "2"),
        Case::post("a key too long", &credit, r#"{"amount":5}"#)
            .with("idempotency-key", &"k".repeat(256)),
        Case::post("an id too long", &credit, r#"{"amount":5}"#)
            .with("x-correlation-id", &"k".repeat(257)),
    ];
    for amount in INVALID_AMOUNTS.into_iter().chain(["1e400"]) {
        let body = format!(r#"{{"amount":{amount}}}"#);
        // A number that exceeds all floats isn't JSON for some parsers, so the response has no pointer.
        let pointer = (amount != "1e400").then_some("#/amount");
        for path in [&credit, &withdraw] {
            cases.push(Case {
                pointer,
                ..Case::post("an invalid amount", path, body.as_str())
            });
        }
    }
    cases
}

fn queries(id: &str) -> Vec<Case> {
    let account = format!("/accounts/{id}");
    vec![
        Case::get("an unknown account", "/accounts/unknown").gets(404, "account-not-found"),
        Case::get("an invalid sequence", &format!("{account}?minSequence=x")),
        Case::get("an unknown parameter", &format!("{account}?min=1")),
        Case::get("an empty page", &format!("{account}/transactions?limit=0")),
        Case::get(
            "a page too long",
            &format!("{account}/transactions?limit=101"),
        ),
        Case::get(
            "an invalid cursor",
            &format!("{account}/transactions?before=abc"),
        ),
        Case::get(
            "an invalid time",
            &format!("{account}/balance?at=yesterday"),
        ),
        Case::get(
            "a time before the opening",
            &format!("{account}/balance?at=2001-01-01T00:00:00Z"),
        )
        .gets(404, "account-not-open-yet"),
    ]
}

pub(crate) async fn invalid_requests_get_a_problem_and_append_nothing(
    pipeline: &Pipeline,
) -> Result<()> {
    let id = pipeline.open().await?;
    pipeline.accepted(&id, "credit", 500).await?;
    verify::has_exactly(pipeline, &id, 2).await?;
    let before = pipeline.rows(&id).await?;
    for case in commands(&id).into_iter().chain(queries(&id)) {
        check(pipeline, &case)
            .await
            .with_context(|| format!("{}: {} {}", case.what, case.method, case.path))?;
    }
    ensure!(
        pipeline.rows(&id).await? == before,
        "an invalid request appended a row"
    );
    Ok(())
}

async fn check(pipeline: &Pipeline, case: &Case) -> Result<()> {
    let headers: Vec<(&str, &str)> = case
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let answer = pipeline
        .send(case.method.clone(), &case.path, &headers, case.body.clone())
        .await?;
    answer.expect(StatusCode::from_u16(case.status)?)?;
    ensure!(
        answer.header("content-type") == "application/problem+json"
            && answer.body["type"] == format!("urn:millrace:problem:{}", case.code)
            && answer.body["status"] == case.status
            && answer.body["title"].is_string()
            && answer.body["detail"].is_string(),
        "{answer:?}"
    );
    if let Some(pointer) = case.pointer {
        ensure!(answer.body["errors"][0]["pointer"] == pointer, "{answer:?}");
    }
    if case.status == 405 {
        ensure!(!answer.header("allow").is_empty(), "{answer:?}");
    }
    Ok(())
}
