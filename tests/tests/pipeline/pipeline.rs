//! The running stack: its addresses, its clients, and operations that several scenarios use.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_cli::clients::Clients;
use millrace_core::{Attribute, Attributes};
use millrace_local_stack::Workspace;
use millrace_local_stack::stack::{Local, LocalStack, Options};
use millrace_runtime::dynamodb::{from_item, to_item};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::journal::Journal;
use crate::lake::Lake;

/// The longest wait. It is much longer than any operation takes on a busy machine, so reaching it is a
/// failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
/// The pause between two reads while waiting.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// The stack's addresses and clients, and the records and lake lines that were read for all scenarios.
pub(crate) struct Pipeline {
    pub(crate) local: Local,
    pub(crate) clients: Clients,
    pub(crate) journal: Journal,
    pub(crate) lake: Lake,
    http: reqwest::Client,
}

/// A response of the API.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

pub(crate) async fn start() -> Result<(LocalStack, Pipeline)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the tests are in the workspace")?;
    let workspace = Workspace::at(root);
    let state = workspace.local_folder().join("tests");
    let stack = LocalStack::start(Options::new(workspace, state)).await?;
    let local = stack.local().clone();
    let clients = Clients::of(&local);
    let pipeline = Pipeline {
        journal: Journal::follow(&clients, &local),
        lake: Lake::of(&clients, &local),
        http: reqwest::Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .build()?,
        local,
        clients,
    };
    Ok((stack, pipeline))
}

impl Pipeline {
    /// Sends a request, unchanged.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.local.api_url))
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text)
                .with_context(|| format!("{status} with a body that is not JSON: {text}"))?
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Sends a command.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer> {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.send(Method::POST, path, &all, serde_json::to_vec(body)?)
            .await
    }

    /// Sends a query.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], Vec::new()).await
    }

    /// Opens an account and returns its id.
    pub(crate) async fn open(&self) -> Result<String> {
        let answer = self.post("/accounts", &[], &json!({})).await?;
        answer.expect(StatusCode::CREATED)?;
        let id = answer.body["accountId"].as_str();
        id.map(str::to_owned)
            .context("an opening names its account")
    }

    /// Sends a command that must be accepted.
    pub(crate) async fn accepted(&self, id: &str, command: &str, amount: i64) -> Result<Answer> {
        let path = format!("/accounts/{id}/{command}");
        let answer = self.post(&path, &[], &json!({ "amount": amount })).await?;
        answer.expect(StatusCode::OK)?;
        Ok(answer)
    }

    /// An account's rows, oldest first.
    pub(crate) async fn rows(&self, id: &str) -> Result<Vec<Attributes>> {
        let mut pages = self
            .clients
            .dynamodb
            .query()
            .table_name(&self.local.events_table)
            .key_condition_expression("Id = :id")
            .expression_attribute_values(":id", AttributeValue::S(id.to_owned()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut rows = Vec::new();
        while let Some(row) = pages.try_next().await? {
            rows.push(from_item(row));
        }
        Ok(rows)
    }

    /// Writes a row without a condition, as another writer or an operator may do.
    pub(crate) async fn put_row(&self, row: &Attributes) -> Result<()> {
        self.clients
            .dynamodb
            .put_item()
            .table_name(&self.local.events_table)
            .set_item(Some(to_item(row.clone())))
            .send()
            .await?;
        Ok(())
    }

    /// Waits until an account's publication cursor meets a condition.
    pub(crate) async fn cursor(
        &self,
        id: &str,
        is_it: impl Fn(&aws_sdk_dynamodb::operation::get_item::GetItemOutput) -> bool,
    ) -> Result<aws_sdk_dynamodb::operation::get_item::GetItemOutput> {
        wait("the cursor", async || {
            let cursor = self
                .clients
                .dynamodb
                .get_item()
                .table_name(&self.local.cursor_table)
                .key("Id", AttributeValue::S(id.to_owned()))
                .consistent_read(true)
                .send()
                .await?;
            Ok(is_it(&cursor).then_some(cursor))
        })
        .await
    }
}

impl Answer {
    /// Fails unless the response has this status.
    pub(crate) fn expect(&self, status: StatusCode) -> Result<()> {
        ensure!(self.status == status, "expected {status}, got {self:?}");
        Ok(())
    }

    /// A header's value; empty if the header is missing or isn't ASCII.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A string attribute.
pub(crate) fn text(value: &str) -> Attribute {
    Attribute::text(value)
}

/// Repeats an operation until it returns a result, at most until [`DEADLINE`].
pub(crate) async fn wait<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = tokio::time::Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if started.elapsed() > DEADLINE {
            bail!("{what}: no result within {} s", DEADLINE.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
