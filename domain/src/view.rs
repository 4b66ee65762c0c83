//! The read model: the account, and its transactions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::accounts::Account;
use crate::channel::Channel;
use crate::money::{Amount, Balance, Currency};
use crate::public::PublicEvent;

/// An entry of the transaction history: one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Transaction {
    /// The amount of the credit or withdrawal, in minor units; `None` for the opening.
    #[schemars(description = "The amount of the credit or withdrawal. Absent for the opening.")]
    amount: Option<Amount>,
    /// Where the money was withdrawn; `None` for other events, and for withdrawals of version 1.
    #[schemars(
        description = "Where the money was withdrawn. Absent for other events, and for older withdrawals."
    )]
    channel: Option<Channel>,
    /// The balance after the event, in minor units.
    balance: Balance,
    /// The account's currency.
    currency: Currency,
}

/// The account after an event. The first event gives the account its currency and the balance 0.
pub(crate) fn after(before: Option<&Account>, event: &PublicEvent) -> Account {
    let Some(account) = before else {
        return Account::new(event.currency());
    };
    match *event {
        PublicEvent::AccountCreated { .. } => *account,
        PublicEvent::BalanceCredited { amount, .. } => account.moved(amount.minor_units()),
        PublicEvent::BalanceWithdrawn { amount, .. }
        | PublicEvent::BalanceWithdrawn2 { amount, .. } => account.moved(-amount.minor_units()),
    }
}

impl Transaction {
    /// The entry of `event`. `after` is the account after it.
    pub(crate) const fn new(after: Account, event: &PublicEvent) -> Self {
        let amount = match *event {
            PublicEvent::AccountCreated { .. } => None,
            PublicEvent::BalanceCredited { amount, .. }
            | PublicEvent::BalanceWithdrawn { amount, .. }
            | PublicEvent::BalanceWithdrawn2 { amount, .. } => Some(amount),
        };
        let channel = match *event {
            PublicEvent::BalanceWithdrawn2 { channel, .. } => Some(channel),
            PublicEvent::AccountCreated { .. }
            | PublicEvent::BalanceCredited { .. }
            | PublicEvent::BalanceWithdrawn { .. } => None,
        };
        Self {
            amount,
            channel,
            balance: after.balance,
            currency: after.currency,
        }
    }

    /// The account after the event.
    pub(crate) const fn account(&self) -> Account {
        Account {
            currency: self.currency,
            balance: self.balance,
        }
    }
}
