//! AWS clients' shared configuration. Only the standard variables are read (`AWS_ENDPOINT_URL`,
//! region, the credentials chain), so the same binary runs on AWS and on any emulator.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};

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

/// Reads the standard configuration. The SDK retries an attempt that was throttled or lost, three
/// attempts in all; a lost attempt may have taken effect, so every call made here is safe to
/// repeat.
pub async fn config(timeouts: Timeouts) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(timeouts.connect)
        .operation_attempt_timeout(timeouts.attempt)
        .operation_timeout(timeouts.call)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .load()
        .await
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
