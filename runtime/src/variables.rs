//! Environment variables, read once at start into a function's `Config`.

/// A variable that a function can't start without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set")]
pub struct Missing(pub &'static str);

/// Looks a variable of the process up; an empty one counts as not set.
#[must_use]
pub fn lookup(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a required variable.
///
/// # Errors
/// [`Missing`], which names it.
pub fn required(
    name: &'static str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<String, Missing> {
    lookup(name).ok_or(Missing(name))
}

/// The read models' tables: the configuration of the function that writes them, and of the one that reads
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadModelTables {
    /// `VIEW_TABLE`: one item per aggregate.
    pub view_table: String,
    /// `HISTORY_TABLE`: one item per event.
    pub history_table: String,
}

impl ReadModelTables {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`Missing`], which names the first variable that isn't set.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        Ok(Self {
            view_table: required("VIEW_TABLE", &lookup)?,
            history_table: required("HISTORY_TABLE", &lookup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_of_the_read_models_are_required() {
        let lookup = |name: &str| Some(name.to_lowercase());
        let tables = ReadModelTables::read(lookup).expect("complete");
        assert_eq!(tables.view_table, "view_table");
        assert_eq!(tables.history_table, "history_table");
        for missing in ["VIEW_TABLE", "HISTORY_TABLE"] {
            let error = ReadModelTables::read(|name| lookup(name).filter(|_| name != missing));
            assert_eq!(error, Err(Missing(missing)));
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        let found = |name: &str| (name == "EVENTS_TABLE").then(|| "events".to_owned());
        assert_eq!(required("EVENTS_TABLE", found), Ok("events".into()));
        let missing = required("CURSOR_TABLE", found).expect_err("missing");
        assert_eq!(
            missing.to_string(),
            "the environment variable CURSOR_TABLE is not set"
        );
    }
}
