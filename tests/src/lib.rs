//! What the tests of the whole share. Tests of one crate lie in that crate; here lie those that need
//! several: the wire contracts (`tests/wire.rs`, over the golden corpus in `corpus/`), what Rust and
//! another file both state (`tests/agreement.rs`), the CDK app's own checks (`tests/infra.rs`), the whole
//! pipeline on the local stack (`tests/pipeline`), and the account in the fault simulation ([`scenario`],
//! run by `tests/simulation.rs`).

pub mod corpus;
pub mod scenario;

/// The accounts of the local stack and of the corpus, whose default currency is EUR.
///
/// # Panics
/// Never: EUR is listed.
#[must_use]
pub fn accounts_in_euro() -> millrace_domain::Accounts {
    millrace_domain::Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}
