//! Errors of services, and how an error is shown with its causes.

use std::error::Error;
use std::fmt;

/// A service call failed: usually for a reason that may pass, so that the call is retried.
#[derive(Debug, thiserror::Error)]
#[error("{action} failed")]
pub struct ServiceError {
    action: &'static str,
    source: Box<dyn Error + Send + Sync>,
    is_permanent: bool,
}

impl ServiceError {
    /// The error of an action, such as "Query on the events table", with the SDK's error as its source.
    pub fn new(action: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            action,
            source: source.into(),
            is_permanent: false,
        }
    }

    /// The service refused the call because of its content, with this error code, and would refuse the
    /// same call again. Nothing has changed.
    pub fn permanent(action: &'static str, code: impl Into<String>) -> Self {
        Self {
            action,
            source: code.into().into(),
            is_permanent: true,
        }
    }

    /// Whether the same call would be refused again.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.is_permanent
    }
}

/// Shows an error with all its causes, joined by `: `, for a log line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_shows_every_cause() {
        let error = ServiceError::new(
            "Query on the events table",
            ServiceError::new("connecting", "refused"),
        );
        assert_eq!(
            Chain(&error).to_string(),
            "Query on the events table failed: connecting failed: refused"
        );
    }
}
