//! Cursors that only advance are saved together.

use std::time::Duration;

use millrace_core::{Attributes, Sequence, Timestamp};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Event};
use millrace_runtime::testing::in_virtual_time;
use millrace_translator::cursor::{Block, Cursor, Suspension};
use millrace_translator::ports::MAX_ADVANCED;
use millrace_translator::testing::{Fault, TestServices};

type Services = TestServices<Accounts>;

/// Accounts with so many events each, and all their rows in the order of the events.
fn accounts(events: &[usize]) -> (Services, Vec<Attributes>) {
    let accounts = Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency");
    let services = TestServices::new(accounts);
    let opened = Event::AccountCreated {
        currency: Currency::stored("SEK").expect("valid"),
    };
    let credited = Event::BalanceCredited {
        amount: Amount::new(1).expect("valid"),
    };
    let longest = events.iter().copied().max().unwrap_or_default();
    let mut rows = Vec::new();
    for event in 0..longest {
        let event_of_each = if event == 0 { &opened } else { &credited };
        for (account, _) in events.iter().enumerate().filter(|(_, it)| **it > event) {
            rows.extend(services.append(&id(account), std::slice::from_ref(event_of_each)));
        }
    }
    (services, rows)
}

fn id(account: usize) -> String {
    format!("a{account}")
}

/// Checks that the cursor of each account is at the last of its events.
fn assert_saved(services: &Services, events: &[usize]) {
    for (account, events) in events.iter().enumerate() {
        let cursor = services.cursor(&id(account));
        let through = usize::try_from(cursor.published_through.get()).expect("it fits");
        assert_eq!((through, cursor.suspended), (*events, None), "{account}");
    }
}

#[test]
fn a_thousand_new_cursors_are_saved_in_forty_calls() {
    in_virtual_time(async {
        let events = [1; 1_000];
        let (services, rows) = accounts(&events);
        assert_eq!(services.translate(&rows).await.resume_at, None);
        assert_saved(&services, &events);
        assert_eq!(services.world().advances, [MAX_ADVANCED; 40]);
        // The same cursors, which are stored now.
        let (later, mut rows) = accounts(&[2; 1_000]);
        let cursors = std::mem::take(&mut services.world().cursors);
        later.world().cursors = cursors;
        let rows = rows.split_off(1_000);
        assert_eq!(later.translate(&rows).await.resume_at, None);
        assert_saved(&later, &[2; 1_000]);
        assert_eq!(later.world().advances, [MAX_ADVANCED; 40]);
    });
}

#[test]
fn cursors_that_are_not_saved_together_are_saved_alone() {
    in_virtual_time(async {
        for fault in [Fault::Lost, Fault::Ambiguous, Fault::HalfStored] {
            let events = [1; 7];
            let (services, rows) = accounts(&events);
            // The cursors are loaded, the events are put, and then the cursors are saved.
            services.world().faults = [Fault::None, Fault::None, fault].into();
            let outcome = services.translate(&rows).await;
            assert_eq!((outcome.resume_at, outcome.blocked), (None, 0), "{fault:?}");
            assert_saved(&services, &events);
            assert_eq!(services.world().faults.len(), 0);
        }
    });
}

/// A suspension that another invocation stores meanwhile stays, and its aggregate is loaded again.
#[test]
fn a_cursor_that_was_blocked_meanwhile_keeps_its_block_and_the_others_are_saved() {
    in_virtual_time(async {
        let (services, rows) = accounts(&[1, 1, 1]);
        let block = Block {
            sequence: Sequence::FIRST,
            row: Some("1".to_owned()),
            reason: "a reason".to_owned(),
            since: Timestamp::from_unix_millis(0).expect("valid"),
        };
        services.world().overtaken = Some(Cursor {
            suspended: Some(Suspension::Blocked(block)),
            ..Cursor::default()
        });
        assert_eq!(services.translate(&rows).await.resume_at, None);
        assert_saved(&services, &[1, 1, 1]);
        // The row of the block can be decoded, so the events were published again.
        assert_eq!(services.sequences("a0"), [1, 1]);
        assert_eq!(services.sequences("a1"), [1]);
    });
}

#[test]
fn a_cursor_is_saved_while_events_of_other_aggregates_are_published() {
    in_virtual_time(async {
        let (services, rows) = accounts(&[1, 5]);
        services.world().put_time = Duration::from_secs(1);
        let translating = services.translate(&rows);
        let looking = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            assert_saved(&services, &[1, 0]);
        };
        let (outcome, ()) = tokio::join!(translating, looking);
        assert_eq!(outcome.resume_at, None);
        assert_saved(&services, &[1, 5]);
    });
}

#[test]
fn the_cursors_of_an_invocation_that_runs_out_of_time_are_saved_together() {
    in_virtual_time(async {
        let (services, rows) = accounts(&[3; 60]);
        services.world().put_time = Duration::from_secs(1);
        let outcome = services
            .translate_within(&rows, Duration::from_millis(1_500))
            .await;
        assert_eq!(outcome.resume_at, Some(0));
        assert_saved(&services, &[1; 60]);
        assert_eq!(services.world().advances, [25, 25, 10]);
    });
}
