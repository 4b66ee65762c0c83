//! What the writer reads from its environment, once, at start.

use millrace_runtime::variables::{self, Missing};

/// The writer's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// `EVENTS_TABLE`: the source of truth.
    pub(crate) events_table: String,
    /// `IDEMPOTENCY_TABLE`: outcomes of commands that had an idempotency key.
    pub(crate) idempotency_table: String,
}

impl Config {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`Missing`], which names the first variable that isn't set.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        Ok(Self {
            events_table: variables::required("EVENTS_TABLE", &lookup)?,
            idempotency_table: variables::required("IDEMPOTENCY_TABLE", &lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_variable_is_named() {
        for missing in ["EVENTS_TABLE", "IDEMPOTENCY_TABLE"] {
            let error = Config::read(|name| (name != missing).then(|| "x".to_owned()));
            assert_eq!(error, Err(Missing(missing)));
        }
    }
}
