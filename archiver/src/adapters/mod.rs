//! The implementations of the [ports](crate::ports) on AWS, and the Lambda function.

pub mod firehose;
pub(crate) mod lambda;
