//! The reader's Lambda function for accounts.

use anyhow::{Context as _, Result};
use millrace_domain::Accounts;
use millrace_reader::Documents;

/// The documents of the contract, which `millrace contract` writes.
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
        "schemas/AccountCreated.1.json",
        include_str!("../../../contracts/schemas/AccountCreated.1.json"),
    ),
    (
        "schemas/BalanceCredited.1.json",
        include_str!("../../../contracts/schemas/BalanceCredited.1.json"),
    ),
    (
        "schemas/BalanceWithdrawn.1.json",
        include_str!("../../../contracts/schemas/BalanceWithdrawn.1.json"),
    ),
    (
        "schemas/BalanceWithdrawn.2.json",
        include_str!("../../../contracts/schemas/BalanceWithdrawn.2.json"),
    ),
    (
        "schemas/envelope.json",
        include_str!("../../../contracts/schemas/envelope.json"),
    ),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    millrace_reader::run::<Accounts>(DOCUMENTS)
        .await
        .context("the reader ended")
}
