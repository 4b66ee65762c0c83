//! The AWS clients. For a local stack nothing but its addresses goes into them: no profile, no
//! variable of the environment.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};

use millrace_local_stack::stack::{CREDENTIAL, Local};

/// A client per service that is looked into.
#[derive(Debug, Clone)]
pub struct Clients {
    /// The tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The stream of domain events.
    pub kinesis: aws_sdk_kinesis::Client,
    /// The lake.
    pub s3: aws_sdk_s3::Client,
    /// Queries of the lake.
    pub athena: aws_sdk_athena::Client,
    /// The functions.
    pub lambda: aws_sdk_lambda::Client,
}

impl Clients {
    /// The clients of a running stack.
    #[must_use]
    pub fn of(local: &Local) -> Self {
        let credentials = Credentials::new(CREDENTIAL, CREDENTIAL, None, None, "local stack");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(local.region.clone()))
            .endpoint_url(&local.endpoint_url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        Self::with(&config)
    }

    /// The clients that a configuration asks for.
    #[must_use]
    pub fn with(config: &SdkConfig) -> Self {
        // A bucket's name can't stand in front of an address of numbers.
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(true);
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            kinesis: aws_sdk_kinesis::Client::new(config),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            athena: aws_sdk_athena::Client::new(config),
            lambda: aws_sdk_lambda::Client::new(config),
        }
    }
}
