//! The conditions under which a cursor is saved or reset.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_cli::operate::ports::{CursorRepair as _, Reset};
use millrace_core::{Attributes, Sequence, Timestamp};
use millrace_translator::adapters::dynamodb::CursorTable;
use millrace_translator::cursor::{Block, Cursor, Suspension};
use millrace_translator::ports::{CursorStore as _, Saved};

use crate::pipeline::Pipeline;

/// How often each pair of concurrent writes is repeated, because either writer may be the first.
const ROUNDS: usize = 10;

/// An item of the cursor table that belongs to no account. Its scenario removes it at the end.
struct Item<'a> {
    pipeline: &'a Pipeline,
    id: &'static str,
    table: CursorTable,
}

impl<'a> Item<'a> {
    fn new(pipeline: &'a Pipeline, id: &'static str) -> Self {
        let client = pipeline.clients.dynamodb.clone();
        let table = CursorTable::new(client, pipeline.local.cursor_table.clone());
        Self {
            pipeline,
            id,
            table,
        }
    }

    /// Replaces the stored item with one of these attributes; removes it if there are none.
    async fn begin(&self, attributes: Option<&[(&str, AttributeValue)]>) -> Result<()> {
        let client = &self.pipeline.clients.dynamodb;
        let (table, id) = (&self.pipeline.local.cursor_table, self.id.to_owned());
        let id = AttributeValue::S(id);
        if let Some(attributes) = attributes {
            let item: HashMap<String, AttributeValue> = attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .chain([("Id".to_owned(), id)])
                .collect();
            let put = client.put_item().table_name(table).set_item(Some(item));
            put.send().await?;
        } else {
            let delete = client.delete_item().table_name(table).key("Id", id);
            delete.send().await?;
        }
        Ok(())
    }

    async fn cursor(&self) -> Result<Option<Cursor>> {
        let stored = self.table.stored(self.id).await?;
        Ok(stored.map(|stored| stored.cursor).transpose()?)
    }
}

fn cursor(through: u64, blocked: Option<Block>) -> Cursor {
    Cursor {
        published_through: Sequence::new(through).expect("valid"),
        context: Some(Attributes::new()),
        suspended: blocked.map(Suspension::Blocked),
    }
}

fn block(reason: &str) -> Block {
    Block {
        sequence: Sequence::new(4).expect("valid"),
        row: Some("5".to_owned()),
        reason: reason.to_owned(),
        since: Timestamp::from_unix_millis(0).expect("valid"),
    }
}

/// A cursor's sequence never decreases. A save succeeds only if the stored block, or its absence, is what the
/// writer has read.
pub(crate) async fn concurrent_saves_keep_the_later_cursor_and_every_block(
    pipeline: &Pipeline,
) -> Result<()> {
    let item = Item::new(pipeline, "conditions-of-saving");
    let save = async |saved: &Cursor, read: Option<&Block>| {
        let read = cursor(0, read.cloned());
        let result = item.table.save(item.id, saved, &read).await;
        matches!(result, Ok(Saved::Stored))
    };
    for _ in 0..ROUNDS {
        item.begin(None).await?;
        let (low, high) = (cursor(3, None), cursor(5, None));
        let saved = tokio::join!(save(&low, None), save(&high, None));
        ensure!(saved == (true, true) && item.cursor().await? == Some(high));

        item.begin(None).await?;
        let (ahead, blocked) = (cursor(5, None), cursor(3, Some(block("new"))));
        let saved = tokio::join!(save(&ahead, None), save(&blocked, None));
        one_of(&item, saved, [ahead, blocked]).await?;

        item.begin(None).await?;
        let old = block("old");
        ensure!(save(&cursor(3, Some(old.clone())), None).await);
        let (lifted, other) = (cursor(5, None), cursor(4, Some(block("new"))));
        let saved = tokio::join!(save(&lifted, Some(&old)), save(&other, Some(&old)));
        one_of(&item, saved, [lifted, other]).await?;

        // An operator resets a cursor that the translator has found to be ahead.
        item.begin(Some(&[(
            "PublishedThrough",
            AttributeValue::N("9".to_owned()),
        )]))
        .await?;
        let read = item.table.stored(item.id).await?.context("it is there")?;
        let ahead = Block {
            sequence: Sequence::NONE,
            ..block("ahead")
        };
        let (found, reset) = (cursor(9, Some(ahead)), cursor(0, Some(block("reset"))));
        let saved = tokio::join!(save(&found, None), async {
            let done = item.table.reset(item.id, &read.item, reset.blocked());
            done.await.is_ok_and(|done| done == Reset::Done)
        });
        one_of(&item, saved, [found.clone(), reset]).await?;
        // After everything has been published again, the cursor has no block, and the earlier finding can't
        // be saved.
        item.begin(None).await?;
        ensure!(save(&cursor(3, None), None).await);
        ensure!(!save(&found, None).await);

        item.begin(None).await?;
        let unreadable = block("unreadable");
        let high = cursor(5, None);
        let (saved, marked) =
            tokio::join!(save(&high, None), item.table.mark(item.id, &unreadable));
        marked?;
        let expected = cursor(if saved { 5 } else { 0 }, Some(unreadable));
        ensure!(item.cursor().await? == Some(expected));
    }
    item.begin(None).await
}

/// Checks that exactly one of two saves succeeded, and that its cursor is stored.
async fn one_of(item: &Item<'_>, saved: (bool, bool), cursors: [Cursor; 2]) -> Result<()> {
    let [first, second] = cursors;
    let expected = match saved {
        (true, false) => first,
        (false, true) => second,
        _ => anyhow::bail!("{saved:?} were saved"),
    };
    let stored = item.cursor().await?;
    ensure!(stored.as_ref() == Some(&expected), "{stored:?}");
    Ok(())
}

/// A reset replaces or removes a cursor only if it is the one that was read, with attributes of all types.
pub(crate) async fn a_reset_changes_only_the_cursor_that_was_read(
    pipeline: &Pipeline,
) -> Result<()> {
    let item = Item::new(pipeline, "conditions-of-resetting");
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: &str| AttributeValue::N(number.to_owned());
    let nested = AttributeValue::M([("Sequence".to_owned(), number("1.50"))].into());
    for attributes in [
        &[][..],
        &[("PublishedThrough", number("999"))],
        &[("PublishedThrough", text("nine"))],
        &[("PublishedThrough", AttributeValue::L(vec![nested.clone()]))],
        &[("PublishedThrough", AttributeValue::Null(true))],
        &[
            ("PublishedThrough", number("2")),
            ("Blocked", nested.clone()),
        ],
        &[
            ("Blocked", AttributeValue::Bool(false)),
            ("Other", number("7")),
        ],
    ] {
        for _ in 0..ROUNDS {
            item.begin(Some(attributes)).await?;
            let read = item.table.stored(item.id).await?.context("it is there")?;
            let block = block("not published again yet");
            let reset = async |block| item.table.reset(item.id, &read.item, block).await;
            let (one, other) = tokio::try_join!(reset(None), reset(Some(&block)))?;
            let expected = match (one, other) {
                (Reset::Done, Reset::Changed) => None,
                (Reset::Changed, Reset::Done) => Some(cursor(0, Some(block))),
                _ => anyhow::bail!("{attributes:?}: {one:?} and {other:?}"),
            };
            ensure!(item.cursor().await? == expected);
        }
    }
    // Another writer repairs or blocks the cursor between the read and the reset.
    for changed in [
        &[("PublishedThrough", number("11"))][..],
        &[("PublishedThrough", number("999")), ("Blocked", nested)],
    ] {
        item.begin(Some(&[("PublishedThrough", number("999"))]))
            .await?;
        let read = item.table.stored(item.id).await?.context("it is there")?;
        item.begin(Some(changed)).await?;
        for block in [None, Some(&block("not published again yet"))] {
            ensure!(item.table.reset(item.id, &read.item, block).await? == Reset::Changed);
            let stored = item.table.stored(item.id).await?.context("it is there")?;
            ensure!(stored.item != read.item && stored.item.len() == changed.len() + 1);
        }
    }
    item.begin(None).await
}
