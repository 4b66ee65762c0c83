//! The end-to-end walkthrough of the `demo` command: it places an order, ships it and queries it. It checks
//! every response before it shows it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use millrace_cli::output::Output;
use millrace_local_stack::stack::Local;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// The timeout of a call. A function's cold start takes seconds on a busy machine.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// The most attempts of a query whose view isn't up to date yet.
const QUERIES: u32 = 150;
/// The pause after an attempt.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs the walkthrough on a running stack.
///
/// # Errors
/// If a response is wrong or missing. The error names it.
pub(crate) async fn run(local: &Local, output: Output) -> Result<()> {
    let client = Client::builder()
        .no_proxy()
        .timeout(CALL_DEADLINE)
        .build()?;
    let orders = format!("{}/orders", local.api_url);
    let lines = json!([{ "sku": "A-1", "quantity": 2 }, { "sku": "B-2", "quantity": 1 }]);
    let order = json!({ "recipient": "Ada, 1 Main Street", "lines": lines });
    let placed = call(client.post(&orders).json(&order), StatusCode::CREATED).await?;
    show(output, "place an order", &placed)?;
    let id = placed["orderId"].as_str().context("an order has an id")?;

    let ship = format!("{orders}/{id}/ship");
    let too_much = json!({ "lines": [{ "sku": "B-2", "quantity": 2 }] });
    let refused = client.post(&ship).json(&too_much);
    let refused = call(refused, StatusCode::UNPROCESSABLE_ENTITY).await?;
    show(output, "ship more than was ordered: refused", &refused)?;

    let shipped = client.post(&ship).json(&json!({ "lines": lines }));
    let shipped = call(shipped, StatusCode::OK).await?;
    expect(&shipped, "status", "completed")?;
    // The command appends two events: `ParcelShipped` and `OrderCompleted`.
    expect(&shipped, "sequence", 3)?;
    show(output, "ship all of it: the order is completed", &shipped)?;

    let view = up_to_date(&client, &format!("{orders}/{id}?minSequence=3")).await?;
    expect(&view, "status", "completed")?;
    show(output, "query the order", &view)?;
    let history = call(client.get(format!("{orders}/{id}/history")), StatusCode::OK).await?;
    show(output, "query its history", &history)
}

/// Repeats a query until the view contains the events up to its `minSequence`.
async fn up_to_date(client: &Client, url: &str) -> Result<Value> {
    for _ in 0..QUERIES {
        let response = client.get(url).send().await?;
        match response.status() {
            StatusCode::OK => return Ok(response.json().await?),
            StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE => {
                tokio::time::sleep(PAUSE).await;
            }
            status => bail!("the query returned {status}"),
        }
    }
    bail!("the view was not up to date in time")
}

async fn call(request: RequestBuilder, expected: StatusCode) -> Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.text().await?;
    ensure!(
        status == expected,
        "expected {expected}, but {status} {body}"
    );
    serde_json::from_str(&body).context("a response is JSON")
}

fn expect(body: &Value, member: &str, value: impl Into<Value>) -> Result<()> {
    let value = value.into();
    ensure!(body[member] == value, "expected {member} {value} in {body}");
    Ok(())
}

fn show(output: Output, step: &str, body: &Value) -> Result<()> {
    let object = json!({ "step": step, "body": body });
    output.result(format_args!("  {step}\n    → {body}"), &object)
}
