//! The programs of Millrace: the functions and the `millrace` command, instantiated with the account.
//!
//! The binaries `writer`, `translator`, `projector`, `archiver`, `reader` and `reconciler` are the Lambda
//! functions, and `millrace` is the command. Each binary is one call of its library. This library contains
//! the command's code that is specific to accounts: [`AccountsApp`], with the end-to-end walkthrough of
//! `millrace demo`.

mod walkthrough;

use anyhow::Result;
use millrace_cli::Application;
use millrace_cli::application::{Members, described};
use millrace_cli::named_query::NamedQueries;
use millrace_cli::output::Output;
use millrace_contract::{ContractError, Documents, documents};
use millrace_domain::money::{Currency, decimal, major_units};
use millrace_domain::{Accounts, SettingError};
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::Local;
use serde_json::{Map, Value};

/// The `millrace` command's application with the account as its domain.
#[derive(Debug, Clone, Copy)]
pub struct AccountsApp;

impl Application for AccountsApp {
    type Domain = Accounts;
    type SettingError = SettingError;

    const PACKAGE: &'static str = env!("CARGO_PKG_NAME");
    const NOUN: &'static str = "account";
    const FIRST_COMMANDS: &'static str = FIRST_COMMANDS;

    fn contract() -> Result<Option<Documents>, ContractError> {
        documents::<Accounts>().map(Some)
    }

    fn domain(setting: impl Fn(&str) -> Option<String>) -> Result<Accounts, SettingError> {
        Accounts::read(setting)
    }

    fn describe(data: &Map<String, Value>) -> Members {
        describe(data)
    }

    fn queries() -> NamedQueries {
        QUERIES
    }

    fn amount(minor_units: i128, currency: &str) -> Option<String> {
        major_units(minor_units, Currency::stored(currency).ok()?)
    }

    async fn walkthrough(local: &Local, output: Output, progress: &Progress) -> Result<()> {
        walkthrough::run(local, output, progress).await
    }
}

/// The named queries over the lake.
const QUERIES: NamedQueries = &[
    (
        "account-statement",
        include_str!("../../domain/athena/account-statement.sql"),
    ),
    ("balances", include_str!("../../domain/athena/balances.sql")),
    (
        "busiest-accounts",
        include_str!("../../domain/athena/busiest-accounts.sql"),
    ),
    (
        "daily-report",
        include_str!("../../domain/athena/daily-report.sql"),
    ),
    (
        "duplicates",
        include_str!("../../domain/athena/duplicates.sql"),
    ),
    (
        "lake-delay",
        include_str!("../../domain/athena/lake-delay.sql"),
    ),
    (
        "largest-movements",
        include_str!("../../domain/athena/largest-movements.sql"),
    ),
    (
        "late-events",
        include_str!("../../domain/athena/late-events.sql"),
    ),
    (
        "missing-sequences",
        include_str!("../../domain/athena/missing-sequences.sql"),
    ),
];

/// The members of an event's or a view's data. An amount or balance is shown with its currency and its decimals.
fn describe(data: &Map<String, Value>) -> Members {
    let currency = data.get("currency").and_then(Value::as_str);
    let currency = currency.and_then(|code| Currency::stored(code).ok());
    let money = |name: &str, value: &Value| match (name, value.as_i64(), currency) {
        ("amount" | "balance", Some(minor_units), Some(currency)) => {
            Some(decimal(minor_units, currency))
        }
        _ => None,
    };
    let has_money = data
        .iter()
        .any(|(name, value)| money(name, value).is_some());
    let members = data
        .iter()
        .filter(|(name, _)| !has_money || *name != "currency");
    members
        .map(|(name, value)| {
            let value = money(name, value).unwrap_or_else(|| described(value));
            (name.clone(), value)
        })
        .collect()
}

const FIRST_COMMANDS: &str = r#"Open an account, credit it, withdraw from it and query it (copy and paste):

  ID=$(curl -s -X POST $API/accounts -H 'content-type: application/json' -d '{"currency":"EUR"}' | sed 's/.*"accountId":"\([^"]*\)".*/\1/'); echo $ID
  curl -s -X POST $API/accounts/$ID/credit -H 'content-type: application/json' -d '{"amount":5000}'
  curl -s -X POST $API/accounts/$ID/withdraw -H 'content-type: application/json' -d '{"amount":1250}'
  curl -s "$API/accounts/$ID?minSequence=3"
"#;

#[cfg(test)]
mod tests {
    use millrace_cli::named_query::NamedQuery;
    use serde_json::json;

    use super::*;

    fn described_as(data: &Value) -> String {
        let members = describe(data.as_object().expect("an object")).into_iter();
        let members = members.map(|(name, value)| format!("{name} {value}"));
        members.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn money_is_shown_with_its_currency_and_decimals() {
        let event = json!({ "amount": 1250, "currency": "EUR" });
        assert_eq!(described_as(&event), "amount 12.50 EUR");
        let view = json!({ "balance": 1250, "currency": "JPY", "updatedAt": "t" });
        assert_eq!(described_as(&view), "balance 1250 JPY, updatedAt t");
        let created = json!({ "currency": "EUR" });
        assert_eq!(described_as(&created), "currency EUR");
    }

    #[test]
    fn data_that_is_not_money_is_shown_unchanged() {
        let event = json!({ "amount": "a lot", "currency": "euro" });
        assert_eq!(described_as(&event), "amount a lot, currency euro");
    }

    #[test]
    fn every_query_of_the_domain_is_part_of_the_command() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/athena");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("a file").path())
            .filter(|file| file.extension().is_some_and(|it| it == "sql"))
            .map(|file| file.file_stem().expect("a name").display().to_string())
            .collect();
        files.sort();
        let names: Vec<&str> = QUERIES.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, files);
        for (name, sql) in QUERIES {
            NamedQuery::parse(name, sql).expect("valid");
        }
    }

    #[test]
    fn sums_are_shown_in_the_major_unit() {
        let amount = AccountsApp::amount;
        assert_eq!(amount(-5, "EUR").as_deref(), Some("-0.05"));
        let sum = 9_007_199_254_740_991 * 5_000;
        assert_eq!(amount(sum, "EUR").as_deref(), Some("450359962737049550.00"));
        assert_eq!(amount(7, "JPY").as_deref(), Some("7"));
        assert_eq!(amount(7, "euro"), None);
    }
}
