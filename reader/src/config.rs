//! What the reader reads from its environment, once, at start.

use millrace_runtime::variables::{self, Missing};

/// The reader's configuration.
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
        let lookup = |name: &str| Some(name.to_lowercase());
        let config = Config::read(lookup).expect("complete");
        assert_eq!(config.view_table, "view_table");
        assert_eq!(config.history_table, "history_table");
        for missing in ["VIEW_TABLE", "HISTORY_TABLE"] {
            let error = Config::read(|name| lookup(name).filter(|_| name != missing));
            assert_eq!(error, Err(Missing(missing)));
        }
    }
}
