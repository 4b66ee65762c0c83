//! Tests that concern several crates, and the code that they share. The tests of a single crate are in that
//! crate. This crate tests the wire contracts (`tests/wire.rs`, with the golden corpus in `corpus/`), facts that
//! are stated in Rust and in another file (`tests/agreement.rs`), the documentation (`tests/docs.rs`), the CDK
//! app (`tests/infra.rs`), the whole pipeline on the local stack (`tests/pipeline`), and the account in the
//! deterministic simulation ([`scenario`], run by `tests/simulation.rs`).

pub mod corpus;
pub mod outside;
pub mod scenario;

/// The domain of the local stack and of the corpus, with the default currency EUR.
///
/// # Panics
/// Never: EUR is listed.
#[must_use]
pub fn accounts_in_euro() -> millrace_domain::Accounts {
    millrace_domain::Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}
