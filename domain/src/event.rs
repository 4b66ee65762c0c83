//! The events of an account, as rows of the events table contain them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::StoredChannel;
use crate::money::{Amount, Currency};

/// An event of an account. A variant's serde name is the row's `Type`, its fields are the row's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all_fields = "PascalCase")]
pub enum Event {
    /// The account was opened, with the balance 0.
    #[serde(rename = "CREATED")]
    AccountCreated {
        /// The account's only currency.
        currency: Currency,
    },
    /// The amount was added to the balance.
    #[serde(rename = "CREDIT")]
    BalanceCredited {
        /// In minor units of the account's currency.
        amount: Amount,
    },
    /// The amount was subtracted from the balance.
    #[serde(rename = "WITHDRAW")]
    BalanceWithdrawn {
        /// In minor units of the account's currency.
        amount: Amount,
        /// Where the money was withdrawn.
        channel: StoredChannel,
    },
}
