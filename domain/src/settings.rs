//! What an operator sets of the domain.

use crate::attribute::{Attribute, Attributes};
use crate::money::{Currency, InvalidCurrency};
use crate::row;

/// The id of the item in the events table that contains the settings; a reserved one
/// ([`row::is_reserved_id`]).
pub const ROW_ID: &str = "\u{1}millrace";
/// That item's version: no event's.
pub const ROW_VERSION: u64 = 0;
const ROW_TYPE: &str = "SETTINGS";
const STORED_DEFAULT_CURRENCY: &str = "DefaultCurrency";

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

/// The settings differ from the ones that the events table was begun with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{DEFAULT_CURRENCY} is {configured}, but the events table has been used with {stored}: another \
     value would change events that are published; set {DEFAULT_CURRENCY} to {stored} again"
)]
pub struct SettingsChanged {
    /// The currency that is configured now.
    pub configured: Currency,
    /// What the events table contains.
    pub stored: String,
}

impl Settings {
    /// The item of the events table that contains the settings.
    #[must_use]
    pub fn to_row(&self) -> Attributes {
        [
            (row::ID, Attribute::text(ROW_ID)),
            (row::VERSION, Attribute::number(ROW_VERSION)),
            (row::TYPE, Attribute::text(ROW_TYPE)),
            (
                STORED_DEFAULT_CURRENCY,
                Attribute::text(self.default_currency),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Compares the settings with the item that [`to_row`](Self::to_row) has made.
    ///
    /// # Errors
    /// [`SettingsChanged`], which says what to do.
    pub fn check(&self, stored: &Attributes) -> Result<(), SettingsChanged> {
        let configured = self.default_currency;
        match stored.get(STORED_DEFAULT_CURRENCY) {
            Some(Attribute::Text(stored)) if stored == configured.as_str() => Ok(()),
            Some(Attribute::Text(stored)) => Err(SettingsChanged {
                configured,
                stored: stored.clone(),
            }),
            Some(_) | None => Err(SettingsChanged {
                configured,
                stored: "an unreadable currency".to_owned(),
            }),
        }
    }

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

    #[test]
    fn stored_settings_are_compared() {
        let settings = |code: &str| Settings {
            default_currency: Currency::stored(code).expect("valid"),
        };
        let stored = settings("EUR").to_row();
        assert_eq!(settings("EUR").check(&stored), Ok(()));
        let changed = settings("SEK").check(&stored).expect_err("changed");
        let text = changed.to_string();
        assert!(
            text.starts_with(
                "DEFAULT_CURRENCY is SEK, but the events table has been used with EUR"
            ) && text.ends_with("set DEFAULT_CURRENCY to EUR again"),
            "{text}"
        );
        let mut damaged = stored;
        damaged.insert("DefaultCurrency".to_owned(), Attribute::number(1));
        assert!(settings("EUR").check(&damaged).is_err());
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
