//! The AWS SDK and the Lambda runtime behind the ports.

pub mod dynamodb;
pub mod lambda;
