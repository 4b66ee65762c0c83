//! What the writer reads from its environment, once, at start.

use millrace_domain::Settings;
use millrace_runtime::variables::{self, ConfigError};

/// The writer's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `EVENTS_TABLE`: the source of truth.
    pub events_table: String,
    /// `IDEMPOTENCY_TABLE`: outcomes of commands that carried a key.
    pub idempotency_table: String,
    /// The domain's own settings.
    pub settings: Settings,
}

impl Config {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`ConfigError`], which names the first variable that is missing or wrong.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(Self {
            events_table: variables::required("EVENTS_TABLE", &lookup)?,
            idempotency_table: variables::required("IDEMPOTENCY_TABLE", &lookup)?,
            settings: Settings::read(&lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_variable_is_named() {
        for missing in ["EVENTS_TABLE", "IDEMPOTENCY_TABLE", "DEFAULT_CURRENCY"] {
            let error = Config::read(|name| (name != missing).then(|| "EUR".to_owned()))
                .expect_err(missing);
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
