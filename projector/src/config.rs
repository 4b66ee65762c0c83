//! What the projector reads from its environment, once, at start.

use millrace_runtime::variables::{self, Missing};

/// The projector's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// `VIEW_TABLE`: one item per aggregate.
    pub(crate) view_table: String,
    /// `HISTORY_TABLE`: one item per event.
    pub(crate) history_table: String,
}

impl Config {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`Missing`], which names the first variable that isn't set.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        Ok(Self {
            view_table: variables::required("VIEW_TABLE", &lookup)?,
            history_table: variables::required("HISTORY_TABLE", &lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_variable_is_named() {
        for missing in ["VIEW_TABLE", "HISTORY_TABLE"] {
            let error = Config::read(|name| (name != missing).then(|| "x".to_owned()));
            assert_eq!(error, Err(Missing(missing)));
        }
    }
}
