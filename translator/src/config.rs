//! What the translator reads from its environment, once, at start.

use millrace_runtime::variables::{self, Missing};

/// The translator's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `EVENTS_TABLE`: where gaps are repaired from.
    pub events_table: String,
    /// `CURSOR_TABLE`: the publication cursors.
    pub cursor_table: String,
    /// `STREAM_NAME`: the Kinesis stream of domain events.
    pub stream_name: String,
}

impl Config {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`Missing`], which names the first variable that isn't set.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        Ok(Self {
            events_table: variables::required("EVENTS_TABLE", &lookup)?,
            cursor_table: variables::required("CURSOR_TABLE", &lookup)?,
            stream_name: variables::required("STREAM_NAME", &lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_variable_is_named() {
        for missing in ["EVENTS_TABLE", "CURSOR_TABLE", "STREAM_NAME"] {
            let error = Config::read(|name| (name != missing).then(|| "x".to_owned()));
            assert_eq!(error, Err(Missing(missing)));
        }
    }
}
