//! What the two functions read from their environment, once, at start.

use millrace_runtime::variables::{self, Missing};

/// The projector's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectorConfig {
    /// `VIEW_TABLE`: one item per aggregate.
    pub view_table: String,
    /// `HISTORY_TABLE`: one item per event.
    pub history_table: String,
}

/// The archiver's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiverConfig {
    /// `DELIVERY_STREAM`: the Firehose stream to the lake.
    pub delivery_stream: String,
}

impl ProjectorConfig {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`Missing`], which names the first variable that isn't set.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        Ok(Self {
            view_table: variables::required("VIEW_TABLE", &lookup)?,
            history_table: variables::required("HISTORY_TABLE", &lookup)?,
        })
    }
}

impl ArchiverConfig {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`Missing`], which names the variable.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        Ok(Self {
            delivery_stream: variables::required("DELIVERY_STREAM", &lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_variable_is_named() {
        for missing in ["VIEW_TABLE", "HISTORY_TABLE"] {
            let error = ProjectorConfig::read(|name| (name != missing).then(|| "x".to_owned()));
            assert_eq!(error, Err(Missing(missing)));
        }
        let error = ArchiverConfig::read(|_| None);
        assert_eq!(error, Err(Missing("DELIVERY_STREAM")));
    }
}
