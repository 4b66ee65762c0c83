//! The AWS services behind the [ports](crate::ports), and Lambda.

pub mod aws;
pub(crate) mod lambda;
