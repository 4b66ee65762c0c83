//! The conditions under which a view is saved, marked as stale or removed, and a history item is removed.

use anyhow::{Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_cli::operate::ports::ReadModelRepair as _;
use millrace_core::{Attribute, Attributes};
use millrace_projector::adapters::dynamodb::Tables;
use millrace_projector::ports::{ReadModel as _, Saved};
use millrace_runtime::dynamodb::to_item;
use uuid::Uuid;

use crate::pipeline::Pipeline;

/// How often each pair of concurrent writes is repeated, because either writer may be the first.
const ROUNDS: usize = 10;

struct Item {
    tables: Tables,
    id: String,
}

impl Item {
    fn new(pipeline: &Pipeline) -> Self {
        let (client, local) = (pipeline.clients.dynamodb.clone(), &pipeline.local);
        let (views, history) = (&local.view_table, &local.history_table);
        Self {
            tables: Tables::new(client, views.clone(), history.clone()),
            id: format!("condition-{}", Uuid::new_v4()),
        }
    }

    /// An item at sequence 5 with these additional attributes. Without a `Revision`, it is an item as the
    /// previous version writes it.
    fn item(&self, more: &[(&str, Attribute)]) -> Attributes {
        let mut item: Attributes = [
            ("Id".to_owned(), Attribute::text(&self.id)),
            ("Sequence".to_owned(), Attribute::number(5)),
        ]
        .into();
        item.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        item
    }

    fn fresh(&self) -> Attributes {
        self.item(&[("Revision", Attribute::text(Uuid::new_v4()))])
    }

    /// Stores this item without a condition.
    async fn begin(&self, item: &Attributes) -> Result<()> {
        let put = self.tables.client().put_item();
        let put = put.table_name(self.tables.views());
        put.set_item(Some(to_item(item.clone()))).send().await?;
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        let id = AttributeValue::S(self.id.clone());
        let delete = self.tables.client().delete_item();
        let delete = delete.table_name(self.tables.views()).key("Id", id);
        delete.send().await?;
        Ok(())
    }

    async fn save(&self, read: Option<&Attributes>) -> Result<Saved> {
        Ok(self.tables.save_view(self.fresh(), read).await?)
    }

    async fn mark(&self, read: &Attributes) -> Result<Saved> {
        let mut mark = self.fresh();
        mark.retain(|name, _| name == "Revision");
        mark.insert("StaleSequence".to_owned(), Attribute::number(9));
        Ok(self.tables.set_stale(&self.id, mark, read).await?)
    }

    async fn delete(&self, read: &Attributes) -> Result<Saved> {
        Ok(self.tables.delete_view(&self.id, read).await?)
    }
}

/// Of two writers that have read the same item, exactly one succeeds, for each combination of attributes.
pub(crate) async fn one_of_two_writers_of_a_view_succeeds(pipeline: &Pipeline) -> Result<()> {
    let item = Item::new(pipeline);
    let stale = ("StaleSequence", Attribute::number(7));
    let revision = ("Revision", Attribute::text("r"));
    for read in [
        None,
        Some(item.item(&[])),
        Some(item.item(std::slice::from_ref(&stale))),
        Some(item.item(std::slice::from_ref(&revision))),
        Some(item.item(&[stale, revision])),
    ] {
        for _ in 0..ROUNDS {
            let Some(read) = &read else {
                item.remove().await?;
                let both = tokio::try_join!(item.save(None), item.save(None))?;
                ensure!(is_one(both), "two saves without a stored item: {both:?}");
                continue;
            };
            item.begin(read).await?;
            let both = tokio::try_join!(item.save(Some(read)), item.save(Some(read)))?;
            ensure!(is_one(both), "two saves over {read:?}: {both:?}");
            item.begin(read).await?;
            let both = tokio::try_join!(item.save(Some(read)), item.mark(read))?;
            ensure!(is_one(both), "a save and a mark over {read:?}: {both:?}");
            item.begin(read).await?;
            let both = tokio::try_join!(item.save(Some(read)), item.delete(read))?;
            ensure!(is_one(both), "a save and a removal of {read:?}: {both:?}");
        }
    }
    item.remove().await
}

fn is_one(both: (Saved, Saved)) -> bool {
    matches!(
        both,
        (Saved::Stored, Saved::Moved) | (Saved::Moved, Saved::Stored)
    )
}

/// An item is replaced only if it is the one that was read, with attributes of all types.
pub(crate) async fn a_view_that_has_changed_is_not_overwritten(pipeline: &Pipeline) -> Result<()> {
    let item = Item::new(pipeline);
    let revision = |revision| item.item(&[("Revision", Attribute::text(revision))]);
    let stale = |until| item.item(&[("StaleSequence", Attribute::number(until))]);
    let text = item.item(&[("Sequence", Attribute::text("5"))]);
    for (stored, read) in [
        (revision("other"), revision("r")),
        (revision("r"), item.item(&[])),
        (item.item(&[]), revision("r")),
        (stale(7), item.item(&[])),
        (item.item(&[]), stale(7)),
        (stale(8), stale(7)),
        (text.clone(), item.item(&[])),
        (item.item(&[]), text.clone()),
    ] {
        item.begin(&stored).await?;
        let outcomes = [
            item.save(Some(&read)).await?,
            item.mark(&read).await?,
            item.delete(&read).await?,
            item.save(None).await?,
        ];
        ensure!(
            outcomes == [Saved::Moved; 4],
            "{stored:?}, read as {read:?}: {outcomes:?}"
        );
    }
    // `rebuild` must be able to replace an item whose sequence has another type.
    item.begin(&text).await?;
    ensure!(item.save(Some(&text)).await? == Saved::Stored, "{text:?}");
    let put = item.tables.client().put_item();
    let put = put.table_name(item.tables.views());
    let put = put.item("Id", AttributeValue::S(item.id.clone()));
    put.item("Sequence", AttributeValue::Bool(true))
        .send()
        .await?;
    let odd = item.tables.view(&item.id).await?;
    ensure!(item.save(odd.as_ref()).await? == Saved::Stored, "{odd:?}");
    item.remove().await
}

/// The account's columns of a history item.
const COLUMNS: [&str; 3] = ["Amount", "Balance", "Currency"];

/// A history item is removed only if it is the one that was read.
pub(crate) async fn a_history_item_that_has_changed_is_not_removed(
    pipeline: &Pipeline,
) -> Result<()> {
    let item = Item::new(pipeline);
    let stored = item.item(&[("Balance", Attribute::number(1))]);
    for read in [
        item.item(&[]),
        item.item(&[("Balance", Attribute::number(2))]),
        item.item(&[
            ("Balance", Attribute::number(1)),
            ("Amount", Attribute::number(1)),
        ]),
    ] {
        let unprocessed = item.tables.put_history(vec![stored.clone()]).await?;
        ensure!(unprocessed.is_empty(), "{unprocessed:?}");
        let outcome = item.tables.delete_history(&read, &COLUMNS).await?;
        ensure!(outcome == Saved::Moved, "{read:?}: {outcome:?}");
    }
    let both = tokio::try_join!(
        item.tables.delete_history(&stored, &COLUMNS),
        item.tables.delete_history(&stored, &COLUMNS)
    )?;
    ensure!(is_one(both), "two removals: {both:?}");
    Ok(())
}
