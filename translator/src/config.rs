//! What the translator reads from its environment, once, at start.

use millrace_domain::Settings;
use millrace_runtime::variables::{self, ConfigError};

/// The translator's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `EVENTS_TABLE`: where gaps are repaired from.
    pub events_table: String,
    /// `CURSOR_TABLE`: the publication cursors.
    pub cursor_table: String,
    /// `STREAM_NAME`: the Kinesis stream of domain events.
    pub stream_name: String,
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
            cursor_table: variables::required("CURSOR_TABLE", &lookup)?,
            stream_name: variables::required("STREAM_NAME", &lookup)?,
            settings: Settings::read(&lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_variable_is_named() {
        for missing in [
            "EVENTS_TABLE",
            "CURSOR_TABLE",
            "STREAM_NAME",
            "DEFAULT_CURRENCY",
        ] {
            let error = Config::read(|name| (name != missing).then(|| "EUR".to_owned()))
                .expect_err(missing);
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
