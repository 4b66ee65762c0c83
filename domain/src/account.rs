//! The account as a decider: what may happen (`decide`), and what has happened (`evolve`).
//!
//! `decide` validates and may refuse; `evolve` never refuses and never panics, so that tightening a
//! rule never makes an old history unreadable.

pub use millrace_core::RefusalKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::{Amount, Balance, Currency};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Open an account in this currency.
    Open {
        /// The account's only currency.
        currency: Currency,
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

/// An account after the events so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// No event yet.
    #[default]
    Unopened,
    /// Open since its first event.
    Open {
        /// Its only currency.
        currency: Currency,
        /// What it holds.
        balance: Balance,
    },
}

/// Why the account refuses a command. Nothing is appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The id is taken.
    #[error("the account is open already")]
    AlreadyOpen,
    /// There is no such account.
    #[error("there is no such account")]
    NotOpen,
    /// The balance would become negative.
    #[error("the balance is {balance}, which is less than {amount}", balance = .balance.minor_units(), amount = .amount.minor_units())]
    InsufficientFunds {
        /// What the account holds.
        balance: Balance,
        /// What was asked for.
        amount: Amount,
    },
    /// The balance would exceed [`MAX_MINOR_UNITS`](crate::money::MAX_MINOR_UNITS).
    #[error("the balance would exceed {limit}", limit = crate::money::MAX_MINOR_UNITS)]
    BalanceLimit,
}

impl Refusal {
    /// What the refusal says of the aggregate.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::AlreadyOpen => RefusalKind::Conflict,
            Self::NotOpen => RefusalKind::Unknown,
            Self::InsufficientFunds { .. } | Self::BalanceLimit => RefusalKind::Rule,
        }
    }

    /// The refusal's name in the public API, which never changes: the problem type's last part.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AlreadyOpen => "account-already-open",
            Self::NotOpen => "account-not-found",
            Self::InsufficientFunds { .. } => "insufficient-funds",
            Self::BalanceLimit => "balance-limit",
        }
    }
}

/// The events that a command leads to in this state, in order. An account's commands lead to one
/// each; the writer appends however many there are together.
///
/// # Errors
/// A [`Refusal`] when the account's rules don't allow it.
pub fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    match (command, state) {
        (Command::Open { currency }, State::Unopened) => Ok(vec![Event::AccountCreated {
            currency: *currency,
        }]),
        (Command::Open { .. }, State::Open { .. }) => Err(Refusal::AlreadyOpen),
        (Command::Credit { .. } | Command::Withdraw { .. }, State::Unopened) => {
            Err(Refusal::NotOpen)
        }
        (Command::Credit { amount }, State::Open { balance, .. }) => {
            balance
                .checked_credit(*amount)
                .ok_or(Refusal::BalanceLimit)?;
            Ok(vec![Event::BalanceCredited { amount: *amount }])
        }
        (Command::Withdraw { amount }, State::Open { balance, .. }) => {
            balance
                .checked_withdraw(*amount)
                .ok_or(Refusal::InsufficientFunds {
                    balance: *balance,
                    amount: *amount,
                })?;
            Ok(vec![Event::BalanceWithdrawn { amount: *amount }])
        }
    }
}

/// The state after an event.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (event, state) {
        (Event::AccountCreated { currency }, State::Unopened) => State::Open {
            currency: *currency,
            balance: Balance::ZERO,
        },
        (Event::BalanceCredited { amount }, State::Open { currency, balance }) => State::Open {
            currency,
            balance: balance.moved(amount.minor_units()),
        },
        (Event::BalanceWithdrawn { amount }, State::Open { currency, balance }) => State::Open {
            currency,
            balance: balance.moved(-amount.minor_units()),
        },
        // A second opening, or a movement before the opening, changes nothing. `decide` produces
        // neither, and reading rows (`row`) takes an opening at the first row only and nothing
        // else there.
        (Event::AccountCreated { .. }, state @ State::Open { .. })
        | (
            Event::BalanceCredited { .. } | Event::BalanceWithdrawn { .. },
            state @ State::Unopened,
        ) => state,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::MAX_MINOR_UNITS;
    use crate::specification::given;

    fn eur() -> Currency {
        Currency::stored("EUR").expect("valid")
    }
    fn amount(minor_units: i64) -> Amount {
        Amount::new(minor_units).expect("valid")
    }
    fn opened() -> Event {
        Event::AccountCreated { currency: eur() }
    }
    fn credited(minor_units: i64) -> Event {
        Event::BalanceCredited {
            amount: amount(minor_units),
        }
    }
    fn withdrawn(minor_units: i64) -> Event {
        Event::BalanceWithdrawn {
            amount: amount(minor_units),
        }
    }
    fn open() -> Command {
        Command::Open { currency: eur() }
    }
    fn credit(minor_units: i64) -> Command {
        Command::Credit {
            amount: amount(minor_units),
        }
    }
    fn withdraw(minor_units: i64) -> Command {
        Command::Withdraw {
            amount: amount(minor_units),
        }
    }

    #[test]
    fn opens_once() {
        given([]).when(&open()).then(opened());
        given([opened()])
            .when(&open())
            .refused(Refusal::AlreadyOpen);
    }

    #[test]
    fn credits_and_withdraws_from_an_open_account_only() {
        given([opened()]).when(&credit(5)).then(credited(5));
        given([opened(), credited(5)])
            .when(&withdraw(5))
            .then(withdrawn(5));
        given([]).when(&credit(5)).refused(Refusal::NotOpen);
        given([]).when(&withdraw(5)).refused(Refusal::NotOpen);
    }

    #[test]
    fn refuses_overdraft() {
        given([opened(), credited(5), withdrawn(2)])
            .when(&withdraw(4))
            .refused(Refusal::InsufficientFunds {
                balance: Balance::new(3).expect("valid"),
                amount: amount(4),
            });
    }

    #[test]
    fn refuses_a_credit_past_the_limit() {
        let full = [opened(), credited(MAX_MINOR_UNITS)];
        given(full).when(&credit(1)).refused(Refusal::BalanceLimit);
        given([opened(), credited(MAX_MINOR_UNITS - 1)])
            .when(&credit(1))
            .then(credited(1));
    }

    fn every_refusal() -> [Refusal; 4] {
        [
            Refusal::AlreadyOpen,
            Refusal::NotOpen,
            Refusal::InsufficientFunds {
                balance: Balance::ZERO,
                amount: amount(1),
            },
            Refusal::BalanceLimit,
        ]
    }

    #[test]
    fn a_refusal_tells_whether_the_account_is_there() {
        assert_eq!(
            every_refusal().map(|refusal| refusal.kind()),
            [
                RefusalKind::Conflict,
                RefusalKind::Unknown,
                RefusalKind::Rule,
                RefusalKind::Rule
            ]
        );
    }

    #[test]
    fn every_refusal_has_a_code_of_its_own() {
        assert_eq!(
            every_refusal().map(|refusal| refusal.code()),
            [
                "account-already-open",
                "account-not-found",
                "insufficient-funds",
                "balance-limit"
            ]
        );
    }

    #[test]
    fn history_of_other_rules_is_folded_as_it_is() {
        let overdrawn = [opened(), withdrawn(7)]
            .iter()
            .fold(State::Unopened, evolve);
        assert_eq!(
            overdrawn,
            State::Open {
                currency: eur(),
                balance: Balance::new(-7).expect("valid")
            }
        );
        assert_eq!(evolve(State::Unopened, &credited(1)), State::Unopened);
        assert_eq!(evolve(overdrawn, &opened()), overdrawn);
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let amounts = prop_oneof![1_i64..1000, 1..=MAX_MINOR_UNITS].prop_map(amount);
        prop_oneof![
            1 => Just(open()),
            4 => amounts.clone().prop_map(|amount| Command::Credit { amount }),
            4 => amounts.prop_map(|amount| Command::Withdraw { amount }),
        ]
    }

    fn decided(commands: &[Command]) -> Vec<Event> {
        let mut state = State::Unopened;
        let mut events = Vec::new();
        for command in commands {
            for event in decide(&state, command).unwrap_or_default() {
                state = evolve(state, &event);
                events.push(event);
            }
        }
        events
    }

    proptest! {
        #[test]
        fn what_decide_produces_evolve_accepts(commands in prop::collection::vec(any_command(), 0..60)) {
            let mut state = State::Unopened;
            for event in decided(&commands) {
                let next = evolve(state, &event);
                prop_assert_ne!(next, state, "every decided event changes the account");
                state = next;
            }
        }

        #[test]
        fn the_balance_is_never_negative_and_never_past_the_limit(commands in prop::collection::vec(any_command(), 0..60)) {
            let mut state = State::Unopened;
            for event in decided(&commands) {
                state = evolve(state, &event);
                if let State::Open { balance, .. } = state {
                    prop_assert!((0..=MAX_MINOR_UNITS).contains(&balance.minor_units()));
                }
            }
        }

        #[test]
        fn replay_is_deterministic(commands in prop::collection::vec(any_command(), 0..60)) {
            let events = decided(&commands);
            let once = events.iter().fold(State::Unopened, evolve);
            let again = events.iter().fold(State::Unopened, evolve);
            prop_assert_eq!(once, again);
        }
    }
}
