//! The programs of Millrace: the functions and the `millrace` command, instantiated with the account.
//!
//! The binaries `writer`, `translator`, `projector`, `archiver`, `reader` and `reconciler` are the Lambda
//! functions, and `millrace` is the command. Each binary is one call of its library. This library contains
//! the command's code that is specific to accounts: [`AccountsApp`], with the end-to-end walkthrough of
//! `millrace demo`.

mod walkthrough;

use anyhow::Result;
use millrace_cli::Application;
use millrace_cli::output::Output;
use millrace_domain::{Accounts, SettingError};
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::Local;

/// The `millrace` command's application with the account as its domain.
#[derive(Debug, Clone, Copy)]
pub struct AccountsApp;

impl Application for AccountsApp {
    type Domain = Accounts;
    type SettingError = SettingError;

    const PACKAGE: &'static str = env!("CARGO_PKG_NAME");
    const NOUN: &'static str = "account";
    const FIRST_COMMANDS: &'static str = FIRST_COMMANDS;

    fn domain(setting: impl Fn(&str) -> Option<String>) -> Result<Accounts, SettingError> {
        Accounts::read(setting)
    }

    async fn walkthrough(local: &Local, output: Output, progress: &Progress) -> Result<()> {
        walkthrough::run(local, output, progress).await
    }
}

const FIRST_COMMANDS: &str = r#"Open an account, credit it, withdraw from it and query it (copy and paste):

  ID=$(curl -s -X POST $API/accounts -H 'content-type: application/json' -d '{"currency":"EUR"}' | sed 's/.*"accountId":"\([^"]*\)".*/\1/'); echo $ID
  curl -s -X POST $API/accounts/$ID/credit -H 'content-type: application/json' -d '{"amount":5000}'
  curl -s -X POST $API/accounts/$ID/withdraw -H 'content-type: application/json' -d '{"amount":1250}'
  curl -s "$API/accounts/$ID?minSequence=3"
"#;
