//! Checks that items which previous versions stored are still read. The code before the functions became
//! generic over the domain wrote `tests/stored/items.json`. Add items to it, but don't change any. The
//! writer's tests check stored idempotency records.

use millrace_core::row::StoredRow;
use millrace_core::settings;
use millrace_core::view::{HistoryEntryOf, ViewOf};
use millrace_core::{AggregateId, Attribute, Attributes};
use millrace_domain::money::{Amount, Balance, Currency};
use millrace_domain::{Account, Accounts, Event};
use millrace_projector::stale::Stale;
use millrace_runtime::dynamodb::to_item;
use millrace_tests::corpus::stored;
use millrace_translator::adapters::dynamodb::read_cursor;
use millrace_translator::cursor::Cursor;

fn items(kind: &str) -> Vec<Attributes> {
    stored(kind).expect("stored items")
}

fn accounts(default_currency: &str) -> Accounts {
    Accounts::read(|_| Some(default_currency.to_owned())).expect("a listed currency")
}

fn sek() -> Currency {
    Currency::stored("SEK").expect("valid")
}

#[test]
fn rows_are_read_with_their_metadata_and_written_to_the_same_attributes() {
    let rows = items("rows");
    let amount = Amount::new(1250).expect("valid");
    let expected = [
        Event::AccountCreated { currency: sek() },
        Event::BalanceCredited { amount },
    ];
    for (row, expected) in rows.iter().zip(expected) {
        let StoredRow::Event(read) = StoredRow::read(&accounts("EUR"), row).expect("readable")
        else {
            panic!("the row is a snapshot");
        };
        assert_eq!(read.event, expected);
        assert_eq!(read.metadata.correlation_id.as_deref(), Some("corr"));
        // A row is written in the current schema version, whatever version it was read in.
        let mut expected = row.clone();
        expected.insert("SchemaVersion".to_owned(), Attribute::number(2));
        assert_eq!(read.to_row::<Accounts>(), Ok(expected));
    }
}

#[test]
fn settings_are_compared() {
    let stored = &items("settings")[0];
    assert_eq!(settings::check(&accounts("SEK"), stored), Ok(()));
    assert!(settings::check(&accounts("EUR"), stored).is_err());
    assert_eq!(settings::to_row(&accounts("SEK")), *stored);
}

#[test]
fn views_and_their_stale_attributes_are_read_and_written_unchanged() {
    let views = items("views");
    for (item, balance) in views.iter().zip([0, 1250, 1000, 1000]) {
        let view = ViewOf::<Accounts>::read(item).expect("readable");
        let view = view.expect("a view");
        let expected = Account {
            currency: sek(),
            balance: Balance::new(balance).expect("valid"),
        };
        assert_eq!(view.view, expected);
        let written = view.to_item().expect("an item");
        assert!(
            written
                .iter()
                .all(|(name, value)| item.get(name) == Some(value))
        );
    }
    assert!(views[..3].iter().all(|item| Stale::read(item).is_none()));
    let stale = Stale::read(&views[3]).expect("stale");
    assert_eq!(
        (stale.until.get(), &*stale.reason),
        (5, "event 4 is missing")
    );
}

#[test]
fn history_items_are_read_and_written_to_the_same_attributes() {
    for (item, event_type) in
        items("history")
            .iter()
            .zip(["AccountCreated", "BalanceCredited", "BalanceWithdrawn"])
    {
        let entry = HistoryEntryOf::<Accounts>::read(item).expect("readable");
        assert_eq!(entry.event_type, event_type);
        assert_eq!(entry.id, AggregateId::new("a-1").expect("valid"));
        assert_eq!(entry.to_item().as_ref(), Ok(item));
    }
}

#[test]
fn cursors_are_read_with_their_context_and_block() {
    let cursors: Vec<Cursor> = items("cursors")
        .into_iter()
        .map(|item| read_cursor(to_item(item)).expect("readable"))
        .collect();
    let through: Vec<u64> = cursors
        .iter()
        .map(|it| it.published_through.get())
        .collect();
    assert_eq!(through, [3, 3, 0, 3]);
    let expected = serde_json::json!({ "Currency": "SEK" });
    for (cursor, has_currency) in cursors.iter().zip([true, true, false, false]) {
        let context = cursor
            .context::<Accounts>()
            .expect("readable")
            .expect("known");
        let context = serde_json::to_value(context).expect("JSON");
        assert_eq!(context == expected, has_currency, "{context}");
    }
    let block = cursors[1].blocked().expect("blocked");
    assert_eq!((block.sequence.get(), block.row.as_deref()), (4, Some("5")));
    assert_eq!(block.reason, "Amount: is missing");
    let block = cursors[2].blocked().expect("blocked");
    assert!(!block.is_cursor_ahead());
}
