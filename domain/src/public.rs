//! The public events of an account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::event::Event;
use crate::money::{Amount, Currency};

/// A public event. A variant's name is the envelope's `type`; its fields are the members of `data` next to
/// the account's id and the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PublicEvent {
    /// The account was opened.
    AccountCreated {
        /// The account's only currency.
        currency: Currency,
    },
    /// The amount was added to the balance.
    BalanceCredited {
        /// The amount, in minor units of the currency.
        amount: Amount,
        /// The account's currency.
        currency: Currency,
    },
    /// The amount was subtracted from the balance.
    BalanceWithdrawn {
        /// The amount, in minor units of the currency.
        amount: Amount,
        /// The account's currency.
        currency: Currency,
    },
    /// The amount was subtracted from the balance. Version 2 has the channel. Withdrawals that were stored before
    /// version 2 existed have version 1 for ever.
    #[serde(rename = "BalanceWithdrawn:2")]
    BalanceWithdrawn2 {
        /// The amount, in minor units of the currency.
        amount: Amount,
        /// The account's currency.
        currency: Currency,
        /// Where the money was withdrawn.
        channel: Channel,
    },
}

/// The account's currency. Only the row of the opening contains it, but every public event repeats it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Context {
    currency: Option<Currency>,
}

impl PublicEvent {
    /// The public event of `event`; `None` for a movement if `context` doesn't contain the currency.
    pub(crate) fn new(context: &mut Context, event: &Event) -> Option<Self> {
        if let Event::AccountCreated { currency } = event {
            context.currency = Some(*currency);
        }
        let currency = context.currency?;
        Some(match *event {
            Event::AccountCreated { .. } => Self::AccountCreated { currency },
            Event::BalanceCredited { amount } => Self::BalanceCredited { amount, currency },
            Event::BalanceWithdrawn { amount, channel } => match channel.recorded() {
                None => Self::BalanceWithdrawn { amount, currency },
                Some(channel) => Self::BalanceWithdrawn2 {
                    amount,
                    currency,
                    channel,
                },
            },
        })
    }

    pub(crate) const fn currency(&self) -> Currency {
        match *self {
            Self::AccountCreated { currency }
            | Self::BalanceCredited { currency, .. }
            | Self::BalanceWithdrawn { currency, .. }
            | Self::BalanceWithdrawn2 { currency, .. } => currency,
        }
    }
}
