//! The AWS services behind the [ports](crate::ports), and Lambda.

pub mod firehose;
pub(crate) mod lambda;
