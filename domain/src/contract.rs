//! The account's public contract: what its documents say besides what its types say.

use millrace_contract::Contract;
use millrace_core::{Project as _, Refusal};

use crate::accounts::{self, Accounts};
use crate::channel::Channel;
use crate::money::{Amount, Balance, Currency};
use crate::public::PublicEvent;

impl Contract for Accounts {
    const TITLE: &'static str = "Bank accounts";
    const VERSION: &'static str = "1.1.0";

    fn examples() -> Vec<PublicEvent> {
        let (Ok(currency), Ok(amount)) = (Currency::stored("EUR"), Amount::new(1_000)) else {
            return Vec::new();
        };
        vec![
            PublicEvent::AccountCreated { currency },
            PublicEvent::BalanceCredited { amount, currency },
            PublicEvent::BalanceWithdrawn { amount, currency },
            PublicEvent::BalanceWithdrawn2 {
                amount,
                currency,
                channel: Channel::Atm,
            },
        ]
    }

    fn refusals() -> Vec<(Refusal, &'static str)> {
        let insufficient_funds =
            Amount::new(1).map(|amount| accounts::insufficient_funds(Balance::ZERO, amount));
        let insufficient_funds =
            insufficient_funds.map(|refusal| (refusal, "The balance is less than the amount."));
        let others = [
            (
                Self::not_found(),
                "The account doesn't exist. To a query, it may also be too new: repeat the query with `minSequence`.",
            ),
            (Self::not_yet(), "At that time the account wasn't open."),
            (
                accounts::already_open(),
                "Another account has the id that the writer drew. Send the command again.",
            ),
            (
                accounts::balance_limit(),
                "The balance would exceed 9007199254740991 (2^53-1).",
            ),
        ];
        others.into_iter().chain(insufficient_funds).collect()
    }
}
