//! The account in the deterministic simulation. The expected values are computed independently of the domain's
//! code: this module sums up the amounts, and defines columns and members a second time, according to their
//! documentation.

use millrace_core::{Attribute, Attributes};
use millrace_domain::Accounts;
use millrace_simulation::Rng;
use millrace_simulation::scenario::{Command, Expectation, Expected, RowDamage, Scenario};
use serde_json::{Value, json};

use crate::accounts_in_euro;

/// The account's scenario.
#[derive(Debug, Clone, Copy)]
pub struct AccountScenario;

/// The currency of an account whose rows don't name one.
const DEFAULT_CURRENCY: &str = "EUR";

/// The currencies in clients' commands. Half of the commands have none and get the default.
const CURRENCIES: [Option<&str>; 6] = [None, None, None, Some("EUR"), Some("USD"), Some("JPY")];

/// The channels in clients' withdrawals. Half of the withdrawals have none and get the default, `online`.
const CHANNELS: [Option<&str>; 6] = [
    None,
    None,
    None,
    Some("branch"),
    Some("atm"),
    Some("online"),
];

impl Scenario for AccountScenario {
    type Domain = Accounts;
    type Expectation = Account;

    fn domain(&self) -> Accounts {
        accounts_in_euro()
    }

    fn expectation(&self) -> Account {
        Account::default()
    }

    fn draw_opening(&self, rng: &mut Rng) -> Command {
        let currency = CURRENCIES[rng.usize(0..CURRENCIES.len())];
        Command {
            name: "open",
            body: currency.map_or(Value::Null, |code| json!({ "currency": code })),
        }
    }

    fn draw_command(&self, rng: &mut Rng) -> Command {
        let is_withdrawal = rng.u8(0..3) == 0;
        let name = if is_withdrawal { "withdraw" } else { "credit" };
        let mut command = moving(name, rng.u64(1..500));
        if is_withdrawal && let Some(channel) = CHANNELS[rng.usize(0..CHANNELS.len())] {
            command.body["channel"] = json!(channel);
        }
        command
    }

    fn variation_of(&self, command: &Command) -> Command {
        let mut other = command.clone();
        other.body = json!({ "amount": amount(command).unwrap_or(0) + 1 });
        if let Some(channel) = command.body["channel"].as_str() {
            other.body["channel"] = json!(channel);
        }
        other
    }

    fn accepted_command(&self) -> Command {
        moving("credit", 1)
    }

    fn leads_to(&self, command: &Command, rows: &[&Attributes]) -> Result<(), String> {
        let [row] = rows else {
            return Err("it isn't one event".to_owned());
        };
        let (expected_type, is_right) = match command.name {
            "open" => {
                let currency = command.body["currency"].as_str();
                let currency = currency.unwrap_or(DEFAULT_CURRENCY);
                ("CREATED", text(row, "Currency") == currency)
            }
            name => {
                let is_right = text(row, "Amount").parse().ok() == amount(command);
                let channel = command.body["channel"].as_str().unwrap_or("online");
                if name == "credit" {
                    ("CREDIT", is_right)
                } else {
                    // The previous version stored no channel.
                    let is_right =
                        is_right && (is_first_schema(row) || text(row, "Channel") == channel);
                    ("WITHDRAW", is_right)
                }
            }
        };
        if text(row, "Type") != expected_type {
            return Err("it is another command's".to_owned());
        }
        if !is_right {
            return Err("another amount, currency or channel".to_owned());
        }
        Ok(())
    }

    fn is_readable(&self, row: &Attributes) -> bool {
        let is_integer =
            |name| matches!(row.get(name), Some(Attribute::Number(n)) if !n.contains('.'));
        match text(row, "Type") {
            "CREATED" => true,
            "SNAPSHOT" => is_integer("Balance"),
            "CREDIT" => is_integer("Amount"),
            "WITHDRAW" => {
                let is_channel = ["branch", "atm", "online"].contains(&text(row, "Channel"));
                is_integer("Amount") && (is_first_schema(row) || is_channel)
            }
            _ => false,
        }
    }

    fn row_damages(&self) -> &'static [RowDamage] {
        &[
            RowDamage {
                name: "TextAmount",
                apply: |row| set(row, "Amount", Attribute::text("12")),
            },
            RowDamage {
                name: "FractionalAmount",
                apply: |row| set(row, "Amount", Attribute::Number("1.5".to_owned())),
            },
            RowDamage {
                name: "BoolAmount",
                apply: |row| set(row, "Amount", Attribute::Bool(true)),
            },
            RowDamage {
                name: "NoAmount",
                apply: |row| drop(row.remove("Amount")),
            },
            RowDamage {
                name: "UnknownChannel",
                apply: |row| {
                    set(row, "Type", Attribute::text("WITHDRAW"));
                    set(row, "SchemaVersion", Attribute::number(2));
                    set(row, "Channel", Attribute::text("elsewhere"));
                },
            },
        ]
    }

    /// The first schema version knew no channels.
    fn previous_row(&self, row: &mut Attributes) {
        set(row, "SchemaVersion", Attribute::number(1));
        row.remove("Channel");
    }

    /// The legacy layout has no currency; the account gets the default currency.
    fn other_opening(&self) -> Attributes {
        item([("Type", Attribute::text("CREATED"))])
    }

    fn other_event(&self, version: u64) -> Attributes {
        item([
            ("Type", Attribute::text("CREDIT")),
            ("Amount", Attribute::number(version + 100)),
        ])
    }

    /// The legacy writer uses the default currency only.
    fn other_snapshot(&self, state: &Attributes) -> Attributes {
        let mut snapshot = state.clone();
        if text(state, "Currency") == DEFAULT_CURRENCY {
            snapshot.remove("Currency");
        }
        snapshot
    }

    fn is_snapshot_of(&self, row: &Attributes, state: &Attributes) -> bool {
        let currency = match text(row, "Currency") {
            "" => DEFAULT_CURRENCY,
            currency => currency,
        };
        row.get("Balance") == state.get("Balance") && currency == text(state, "Currency")
    }

    fn invariant(&self, state: &Attributes) -> Result<(), String> {
        let balance = state.get("Balance").and_then(Attribute::as_integer);
        if balance.is_some_and(|balance| balance < 0) {
            return Err("the balance is below zero".to_owned());
        }
        Ok(())
    }
}

/// The account after the rows so far, from which the expected values are computed.
#[derive(Debug, Clone, Default)]
pub struct Account {
    currency: String,
    balance: i64,
}

impl Expectation for Account {
    fn apply(&mut self, row: &Attributes) -> Expected {
        if self.currency.is_empty() {
            let currency = match text(row, "Currency") {
                "" => DEFAULT_CURRENCY,
                currency => currency,
            };
            currency.clone_into(&mut self.currency);
        }
        let amount: i64 = text(row, "Amount").parse().unwrap_or(0);
        let mut channel = None;
        let (name, amount) = match text(row, "Type") {
            "CREATED" => ("AccountCreated", None),
            "CREDIT" => {
                self.balance += amount;
                ("BalanceCredited", Some(amount))
            }
            _ if is_first_schema(row) => {
                self.balance -= amount;
                ("BalanceWithdrawn", Some(amount))
            }
            _ => {
                self.balance -= amount;
                channel = Some(text(row, "Channel"));
                ("BalanceWithdrawn:2", Some(amount))
            }
        };
        let balance = ("Balance", Attribute::number(self.balance));
        let account = item([
            balance.clone(),
            ("Currency", Attribute::text(&self.currency)),
        ]);
        let mut entry = account.clone();
        if let Some(amount) = amount {
            set(&mut entry, "Amount", Attribute::number(amount));
        }
        if let Some(channel) = channel {
            set(&mut entry, "Channel", Attribute::text(channel));
        }
        let channel = channel.map_or_else(String::new, |it| format!(r#","channel":"{it}""#));
        let amount = amount.map_or_else(String::new, |amount| format!(r#""amount":{amount},"#));
        Expected {
            name: name.to_owned(),
            data: format!(r#"{amount}"currency":"{}"{channel}"#, self.currency),
            state: account.clone(),
            view: account,
            entry,
            accepted: item([balance]),
        }
    }
}

/// Whether a row has schema version 1, which knew no channels.
fn is_first_schema(row: &Attributes) -> bool {
    ["", "1"].contains(&text(row, "SchemaVersion"))
}

fn moving(name: &'static str, amount: u64) -> Command {
    Command {
        name,
        body: json!({ "amount": amount }),
    }
}

fn amount(command: &Command) -> Option<u64> {
    command.body["amount"].as_u64()
}

fn item<const N: usize>(columns: [(&str, Attribute); N]) -> Attributes {
    columns.map(|(name, value)| (name.to_owned(), value)).into()
}

fn set(row: &mut Attributes, name: &str, value: Attribute) {
    row.insert(name.to_owned(), value);
}

/// A string or a number; empty for anything else.
fn text<'a>(row: &'a Attributes, name: &str) -> &'a str {
    match row.get(name) {
        Some(Attribute::Text(text) | Attribute::Number(text)) => text,
        _ => "",
    }
}
