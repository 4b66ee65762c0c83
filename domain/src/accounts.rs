//! The bank account as a [`Domain`] and a [`Project`]: its rules and its settings.
//!
//! `decide` validates and may refuse; `evolve` never refuses and never panics, so that tightening a
//! rule never makes an old history unreadable.

use millrace_core::lake::Column;
use millrace_core::{Attribute, Columns, Domain, Project, Refusal, Setting};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::event::Event;
use crate::money::{Amount, Balance, Currency, InvalidCurrency, MAX_MINOR_UNITS};
use crate::public::{Context, PublicEvent};
use crate::view::{self, Transaction};

/// The environment variable that contains the default currency.
pub const DEFAULT_CURRENCY: &str = "DEFAULT_CURRENCY";

/// The account's domain, with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounts {
    /// The currency of an account that is opened without one, and of every row in the legacy layout.
    /// Published bytes contain it, so it must not change after the first event is published.
    pub default_currency: Currency,
}

/// The environment variable [`DEFAULT_CURRENCY`] is missing or invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The variable isn't set.
    #[error("{DEFAULT_CURRENCY} is not set")]
    Missing,
    /// ISO 4217 doesn't list the variable's value.
    #[error("{DEFAULT_CURRENCY} {0}")]
    Invalid(InvalidCurrency),
}

impl Accounts {
    /// Reads the settings. `variable` returns the value of an environment variable.
    ///
    /// # Errors
    /// [`SettingError`], which names the variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let code = variable(DEFAULT_CURRENCY).ok_or(SettingError::Missing)?;
        let default_currency = Currency::listed(&code).map_err(SettingError::Invalid)?;
        Ok(Self { default_currency })
    }
}

/// An open account, as its snapshots and its view contain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(description = "An open account.")]
pub struct Account {
    /// The account's only currency.
    pub currency: Currency,
    /// The account's balance, in minor units of its currency.
    pub balance: Balance,
}

/// What the response to a command contains next to the account's id and sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(description = "What a command led to.")]
pub struct Accepted {
    /// The balance after the command, in minor units of the account's currency.
    pub balance: Balance,
}

impl Domain for Accounts {
    const COLLECTION: &'static str = "accounts";
    const ID: &'static str = "accountId";
    const OPENS: &'static str = "open";
    const BEGINS: &'static str = "CREATED";
    const BEGINS_PUBLIC: &'static str = "AccountCreated";
    const SCHEMA: u32 = 2;
    const LAKE: &'static [(&'static str, Column)] = &[
        ("amount", Column::Bigint),
        ("currency", Column::Text),
        ("channel", Column::Text),
    ];

    type Command = Command;
    type Event = Event;
    type State = Account;
    type PublicEvent = PublicEvent;
    type Context = Context;
    type Accepted = Accepted;

    fn decide(&self, account: Option<&Account>, command: Command) -> Result<Vec<Event>, Refusal> {
        let event = match (command, account) {
            (Command::Open { currency }, None) => Event::AccountCreated {
                currency: currency.map_or(self.default_currency, Currency::from),
            },
            (Command::Open { .. }, Some(_)) => return Err(already_open()),
            (Command::Credit { .. } | Command::Withdraw { .. }, None) => {
                return Err(Self::not_found());
            }
            (Command::Credit { amount }, Some(account)) => {
                let credited = account.balance.checked_credit(amount);
                credited.ok_or_else(balance_limit)?;
                Event::BalanceCredited { amount }
            }
            (Command::Withdraw { amount, channel }, Some(account)) => {
                let withdrawn = account.balance.checked_withdraw(amount);
                withdrawn.ok_or_else(|| insufficient_funds(account.balance, amount))?;
                let channel = channel.unwrap_or_default().into();
                Event::BalanceWithdrawn { amount, channel }
            }
        };
        Ok(vec![event])
    }

    fn evolve(account: Option<Account>, event: &Event) -> Option<Account> {
        match (event, account) {
            (Event::AccountCreated { currency }, None) => Some(Account::new(*currency)),
            (Event::BalanceCredited { amount }, Some(account)) => {
                Some(account.moved(amount.minor_units()))
            }
            (Event::BalanceWithdrawn { amount, .. }, Some(account)) => {
                Some(account.moved(-amount.minor_units()))
            }
            // `decide` returns no second opening and no movement before the opening, and `StoredRow::read`
            // refuses such rows. Here they change nothing, because `evolve` can't refuse.
            (Event::AccountCreated { .. }, Some(_))
            | (Event::BalanceCredited { .. } | Event::BalanceWithdrawn { .. }, None) => account,
        }
    }

    fn publish(context: &mut Context, event: &Event) -> Option<PublicEvent> {
        PublicEvent::new(context, event)
    }

    fn accepted(account: &Account) -> Accepted {
        Accepted {
            balance: account.balance,
        }
    }

    fn settings(&self) -> Vec<Setting> {
        vec![Setting {
            variable: DEFAULT_CURRENCY,
            column: "DefaultCurrency",
            value: self.default_currency.to_string(),
        }]
    }

    /// Adds the default currency to rows in the legacy layout, which have none, and to withdrawals of schema version 1
    /// that their channel wasn't recorded.
    fn upcast(&self, schema: u32, row: &mut Columns<'_>) {
        match row.text("Type") {
            Some("CREATED" | "SNAPSHOT") => {
                row.set_default("Currency", || Attribute::text(self.default_currency));
            }
            Some("WITHDRAW") if schema < 2 => row.set("Channel", Attribute::text("unrecorded")),
            Some(_) | None => {}
        }
    }
}

impl Project for Accounts {
    type View = Account;
    type Entry = Transaction;
    const HISTORY: &'static str = "transactions";
    const VIEW_AT: Option<&'static str> = Some("balance");

    fn project(before: Option<&Account>, event: &PublicEvent) -> (Account, Transaction) {
        let view = view::after(before, event);
        (view, Transaction::new(view, event))
    }

    fn view_after(entry: &Transaction) -> Option<Account> {
        Some(entry.account())
    }

    fn not_found() -> Refusal {
        Refusal::unknown("account-not-found", "there is no such account")
    }

    fn not_yet() -> Refusal {
        Refusal::unknown(
            "account-not-open-yet",
            "the account was not open yet at this time",
        )
    }
}

impl Account {
    pub(crate) const fn new(currency: Currency) -> Self {
        Self {
            currency,
            balance: Balance::ZERO,
        }
    }

    pub(crate) fn moved(self, minor_units: i64) -> Self {
        Self {
            balance: self.balance.moved(minor_units),
            ..self
        }
    }
}

pub(crate) fn already_open() -> Refusal {
    Refusal::conflict("account-already-open", "the account is open already")
}

pub(crate) fn balance_limit() -> Refusal {
    Refusal::rule(
        "balance-limit",
        format!("the balance would exceed {MAX_MINOR_UNITS}"),
    )
}

pub(crate) fn insufficient_funds(balance: Balance, amount: Amount) -> Refusal {
    let (balance, amount) = (balance.minor_units(), amount.minor_units());
    Refusal::rule(
        "insufficient-funds",
        format!("the balance is {balance}, which is less than {amount}"),
    )
}

#[cfg(test)]
mod tests;
