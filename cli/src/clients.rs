//! The AWS clients. Those of a local stack are configured only with its addresses, and not by AWS profiles or
//! environment variables.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};

use millrace_local_stack::stack::{CREDENTIAL, Local};

/// A client for each AWS service that the commands call.
#[derive(Debug, Clone)]
pub struct Clients {
    /// For the events table, the cursors, the read models and the reconciler's state.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// For the domain stream.
    pub kinesis: aws_sdk_kinesis::Client,
    /// For the lake's objects.
    pub s3: aws_sdk_s3::Client,
    /// For queries of the lake.
    pub athena: aws_sdk_athena::Client,
    /// For the invocation of the functions.
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

    /// The clients with this configuration.
    #[must_use]
    pub fn with(config: &SdkConfig) -> Self {
        // A bucket's name can't be a subdomain of an IP address, such as the local stack's 127.0.0.1.
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
