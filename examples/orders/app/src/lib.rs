//! The programs of the example domain: the functions and the command `orders`, instantiated with orders.
//!
//! The binaries `writer`, `translator`, `projector`, `archiver`, `reader` and `reconciler` are the Lambda
//! functions. Each binary is one call of its library. Orders have no settings, so the functions' only
//! environment variables are those of Millrace.

mod walkthrough;

use std::convert::Infallible;

use anyhow::Result;
use millrace_cli::Application;
use millrace_cli::named_query::NamedQueries;
use millrace_cli::output::Output;
use millrace_contract::{ContractError, Documents, documents};
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::Local;
use orders_domain::Orders;

/// The command's application with orders as its domain.
#[derive(Debug, Clone, Copy)]
pub struct OrdersApp;

impl Application for OrdersApp {
    type Domain = Orders;
    type SettingError = Infallible;

    const PACKAGE: &'static str = env!("CARGO_PKG_NAME");
    const COMMAND: &'static str = "orders";
    const NOUN: &'static str = "order";
    const FIRST_COMMANDS: &'static str = FIRST_COMMANDS;

    fn contract() -> Result<Option<Documents>, ContractError> {
        documents::<Orders>().map(Some)
    }

    fn queries() -> NamedQueries {
        QUERIES
    }

    fn domain(_: impl Fn(&str) -> Option<String>) -> Result<Orders, Infallible> {
        Ok(Orders)
    }

    async fn walkthrough(local: &Local, output: Output, _: &Progress) -> Result<()> {
        walkthrough::run(local, output).await
    }
}

/// The named queries over the lake.
const QUERIES: NamedQueries = &[
    (
        "daily-report",
        include_str!("../../domain/athena/daily-report.sql"),
    ),
    (
        "duplicates",
        include_str!("../../domain/athena/duplicates.sql"),
    ),
    (
        "missing-sequences",
        include_str!("../../domain/athena/missing-sequences.sql"),
    ),
    (
        "order-history",
        include_str!("../../domain/athena/order-history.sql"),
    ),
    (
        "units-by-article",
        include_str!("../../domain/athena/units-by-article.sql"),
    ),
];

const FIRST_COMMANDS: &str = r#"Place an order, ship it and query it (copy and paste):

  ID=$(curl -s -X POST $API/orders -H 'content-type: application/json' -d '{"recipient":"Ada, 1 Main Street","lines":[{"sku":"A-1","quantity":2}]}' | sed 's/.*"orderId":"\([^"]*\)".*/\1/'); echo $ID
  curl -s -X POST $API/orders/$ID/ship -H 'content-type: application/json' -d '{"lines":[{"sku":"A-1","quantity":1}]}'
  curl -s -X POST $API/orders/$ID/ship -H 'content-type: application/json' -d '{"lines":[{"sku":"A-1","quantity":1}]}'
  curl -s "$API/orders/$ID?minSequence=4"
"#;

#[cfg(test)]
mod tests {
    use millrace_cli::application::Words;
    use millrace_cli::args;
    use millrace_cli::named_query::NamedQuery;

    use super::*;

    #[test]
    fn the_command_line_uses_the_words_of_orders() {
        let mut command = args::command(Words::of::<OrdersApp>());
        let verify = command.find_subcommand("verify").expect("verify");
        let help = verify.get_after_help().expect("an example").to_string();
        assert!(help.starts_with("Example: orders verify "), "{help}");
        for line in [
            "orders rebuild orders --order a",
            "orders rebuild history --id a",
            "orders inspect --order a",
        ] {
            let parsed = command.try_get_matches_from_mut(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
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
    fn orders_need_no_setting() {
        let Ok(domain) = OrdersApp::domain(|_| None);
        assert_eq!(domain, Orders);
    }
}
