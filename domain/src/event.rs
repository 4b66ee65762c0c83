//! What has happened to an account, as its rows contain it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::{Amount, Currency};

/// What has happened to an account. A variant's serde name is its row's `Type`, its fields are
/// columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all_fields = "PascalCase")]
pub enum Event {
    /// It was opened.
    #[serde(rename = "CREATED")]
    AccountCreated {
        /// Its currency.
        currency: Currency,
    },
    /// Money came in.
    #[serde(rename = "CREDIT")]
    BalanceCredited {
        /// How much.
        amount: Amount,
    },
    /// Money went out.
    #[serde(rename = "WITHDRAW")]
    BalanceWithdrawn {
        /// How much.
        amount: Amount,
    },
}
