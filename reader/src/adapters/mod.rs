//! The implementations of the ports on AWS, and the Lambda function.

pub mod dynamodb;
pub mod lambda;
