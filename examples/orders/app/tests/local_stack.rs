//! Orders on a local stack: the API, the stream, the read models, the lake, and the operators' commands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_cli::clients::Clients;
use millrace_cli::follower::{Follower, PAUSE};
use millrace_local_stack::Workspace;
use millrace_local_stack::stack::{Local, LocalStack, Options};
use serde_json::{Value, json};

/// The most time that the test waits for a result. Every result takes much less, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(3);

struct Shop {
    local: Local,
    clients: Clients,
    http: reqwest::Client,
    state: PathBuf,
    /// The folder in which the commands run. It is temporary, so that no run finds the recorded progress of
    /// an earlier one.
    folder: tempfile::TempDir,
}

impl Shop {
    /// Runs the command `orders`, which must exit with this code, and returns the JSON objects that it
    /// printed.
    async fn orders(&self, arguments: &[&str], code: i32) -> Result<Vec<Value>> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        command
            .arg("--json")
            .args(arguments)
            .env("MILLRACE_DEPLOYMENT", self.state.join("local.json"))
            .current_dir(self.folder.path());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let lines = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.code() == Some(code),
            "orders {arguments:?} ended with {} instead of {code}: {lines}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let lines = lines.lines().map(serde_json::from_str);
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// Waits until `orders verify` finds nothing.
    async fn settled(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            match self.orders(&["verify"], 0).await {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > DEADLINE => return Err(error),
                Err(_) => {}
            }
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.local.api_url);
        let response = self.http.post(url).json(body).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    async fn get(&self, path: &str) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.local.api_url);
        let response = self.http.get(url).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// Places an order of this quantity of A-1, and returns its id.
    async fn place(&self, quantity: u32) -> Result<String> {
        let lines = json!([{ "sku": "A-1", "quantity": quantity }]);
        let order = json!({ "recipient": "Ada", "lines": lines });
        let (status, body) = self.post("/orders", &order).await?;
        ensure!(status == 201, "{status} {body}");
        Ok(body["orderId"].as_str().context("an id")?.to_owned())
    }

    async fn ship(&self, id: &str, quantity: u32) -> Result<Value> {
        let parcel = json!({ "lines": [{ "sku": "A-1", "quantity": quantity }] });
        let (status, body) = self.post(&format!("/orders/{id}/ship"), &parcel).await?;
        ensure!(status == 200, "{status} {body}");
        Ok(body)
    }

    /// Writes a row into the events table without the writer. The row is of schema version 1.
    async fn put_row(&self, id: &str, version: u32, columns: Columns) -> Result<()> {
        let mut row: Columns = HashMap::from([
            ("Id".to_owned(), text(id)),
            ("Version".to_owned(), number(version)),
            ("Timestamp".to_owned(), text("2026-01-02T03:04:05.000Z")),
        ]);
        row.extend(columns);
        let put = self.clients.dynamodb.put_item();
        let put = put.table_name(&self.local.events_table).set_item(Some(row));
        put.send().await?;
        Ok(())
    }

    /// Waits until the stream contains `count` events of an order, and returns them in the stream's order.
    async fn events_of(&self, id: &str, count: usize) -> Result<Vec<Value>> {
        let client = self.clients.kinesis.clone();
        let mut follower = Follower::new(client, &self.local.stream_name);
        let (mut events, started) = (Vec::new(), Instant::now());
        while events.len() < count {
            ensure!(started.elapsed() < DEADLINE, "only {events:?}");
            for record in follower.read().await? {
                let event: Value = serde_json::from_slice(&record)?;
                if event["subject"] == *id {
                    events.push(event);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(events)
    }
}

type Columns = HashMap<String, AttributeValue>;

fn columns<const N: usize>(columns: [(&str, AttributeValue); N]) -> Columns {
    columns.map(|(name, value)| (name.to_owned(), value)).into()
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u32) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str());
    types.map(Option::unwrap_or_default).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_pass_through_every_function_and_every_command() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = Workspace::at(root.context("the package is in the workspace")?);
    let state = workspace.local_folder().join("test");
    let stack = LocalStack::start(Options::new(workspace, state.clone())).await?;
    let local = stack.local().clone();
    let shop = Shop {
        clients: Clients::of(&local),
        http: reqwest::Client::builder().no_proxy().build()?,
        local,
        state,
        folder: tempfile::tempdir()?,
    };
    // An empty deployment has no findings.
    shop.settled().await?;
    let id = an_order_is_published_projected_and_archived(&shop).await?;
    rows_of_schema_version_1_are_published(&shop).await?;
    a_row_that_cannot_be_read_blocks_its_order_until_it_is_repaired(&shop).await?;
    read_models_are_rebuilt(&shop, &id).await?;
    the_reconciler_finds_nothing(&shop).await?;
    stack.stop()
}

async fn an_order_is_published_projected_and_archived(shop: &Shop) -> Result<String> {
    let id = shop.place(5).await?;
    let parcel = shop.ship(&id, 2).await?;
    ensure!(parcel["outstanding"] == 3, "{parcel}");
    // Shipping the last parcel appends two events.
    let last = shop.ship(&id, 3).await?;
    ensure!(
        last["status"] == "completed" && last["sequence"] == 4,
        "{last}"
    );

    let events = shop.events_of(&id, 4).await?;
    let expected = [
        "OrderPlaced",
        "ParcelShipped",
        "ParcelShipped",
        "OrderCompleted",
    ];
    ensure!(types(&events) == expected, "{events:?}");
    ensure!(events[1]["data"]["units"] == 2, "{events:?}");
    ensure!(!json!(events).to_string().contains("Ada"), "{events:?}");

    shop.settled().await?;
    let (status, view) = shop.get(&format!("/orders/{id}?minSequence=4")).await?;
    let lines = json!([{ "sku": "A-1", "ordered": 5, "shipped": 5 }]);
    ensure!(status == 200 && view["lines"] == lines, "{status} {view}");
    let rows = shop.orders(&["inspect", "--order", &id], 0).await?;
    let line = json!([{ "sku": "A-1", "quantity": 5 }]);
    ensure!(rows.iter().any(|it| it["row"]["Lines"] == line), "{rows:?}");
    let (_, history) = shop.get(&format!("/orders/{id}/history")).await?;
    let entries = history["history"].as_array().context("a history")?;
    ensure!(entries.len() == 4, "{history}");

    let query = async |name: &str, set: &[&str]| -> Result<Value> {
        let arguments = [&["query", name], set].concat();
        Ok(json!(shop.orders(&arguments, 0).await?))
    };
    let set = format!("order={id}");
    let rows = query("order-history", &["--set", &set]).await?;
    let articles = |row: usize| (&rows[row]["articles"], &rows[row]["units"]);
    ensure!(articles(0) == (&json!("A-1 x 5"), &json!(5)), "{rows}");
    ensure!(articles(3) == (&Value::Null, &Value::Null), "{rows}");
    let report = query("daily-report", &[]).await?;
    let counts = (&report[0]["orders_placed"], &report[0]["units_shipped"]);
    ensure!(counts == (&json!(1), &json!("5")), "{report}");
    let units = query("units-by-article", &[]).await?;
    let expected =
        json!([{ "article": "A-1", "orders": 1, "units_ordered": "5", "units_shipped": "5" }]);
    ensure!(units == expected, "{units}");
    for faults in ["missing-sequences", "duplicates"] {
        let rows = query(faults, &[]).await?;
        ensure!(rows == json!([]), "{faults}: {rows}");
    }
    Ok(id)
}

async fn rows_of_schema_version_1_are_published(shop: &Shop) -> Result<()> {
    let id = "an-order-of-version-1";
    let placed = columns([
        ("Type", text("OrderPlaced")),
        ("Recipient", text("Ada")),
        ("Sku", text("OLD-1")),
        ("Quantity", number(2)),
    ]);
    shop.put_row(id, 1, placed).await?;
    let events = shop.events_of(id, 1).await?;
    let data = &events[0]["data"];
    ensure!(
        data["lines"] == json!([{ "sku": "OLD-1", "quantity": 2 }]) && data["units"] == 2,
        "{data}"
    );
    let parcel = json!({ "lines": [{ "sku": "OLD-1", "quantity": 2 }] });
    let (status, body) = shop.post(&format!("/orders/{id}/ship"), &parcel).await?;
    ensure!(
        status == 200 && body["status"] == "completed",
        "{status} {body}"
    );
    shop.settled().await
}

async fn a_row_that_cannot_be_read_blocks_its_order_until_it_is_repaired(
    shop: &Shop,
) -> Result<()> {
    let (id, other) = (shop.place(2).await?, shop.place(1).await?);
    shop.settled().await?;
    let cancelled = |reason| columns([("Type", text("OrderCancelled")), ("Reason", text(reason))]);
    // Version 2 is reserved for a snapshot.
    shop.put_row(&id, 3, cancelled("no reason")).await?;
    shop.ship(&other, 1).await?;
    let started = Instant::now();
    let found = loop {
        let found = shop.orders(&["verify", "--order", &id], 3).await?;
        if found.iter().any(|line| line["finding"] == "blocked") {
            break found;
        }
        ensure!(started.elapsed() < DEADLINE, "{found:?}");
    };
    ensure!(
        found.iter().all(|line| line["order"] != *other),
        "{found:?}"
    );
    shop.events_of(&other, 3).await?;

    shop.put_row(&id, 3, cancelled("out-of-stock")).await?;
    // The reconciler may redrive the order first.
    shop.orders(&["redrive", "--blocked"], 0).await?;
    let events = shop.events_of(&id, 2).await?;
    ensure!(events[1]["data"]["reason"] == "out-of-stock", "{events:?}");
    shop.settled().await
}

async fn read_models_are_rebuilt(shop: &Shop, id: &str) -> Result<()> {
    let before = shop.get(&format!("/orders/{id}")).await?;
    let history = shop.get(&format!("/orders/{id}/history")).await?;
    for (table, key) in [
        (&shop.local.view_table, columns([("Id", text(id))])),
        (
            &shop.local.history_table,
            columns([("Id", text(id)), ("Sequence", number(2))]),
        ),
    ] {
        let delete = shop.clients.dynamodb.delete_item().table_name(table);
        delete.set_key(Some(key)).send().await?;
    }
    ensure!(
        shop.get(&format!("/orders/{id}")).await?.0 == 404,
        "the deleted view is returned"
    );
    shop.orders(&["rebuild", "orders"], 0).await?;
    shop.orders(&["rebuild", "history"], 0).await?;
    let after = shop.get(&format!("/orders/{id}")).await?;
    ensure!(after == before, "{after:?}, was {before:?}");
    let after = shop.get(&format!("/orders/{id}/history")).await?;
    ensure!(after == history, "{after:?}, was {history:?}");
    shop.settled().await
}

async fn the_reconciler_finds_nothing(shop: &Shop) -> Result<()> {
    let report = shop.orders(&["reconcile"], 0).await?;
    let gauges = report[0]["gauges"].as_object().context("gauges")?;
    ensure!(gauges.values().all(|gauge| *gauge == 0), "{gauges:?}");
    Ok(())
}
