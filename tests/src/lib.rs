//! What the tests of the whole share. Tests of one crate lie in that crate; here lie those that need
//! several: the wire contracts (`tests/wire.rs`, over the golden corpus in `corpus/`), the CDK app's
//! own checks (`tests/infra.rs`), the whole pipeline on the local stack (`tests/pipeline`), and the
//! fault simulation ([`simulation`], run by `tests/simulation.rs`).

pub mod corpus;
pub mod simulation;
