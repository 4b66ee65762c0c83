//! An undecodable row.

use anyhow::{Context as _, Result, ensure};
use millrace_core::Attribute;

use crate::pipeline::{Pipeline, text};
use crate::verify;

pub(crate) async fn a_malformed_row_blocks_its_account_alone(pipeline: &Pipeline) -> Result<()> {
    let (id, other) = (pipeline.open().await?, pipeline.open().await?);
    pipeline.accepted(&id, "credit", 10).await?;
    verify::has_exactly(pipeline, &id, 2).await?;

    // The next row is undecodable. No writer wrote it.
    let mut row = pipeline.rows(&id).await?.pop().context("a row")?;
    row.insert("Version".to_owned(), Attribute::number(4));
    row.insert("Sequence".to_owned(), Attribute::number(3));
    row.insert("Amount".to_owned(), text("ten"));
    pipeline.put_row(&row).await?;

    let cursor = pipeline
        .cursor(&id, |cursor| {
            cursor
                .item()
                .is_some_and(|item| item.contains_key("Blocked"))
        })
        .await?;
    let item = cursor.item().context("a cursor")?;
    let blocked = item["Blocked"].as_m().ok().context("a map")?;
    let reason = blocked["Reason"].as_s().ok().context("a text")?;
    ensure!(reason.contains("Amount"), "the reason is {reason}");
    ensure!(blocked["Sequence"].as_n().ok().context("a number")? == "3");
    ensure!(item["PublishedThrough"].as_n().ok().context("a number")? == "2");

    // Meanwhile the events of other accounts are published, and no event of this one.
    for amount in 1..=3 {
        pipeline.accepted(&other, "credit", amount).await?;
    }
    verify::has_exactly(pipeline, &other, 4).await?;
    ensure!(pipeline.journal.records_of(&id, 2).await?.len() == 2);

    // The row is repaired; the next notification of the account makes the translator publish it.
    row.insert("Amount".to_owned(), Attribute::number(5));
    pipeline.put_row(&row).await?;
    let answer = pipeline.accepted(&id, "withdraw", 15).await?;
    ensure!(answer.body["balance"] == 0, "{answer:?}");
    verify::has_exactly(pipeline, &id, 4).await?;
    pipeline
        .cursor(&id, |cursor| {
            cursor
                .item()
                .is_some_and(|item| !item.contains_key("Blocked"))
        })
        .await?;
    Ok(())
}
