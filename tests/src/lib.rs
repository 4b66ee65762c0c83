//! What the tests of the whole share. Tests of one crate lie in that crate; here lie those that need
//! several: the wire contracts (`tests/wire.rs`, over the golden corpus in `corpus/`), the CDK app's
//! own checks (`tests/infra.rs`), and the whole pipeline on the local stack (`tests/pipeline`).

pub mod corpus;
