//! The commands that clients send.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use millrace_core::InvalidValue;
use millrace_core::decode::from_text;

use crate::channel::Channel;
use crate::money::{Amount, Currency, InvalidCurrency, NO_CURRENCY};

/// A command. A variant's serde name is the last segment of its path; `POST` to the collection's path is
/// [`Command::Open`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Open an account.
    Open {
        /// The account's only currency; the deployment's default currency if absent.
        currency: Option<ListedCurrency>,
    },
    /// Add to the balance.
    Credit {
        /// In minor units of the account's currency.
        amount: Amount,
    },
    /// Subtract from the balance.
    Withdraw {
        /// In minor units of the account's currency.
        amount: Amount,
        /// Where the money is withdrawn; `online` if absent.
        channel: Option<Channel>,
    },
}

/// A currency that ISO 4217 lists today. A new account's currency must be listed; a stored one need not be
/// ([`Currency::stored`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(
    transparent,
    description = "The code of a currency that ISO 4217 lists today."
)]
pub struct ListedCurrency(Currency);

impl ListedCurrency {
    /// Reads a code that ISO 4217 lists.
    ///
    /// # Errors
    /// [`InvalidCurrency`] if ISO 4217 doesn't list the code.
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
