//! AWS clients' shared configuration. Only the standard variables are read, so the same binary runs on AWS
//! and on any emulator.

use std::time::Duration;

use aws_config::default_provider::endpoint_url::endpoint_url_provider;
use aws_config::default_provider::retry_config;
use aws_config::default_provider::use_dual_stack::use_dual_stack_provider;
use aws_config::default_provider::use_fips::use_fips_provider;
use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::meta::region::ProvideRegion as _;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::SharedCredentialsProvider;

/// How long a function waits for a service. A response usually takes milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The time limit of connecting.
    pub connect: Duration,
    /// The time limit of one attempt of a call. An attempt that takes longer has failed.
    pub attempt: Duration,
    /// The time limit of a call with all its retries.
    pub call: Duration,
}

impl Timeouts {
    /// For functions that a client waits for: two calls that fail fit into the function's own timeout of
    /// 15 seconds, so that the client gets a response that says what is known.
    pub const INTERACTIVE: Self = Self {
        connect: Duration::from_secs(2),
        attempt: Duration::from_secs(3),
        call: Duration::from_secs(6),
    };
    /// For functions that work on batches.
    pub const BATCH: Self = Self {
        connect: Duration::from_secs(3),
        attempt: Duration::from_secs(5),
        call: Duration::from_secs(15),
    };
}

/// The configuration of a Lambda function's clients. The SDK retries an attempt that was throttled or lost, three
/// attempts in all unless `AWS_MAX_ATTEMPTS` says otherwise; a lost attempt may have taken effect, so every call
/// made here is safe to repeat.
///
/// Lambda sets a function's region and credentials as
/// [environment variables](https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime).
/// Credentials are read from there only. The SDK's other sources, such as profiles with roles and instance metadata,
/// would add code to every function that no function uses. `AWS_ENDPOINT_URL`,
/// `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT` and `AWS_RETRY_MODE` work as
/// [documented](https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html).
pub async fn config(timeouts: Timeouts) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(timeouts.connect)
        .operation_attempt_timeout(timeouts.attempt)
        .operation_timeout(timeouts.call)
        .build();
    let sources = ProviderConfig::default();
    let retries = retry_config::default_provider().configure(&sources);
    let credentials = EnvironmentVariableCredentialsProvider::new();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(EnvironmentVariableRegionProvider::new().region().await)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(retries.retry_config().await)
        .timeout_config(timeouts);
    config.set_endpoint_url(endpoint_url_provider(&sources).await);
    config.set_use_fips(use_fips_provider(&sources).await);
    config.set_use_dual_stack(use_dual_stack_provider(&sources).await);
    config.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_clients_wait_as_long_as_they_are_told() {
        for timeouts in [Timeouts::INTERACTIVE, Timeouts::BATCH] {
            let config = config(timeouts).await;
            let config = config.timeout_config().expect("set");
            assert_eq!(config.connect_timeout(), Some(timeouts.connect));
            assert_eq!(config.operation_attempt_timeout(), Some(timeouts.attempt));
            assert_eq!(config.operation_timeout(), Some(timeouts.call));
        }
    }
}
