//! The AWS services behind the [ports](crate::ports), and Lambda.

pub mod dynamodb;
pub(crate) mod lambda;
