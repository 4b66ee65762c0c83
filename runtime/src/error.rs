//! Errors of services, and how an error is shown with its causes.

use std::error::Error;
use std::fmt;

/// A service did not do what it was asked to, for a reason that may pass: try again.
#[derive(Debug, thiserror::Error)]
#[error("{action} failed")]
pub struct ServiceError {
    action: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl ServiceError {
    /// What was asked for, such as "Query on the events table", and the SDK's own error.
    pub fn new(action: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            action,
            source: source.into(),
        }
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
