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

/// A variable that has to be there.
///
/// # Errors
/// [`Missing`], which names it.
pub fn required(
    name: &'static str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<String, Missing> {
    lookup(name).ok_or(Missing(name))
}

#[cfg(test)]
mod tests {
    use super::*;

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
