//! The reader's Lambda function for orders.

use anyhow::{Context as _, Result};
use millrace_reader::Documents;
use orders_domain::Orders;

/// The documents of the contract, which `orders contract` writes.
const DOCUMENTS: Documents = &[
    (
        "asyncapi.json",
        include_str!("../../../contracts/asyncapi.json"),
    ),
    (
        "openapi.json",
        include_str!("../../../contracts/openapi.json"),
    ),
    (
        "schemas/LinesAdded.1.json",
        include_str!("../../../contracts/schemas/LinesAdded.1.json"),
    ),
    (
        "schemas/OrderCancelled.1.json",
        include_str!("../../../contracts/schemas/OrderCancelled.1.json"),
    ),
    (
        "schemas/OrderCompleted.1.json",
        include_str!("../../../contracts/schemas/OrderCompleted.1.json"),
    ),
    (
        "schemas/OrderPlaced.1.json",
        include_str!("../../../contracts/schemas/OrderPlaced.1.json"),
    ),
    (
        "schemas/ParcelShipped.1.json",
        include_str!("../../../contracts/schemas/ParcelShipped.1.json"),
    ),
    (
        "schemas/envelope.json",
        include_str!("../../../contracts/schemas/envelope.json"),
    ),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    millrace_reader::run::<Orders>(DOCUMENTS)
        .await
        .context("the reader ended")
}
