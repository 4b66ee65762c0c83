//! What has happened to an account, as everyone outside sees it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::money::{Amount, Currency};

/// A public event: the envelope's `type`, and the members of its `data` next to the account's id and
/// the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PublicEvent {
    /// The account was opened.
    AccountCreated {
        /// The account's only currency.
        currency: Currency,
    },
    /// Money came in.
    BalanceCredited {
        /// How much, in minor units.
        amount: Amount,
        /// The account's currency.
        currency: Currency,
    },
    /// Money went out.
    BalanceWithdrawn {
        /// How much, in minor units.
        amount: Amount,
        /// The account's currency.
        currency: Currency,
    },
}

/// The currency, which only the opening's row contains and every public event repeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Context {
    currency: Option<Currency>,
}

impl PublicEvent {
    /// `None` for a movement whose account's currency `context` doesn't contain.
    pub(crate) fn new(context: &mut Context, event: &Event) -> Option<Self> {
        if let Event::AccountCreated { currency } = event {
            context.currency = Some(*currency);
        }
        let currency = context.currency?;
        Some(match *event {
            Event::AccountCreated { .. } => Self::AccountCreated { currency },
            Event::BalanceCredited { amount } => Self::BalanceCredited { amount, currency },
            Event::BalanceWithdrawn { amount } => Self::BalanceWithdrawn { amount, currency },
        })
    }

    pub(crate) const fn currency(&self) -> Currency {
        match *self {
            Self::AccountCreated { currency }
            | Self::BalanceCredited { currency, .. }
            | Self::BalanceWithdrawn { currency, .. } => currency,
        }
    }
}
