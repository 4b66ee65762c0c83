//! Aggregates with more pending events than one invocation publishes.

use std::time::Duration;

use millrace_core::row::is_plainly_a_snapshot;
use millrace_core::{Attribute, Attributes, Sequence, Version};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Event};
use millrace_runtime::testing::in_virtual_time;
use millrace_translator::MAX_PENDING;
use millrace_translator::cursor::{Cursor, Parked, Suspension};
use millrace_translator::service::PendingOutcome;
use millrace_translator::testing::TestServices;

type Services = TestServices<Accounts>;

fn services() -> Services {
    let accounts = Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency");
    let services = TestServices::new(accounts);
    services.world().page_rows = 500;
    services
}

fn credits(count: u64) -> Vec<Event> {
    let amount = Amount::new(1).expect("valid");
    (0..count)
        .map(|_| Event::BalanceCredited { amount })
        .collect()
}

/// Opens an account with so many events; returns the rows of its events.
fn open(services: &Services, id: &str, events: u64) -> Vec<Attributes> {
    let currency = Currency::stored("SEK").expect("valid");
    let mut history = vec![Event::AccountCreated { currency }];
    history.extend(credits(events - 1));
    append(services, id, &history)
}

fn append(services: &Services, id: &str, events: &[Event]) -> Vec<Attributes> {
    let mut rows = services.append(id, events);
    rows.retain(|row| !is_plainly_a_snapshot(row));
    rows
}

fn last(rows: Vec<Attributes>) -> Vec<Attributes> {
    rows.into_iter().last().into_iter().collect()
}

fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}

fn is_dense(sequences: &[u64], through: u64) -> bool {
    sequences.iter().copied().eq(1..=through)
}

fn parked_through(services: &Services, id: &str) -> Option<u64> {
    let cursor = services.cursor(id);
    cursor.parked().map(|parked| parked.through.get())
}

fn version_of(row: &Attributes) -> Version {
    millrace_core::row::version(row).expect("an integer")
}

/// Parks an aggregate with this many unpublished events.
async fn park(services: &Services, id: &str, events: u64) {
    let newest = last(open(services, id, events));
    let outcome = services.translate(&newest).await;
    assert_eq!((outcome.resume_at, outcome.parked), (None, 1));
    assert_eq!(parked_through(services, id), Some(events));
}

#[test]
fn a_long_aggregate_is_parked_and_completed_later_while_it_receives_events() {
    in_virtual_time(async {
        let services = services();
        services.world().put_time = Duration::from_millis(20);
        let rows = open(&services, "long", 20_000);
        let mut version = version_of(&rows[rows.len() - 1]);
        let mut batch = last(rows);
        let short: Vec<String> = (0..100).map(|number| format!("short-{number}")).collect();
        for id in &short {
            batch.extend(open(&services, id, 1));
        }
        let outcome = services.translate(&batch).await;
        assert_eq!(
            (outcome.resume_at, outcome.parked, outcome.blocked),
            (None, 1, 0)
        );
        assert_eq!(services.world().puts[0], 100, "they are published at once");
        for id in &short {
            assert_eq!(services.sequences(id), [1]);
            assert_eq!(services.cursor(id).published_through, sequence(1));
        }
        assert_eq!(parked_through(&services, "long"), Some(20_000));

        let mut appended = 20_000;
        let mut runs = 0;
        let commands = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                version = version.next();
                if version.is_snapshot() {
                    // Snapshots are left out; the row before is copied.
                    let mut world = services.world();
                    let rows = world.table.get_mut("long").expect("rows");
                    let before = rows[&(version.get() - 1)].clone();
                    version = version.next();
                    rows.insert(version.get() - 1, before);
                }
                let rows = services.append_without_loading("long", version.get());
                let snapshot = version.get() - 1;
                if Version::new(snapshot).is_some_and(Version::is_snapshot) {
                    let mut world = services.world();
                    world.table.get_mut("long").expect("rows").remove(&snapshot);
                }
                appended += 1;
                let outcome = services.translate(&rows).await;
                assert_eq!(outcome.resume_at, None);
            }
        };
        let reconciler = async {
            loop {
                runs += 1;
                let time = Duration::from_mins(2);
                let publishing = services.publish_pending(&["long"], time);
                // The first three runs are killed.
                if runs <= 3 {
                    let killed = tokio::time::timeout(Duration::from_secs(50), publishing).await;
                    assert!(killed.is_err());
                    assert!(parked_through(&services, "long").is_some());
                    continue;
                }
                match publishing.await.remove("long").expect("an outcome") {
                    PendingOutcome::Published(_) => return,
                    PendingOutcome::Unfinished => {
                        assert!(parked_through(&services, "long").is_some());
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::select! {
            () = commands => unreachable!("it doesn't end"),
            () = reconciler => {}
        }
        assert!(runs > 4, "{runs} runs");
        assert!(appended > 20_100, "{appended} events");
        let through = services.cursor("long").published_through.get();
        assert_eq!(services.cursor("long").suspended, None);
        assert!(is_dense(&services.first_occurrences("long"), through));
        // The event that was appended last may not be published yet.
        assert!(through + 1 >= appended, "{through} of {appended}");
    });
}

#[tokio::test(start_paused = true)]
async fn an_aggregates_own_notifications_never_park_it() {
    let services = services();
    let rows = open(&services, "a", 1_000);
    let outcome = services.translate(&rows).await;
    assert_eq!((outcome.resume_at, outcome.parked), (None, 0));
    assert!(is_dense(&services.sequences("a"), 1_000));

    let newest = last(append(&services, "a", &credits(MAX_PENDING)));
    let outcome = services.translate(&newest).await;
    assert_eq!((outcome.resume_at, outcome.parked), (None, 0));
    assert!(is_dense(&services.sequences("a"), 1_000 + MAX_PENDING));
    assert_eq!(services.cursor("a").suspended, None);
}

/// The number of pending events is known only after they are read.
#[tokio::test(start_paused = true)]
async fn an_aggregate_that_was_blocked_is_parked_after_as_many_events() {
    let services = services();
    let rows = open(&services, "a", 5_000);
    let bad = rows[1].clone();
    let Attribute::Number(version) = bad["Version"].clone() else {
        panic!("a version is a number");
    };
    let version: u64 = version.parse().expect("an integer");
    let set_type = |value: &str| {
        let mut world = services.world();
        let row = world
            .table
            .get_mut("a")
            .and_then(|rows| rows.get_mut(&version));
        row.expect("a row")
            .insert("Type".into(), Attribute::text(value));
    };
    let Attribute::Text(readable) = bad["Type"].clone() else {
        panic!("a type is a string");
    };
    set_type("REFUND");
    let mut notification = bad;
    notification.insert("Type".into(), Attribute::text("REFUND"));
    assert_eq!(services.translate(&[notification]).await.blocked, 1);

    set_type(&readable);
    let outcome = services.translate(&rows[4_000..4_001]).await;
    assert_eq!(
        (outcome.resume_at, outcome.blocked, outcome.parked),
        (None, 0, 1)
    );
    let published = services.cursor("a").published_through.get();
    assert!(
        (MAX_PENDING..MAX_PENDING + 500).contains(&published),
        "{published}"
    );
    assert_eq!(parked_through(&services, "a"), Some(4_001));
    let outcome = services
        .publish_pending(&["a"], Duration::from_hours(1))
        .await;
    assert_eq!(outcome["a"], PendingOutcome::Published(sequence(5_000)));
    assert!(is_dense(&services.sequences("a"), 5_000));
}

#[tokio::test(start_paused = true)]
async fn a_later_notification_raises_the_marker_and_publishes_nothing() {
    let services = services();
    park(&services, "a", 3_000).await;
    let since = services.cursor("a").parked().expect("parked").since;
    let rows = append(&services, "a", &credits(2));
    let outcome = services.translate(&rows[1..]).await;
    assert_eq!((outcome.resume_at, outcome.parked), (None, 1));
    assert!(services.sequences("a").is_empty());
    assert_eq!(parked_through(&services, "a"), Some(3_002));
    assert_eq!(services.cursor("a").parked().expect("parked").since, since);
    // An earlier notification that is delivered again doesn't lower it.
    services.translate(&rows[..1]).await;
    assert_eq!(parked_through(&services, "a"), Some(3_002));
}

/// The announced event isn't visible yet when the rows are read to their end: only the marker shows that it
/// is missing.
#[tokio::test(start_paused = true)]
async fn the_marker_stays_until_the_announced_event_is_published() {
    let services = services();
    park(&services, "a", 2_500).await;
    let announced = append(&services, "a", &credits(2));
    services.translate(&announced).await;
    assert_eq!(parked_through(&services, "a"), Some(2_502));
    let missing: Vec<(u64, Attributes)> = announced
        .into_iter()
        .map(|row| match &row["Version"] {
            Attribute::Number(version) => (version.parse().expect("an integer"), row),
            _ => panic!("a version is a number"),
        })
        .collect();
    {
        let mut world = services.world();
        let rows = world.table.get_mut("a").expect("rows");
        rows.retain(|version, _| missing.iter().all(|(it, _)| it != version));
    }
    let (first, row) = missing[0].clone();
    // However often it is examined.
    for _ in 0..3 {
        let outcome = services
            .publish_pending(&["a"], Duration::from_hours(1))
            .await;
        let PendingOutcome::Blocked(block) = &outcome["a"] else {
            panic!("{outcome:?}");
        };
        assert_eq!(block.sequence, sequence(2_501));
        assert_eq!(block.reason, format!("row {first} is missing"));
    }
    {
        let mut world = services.world();
        let rows = world.table.get_mut("a").expect("rows");
        rows.insert(first, row);
    }
    let outcome = services
        .publish_pending(&["a"], Duration::from_hours(1))
        .await;
    assert_eq!(outcome["a"], PendingOutcome::Published(sequence(2_501)));
    assert_eq!(services.cursor("a").suspended, None);
}

/// An event is announced after the rows were read to their end, and before the marker is removed.
#[tokio::test(start_paused = true)]
async fn an_announcement_that_comes_just_before_the_marker_is_removed_is_published() {
    let services = services();
    park(&services, "a", 2_500).await;
    services.world().put_time = Duration::from_millis(10);
    let publishing = services.publish_pending(&["a"], Duration::from_hours(1));
    let announcing = async {
        // The last rows are read once this event is put.
        while services.world().stream.len() < 2_499 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let rows = append(&services, "a", &credits(1));
        let outcome = services.translate(&rows).await;
        assert_eq!((outcome.resume_at, outcome.parked), (None, 1));
    };
    let (outcome, ()) = tokio::join!(publishing, announcing);
    assert_eq!(outcome["a"], PendingOutcome::Published(sequence(2_501)));
    assert!(is_dense(&services.first_occurrences("a"), 2_501));
    assert_eq!(services.cursor("a").suspended, None);
}

#[tokio::test(start_paused = true)]
async fn a_marker_that_is_removed_while_an_announcement_is_handled_is_no_reason_to_wait() {
    let services = services();
    park(&services, "a", 2_500).await;
    services
        .publish_pending(&["a"], Duration::from_hours(1))
        .await;
    let caught_up = services.cursor("a");
    let parked = Parked {
        through: sequence(2_500),
        since: millrace_core::Timestamp::from_unix_millis(0).expect("valid"),
    };
    let before = Cursor {
        suspended: Some(Suspension::Parked(parked)),
        ..caught_up.clone()
    };
    services.world().cursors.insert("a".into(), Ok(before));
    services.world().overtaken = Some(caught_up);
    let rows = append(&services, "a", &credits(1));
    let outcome = services.translate(&rows).await;
    assert_eq!((outcome.resume_at, outcome.parked), (None, 0));
    assert_eq!(services.cursor("a").published_through, sequence(2_501));
    assert_eq!(services.cursor("a").suspended, None);
}

#[tokio::test(start_paused = true)]
async fn pending_events_that_cannot_be_finished_leave_the_aggregate_parked() {
    let services = services();
    services.world().put_time = Duration::from_millis(20);
    open(&services, "a", 5_000);
    let outcome = services
        .publish_pending(&["a"], Duration::from_secs(10))
        .await;
    assert_eq!(outcome["a"], PendingOutcome::Unfinished);
    let published = services.cursor("a").published_through.get();
    assert!((400..=500).contains(&published), "{published}");
    assert_eq!(parked_through(&services, "a"), Some(published));
    let outcome = services
        .publish_pending(&["a"], Duration::from_hours(1))
        .await;
    assert_eq!(outcome["a"], PendingOutcome::Published(sequence(5_000)));
    assert!(is_dense(&services.first_occurrences("a"), 5_000));
}

#[tokio::test(start_paused = true)]
async fn pending_events_of_many_aggregates_have_outcomes_of_their_own() {
    let services = services();
    for id in ["failing", "good", "poisoned", "unloaded"] {
        open(&services, id, 5);
    }
    {
        let mut world = services.world();
        world.unavailable_rows.push("failing".to_owned());
        let rows = world.table.get_mut("poisoned").expect("rows");
        let (_, row) = rows.iter_mut().next_back().expect("a row");
        row.insert("Type".into(), Attribute::text("REFUND"));
        let damaged = millrace_core::DecodeError::new("PublishedThrough", "is not a number");
        world.cursors.insert("unreadable".into(), Err(damaged));
    }
    let ids = ["failing", "good", "poisoned", "unknown", "unreadable"];
    let outcome = services
        .publish_pending(&ids, Duration::from_secs(30))
        .await;
    assert!(
        matches!(outcome["failing"], PendingOutcome::Failed(_)),
        "{outcome:?}"
    );
    assert_eq!(outcome["good"], PendingOutcome::Published(sequence(5)));
    assert!(
        matches!(&outcome["poisoned"], PendingOutcome::Blocked(block) if block.sequence.get() == 5)
    );
    assert_eq!(
        outcome["unknown"],
        PendingOutcome::Published(Sequence::NONE)
    );
    assert!(matches!(
        outcome["unreadable"],
        PendingOutcome::CursorUnreadable(_)
    ));
    assert!(services.world().marks.is_empty());
}
