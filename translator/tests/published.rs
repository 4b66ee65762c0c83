//! Published events are read again with the bytes that are on the domain stream.

use std::time::Duration;

use millrace_core::{Attribute, Sequence};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Event};
use millrace_runtime::testing::in_virtual_time;
use millrace_translator::published::{PublishedEvents, ReadError};
use millrace_translator::testing::{Fault, TestServices};

const EVENTS: u64 = 25;

/// An account whose events are all published.
async fn published() -> TestServices<Accounts> {
    let services = TestServices::new(accounts());
    let currency = Currency::stored("SEK").expect("valid");
    services.append("a", &[Event::AccountCreated { currency }]);
    for amount in 2..=EVENTS {
        let amount = Amount::new(i64::try_from(amount).expect("small")).expect("valid");
        services.append("a", &[Event::BalanceCredited { amount }]);
    }
    services
        .publish_pending(&["a"], Duration::from_mins(1))
        .await;
    assert_eq!(services.sequences("a").len(), 25);
    services
}

fn accounts() -> Accounts {
    Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}

fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}

/// The events that are read, and the error after them.
async fn read(
    services: &TestServices<Accounts>,
    after: u64,
    through: u64,
) -> (Vec<(u64, Vec<u8>)>, Option<ReadError>) {
    let (domain, mut found) = (accounts(), Vec::new());
    let mut events =
        PublishedEvents::new(&domain, &services, "a", sequence(after), sequence(through));
    loop {
        match events.next().await {
            Ok(Some(event)) => found.push((event.sequence.get(), event.data)),
            Ok(None) => return (found, None),
            Err(ReadError::Service(_)) => {}
            Err(error) => return (found, Some(error)),
        }
    }
}

fn on_the_stream(
    services: &TestServices<Accounts>,
    after: u64,
    through: u64,
) -> Vec<(u64, Vec<u8>)> {
    let world = services.world();
    let data = world.stream.iter().map(|record| record.data.clone());
    let numbered = (1..).zip(data);
    numbered
        .filter(|(sequence, _)| (after + 1..=through).contains(sequence))
        .collect()
}

#[test]
fn events_have_the_bytes_of_their_records_whatever_the_part_and_the_pages() {
    in_virtual_time(async {
        let services = published().await;
        for page_rows in [1, 3, 500] {
            services.world().page_rows = page_rows;
            for (after, through) in [(0, EVENTS), (0, 1), (9, 20), (10, 11), (24, EVENTS)] {
                // A failed call is repeated.
                services.world().faults = [Fault::Lost, Fault::None, Fault::Lost].into();
                let (found, error) = read(&services, after, through).await;
                assert!(error.is_none(), "{error:?}");
                assert_eq!(found, on_the_stream(&services, after, through));
            }
        }
        for (after, through) in [(0, 0), (7, 7), (9, 3)] {
            assert!(read(&services, after, through).await.0.is_empty());
        }
    });
}

#[test]
fn reading_ends_at_a_missing_or_undecodable_row() {
    in_virtual_time(async {
        let services = published().await;
        let amount = Attribute::text("x");
        let row = |version: u64| {
            let world = services.world();
            world.table["a"][&version].clone()
        };
        let replace = |version: u64, row| {
            let mut world = services.world();
            let table = world.table.get_mut("a").expect("an account");
            table.insert(version, row);
        };
        // Row 8 contains event 7.
        let mut damaged = row(8);
        let whole = row(8);
        damaged.insert("Amount".to_owned(), amount);
        replace(8, damaged);
        let (found, error) = read(&services, 0, EVENTS).await;
        assert_eq!(found, on_the_stream(&services, 0, 6));
        let error = error.expect("event 7 is unreadable").to_string();
        assert!(
            error.contains("event 7") && error.contains("Amount"),
            "{error}"
        );

        // An undecodable row with a snapshot's version was never published.
        let mut misplaced = row(12);
        misplaced.remove("Type");
        replace(8, whole);
        replace(12, misplaced);
        assert!(read(&services, 0, EVENTS).await.1.is_none());

        services
            .world()
            .table
            .get_mut("a")
            .expect("an account")
            .remove(&8);
        let (found, error) = read(&services, 3, EVENTS).await;
        assert_eq!(found, on_the_stream(&services, 3, 6));
        assert!(matches!(error, Some(ReadError::Missing(missing)) if missing.get() == 7));
        // The cursor is ahead of the table.
        services.world().table.remove("a");
        let (_, error) = read(&services, 0, 1).await;
        assert!(matches!(error, Some(ReadError::Missing(missing)) if missing.get() == 1));
    });
}
