//! Checks the bytes of public events against the golden corpus.

use anyhow::{Context as _, Result};
use millrace_core::row::StoredRow;
use millrace_core::{Domain, Envelope};
use millrace_domain::Accounts;
use millrace_tests::accounts_in_euro;
use millrace_tests::corpus::{self, Case};

fn published(case: &Case) -> Result<Vec<String>> {
    // The rows of the corpus were written with the default currency EUR.
    let accounts = accounts_in_euro();
    let mut context = <Accounts as Domain>::Context::default();
    let mut events = Vec::new();
    for row in &case.rows {
        let StoredRow::Event(event) = StoredRow::read(&accounts, row)? else {
            continue;
        };
        let envelope = Envelope::publish::<Accounts>(&mut context, &event);
        let envelope = envelope.context("the first event isn't an opening")?;
        events.push(String::from_utf8(envelope.to_bytes::<Accounts>()?)?);
    }
    Ok(events)
}

#[test]
fn every_stored_row_is_published_with_unchanged_bytes() {
    for case in corpus::read().expect("the corpus") {
        let published = published(&case).expect("every row of the corpus can be read");
        assert_eq!(published, case.events, "{}", case.name);
    }
}

#[test]
fn every_published_event_is_read_back_to_the_same_bytes() {
    for case in corpus::read().expect("the corpus") {
        for event in &case.events {
            let envelope = Envelope::parse::<Accounts>(event.as_bytes());
            let bytes = envelope.expect("a domain event").to_bytes::<Accounts>();
            assert_eq!(bytes.expect("bytes"), event.as_bytes(), "{}", case.name);
        }
    }
}

#[test]
fn the_corpus_contains_every_type_and_layout() {
    let all: String = corpus::read()
        .expect("the corpus")
        .iter()
        .flat_map(|case| case.events.clone())
        .collect();
    for part in [
        "AccountCreated",
        "BalanceCredited",
        "BalanceWithdrawn",
        "BalanceWithdrawn:2",
        "\"channel\"",
        "\"correlationid\"",
        "\"causationid\"",
        "\"traceparent\"",
        // 2^53 - 1, the largest amount.
        "9007199254740991",
    ] {
        assert!(all.contains(part), "{part}");
    }
    let older = corpus::named("older-layout").expect("the case");
    assert!(older.rows.iter().all(|row| !row.contains_key("Sequence")));
    assert!(older.rows.len() > 12, "there is no second snapshot");
}
