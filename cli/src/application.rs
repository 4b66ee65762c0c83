//! What a domain provides to the `millrace` command.

use std::error::Error;
use std::future::Future;

use anyhow::Result;
use millrace_contract::{ContractError, Documents};
use millrace_core::{Domain, Project};
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::Local;
use serde_json::{Map, Value};

use crate::named_query::NamedQueries;
use crate::output::Output;

/// The members of an event's or a view's data as text for people: names and values.
pub type Members = Vec<(String, String)>;

/// What a domain provides to the `millrace` command. [`run`](crate::run) runs the command.
pub trait Application: Send + Sync + 'static {
    /// The domain.
    type Domain: Project + Clone;
    /// The error of a domain's setting that can't be read.
    type SettingError: Error + Send + Sync + 'static;

    /// The package whose binaries are the Lambda functions and this command. A function's binary has the
    /// function's name: `writer`.
    const PACKAGE: &'static str;
    /// The command's name. Messages that advise a command contain it.
    const COMMAND: &'static str = "millrace";
    /// The noun for one aggregate, such as `account`. The option `--account` is then an alias of `--id`,
    /// and results contain the noun.
    const NOUN: &'static str;
    /// Shell commands that show a new user what the API does. They use `$API` as the API's address.
    /// `millrace up` prints them.
    const FIRST_COMMANDS: &'static str;

    /// The domain with a deployment's settings. `setting` returns the setting with this environment
    /// variable's name.
    ///
    /// # Errors
    /// If a setting is missing or invalid; the error names the setting.
    fn domain(setting: impl Fn(&str) -> Option<String>)
    -> Result<Self::Domain, Self::SettingError>;

    /// The members of a public event's or a view's data, each with its name, as text for people. A domain may
    /// combine members, such as an amount and its currency. By default, it is each member with its value.
    #[must_use]
    fn describe(data: &Map<String, Value>) -> Members {
        let members = data.iter();
        members
            .map(|(name, value)| (name.clone(), described(value)))
            .collect()
    }

    /// The domain's named queries over the lake, which the command `query` runs. By default there are none.
    #[must_use]
    fn queries() -> NamedQueries {
        &[]
    }

    /// An amount in a currency's minor units as text for people, in the major unit and without the currency: `12.50`.
    /// `None` if the currency isn't known. By default, no currency is known.
    #[must_use]
    fn amount(minor_units: i128, currency: &str) -> Option<String> {
        let _ = (minor_units, currency);
        None
    }

    /// The documents of the domain's public contract, which the command `contract` writes:
    /// [`millrace_contract::documents`]. By default there are none.
    ///
    /// # Errors
    /// [`ContractError`].
    fn contract() -> Result<Option<Documents>, ContractError> {
        Ok(None)
    }

    /// The end-to-end walkthrough that `millrace demo` shows, on a local stack without any data.
    ///
    /// # Errors
    /// If a result that the walkthrough shows is wrong or missing; the error names the result.
    fn walkthrough(
        local: &Local,
        output: Output,
        progress: &Progress,
    ) -> impl Future<Output = Result<()>>;
}

/// A member's value as text for people: a string without its quotes, and any other value as JSON.
#[must_use]
pub fn described(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The domain's words in the command line and in results.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The command's name: [`Application::COMMAND`].
    pub command: &'static str,
    /// The noun for one aggregate: [`Application::NOUN`].
    pub noun: &'static str,
    /// The member of a public event's data that contains the aggregate's id: [`Domain::ID`].
    pub id: &'static str,
    /// The noun for several aggregates, which also names the views: [`Domain::COLLECTION`].
    pub collection: &'static str,
    /// The name of the read model that contains an aggregate's events: [`Project::HISTORY`].
    pub history: &'static str,
    /// The members of data as text: [`Application::describe`].
    pub describe: fn(&Map<String, Value>) -> Members,
}

impl Words {
    /// The words of an application.
    #[must_use]
    pub const fn of<A: Application>() -> Self {
        Self {
            command: A::COMMAND,
            noun: A::NOUN,
            id: <A::Domain as Domain>::ID,
            collection: <A::Domain as Domain>::COLLECTION,
            history: <A::Domain as Project>::HISTORY,
            describe: A::describe,
        }
    }

    /// A number of aggregates, such as `1 order` or `2 orders`.
    #[must_use]
    pub(crate) fn count(self, number: usize) -> String {
        plural(number, self.noun, self.collection)
    }
}

/// A number with its noun, in the singular for 1.
pub(crate) fn plural(number: usize, one: &str, several: &str) -> String {
    let noun = if number == 1 { one } else { several };
    format!("{number} {noun}")
}

/// The number of events, such as `1 event`.
pub(crate) fn events(number: u64) -> String {
    plural(
        usize::try_from(number).unwrap_or(usize::MAX),
        "event",
        "events",
    )
}

#[cfg(test)]
impl Words {
    /// The words of the account.
    pub(crate) const ACCOUNT: Self = Self::of::<TestApp>();
}

/// An application with the account as its domain, and without a walkthrough.
#[cfg(test)]
pub(crate) struct TestApp;

#[cfg(test)]
impl Application for TestApp {
    type Domain = millrace_domain::Accounts;
    type SettingError = millrace_domain::SettingError;

    const PACKAGE: &'static str = "millrace-app";
    const NOUN: &'static str = "account";
    const FIRST_COMMANDS: &'static str = "";

    fn contract() -> Result<Option<Documents>, ContractError> {
        millrace_contract::documents::<millrace_domain::Accounts>().map(Some)
    }

    fn domain(
        setting: impl Fn(&str) -> Option<String>,
    ) -> Result<Self::Domain, Self::SettingError> {
        millrace_domain::Accounts::read(setting)
    }

    async fn walkthrough(_: &Local, _: Output, _: &Progress) -> Result<()> {
        Ok(())
    }
}
