//! The implementations of the [ports](crate::ports) on AWS, and the Lambda function.

pub mod aws;
pub(crate) mod lambda;
