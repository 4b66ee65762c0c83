use millrace_core::decode::decode_variant;
use millrace_core::json;
use millrace_core::testing::{assert_conforms, assert_projects, given};
use proptest::prelude::*;

use super::*;
use crate::channel::{Channel, StoredChannel};
use crate::command::ListedCurrency;

fn accounts() -> Accounts {
    let default_currency = currency("SEK");
    Accounts { default_currency }
}

fn currency(code: &str) -> Currency {
    Currency::stored(code).expect("valid")
}

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).expect("valid")
}

fn open() -> Command {
    Command::Open { currency: None }
}

fn credit(minor_units: i64) -> Command {
    Command::Credit {
        amount: amount(minor_units),
    }
}

fn withdraw(minor_units: i64) -> Command {
    Command::Withdraw {
        amount: amount(minor_units),
        channel: None,
    }
}

fn opened() -> Event {
    Event::AccountCreated {
        currency: currency("SEK"),
    }
}

fn credited(minor_units: i64) -> Event {
    Event::BalanceCredited {
        amount: amount(minor_units),
    }
}

fn withdrawn(minor_units: i64) -> Event {
    Event::BalanceWithdrawn {
        amount: amount(minor_units),
        channel: StoredChannel::Online,
    }
}

#[test]
fn the_account_meets_the_requirements_of_the_traits() {
    let history = [opened(), credited(5), withdrawn(2)];
    assert_conforms(&accounts(), &history);
    assert_projects::<Accounts>(&history);
}

#[test]
fn opens_once_in_the_requested_or_the_default_currency() {
    let in_euro = Command::Open {
        currency: ListedCurrency::new("EUR").ok(),
    };
    given(accounts(), []).when(open()).then([opened()]);
    given(accounts(), [])
        .when(in_euro)
        .then([Event::AccountCreated {
            currency: currency("EUR"),
        }]);
    given(accounts(), [opened()])
        .when(open())
        .then_refused("account-already-open");
}

#[test]
fn refuses_movements_of_an_account_that_is_not_open() {
    given(accounts(), [opened()])
        .when(credit(5))
        .then([credited(5)]);
    given(accounts(), [opened(), credited(5)])
        .when(withdraw(5))
        .then([withdrawn(5)]);
    given(accounts(), [])
        .when(credit(5))
        .then_refused("account-not-found");
    given(accounts(), [])
        .when(withdraw(5))
        .then_refused("account-not-found");
}

#[test]
fn refuses_overdraft_and_credit_above_the_limit() {
    given(accounts(), [opened(), credited(5), withdrawn(2)])
        .when(withdraw(4))
        .then_refused("insufficient-funds");
    given(accounts(), [opened(), credited(MAX_MINOR_UNITS)])
        .when(credit(1))
        .then_refused("balance-limit");
    given(accounts(), [opened(), credited(MAX_MINOR_UNITS - 1)])
        .when(credit(1))
        .then([credited(1)]);
}

#[test]
fn evolve_applies_events_that_the_rules_refuse() {
    let overdrawn = [opened(), withdrawn(7)].iter().fold(None, Accounts::evolve);
    assert_eq!(overdrawn, Some(Account::new(currency("SEK")).moved(-7)));
    assert_eq!(Accounts::evolve(None, &credited(1)), None);
    assert_eq!(Accounts::evolve(overdrawn, &opened()), overdrawn);
}

#[test]
fn a_movement_without_a_known_currency_is_not_published() {
    let mut context = Context::default();
    assert_eq!(Accounts::publish(&mut context, &credited(1)), None);
    assert!(Accounts::publish(&mut context, &opened()).is_some());
    assert_eq!(
        Accounts::publish(&mut context, &credited(1)),
        Some(PublicEvent::BalanceCredited {
            amount: amount(1),
            currency: currency("SEK")
        })
    );
}

#[test]
fn a_withdrawal_has_the_channel_of_its_command_or_online() {
    for (channel, stored) in [
        (None, StoredChannel::Online),
        (Some(Channel::Branch), StoredChannel::Branch),
        (Some(Channel::Atm), StoredChannel::Atm),
        (Some(Channel::Online), StoredChannel::Online),
    ] {
        let amount = amount(5);
        given(accounts(), [opened(), credited(5)])
            .when(Command::Withdraw { amount, channel })
            .then([Event::BalanceWithdrawn {
                amount,
                channel: stored,
            }]);
    }
}

/// An event never changes its version, so a withdrawal whose channel wasn't recorded has version 1 for ever.
#[test]
fn a_withdrawal_is_published_with_its_channel_or_as_version_1() {
    let (amount, currency) = (amount(5), currency("SEK"));
    for (channel, published) in [
        (
            StoredChannel::Unrecorded,
            PublicEvent::BalanceWithdrawn { amount, currency },
        ),
        (
            StoredChannel::Atm,
            PublicEvent::BalanceWithdrawn2 {
                amount,
                currency,
                channel: Channel::Atm,
            },
        ),
    ] {
        let mut context = Context::default();
        Accounts::publish(&mut context, &opened());
        let event = Event::BalanceWithdrawn { amount, channel };
        assert_eq!(Accounts::publish(&mut context, &event), Some(published));
    }
}

#[test]
fn reads_commands_from_their_name_and_body() {
    let read = |name: &str, body: &str| {
        let members = json::object(body.as_bytes()).expect("JSON");
        decode_variant::<Command>(name, &Columns::from(&members), |_| false)
    };
    for (name, body, command) in [
        ("open", "{}", open()),
        ("open", r#"{"currency":null}"#, open()),
        (
            "credit",
            r#"{"amount":9007199254740991}"#,
            credit(MAX_MINOR_UNITS),
        ),
        ("withdraw", r#"{"amount":1}"#, withdraw(1)),
        (
            "withdraw",
            r#"{"amount":1,"channel":"atm"}"#,
            Command::Withdraw {
                amount: amount(1),
                channel: Some(Channel::Atm),
            },
        ),
    ] {
        assert_eq!(read(name, body), Ok(command), "{body}");
    }
    for (name, body, pointer) in [
        ("open", r#"{"currency":"QQQ"}"#, "/currency"),
        ("open", r#"{"currency":7}"#, "/currency"),
        ("open", r#"{"owner":"x"}"#, "/owner"),
        ("credit", r#"{"amount":0}"#, "/amount"),
        ("credit", r#"{"amount":1.0}"#, "/amount"),
        ("credit", r#"{"amount":"5"}"#, "/amount"),
        ("credit", r#"{"amount":5,"amount":5}"#, "/amount"),
        ("credit", r#"{"amount":5,"currency":"SEK"}"#, "/currency"),
        ("credit", "{}", "/amount"),
        ("credit", r#"{"amount":5,"channel":"atm"}"#, "/channel"),
        ("withdraw", r#"{"amount":5,"channel":"ATM"}"#, "/channel"),
        (
            "withdraw",
            r#"{"amount":5,"channel":"unrecorded"}"#,
            "/channel",
        ),
        ("withdraw", r#"{"amount":5,"channel":2}"#, "/channel"),
        ("close", "{}", ""),
    ] {
        let error = read(name, body).expect_err(body);
        assert_eq!(error.json_pointer(), pointer, "{body}: {error}");
    }
}

#[test]
fn json_schemas_match_what_is_read() {
    let schema = |schema: schemars::Schema| schema.to_value();
    let row = schema(schemars::schema_for!(Event));
    assert_eq!(row["oneOf"][1]["required"], serde_json::json!(["CREDIT"]));
    let definitions = &schema(schemars::schema_for!(PublicEvent))["$defs"];
    assert_eq!(definitions["Amount"]["minimum"], 1);
    assert_eq!(definitions["Amount"]["maximum"], MAX_MINOR_UNITS);
    assert_eq!(definitions["Amount"]["type"], "integer");
    assert_eq!(definitions["Currency"]["pattern"], "^[A-Z]{3}$");
    assert_eq!(definitions["Currency"]["type"], "string");
    let command = schema(schemars::schema_for!(Command));
    assert_eq!(
        command["oneOf"][0]["properties"]["open"]["additionalProperties"],
        false
    );
}

fn any_command() -> impl Strategy<Value = Command> {
    let amounts = prop_oneof![1_i64..1000, 1..=MAX_MINOR_UNITS];
    prop_oneof![
        1 => Just(open()),
        4 => amounts.clone().prop_map(credit),
        4 => amounts.prop_map(withdraw),
    ]
}

proptest! {
    #[test]
    fn every_decided_event_changes_the_account_within_the_balance_limits(
        commands in prop::collection::vec(any_command(), 0..60),
    ) {
        let mut account = None;
        for command in commands {
            for event in accounts().decide(account.as_ref(), command).unwrap_or_default() {
                let after = Accounts::evolve(account, &event);
                prop_assert_ne!(after, account);
                account = after;
                let balance = account.map(|account| account.balance.minor_units());
                prop_assert!(balance.is_some_and(|balance| (0..=MAX_MINOR_UNITS).contains(&balance)));
            }
        }
    }
}

#[test]
fn names_a_missing_or_invalid_setting() {
    let missing = Accounts::read(|_| None).expect_err("missing");
    assert_eq!(missing.to_string(), "DEFAULT_CURRENCY is not set");
    let wrong = Accounts::read(|_| Some("euro".into())).expect_err("wrong");
    assert_eq!(
        wrong.to_string(),
        "DEFAULT_CURRENCY is not an ISO 4217 currency code such as EUR"
    );
    let right = Accounts::read(|name| (name == "DEFAULT_CURRENCY").then(|| "SEK".into()));
    assert_eq!(right.expect("right"), accounts());
}

proptest! {
    #[test]
    fn no_setting_panics_and_only_currencies_are_accepted(value in "(\\PC{0,8}|[A-Z]{3})") {
        match Accounts::read(|_| Some(value.clone())) {
            Ok(accounts) => prop_assert_eq!(accounts.default_currency.as_str(), value),
            Err(error) => prop_assert!(error.to_string().starts_with(DEFAULT_CURRENCY)),
        }
    }
}
