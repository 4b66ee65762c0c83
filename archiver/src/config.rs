//! What the archiver reads from its environment, once, at start.

use millrace_runtime::variables::{self, Missing};

/// The archiver's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// `DELIVERY_STREAM`: the Firehose stream to the lake.
    pub(crate) delivery_stream: String,
}

impl Config {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`Missing`], which names the variable.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        Ok(Self {
            delivery_stream: variables::required("DELIVERY_STREAM", &lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let error = Config::read(|_| None);
        assert_eq!(error, Err(Missing("DELIVERY_STREAM")));
    }
}
