//! Commands through all functions except the reconciler, over services in memory.

use millrace_core::{Attribute, lake};
use millrace_simulation::pipeline::Pipeline;
use orders_domain::Orders;
use serde_json::{Value, json};

/// Places an order of two A-1 and one B-2, and returns its id.
async fn place(pipeline: &Pipeline<Orders>) -> String {
    let lines = json!([{ "sku": "A-1", "quantity": 2 }, { "sku": "B-2", "quantity": 1 }]);
    let order = json!({ "recipient": "Ada", "lines": lines });
    let (status, body) = pipeline.post("/orders", &order).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(body["outstanding"], 3);
    body["orderId"].as_str().expect("an id").to_owned()
}

async fn ship(pipeline: &Pipeline<Orders>, id: &str, sku: &str, quantity: u32) -> (u16, Value) {
    let lines = json!({ "lines": [{ "sku": sku, "quantity": quantity }] });
    pipeline.post(&format!("/orders/{id}/ship"), &lines).await
}

fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str());
    types.map(Option::unwrap_or_default).collect()
}

#[tokio::test(start_paused = true)]
async fn every_function_processes_the_completion_of_an_order() {
    let pipeline = Pipeline::new(Orders);
    let id = place(&pipeline).await;
    assert_eq!(ship(&pipeline, &id, "A-1", 2).await.0, 200);
    let (status, body) = ship(&pipeline, &id, "B-2", 1).await;
    assert_eq!(
        (status, body),
        (
            200,
            json!({ "orderId": id, "sequence": 4, "status": "completed", "outstanding": 0 })
        )
    );
    pipeline.deliver().await;

    let events = pipeline.events_of(&id);
    assert_eq!(
        types(&events),
        [
            "OrderPlaced",
            "ParcelShipped",
            "ParcelShipped",
            "OrderCompleted"
        ]
    );
    let (status, view) = pipeline.get(&format!("/orders/{id}")).await;
    assert_eq!(status, 200, "{view}");
    assert_eq!(
        (&view["status"], &view["sequence"]),
        (&json!("completed"), &json!(4))
    );
    assert_eq!(
        view["lines"],
        json!([
            { "sku": "A-1", "ordered": 2, "shipped": 2 },
            { "sku": "B-2", "ordered": 1, "shipped": 1 },
        ])
    );
    let (status, page) = pipeline.get(&format!("/orders/{id}/history")).await;
    assert_eq!(status, 200, "{page}");
    let entries = page["history"].as_array().expect("a page");
    assert_eq!(
        types(entries),
        [
            "OrderCompleted",
            "ParcelShipped",
            "ParcelShipped",
            "OrderPlaced"
        ]
    );
    assert!(entries[0].get("lines").is_none());
    assert_eq!(
        entries[1]["lines"],
        json!([{ "sku": "B-2", "quantity": 1 }])
    );

    let lines: Vec<String> = pipeline.lake.lines();
    let lines: Vec<&str> = lines.iter().flat_map(|it| it.lines()).collect();
    assert_eq!(lines.len(), 4);
    assert!(
        lines
            .iter()
            .all(|line| lake::is_row::<Orders>(line.as_bytes()))
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_of_many_parcels_is_loaded_from_its_snapshot() {
    let pipeline = Pipeline::new(Orders);
    let order = json!({ "recipient": "Ada", "lines": [{ "sku": "A-1", "quantity": 25 }] });
    let (_, body) = pipeline.post("/orders", &order).await;
    let id = body["orderId"].as_str().expect("an id").to_owned();
    for _ in 0..25 {
        let (status, body) = ship(&pipeline, &id, "A-1", 1).await;
        assert_eq!(status, 200, "{body}");
        pipeline.deliver().await;
    }
    let (_, view) = pipeline.get(&format!("/orders/{id}")).await;
    assert_eq!(
        (&view["status"], &view["sequence"]),
        (&json!("completed"), &json!(27))
    );
    let events = pipeline.events_of(&id);
    let sequences: Vec<_> = events.iter().map(|it| &it["data"]["sequence"]).collect();
    assert_eq!(json!(sequences), json!((1..=27).collect::<Vec<_>>()));
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_appends_no_row_and_returns_the_reason() {
    let pipeline = Pipeline::new(Orders);
    let id = place(&pipeline).await;
    let rows = pipeline.store.row_count();
    let (status, problem) = ship(&pipeline, &id, "A-1", 3).await;
    assert_eq!(status, 422);
    assert_eq!(problem["type"], "urn:millrace:problem:not-outstanding");
    let (status, problem) = ship(&pipeline, &id, "a-1", 3).await;
    let pointer = &problem["errors"][0]["pointer"];
    assert_eq!((status, pointer), (400, &json!("#/lines/0/sku")));
    let (status, problem) = ship(&pipeline, "unknown", "A-1", 3).await;
    assert_eq!(status, 404);
    assert_eq!(problem["type"], "urn:millrace:problem:order-not-found");
    let (status, _) = pipeline.get("/orders/unknown").await;
    assert_eq!(status, 404);
    assert_eq!(pipeline.store.row_count(), rows);
}

#[tokio::test(start_paused = true)]
async fn the_recipient_is_in_one_row_only() {
    let pipeline = Pipeline::new(Orders);
    let id = place(&pipeline).await;
    assert_eq!(ship(&pipeline, &id, "A-1", 1).await.0, 200);
    pipeline.deliver().await;
    let ada = Attribute::text("Ada");
    let rows = pipeline.store.rows_of(&id);
    let with_ada = rows.iter().filter(|row| row.values().any(|it| *it == ada));
    assert_eq!((with_ada.count(), rows.len()), (1, 3));
    for shown in [
        json!(pipeline.events_of(&id)).to_string(),
        pipeline.lake.lines().join(""),
        format!("{:?}", pipeline.model.items()),
    ] {
        assert!(!shown.contains("Ada") && shown.contains("A-1"), "{shown}");
    }
}
