//! What a domain brings to the `millrace` command.

use std::error::Error;
use std::future::Future;

use anyhow::Result;
use millrace_core::{Domain, Project};
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::Local;

use crate::output::Output;

/// What a domain brings to the `millrace` command; [`run`](crate::run) runs it.
pub trait Application: Send + Sync + 'static {
    /// The domain.
    type Domain: Project + Clone;
    /// Why the domain's settings can't be read.
    type SettingError: Error + Send + Sync + 'static;

    /// The package whose binaries are the Lambda functions and this command.
    const PACKAGE: &'static str;
    /// The noun for one aggregate: `account`. `--account` is an alias of `--id`, and results contain it.
    const NOUN: &'static str;

    /// The domain of a deployment. `setting` looks up a setting by its environment variable.
    ///
    /// # Errors
    /// When a setting is missing or wrong; the error names it.
    fn domain(setting: impl Fn(&str) -> Option<String>)
    -> Result<Self::Domain, Self::SettingError>;

    /// Commands for a shell, in which `$API` is the API's address, that show a new user what the API
    /// does. `millrace up` prints them.
    fn first_commands() -> String;

    /// The end-to-end walkthrough that `millrace demo` shows, on a local stack that nobody has used.
    ///
    /// # Errors
    /// When something that it shows is wrong or missing; the error names it.
    fn walkthrough(
        local: &Local,
        output: Output,
        progress: &Progress,
    ) -> impl Future<Output = Result<()>>;
}

/// The domain's words in the command line and in results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// One aggregate: [`Application::NOUN`].
    pub noun: &'static str,
    /// The member of a public event's data that contains the aggregate's id: [`Domain::ID`].
    pub id: &'static str,
    /// The aggregates: [`Domain::COLLECTION`], which also names the views.
    pub collection: &'static str,
    /// The read model of an aggregate's events: [`Project::HISTORY`].
    pub history: &'static str,
}

impl Words {
    /// The words of an application.
    #[must_use]
    pub const fn of<A: Application>() -> Self {
        Self {
            noun: A::NOUN,
            id: <A::Domain as Domain>::ID,
            collection: <A::Domain as Domain>::COLLECTION,
            history: <A::Domain as Project>::HISTORY,
        }
    }
}

#[cfg(test)]
impl Words {
    /// The account's.
    pub(crate) const ACCOUNT: Self = Self::of::<TestApp>();
}

/// An application of accounts without a walkthrough.
#[cfg(test)]
pub(crate) struct TestApp;

#[cfg(test)]
impl Application for TestApp {
    type Domain = millrace_domain::Accounts;
    type SettingError = millrace_domain::SettingError;

    const PACKAGE: &'static str = "millrace-app";
    const NOUN: &'static str = "account";

    fn domain(
        setting: impl Fn(&str) -> Option<String>,
    ) -> Result<Self::Domain, Self::SettingError> {
        millrace_domain::Accounts::read(setting)
    }

    fn first_commands() -> String {
        String::new()
    }

    async fn walkthrough(_: &Local, _: Output, _: &Progress) -> Result<()> {
        Ok(())
    }
}
