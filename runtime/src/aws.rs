//! AWS clients' shared configuration. Only the standard variables are read (`AWS_ENDPOINT_URL`,
//! region, the credentials chain), so the same binary runs on AWS and on any emulator.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};

/// One attempt of one call. DynamoDB and Kinesis answer in milliseconds; an attempt that takes this
/// long is lost, and waiting longer would eat the invocation's time.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A call with all its retries.
const CALL: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(3);

/// Reads the standard configuration. The SDK retries an attempt that was throttled or lost, three
/// attempts in all; a lost attempt may have taken effect, so every call made here is safe to
/// repeat.
pub async fn config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(CALL)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .load()
        .await
}
