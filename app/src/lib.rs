//! What is deployed and run: the functions and the `millrace` command, instantiated with accounts.
//!
//! The binaries `writer`, `translator`, `projector`, `archiver` and `reader` are the Lambda functions, and
//! `millrace` is the command; each is one call of its library. This library contains what the command
//! shows of accounts: [`AccountsApp`], with the end-to-end walkthrough of `millrace demo`.

mod walkthrough;

use anyhow::Result;
use millrace_cli::Application;
use millrace_cli::output::Output;
use millrace_domain::{Accounts, SettingError};
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::Local;

/// The `millrace` command of accounts.
#[derive(Debug, Clone, Copy)]
pub struct AccountsApp;

impl Application for AccountsApp {
    type Domain = Accounts;
    type SettingError = SettingError;

    const PACKAGE: &'static str = env!("CARGO_PKG_NAME");
    const NOUN: &'static str = "account";

    fn domain(setting: impl Fn(&str) -> Option<String>) -> Result<Accounts, SettingError> {
        Accounts::read(setting)
    }

    fn first_commands() -> String {
        FIRST_COMMANDS.to_owned()
    }

    async fn walkthrough(local: &Local, output: Output, progress: &Progress) -> Result<()> {
        walkthrough::run(local, output, progress).await
    }
}

const FIRST_COMMANDS: &str = r#"Open an account, move money, look at it (paste as it is):

  ID=$(curl -s -X POST $API/accounts -H 'content-type: application/json' -d '{"currency":"EUR"}' | sed 's/.*"accountId":"\([^"]*\)".*/\1/'); echo $ID
  curl -s -X POST $API/accounts/$ID/credit -H 'content-type: application/json' -d '{"amount":5000}'
  curl -s -X POST $API/accounts/$ID/withdraw -H 'content-type: application/json' -d '{"amount":1250}'
  curl -s "$API/accounts/$ID?minSequence=3"
"#;
