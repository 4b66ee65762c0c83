//! Why a function doesn't start.

use millrace_core::settings::SettingChanged;

use crate::error::ServiceError;
use crate::variables::Missing;

/// Why a function doesn't start, or has ended. Lambda starts it again with the next invocation.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An environment variable is not set.
    #[error(transparent)]
    Configuration(#[from] Missing),
    /// A setting differs from the one that is stored in the events table.
    #[error(transparent)]
    Settings(#[from] SettingChanged),
    /// The stored settings could not be read or written.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Lambda's runtime API failed.
    #[error("the Lambda runtime failed")]
    Runtime(#[source] Box<dyn std::error::Error + Send + Sync>),
}
