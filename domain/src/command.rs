//! What a client asks for.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use millrace_core::InvalidValue;
use millrace_core::decode::from_text;

use crate::money::{Amount, Currency, InvalidCurrency, NO_CURRENCY};

/// What a client asks for. A variant's name is the last segment of its path; opening is the
/// collection's own command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Open an account.
    Open {
        /// The account's only currency; the deployment's default if absent.
        currency: Option<ListedCurrency>,
    },
    /// Pay in.
    Credit {
        /// How much, in minor units of the account's currency.
        amount: Amount,
    },
    /// Take out.
    Withdraw {
        /// How much, in minor units of the account's currency.
        amount: Amount,
    },
}

/// A currency that ISO 4217 lists today, as a new account's has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct ListedCurrency(Currency);

impl ListedCurrency {
    /// Reads a code that ISO 4217 lists.
    ///
    /// # Errors
    /// [`InvalidCurrency`] if it doesn't.
    pub fn new(code: &str) -> Result<Self, InvalidCurrency> {
        Currency::listed(code).map(Self)
    }
}

impl From<ListedCurrency> for Currency {
    fn from(listed: ListedCurrency) -> Self {
        listed.0
    }
}

impl<'de> Deserialize<'de> for ListedCurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, |code| {
            Self::new(code).map_err(|InvalidCurrency| InvalidValue::new(NO_CURRENCY))
        })
    }
}
