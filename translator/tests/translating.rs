//! The rules of translating a batch, with services in memory and injected faults.

use std::time::Duration;

use millrace_core::row::is_plainly_a_snapshot;
use millrace_core::{Attribute, Attributes, DecodeError, Envelope, Sequence, Timestamp};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Event};
use millrace_runtime::testing::{in_virtual_time, logged};
use millrace_translator::MAX_READY_BYTES;
use millrace_translator::cursor::{Block, Cursor, Suspension};
use millrace_translator::ports::{MAX_PUT_BYTES, Record};
use millrace_translator::service::Outcome;
use millrace_translator::testing::{Fault, TestServices};
use proptest::prelude::*;

type Services = TestServices<Accounts>;

fn services() -> Services {
    let accounts = Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency");
    TestServices::new(accounts)
}

fn event_id(data: &[u8]) -> String {
    Envelope::parse::<Accounts>(data).expect("an event").id()
}

fn opened() -> Event {
    Event::AccountCreated {
        currency: Currency::stored("SEK").expect("valid"),
    }
}

fn credits(count: i64) -> Vec<Event> {
    (1..=count)
        .map(|n| Event::BalanceCredited {
            amount: Amount::new(n).expect("valid"),
        })
        .collect()
}

fn history(count: i64) -> Vec<Event> {
    std::iter::once(opened())
        .chain(credits(count - 1))
        .collect()
}

fn dense(through: u64) -> Vec<u64> {
    (1..=through).collect()
}

fn damage(services: &Services, aggregate: &str, version: u64) -> Attributes {
    let mut world = services.world();
    let row = world
        .table
        .get_mut(aggregate)
        .and_then(|rows| rows.get_mut(&version))
        .expect("a row to damage");
    row.insert("Type".into(), Attribute::text("REFUND"));
    row.clone()
}

fn put(services: &Services, aggregate: &str, version: u64, row: Attributes) {
    let mut world = services.world();
    let rows = world.table.get_mut(aggregate).expect("an aggregate");
    rows.insert(version, row);
}

fn take(services: &Services, aggregate: &str, version: u64) -> Attributes {
    let mut world = services.world();
    let rows = world.table.get_mut(aggregate).expect("an aggregate");
    rows.remove(&version).expect("a row to take")
}

fn through(outcome: Outcome) -> bool {
    outcome.resume_at.is_none()
}

#[tokio::test(start_paused = true)]
async fn publishes_a_batch_in_order_and_moves_the_cursor() {
    let services = services();
    let rows = services.append("a", &history(12));
    assert!(through(services.translate(&rows).await));
    assert_eq!(services.sequences("a"), dense(12));
    assert_eq!(
        services.cursor("a").published_through,
        Sequence::new(12).expect("valid")
    );
    assert_eq!(services.cursor("a").blocked(), None);
}

#[tokio::test(start_paused = true)]
async fn sorts_by_version_whatever_order_the_stream_has() {
    let services = services();
    let mut rows = services.append("a", &history(12));
    rows.reverse();
    assert!(through(services.translate(&rows).await));
    assert_eq!(services.sequences("a"), dense(12));
}

#[tokio::test(start_paused = true)]
async fn drops_what_is_published_already() {
    let services = services();
    let rows = services.append("a", &history(4));
    services.translate(&rows).await;
    assert!(through(services.translate(&rows).await));
    assert_eq!(services.sequences("a"), dense(4));
}

#[tokio::test(start_paused = true)]
async fn a_notification_counts_once_however_often_a_batch_contains_it() {
    let services = services();
    let rows = services.append("a", &history(2));
    let twice = [rows[0].clone(), rows[0].clone(), rows[2].clone()];
    let counters = services.translate(&twice).await.counters;
    assert_eq!((counters.notified, counters.duplicates), (2, 0));
    // Two images of one row that differ are two notifications.
    let readable = services.append("a", &credits(1)).remove(0);
    let mut undecodable = readable.clone();
    undecodable.insert("Type".into(), Attribute::text("REFUND"));
    let counters = services.translate(&[undecodable, readable]).await.counters;
    assert_eq!((counters.notified, counters.duplicates), (1, 1));
}

/// The last envelope on the stream.
fn last_published(services: &Services) -> String {
    let world = services.world();
    let last = world.stream.last().expect("published");
    String::from_utf8(last.data.clone()).expect("utf-8")
}

#[tokio::test(start_paused = true)]
async fn the_currency_of_the_opening_travels_in_the_cursor() {
    let services = services();
    services.translate(&services.append("a", &history(1))).await;
    services.translate(&services.append("a", &credits(1))).await;
    assert!(last_published(&services).contains(r#""currency":"SEK""#));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_without_a_context_asks_the_first_row() {
    let services = services();
    services.translate(&services.append("a", &history(3))).await;
    let mut cursor = services.cursor("a");
    cursor.context = None;
    services.world().cursors.insert("a".into(), Ok(cursor));
    assert!(through(
        services.translate(&services.append("a", &credits(1))).await
    ));
    assert!(last_published(&services).contains(r#""currency":"SEK""#));
    assert!(services.cursor("a").context.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_context_that_cannot_be_read_blocks_as_an_unreadable_cursor() {
    let services = services();
    services.translate(&services.append("a", &history(1))).await;
    let mut cursor = services.cursor("a");
    cursor.context = Some([("Currency".to_owned(), Attribute::number(1))].into());
    services.world().cursors.insert("a".into(), Ok(cursor));
    let outcome = services.translate(&services.append("a", &credits(1))).await;
    assert_eq!((outcome.resume_at, outcome.blocked), (None, 1));
    let reason = services.world().marks["a"].reason.clone();
    assert!(
        reason.starts_with("the cursor can't be read: Currency"),
        "{reason}"
    );
    assert_eq!(services.sequences("a"), dense(1));
}

#[test]
fn a_cursor_is_readable_only_if_its_context_is() {
    let cursor = |currency| Cursor {
        published_through: Sequence::FIRST,
        context: Some([("Currency".to_owned(), currency)].into()),
        suspended: None,
    };
    let readable = cursor(Attribute::text("SEK"));
    let read = readable.clone().with_readable_context::<Accounts>();
    assert_eq!(read, Ok(readable));
    let unreadable = cursor(Attribute::number(1)).with_readable_context::<Accounts>();
    assert_eq!(unreadable.expect_err("a number").path(), "Currency");
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_repaired_from_the_table_before_later_events() {
    let services = services();
    let rows = services.append("a", &history(40));
    assert!(through(services.translate(&rows[rows.len() - 1..]).await));
    assert_eq!(services.sequences("a"), dense(40));
}

#[tokio::test(start_paused = true)]
async fn a_missing_row_blocks_until_it_is_back() {
    let services = services();
    let rows = services.append("a", &history(6));
    let missing = take(&services, "a", 5);
    assert!(through(services.translate(&rows[..3]).await));
    assert!(through(services.translate(&rows[5..]).await));
    let block = services.cursor("a").blocked().cloned().expect("blocked");
    assert_eq!((block.sequence.get(), block.row), (4, None));
    assert_eq!(block.reason, "row 5 is missing, and row 6 is there");
    assert_eq!(services.sequences("a"), dense(3));

    put(&services, "a", 5, missing);
    assert!(through(services.translate(&rows[6..]).await));
    assert_eq!(services.sequences("a"), dense(6));
    assert_eq!(services.cursor("a").blocked(), None);
}

/// Notifications that arrived while the account was blocked are not delivered again; only the block shows
/// that the table has to be read to its end.
#[tokio::test(start_paused = true)]
async fn a_block_stays_until_all_that_came_behind_it_is_published() {
    let services = services();
    let rows = services.append("a", &history(8));
    let missing = take(&services, "a", 5);
    assert!(through(services.translate(&rows[..4]).await));
    assert!(through(services.translate(&rows[5..]).await));
    assert_eq!(services.sequences("a"), dense(3));

    put(&services, "a", 5, missing.clone());
    let notified = [missing];
    // The cursor and two pages are read, one event is published, and then time runs out.
    let calls = [Fault::None, Fault::None, Fault::None, Fault::None];
    let failing = [Fault::Lost, Fault::Lost];
    services
        .world()
        .faults
        .extend(calls.into_iter().chain(failing));
    let time = Duration::from_millis(30);
    let outcome = services.translate_within(&notified, time).await;
    assert_eq!(outcome.resume_at, Some(0));
    assert_eq!(services.cursor("a").published_through.get(), 4);

    assert!(through(services.translate(&notified).await));
    assert_eq!(services.sequences("a"), dense(8));
    assert_eq!(services.cursor("a").blocked(), None);
}

const SPAN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

/// Adds this `TraceParent` to rows of the aggregate, also in the events table.
fn trace(services: &Services, aggregate: &str, rows: &mut [Attributes], value: &Attribute) {
    for row in &mut *rows {
        row.insert("TraceParent".into(), value.clone());
        let version = row["Version"].as_integer().expect("a number");
        let version = u64::try_from(version).expect("positive");
        put(services, aggregate, version, row.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_has_its_trace_parent_wherever_its_row_is_read() {
    let services = services();
    let mut rows = services.append("a", &history(3));
    trace(&services, "a", &mut rows, &Attribute::text(SPAN));
    assert!(through(services.translate(&rows).await));
    // The events are published again, from the events table.
    services.world().cursors.clear();
    assert!(through(services.translate(&rows[3..]).await));
    let world = services.world();
    let data: Vec<&[u8]> = world.stream.iter().map(|record| &*record.data).collect();
    assert_eq!(data[..3], data[3..], "duplicates are byte-identical");
    for event in data {
        let event = Envelope::parse::<Accounts>(event).expect("an event");
        let trace_parent = event.trace_parent.map(|span| span.to_string());
        assert_eq!(trace_parent.as_deref(), Some(SPAN));
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_parent_that_cannot_be_read_blocks_nothing_and_is_left_out() {
    let without = services();
    let rows = without.append("a", &history(3));
    assert!(through(without.translate(&rows).await));
    for wrong in [
        Attribute::text("00-1"),
        Attribute::number(1),
        Attribute::Null,
    ] {
        let services = services();
        let mut rows = services.append("a", &history(3));
        trace(&services, "a", &mut rows, &wrong);
        assert_eq!(services.translate(&rows).await.blocked, 0);
        assert_eq!(services.world().stream, without.world().stream);
    }
}

#[test]
fn an_error_of_an_event_is_logged_with_its_trace() {
    let services = services();
    let mut rows = services.append("a", &history(1));
    trace(&services, "a", &mut rows, &Attribute::text(SPAN));
    services.world().refused.push("a".to_owned());
    let (outcome, lines) = logged(services.translate(&rows[..1]));
    assert_eq!(outcome.blocked, 1);
    let [refused, blocked] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(refused["trace_id"], TRACE_ID, "{refused}");
    assert_eq!(blocked["message"], "an aggregate is blocked");
    assert_eq!(blocked["span"]["trace_id"], TRACE_ID, "{blocked}");

    // Also if the row can't be decoded.
    let services = self::services();
    let mut rows = services.append("a", &history(1));
    trace(&services, "a", &mut rows, &Attribute::text(SPAN));
    rows[0] = damage(&services, "a", 1);
    let (outcome, lines) = logged(services.translate(&rows[..1]));
    assert_eq!((outcome.blocked, lines.len()), (1, 1));
    assert_eq!(lines[0]["span"]["trace_id"], TRACE_ID, "{}", lines[0]);

    // No trace is known.
    let services = self::services();
    services.append("a", &history(1));
    let row = damage(&services, "a", 1);
    let (_, lines) = logged(services.translate(&[row]));
    assert!(lines[0]["span"].get("trace_id").is_none(), "{}", lines[0]);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_row_blocks_its_account_and_no_other() {
    let services = services();
    let mut rows = services.append("a", &history(5));
    rows.extend(services.append("b", &history(5)));
    rows[3] = damage(&services, "a", 4);
    let outcome = services.translate(&rows).await;
    let Outcome {
        resume_at,
        aggregates,
        blocked,
        parked: _,
        counters,
    } = outcome;
    assert_eq!((resume_at, aggregates, blocked), (None, 2, 1));
    assert_eq!((counters.published, counters.retries), (7, 0));
    assert_eq!(services.sequences("a"), dense(2));
    assert_eq!(services.sequences("b"), dense(5));
    let block = services.cursor("a").blocked().cloned().expect("blocked");
    assert_eq!((block.sequence.get(), block.row.as_deref()), (3, Some("4")));
    assert!(block.reason.starts_with("Type: "), "{}", block.reason);
}

#[tokio::test(start_paused = true)]
async fn a_block_lifts_itself_when_the_row_can_be_read_and_reads_on_to_the_end() {
    let services = services();
    let mut rows = services.append("a", &history(9));
    let good = rows[3].clone();
    rows[3] = damage(&services, "a", 4);
    services.translate(&rows).await;
    let since = services
        .cursor("a")
        .blocked()
        .cloned()
        .expect("blocked")
        .since;

    // A notification that doesn't change the row keeps the block.
    let more = services.append_without_loading("a", 11);
    assert!(through(services.translate(&more).await));
    assert_eq!(
        services
            .cursor("a")
            .blocked()
            .cloned()
            .expect("still")
            .since,
        since
    );
    assert_eq!(services.sequences("a"), dense(2));

    // The row is repaired; its change notification is the only one that arrives.
    put(&services, "a", 4, good.clone());
    assert!(through(services.translate(&[good]).await));
    assert_eq!(services.sequences("a"), dense(10));
    assert_eq!(services.cursor("a").blocked(), None);
}

/// Two invocations may have notifications of one account at the same time: a stream may distribute an
/// account's rows over its shards, and a call of an invocation that ran out of time may still take effect.
#[tokio::test(start_paused = true)]
async fn a_block_that_another_invocation_sets_meanwhile_stays_or_is_examined() {
    for (blocked_at, is_examined) in [(3, false), (2, true)] {
        let services = services();
        let rows = services.append("a", &history(4));
        let theirs = Cursor {
            published_through: Sequence::new(blocked_at).expect("valid"),
            context: None,
            suspended: Some(Suspension::Blocked(Block {
                sequence: Sequence::new(blocked_at + 1).expect("valid"),
                row: None,
                reason: "a row is missing".to_owned(),
                since: Timestamp::from_unix_millis(0).expect("valid"),
            })),
        };
        services.world().overtaken = Some(theirs.clone());
        // Rows 1, 3 and 4 hold events 1 to 3; row 2 is a snapshot.
        let outcome = services.translate(&rows[..4]).await;
        assert_eq!(outcome.resume_at, None);
        if is_examined {
            // The other cursor is lower than this one: publication restarts there, and no row is missing.
            assert_eq!(services.cursor("a").published_through.get(), 4);
            assert_eq!(services.cursor("a").blocked(), None);
            assert_eq!(services.first_occurrences("a"), dense(4));
        } else {
            assert_eq!(services.cursor("a"), theirs);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_was_mended_since_its_news_is_read_from_the_table() {
    let services = services();
    let mut rows = services.append("a", &history(3));
    rows[2].insert("Amount".into(), Attribute::number(0));
    assert!(through(services.translate(&rows).await));
    assert_eq!(services.sequences("a"), dense(3));
}

#[tokio::test(start_paused = true)]
async fn old_news_of_a_row_that_was_mended_and_published_is_a_repeat() {
    let services = services();
    let mut rows = services.append("a", &history(5));
    let good = rows[3].clone();
    rows[3] = damage(&services, "a", 4);
    services.translate(&rows).await;
    put(&services, "a", 4, good.clone());
    assert!(through(services.translate(&[good]).await));
    assert_eq!(services.sequences("a"), dense(5));

    assert!(through(services.translate(&rows).await));
    assert_eq!(services.sequences("a"), dense(5));
    assert_eq!(services.cursor("a").blocked(), None);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_row_that_is_gone_leaves_a_hole_only_where_an_event_belongs() {
    for (version, reason) in [(4, Some("row 4 is missing")), (12, None)] {
        let services = services();
        let mut rows = services.append("a", &history(12));
        let at = usize::try_from(version).expect("small") - 1;
        rows[at].insert("Type".into(), Attribute::text("REFUND"));
        take(&services, "a", version);
        let outcome = services.translate(&rows[..=at]).await;
        assert!(through(outcome));
        let block = services.cursor("a").blocked().cloned();
        assert_eq!(block.map(|block| block.reason).as_deref(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_problem_is_reported_since_it_began_and_another_from_now_on() {
    for (before, is_the_same) in [("row 4 is missing, and row 5 is there", true), ("?", false)] {
        let services = services();
        let rows = services.append("a", &history(5));
        services.translate(&rows[..3]).await;
        take(&services, "a", 4);
        let block = Block {
            sequence: Sequence::new(3).expect("valid"),
            row: None,
            reason: before.to_owned(),
            since: Timestamp::from_unix_millis(0).expect("valid"),
        };
        let cursor = Cursor {
            suspended: Some(Suspension::Blocked(block.clone())),
            ..services.cursor("a")
        };
        let stored = Ok(cursor);
        services.world().cursors.insert("a".to_owned(), stored);
        assert!(through(services.translate(&rows[4..]).await));
        let after = services.cursor("a").blocked().cloned().expect("blocked");
        assert_eq!(after == block, is_the_same, "{after:?}");
        assert_eq!(after.since == block.since, is_the_same, "{after:?}");
        assert_eq!(after.reason, "row 4 is missing, and row 5 is there");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_at_a_snapshots_place_is_never_skipped() {
    for published_past_it in [false, true] {
        let services = services();
        let rows = services.append("a", &history(12));
        let mut stray = rows[10].clone();
        stray.insert("Version".into(), Attribute::number(12));
        stray.insert("Sequence".into(), Attribute::number(10));
        put(&services, "a", 12, stray.clone());
        let through_then = if published_past_it {
            let others: Vec<Attributes> = rows
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != 11)
                .map(|(_, r)| r.clone())
                .collect();
            services.translate(&others).await;
            services.translate(&[stray]).await;
            12
        } else {
            services.translate(&rows[..11]).await;
            services.translate(&[stray, rows[12].clone()]).await;
            10
        };
        let cursor = services.cursor("a");
        assert_eq!(cursor.published_through.get(), through_then);
        assert_eq!(
            cursor.blocked().cloned().expect("blocked").row.as_deref(),
            Some("12")
        );

        // The block stays while the row exists, and ends after the row is removed.
        let more = services.append_without_loading("a", 15);
        services.translate(&more).await;
        assert_eq!(services.cursor("a").published_through.get(), through_then);
        take(&services, "a", 12);
        services.translate(&more).await;
        assert_eq!(services.sequences("a"), dense(13));
        assert_eq!(services.cursor("a").blocked(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_version_is_no_integer_blocks_after_the_others() {
    let services = services();
    let mut rows = services.append("a", &history(3));
    let mut odd = rows[2].clone();
    odd.insert("Version".into(), Attribute::Number("2.5".into()));
    services
        .world()
        .odd_rows
        .insert(("a".into(), "2.5".into()), odd.clone());
    rows.insert(0, odd);
    services.translate(&rows).await;
    assert_eq!(services.sequences("a"), dense(3));
    let block = services.cursor("a").blocked().cloned().expect("blocked");
    assert_eq!(
        (block.sequence.get(), block.row.as_deref()),
        (4, Some("2.5"))
    );

    let more = services.append("a", &credits(2));
    services.translate(&more).await;
    assert_eq!(services.sequences("a"), dense(3));
    services.world().odd_rows.clear();
    services.translate(&more[1..]).await;
    assert_eq!(services.sequences("a"), dense(5));
}

/// An aggregate's rows, and among them an undecodable one whose version is no event's.
fn misplaced(version: &str, events: i64) -> (TestServices<Accounts>, Vec<Attributes>, Attributes) {
    let services = services();
    let rows = services.append("a", &history(events));
    let mut odd = rows[2].clone();
    odd.insert("Version".into(), Attribute::Number(version.into()));
    odd.insert("Type".into(), Attribute::text("REFUND"));
    {
        let mut world = services.world();
        if let Ok(version) = version.parse() {
            let rows = world.table.get_mut("a").expect("rows");
            rows.insert(version, odd.clone());
        } else {
            let place = ("a".into(), version.into());
            world.odd_rows.insert(place, odd.clone());
        }
    }
    (services, rows, odd)
}

#[tokio::test(start_paused = true)]
async fn a_misplaced_row_below_a_cursor_that_another_invocation_advanced_blocks() {
    for version in ["2", "2.5"] {
        let (services, _, odd) = misplaced(version, 3);
        let theirs = Cursor {
            published_through: Sequence::new(3).expect("valid"),
            ..Cursor::default()
        };
        services.world().overtaken = Some(theirs);
        let outcome = services.translate(&[odd]).await;
        assert_eq!(outcome.resume_at, None);
        let cursor = services.cursor("a");
        assert_eq!(cursor.published_through.get(), 3);
        let block = cursor.blocked().expect("blocked");
        assert_eq!(block.row.as_deref(), Some(version));
    }
}

/// The block names the row that has to be repaired now.
#[tokio::test(start_paused = true)]
async fn a_misplaced_row_that_is_gone_blocks_nothing() {
    for version in ["2", "2.5"] {
        let (services, _, odd) = misplaced(version, 5);
        services.world().odd_rows.clear();
        take(&services, "a", 2);
        damage(&services, "a", 5);
        let blocked = Cursor {
            published_through: Sequence::new(3).expect("valid"),
            context: None,
            suspended: Some(Suspension::Blocked(Block::after_reset(
                Timestamp::from_unix_millis(0).expect("valid"),
            ))),
        };
        services.world().cursors.insert("a".into(), Ok(blocked));
        assert!(through(services.translate(&[odd]).await));
        let block = services.cursor("a").blocked().cloned().expect("blocked");
        assert_eq!(block.row.as_deref(), Some("5"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_misplaced_row_after_a_row_that_blocks_is_not_forgotten() {
    for version in ["2", "2.5"] {
        let (services, mut rows, odd) = misplaced(version, 5);
        rows[4] = damage(&services, "a", 5);
        rows.push(odd);
        assert!(through(services.translate(&rows[2..]).await));
        let blocked_at = || {
            let cursor = services.cursor("a");
            cursor.blocked().expect("blocked").row.clone()
        };
        assert_eq!(blocked_at().as_deref(), Some(version));
        services.world().odd_rows.clear();
        take(&services, "a", 2);
        assert!(through(services.translate(&rows[5..6]).await));
        assert_eq!(blocked_at().as_deref(), Some("5"));
        assert_eq!(services.sequences("a"), dense(3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_misplaced_row_of_a_blocked_aggregate_is_not_forgotten() {
    for version in ["2", "2.5"] {
        let (services, rows, odd) = misplaced(version, 5);
        take(&services, "a", 5);
        let blocked = Cursor {
            published_through: Sequence::new(3).expect("valid"),
            context: None,
            suspended: Some(Suspension::Blocked(Block {
                sequence: Sequence::new(4).expect("valid"),
                row: None,
                reason: "row 5 is missing, and row 6 is there".to_owned(),
                since: Timestamp::from_unix_millis(0).expect("valid"),
            })),
        };
        services
            .world()
            .cursors
            .insert("a".into(), Ok(blocked.clone()));
        assert!(through(services.translate(&[odd]).await));
        let block = services.cursor("a").blocked().cloned().expect("blocked");
        assert_eq!(block.row.as_deref(), Some(version));

        // After the row is removed, the previous block is found again.
        services.world().odd_rows.clear();
        take(&services, "a", 2);
        assert!(through(services.translate(&rows[5..]).await));
        let block = services.cursor("a").blocked().cloned().expect("blocked");
        let before = blocked.blocked().expect("blocked");
        assert_eq!((&block.row, &block.reason), (&before.row, &before.reason));
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_can_be_no_partition_key_blocks() {
    let services = services();
    let mut row = services.append("a", &history(1)).remove(0);
    let long = "x".repeat(257);
    row.insert("Id".into(), Attribute::text(&long));
    services
        .world()
        .table
        .insert(long.clone(), [(1, row.clone())].into());
    assert!(through(services.translate(&[row]).await));
    assert!(
        services
            .cursor(&long)
            .blocked()
            .cloned()
            .expect("blocked")
            .reason
            .starts_with("Id: ")
    );
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_cannot_be_read_is_marked_and_holds_no_other_back() {
    let services = services();
    let mut rows = services.append("a", &history(2));
    rows.extend(services.append("b", &history(2)));
    let error = DecodeError::new("PublishedThrough", "is not a number");
    services.world().cursors.insert("a".into(), Err(error));
    assert!(through(services.translate(&rows).await));
    assert!(
        services.world().marks["a"]
            .reason
            .contains("PublishedThrough")
    );
    assert_eq!(services.sequences("a"), Vec::<u64>::new());
    assert_eq!(services.sequences("b"), dense(2));
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_whose_cursor_cannot_be_read_counts_as_blocked() {
    let services = services();
    let mut rows = services.append("a", &history(1));
    rows.extend(services.append("b", &history(1)));
    let damaged = Err(DecodeError::new(
        "PublishedThrough",
        "is not a whole number",
    ));
    services.world().cursors.insert("a".into(), damaged);
    assert_eq!(services.translate(&rows).await.blocked, 1);
}

#[tokio::test(start_paused = true)]
async fn cursors_left_unprocessed_are_asked_for_again_in_calls_of_a_hundred() {
    let services = services();
    let rows: Vec<Attributes> = (0..230)
        .flat_map(|n| services.append(&format!("a{n:03}"), &history(1)))
        .collect();
    assert!(through(services.translate(&rows).await));
    assert_eq!(services.world().loads, 3);

    // Every cursor is at 1 now. One that is left out would be treated as missing.
    services.world().loaded_per_call = 30;
    let outcome = services.translate(&rows).await;
    assert!(through(outcome));
    assert_eq!(
        (outcome.counters.published, outcome.counters.duplicates),
        (0, 230)
    );
    assert_eq!(services.world().loads, 3 + 4 + 4 + 1);
}

#[tokio::test(start_paused = true)]
async fn cursors_that_stay_unprocessed_leave_the_batch_incomplete_at_the_deadline() {
    let services = services();
    let rows = services.append("a", &history(2));
    services.world().loaded_per_call = 0;
    let started = tokio::time::Instant::now();
    let time = Duration::from_secs(20);
    let outcome = services.translate_within(&rows, time).await;
    assert_eq!(outcome.resume_at, Some(0));
    assert_eq!(services.sequences("a"), dense(0));
    let waited = started.elapsed();
    assert!(
        Duration::from_secs(19) < waited && waited <= time,
        "{waited:?}"
    );
    assert!(services.world().loads < 100, "it backs off");
}

fn set_cursor(services: &Services, aggregate: &str, through: u64) {
    let cursor = Cursor {
        published_through: Sequence::new(through).expect("valid"),
        ..Cursor::default()
    };
    services
        .world()
        .cursors
        .insert(aggregate.into(), Ok(cursor));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_ahead_of_the_events_table_blocks_rather_than_drop_new_events() {
    let services = services();
    let rows = services.append("a", &history(11));
    services.append("b", &history(1));
    set_cursor(&services, "a", 999);
    for _ in 0..2 {
        let outcome = services.translate(&rows[rows.len() - 1..]).await;
        assert!(through(outcome));
        assert_eq!(outcome.blocked, 1);
        let cursor = services.cursor("a");
        assert_eq!(cursor.published_through.get(), 999);
        let block = cursor.blocked().cloned().expect("blocked");
        assert!(block.is_cursor_ahead());
        assert!(block.reason.contains("999"), "{}", block.reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_was_ahead_stays_blocked_when_new_events_reach_it() {
    let services = services();
    services.append("a", &history(11));
    set_cursor(&services, "a", 13);
    let rows = services.append("a", &history(3)[1..2]);
    assert_eq!(services.translate(&rows).await.blocked, 1);
    let found = services.cursor("a").blocked().cloned();
    let rows = services.append("a", &history(4)[1..]);
    let outcome = services.translate(&rows).await;
    assert!(through(outcome));
    assert_eq!((outcome.blocked, outcome.counters.published), (1, 0));
    assert_eq!(
        services.cursor("a").blocked(),
        found.as_ref(),
        "since when, too"
    );
}

/// An operator has reset the cursor since it was read, and published everything again.
#[tokio::test(start_paused = true)]
async fn a_cursor_that_was_reset_is_not_taken_back_ahead() {
    let services = services();
    let rows = services.append("a", &history(11));
    set_cursor(&services, "a", 999);
    let reset = Cursor {
        published_through: Sequence::new(11).expect("valid"),
        ..Cursor::default()
    };
    services.world().overtaken = Some(reset.clone());
    let newest = &rows[rows.len() - 1..];
    assert!(through(services.translate(newest).await));
    assert_eq!(services.cursor("a"), reset);
}

/// Stored blocks are recognised by this string.
#[test]
fn the_block_of_a_reset_cursor_is_recognised() {
    let now = Timestamp::from_unix_millis(0).expect("valid");
    let reset = Block::after_reset(now);
    assert_eq!(
        reset.reason,
        "the cursor was reset, and not all events are published again yet"
    );
    assert!(reset.is_reset());
    assert!(!Block::cursor_ahead(Sequence::FIRST, now).is_reset());
}

/// The publication is restarted at the cursor that another invocation stored meanwhile.
#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_found_ahead_after_a_restart_blocks() {
    let services = services();
    services.append("a", &history(3));
    let undecodable = damage(&services, "a", 4);
    let theirs = Cursor {
        published_through: Sequence::new(999).expect("valid"),
        ..Cursor::default()
    };
    services.world().overtaken = Some(theirs);
    assert!(through(services.translate(&[undecodable]).await));
    let cursor = services.cursor("a");
    assert_eq!(cursor.published_through.get(), 999);
    assert!(cursor.blocked().expect("blocked").is_cursor_ahead());
}

/// The row isn't announced again, so reading the table has to find it, wherever a page ends.
#[tokio::test(start_paused = true)]
async fn a_row_between_two_versions_is_found_whatever_the_pages_are() {
    for page_rows in 1..8 {
        for is_blocked in [false, true] {
            let services = services();
            services.world().page_rows = page_rows;
            let rows = services.append("a", &history(6));
            let mut odd = rows[3].clone();
            odd.insert("Version".into(), Attribute::Number("4.5".into()));
            let place = ("a".to_owned(), "4.5".to_owned());
            services.world().odd_rows.insert(place, odd);
            if is_blocked {
                let cursor = Cursor {
                    suspended: Some(Suspension::Blocked(Block::after_reset(
                        Timestamp::from_unix_millis(0).expect("valid"),
                    ))),
                    ..Cursor::default()
                };
                let cursors = &mut services.world().cursors;
                cursors.insert("a".to_owned(), Ok(cursor));
            }
            let newest = if is_blocked { rows.len() - 1 } else { 4 };
            assert!(through(services.translate(&rows[newest..=newest]).await));
            let block = services.cursor("a").blocked().cloned().expect("blocked");
            assert_eq!(block.row.as_deref(), Some("4.5"), "{page_rows}");
            assert_eq!(services.sequences("a"), dense(3));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_redelivery_is_distinguished_from_a_cursor_ahead_by_the_cursors_own_row() {
    let services = services();
    let rows = services.append("a", &history(11));
    assert!(through(services.translate(&rows).await));
    let outcome = services.translate(&rows[..3]).await;
    assert!(through(outcome));
    assert_eq!((outcome.blocked, outcome.counters.published), (0, 0));
    assert_eq!(services.cursor("a").blocked(), None);
}

/// Only events before the cursor's own leave open whether the cursor is ahead.
#[tokio::test(start_paused = true)]
async fn the_cursors_own_row_is_read_only_if_all_notifications_are_of_events_before() {
    let services = services();
    let rows = services.append("a", &history(4));
    assert!(through(services.translate(&rows).await));
    // The cursor is loaded, and the row may be read.
    for (redelivered, calls) in [(&rows[2..3], 2), (&rows[4..], 1)] {
        services.world().faults = [Fault::None; 9].into();
        assert!(through(services.translate(redelivered).await));
        assert_eq!(services.world().faults.len(), 9 - calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_stream_refuses_blocks_its_account_and_no_other() {
    for accounts in [1, 2, 7, 64] {
        for culprit in [0, accounts / 2, accounts - 1] {
            let services = services();
            let id = |n: usize| format!("a{n:02}");
            let rows: Vec<Attributes> = (0..accounts)
                .flat_map(|n| services.append(&id(n), &history(2)))
                .collect();
            services.world().refused = vec![id(culprit)];
            let outcome = services.translate(&rows).await;
            assert!(through(outcome), "{accounts} {culprit}");
            assert_eq!(outcome.blocked, 1);
            for n in 0..accounts {
                let expected = if n == culprit { dense(0) } else { dense(2) };
                assert_eq!(services.sequences(&id(n)), expected);
            }
            let block = services
                .cursor(&id(culprit))
                .blocked()
                .cloned()
                .expect("blocked");
            assert_eq!((block.sequence.get(), block.row.as_deref()), (1, Some("1")));
            assert_eq!(
                block.reason,
                "the domain stream refuses the event: InvalidArgumentException"
            );
            let puts = services.world().puts.len();
            assert!(puts <= 2 + 2 * 7, "{puts} puts for {accounts}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_published_once_the_stream_takes_it() {
    let services = services();
    let rows = services.append("a", &history(1));
    assert!(through(services.translate(&rows).await));
    let more = services.append("a", &credits(3));
    services.world().refused = vec!["a".into()];
    assert!(through(services.translate(&more[..1]).await));
    let since = services.cursor("a").blocked().cloned().expect("blocked");
    assert_eq!(since.sequence.get(), 2);
    // Refused again: the same block.
    assert!(through(services.translate(&more[1..2]).await));
    assert_eq!(services.cursor("a").blocked(), Some(&since));
    services.world().refused.clear();
    assert!(through(services.translate(&more[1..2]).await));
    assert_eq!(services.sequences("a"), dense(4));
    assert_eq!(services.cursor("a").blocked(), None);
}

#[tokio::test(start_paused = true)]
async fn failed_records_are_put_again_and_their_successors_wait() {
    let services = services();
    let mut rows = services.append("a", &history(4));
    rows.extend(services.append("b", &history(4)));
    services.world().faults = [Fault::None, Fault::HalfStored, Fault::HalfStored].into();
    let outcome = services.translate(&rows).await;
    assert!(outcome.counters.retries > 0);
    assert!(through(outcome));
    assert_eq!(services.sequences("a"), dense(4));
    assert_eq!(services.sequences("b"), dense(4));
}

#[tokio::test(start_paused = true)]
async fn a_put_that_was_lost_or_stored_unknown_is_repeated_byte_by_byte() {
    for fault in [Fault::Lost, Fault::Ambiguous] {
        let services = services();
        let rows = services.append("a", &history(3));
        services.world().faults = [Fault::None, Fault::None, fault].into();
        assert!(through(services.translate(&rows).await));
        assert_eq!(services.first_occurrences("a"), dense(3));
        let world = services.world();
        for record in &world.stream {
            let twins = world
                .stream
                .iter()
                .filter(|other| event_id(&other.data) == event_id(&record.data));
            assert!(twins.into_iter().all(|twin| twin.data == record.data));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_throttled_account_is_reported_and_the_others_are_through() {
    let services = services();
    let mut rows = services.append("b", &history(3));
    rows.extend(services.append("a", &history(3)));
    rows.extend(services.append("c", &history(3)));
    services.world().throttled.push("a".into());
    let outcome = services
        .translate_within(&rows, Duration::from_secs(5))
        .await;
    assert_eq!(outcome.resume_at, Some(4), "the first record of a");
    assert_eq!(services.sequences("b"), dense(3));
    assert_eq!(services.sequences("c"), dense(3));
    assert_eq!(services.cursor("a"), Cursor::default());

    services.world().throttled.clear();
    assert!(through(services.translate(&rows[4..]).await));
    assert_eq!(services.sequences("a"), dense(3));
}

#[tokio::test(start_paused = true)]
async fn no_retry_is_waited_for_that_is_due_after_the_budget() {
    let services = services();
    let rows = services.append("a", &history(1));
    services.world().throttled.push("a".into());
    for millis in (1..2_000).step_by(37) {
        let budget = Duration::from_millis(millis);
        let started = tokio::time::Instant::now();
        let outcome = services.translate_within(&rows, budget).await;
        assert_eq!(outcome.resume_at, Some(0));
        assert!(started.elapsed() <= budget, "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn progress_within_a_spent_budget_is_kept() {
    let services = services();
    let rows = services.append("a", &history(6));
    services.world().faults = [Fault::None, Fault::None, Fault::None]
        .into_iter()
        .chain([Fault::Lost; 40])
        .collect();
    let outcome = services
        .translate_within(&rows, Duration::from_secs(3))
        .await;
    assert_eq!(outcome.resume_at, Some(0));
    services.world().faults.clear();
    assert!(through(services.translate(&rows).await));
    assert_eq!(services.first_occurrences("a"), dense(6));
}

#[tokio::test(start_paused = true)]
async fn a_long_history_is_published_in_portions() {
    let services = services();
    services.world().page_rows = 100;
    let rows = services.append("a", &history(1_950));
    assert!(through(services.translate(&rows[rows.len() - 1..]).await));
    assert_eq!(services.sequences("a"), dense(1_950));
}

/// Together they have more than twice the bytes that a batch may have ready. Each has fewer events than
/// one invocation publishes.
#[tokio::test(start_paused = true)]
async fn many_long_histories_of_large_events_take_bounded_memory() {
    let services = services();
    let page = 50;
    services.world().page_rows = page;
    let longest = "\u{1d11e}".repeat(255);
    let mut newest = Vec::new();
    for account in 0..14_u8 {
        let id = format!("{longest}{}", char::from(b'a' + account));
        services.append(&id, &history(800));
        let mut world = services.world();
        let rows = world.table.get_mut(&id).expect("an aggregate");
        for row in rows.values_mut() {
            row.insert("CorrelationId".into(), Attribute::text(&longest));
            row.insert("CausationId".into(), Attribute::text(&longest));
        }
        newest.push(rows.values().next_back().expect("the newest").clone());
    }
    assert!(through(services.translate(&newest).await));
    assert_eq!(MAX_READY_BYTES / MAX_PUT_BYTES, 3, "some full puts");
    let world = services.world();
    let record = world.stream[0].size();
    assert_eq!(world.stream.len(), 14 * 800);
    let all = world.stream.len() * record;
    assert!(all > 2 * MAX_READY_BYTES, "{all} bytes are too few");
    // All aggregates may be reading a page when the limit is reached.
    let most = MAX_READY_BYTES + 14 * page * record;
    let held = world.most_held * record;
    assert!(held <= most, "{held} bytes are ready, {most} may be");
    drop(world);
    for row in newest {
        let Attribute::Text(id) = &row["Id"] else {
            panic!("an id is a string");
        };
        assert_eq!(services.cursor(id).published_through.get(), 800);
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_is_saved_once_while_others_have_a_long_way() {
    let services = services();
    services.world().page_rows = 100;
    services.append("a", &history(5));
    let mut rows = services.append("b", &history(1_950));
    let notified = [damage(&services, "a", 4), rows.remove(rows.len() - 1)];
    let outcome = services.translate(&notified).await;
    assert_eq!((outcome.resume_at, outcome.blocked), (None, 1));
    assert_eq!(services.sequences("b"), dense(1_950));
}

#[tokio::test(start_paused = true)]
async fn many_accounts_share_their_puts() {
    let services = services();
    let mut rows = Vec::new();
    for n in 0..600 {
        rows.extend(services.append(&format!("account-{n}"), &history(1)));
    }
    assert!(through(services.translate(&rows).await));
    assert_eq!(services.world().puts, [500, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_cursors_cannot_be_read_is_taken_up_again_from_its_first_event() {
    let services = services();
    let rows = services.append("a", &history(2));
    services.world().unavailable_cursors.push("a".to_owned());
    let outcome = services.translate(&rows).await;
    assert_eq!((outcome.resume_at, outcome.aggregates), (Some(0), 1));
    assert_eq!(services.sequences("a"), Vec::<u64>::new());
}

/// Rows that notify of the newest event of each of these aggregates, of which none is published.
fn newest_of(services: &Services, ids: &[String], events: i64) -> Vec<Attributes> {
    ids.iter()
        .map(|id| {
            let mut rows = services.append(id, &history(events));
            rows.retain(|row| !is_plainly_a_snapshot(row));
            rows.pop().expect("an event")
        })
        .collect()
}

fn ids(number: usize) -> Vec<String> {
    (0..number).map(|number| format!("a{number:04}")).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_for_a_while_are_retried_within_the_invocation() {
    // The load, the page, a put, and the save.
    for failing in 0..4 {
        for fault in [Fault::Lost, Fault::Ambiguous] {
            let services = services();
            let newest = newest_of(&services, &ids(1), 2);
            let faults = [Fault::None; 3].into_iter().take(failing);
            services.world().faults = faults.chain([fault, fault]).collect();
            let outcome = services.translate(&newest).await;
            assert_eq!(outcome.resume_at, None, "{failing} {fault:?}");
            assert_eq!(services.first_occurrences("a0000"), dense(2));
            assert_eq!(services.cursor("a0000").published_through.get(), 2);
        }
    }
}

/// The invocation is stopped after a second, long before its budget is spent and the failing calls are no
/// longer retried.
#[tokio::test(start_paused = true)]
async fn an_aggregate_whose_calls_fail_delays_no_other() {
    let services = services();
    let ids = ids(350);
    let newest = newest_of(&services, &ids, 3);
    {
        let mut world = services.world();
        world.unavailable_rows.push("a0150".to_owned());
        world.unavailable_cursors.push("a0250".to_owned());
        world.unsaved_cursors.push("a0001".to_owned());
    }
    let second = Duration::from_secs(1);
    let stopped = tokio::time::timeout(second, services.translate(&newest)).await;
    assert!(stopped.is_err(), "the failing calls are retried still");
    // The cursors of a hundred aggregates are loaded together.
    let loaded_together = 200..300;
    for (number, id) in ids.iter().enumerate() {
        if number == 150 || number == 1 || loaded_together.contains(&number) {
            continue;
        }
        assert_eq!(services.sequences(id), dense(3), "{id}");
        assert_eq!(services.cursor(id).published_through.get(), 3, "{id}");
    }
    assert_eq!(services.sequences("a0001"), dense(3));

    let outcome = services.translate(&newest).await;
    assert_eq!(outcome.resume_at, Some(1));
    {
        let mut world = services.world();
        world.unavailable_rows.clear();
        world.unavailable_cursors.clear();
        world.unsaved_cursors.clear();
    }
    assert!(through(services.translate(&newest[1..]).await));
    for id in &ids {
        assert_eq!(services.first_occurrences(id), dense(3), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_whose_cursor_the_table_refuses_is_blocked_and_no_other() {
    let services = services();
    let ids = ids(3);
    let newest = newest_of(&services, &ids, 3);
    services.world().refused_cursors.push("a0001".to_owned());
    let outcome = services.translate(&newest).await;
    assert_eq!((outcome.resume_at, outcome.blocked), (None, 1));
    let block = services.world().marks["a0001"].clone();
    let reason = "the cursor can't be saved: a simulated call failed: ValidationException";
    assert_eq!(block.reason, reason);
    for id in ["a0000", "a0002"] {
        assert_eq!(services.cursor(id).published_through.get(), 3, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_whose_rows_the_table_refuses_to_read_is_blocked_and_no_other() {
    let services = services();
    let ids = ids(3);
    let newest = newest_of(&services, &ids, 3);
    services.world().refused_rows.push("a0001".to_owned());
    let outcome = services.translate(&newest).await;
    assert_eq!((outcome.resume_at, outcome.blocked), (None, 1));
    let block = services
        .cursor("a0001")
        .blocked()
        .cloned()
        .expect("it is blocked");
    assert!(block.reason.ends_with(": ValidationException"), "{block:?}");
    for id in ["a0000", "a0002"] {
        assert_eq!(services.cursor(id).published_through.get(), 3, "{id}");
    }
}

/// Each of them has more bytes than its share, and together they have more than the limit.
#[tokio::test(start_paused = true)]
async fn each_of_a_thousand_aggregates_has_an_event_in_the_first_round() {
    let services = services();
    services.world().page_rows = 500;
    let ids = ids(1_000);
    let newest = newest_of(&services, &ids, 22);
    let longest = "\u{1d11e}".repeat(255);
    for row in services
        .world()
        .table
        .values_mut()
        .flat_map(|rows| rows.values_mut())
    {
        row.insert("CorrelationId".into(), Attribute::text(&longest));
        row.insert("CausationId".into(), Attribute::text(&longest));
    }
    assert!(through(services.translate(&newest).await));
    let world = services.world();
    let mut first_round: Vec<&str> = world.stream[..1_000]
        .iter()
        .map(|record| record.partition_key.as_str())
        .collect();
    first_round.sort_unstable();
    first_round.dedup();
    assert_eq!(first_round.len(), 1_000);
    let bytes: usize = world.stream.iter().map(Record::size).sum();
    assert!(bytes > MAX_READY_BYTES * 5 / 4, "{bytes} are too few");
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Ambiguous),
        2 => Just(Fault::HalfStored),
    ]
}

proptest! {
    /// For all duplicates, orders and redeliveries of notifications, and all faults: first occurrences are
    /// 1, 2, 3, …, duplicates are byte-identical, and in the end every event is on the stream.
    #[test]
    fn first_occurrences_are_dense_and_repeats_identical(
        lengths in prop::collection::vec(1_i64..30, 1..5),
        shuffle in any::<u64>(),
        batch_size in 1_usize..20,
        faults in prop::collection::vec(fault(), 0..120),
        lost in prop::collection::vec(any::<bool>(), 0..100),
    ) {
        in_virtual_time(async {
            let services = services();
            let mut rows = Vec::new();
            for (n, length) in lengths.iter().enumerate() {
                rows.extend(services.append(&format!("a{n}"), &history(*length)));
            }
            let mut order: Vec<(u64, Attributes)> = rows
                .into_iter()
                .zip(0_u64..)
                .map(|(row, n)| ((n ^ shuffle).wrapping_mul(0x9E37_79B9_7F4A_7C15), row))
                .collect();
            order.sort_by_key(|(key, _)| *key);
            let notified: Vec<Attributes> = order
                .into_iter()
                .enumerate()
                .filter(|(n, _)| !lost.get(*n).copied().unwrap_or(false))
                .map(|(_, (_, row))| row)
                .collect();
            services.world().faults = faults.into();

            // As an event source mapping does, deliver again from the reported record on.
            for batch in notified.chunks(batch_size) {
                let mut rest = batch;
                while let Some(resume_at) =
                    services.translate_within(rest, Duration::from_secs(2)).await.resume_at
                {
                    rest = &rest[resume_at..];
                }
            }
            // One more event of each aggregate makes the translator publish all pending ones.
            for n in 0..lengths.len() {
                let last = services.append(&format!("a{n}"), &credits(1));
                while services.translate(&last).await.resume_at.is_some() {}
            }

            for (n, length) in lengths.iter().enumerate() {
                let aggregate = format!("a{n}");
                let length = u64::try_from(*length).expect("positive") + 1;
                prop_assert_eq!(services.first_occurrences(&aggregate), dense(length));
                prop_assert_eq!(services.cursor(&aggregate).published_through.get(), length);
                prop_assert_eq!(services.cursor(&aggregate).suspended, None);
            }
            let world = services.world();
            let mut by_id = std::collections::HashMap::new();
            for record in &world.stream {
                let id = event_id(&record.data);
                let first = by_id.entry(id).or_insert(&record.data);
                prop_assert_eq!(*first, &record.data);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_batch_is_counted() {
    let services = services();
    let rows = services.append("a", &history(9));
    let events: Vec<_> = rows
        .iter()
        .filter(|row| !is_plainly_a_snapshot(row))
        .cloned()
        .collect();
    services.translate(&events[..3]).await;
    // Event 3 is a duplicate, 4 and 5 are missing, and 6 is new.
    let notified = [events[2].clone(), events[5].clone()];
    let counters = services.translate(&notified).await.counters;
    assert_eq!((counters.notified, counters.duplicates), (2, 1));
    assert_eq!((counters.repaired, counters.published), (2, 3));
}
