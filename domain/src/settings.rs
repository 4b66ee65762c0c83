//! What an operator sets of the domain.

use crate::money::{Currency, InvalidCurrency};

/// The environment variable that holds the default currency.
pub const DEFAULT_CURRENCY: &str = "DEFAULT_CURRENCY";

/// The domain's settings. They shape published bytes, so they never change once events are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The currency of an opening that names none, and of every row of an older producer that
    /// stored none.
    pub default_currency: Currency,
}

/// A setting that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It isn't set.
    #[error("{DEFAULT_CURRENCY} is not set")]
    Missing,
    /// It can't be read.
    #[error("{DEFAULT_CURRENCY} {source}")]
    Invalid {
        /// Why.
        source: InvalidCurrency,
    },
}

impl Settings {
    /// Reads the settings through `variable`, which looks an environment variable up.
    ///
    /// # Errors
    /// [`SettingError`], which names the variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let code = variable(DEFAULT_CURRENCY).ok_or(SettingError::Missing)?;
        let default_currency =
            Currency::listed(&code).map_err(|source| SettingError::Invalid { source })?;
        Ok(Self { default_currency })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_the_variable_that_is_missing_or_wrong() {
        let missing = Settings::read(|_| None).expect_err("missing");
        assert_eq!(missing.to_string(), "DEFAULT_CURRENCY is not set");
        let wrong = Settings::read(|_| Some("euro".into())).expect_err("wrong");
        assert_eq!(
            wrong.to_string(),
            "DEFAULT_CURRENCY is not an ISO 4217 currency code such as EUR"
        );
        let right = Settings::read(|name| (name == "DEFAULT_CURRENCY").then(|| "SEK".into()));
        assert_eq!(right.expect("right").default_currency.as_str(), "SEK");
    }

    proptest! {
        #[test]
        fn no_value_panics_and_only_a_currency_is_taken(value in "(\\PC{0,8}|[A-Z]{3})") {
            match Settings::read(|_| Some(value.clone())) {
                Ok(settings) => prop_assert_eq!(settings.default_currency.as_str(), value),
                Err(error) => prop_assert!(error.to_string().starts_with(DEFAULT_CURRENCY)),
            }
        }
    }
}
