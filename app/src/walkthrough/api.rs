//! A client of the HTTP API, which uses only what the API's documentation promises.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

/// The timeout of a call. A function's cold start takes seconds on a busy machine.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// A client of one stack's API.
pub(super) struct Api {
    client: reqwest::Client,
    url: String,
}

/// A request and its response.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exchange {
    pub(super) request: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) status: u16,
    pub(super) content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
    pub(super) body: Value,
    pub(super) elapsed_ms: u128,
}

impl Api {
    pub(super) fn new(url: &str) -> Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(CALL_DEADLINE)
            .build()?;
        Ok(Self {
            client,
            url: url.to_owned(),
        })
    }

    /// Sends a query.
    pub(super) async fn get(&self, path: &str) -> Result<Exchange> {
        self.call(Method::GET, path, Vec::new(), None).await
    }

    /// Sends a command.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: Vec<(&'static str, String)>,
        body: &Value,
    ) -> Result<Exchange> {
        self.call(Method::POST, path, headers, Some(body)).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: Vec<(&'static str, String)>,
        body: Option<&Value>,
    ) -> Result<Exchange> {
        let shown = match body {
            Some(body) => format!("{method} {path} {body}"),
            None => format!("{method} {path}"),
        };
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let started = Instant::now();
        let answer = request.send().await?;
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let (etag, location) = (header("etag"), header("location"));
        let content_type = header("content-type").unwrap_or_default();
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let elapsed_ms = started.elapsed().as_millis();
        let body = serde_json::from_str(&text).with_context(|| {
            format!("{shown} returned {status} with a body that is not JSON: {text}")
        })?;
        Ok(Exchange {
            request: shown,
            headers,
            status,
            content_type,
            etag,
            location,
            body,
            elapsed_ms,
        })
    }
}

impl Exchange {
    /// Fails unless the response has this status.
    pub(super) fn expect_status(&self, status: StatusCode) -> Result<()> {
        ensure!(
            self.status == status.as_u16(),
            "expected {status}, but {self}"
        );
        Ok(())
    }

    /// Fails unless a member of the response's body has this value.
    pub(super) fn expect(&self, member: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        ensure!(
            self.body[member] == value,
            "expected {member} {value}, but {self}"
        );
        Ok(())
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.request)?;
        for (name, value) in &self.headers {
            write!(f, "\n      {name}: {value}")?;
        }
        write!(
            f,
            "\n    → {} {} ({} ms)",
            self.status, self.body, self.elapsed_ms
        )
    }
}
