//! The writer's conditions: a version has one row, an idempotency key has one outcome, and settings are stored
//! once.

use anyhow::{Context as _, Result, ensure};
use millrace_core::Metadata;
use millrace_core::ids::AggregateId;
use millrace_core::{Aggregate, Attribute, Attributes, Timestamp, row};
use millrace_domain::money::Currency;
use millrace_domain::{Accounts, Event};
use millrace_writer::adapters::dynamodb::Tables;
use millrace_writer::idempotency::{EXPIRES_AT, KEY, seconds};
use millrace_writer::ports::{Append, Appended, CommittedRecord, EventStore as _};

use crate::pipeline::Pipeline;

fn tables(pipeline: &Pipeline) -> Tables {
    Tables::new(
        pipeline.clients.dynamodb.clone(),
        pipeline.local.events_table.clone(),
        pipeline.local.idempotency_table.clone(),
    )
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000 + millis).expect("within this century")
}

/// The append of an account's opening by this command: an event and a snapshot.
fn opening(id: &str, command: &str, record: Option<Attributes>) -> Result<Append> {
    let opened = Event::AccountCreated {
        currency: Currency::stored("EUR")?,
    };
    let metadata = Metadata {
        command_id: Some(command.to_owned()),
        ..Metadata::default()
    };
    let unopened = Aggregate::<Accounts>::new(AggregateId::new(id)?);
    let (_, rows) = unopened.append(&[opened], time(0), &metadata)?;
    Ok(Append {
        token: format!("{id}-{command}"),
        rows,
        record,
        now: time(0),
    })
}

/// An idempotency record that expires this number of milliseconds after the time of the appends.
fn record(key: &str, lasting: i64) -> Attributes {
    [
        (KEY, Attribute::text(key)),
        (EXPIRES_AT, Attribute::number(seconds(time(lasting)))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The index of the append that was stored, and the result of the other append.
fn one_stored(answers: [Appended; 2]) -> Result<(usize, Appended)> {
    match answers {
        [Appended::Stored, other] if other != Appended::Stored => Ok((0, other)),
        [other, Appended::Stored] if other != Appended::Stored => Ok((1, other)),
        answers => anyhow::bail!("one append should be stored, but the results are {answers:?}"),
    }
}

/// Covers an append of a single row, and a transaction of an event and a snapshot.
pub(crate) async fn one_of_two_appends_takes_a_version(pipeline: &Pipeline) -> Result<()> {
    let tables = tables(pipeline);
    for (id, is_single) in [("racing rows", true), ("racing transactions", false)] {
        let append = |command: &str| -> Result<Append> {
            let mut append = opening(id, command, None)?;
            if is_single {
                append.rows.truncate(1);
            }
            Ok(append)
        };
        let (one, two) = (append("one")?, append("two")?);
        let (first, second) = tokio::try_join!(tables.append(one), tables.append(two))?;
        let (stored, other) = one_stored([first, second])?;
        let by = ["one", "two"][stored];
        let conflict = Appended::VersionConflict {
            by: Some(by.to_owned()),
        };
        ensure!(other == conflict, "{other:?}, though {by} was first");
        let first = row_of(&tables, id).await?;
        ensure!(first[row::COMMAND_ID] == Attribute::text(by), "{first:?}");
    }
    Ok(())
}

async fn row_of(tables: &Tables, id: &str) -> Result<Attributes> {
    let id = AggregateId::new(id)?;
    let row = tables.row(&id, millrace_core::Version::FIRST).await?;
    row.context("a row was stored")
}

/// A key's record refuses other appends with the key, also to another aggregate. An expired record doesn't.
pub(crate) async fn one_of_two_appends_takes_a_key(pipeline: &Pipeline) -> Result<()> {
    let tables = tables(pipeline);
    let append = |id: &str, lasting| opening(id, id, Some(record("a raced key", lasting)));
    let (one, two) = (append("key one", 0)?, append("key two", 0)?);
    // Both records expire at the appends' own time, so each replaces the other.
    for appended in [tables.append(one).await?, tables.append(two).await?] {
        ensure!(appended == Appended::Stored, "{appended:?}");
    }
    let (one, two) = (append("key three", 1_000)?, append("key four", 1_000)?);
    let (first, second) = tokio::try_join!(tables.append(one), tables.append(two))?;
    let (_, other) = one_stored([first, second])?;
    ensure!(other == Appended::KeyTaken, "{other:?}");
    let kept = Some(record("a raced key", 1_000));
    ensure!(tables.record("a raced key").await? == kept);
    let committed = tables.committed_record("a raced key").await?;
    ensure!(committed == CommittedRecord::Read(kept), "{committed:?}");
    let none = tables.committed_record("no key").await?;
    ensure!(none == CommittedRecord::Read(None), "{none:?}");
    Ok(())
}

/// The deployed writer stored its settings when it started.
pub(crate) async fn settings_are_those_of_the_first_start(pipeline: &Pipeline) -> Result<()> {
    pipeline.open().await?;
    let tables = tables(pipeline);
    let of = |code: &str| -> Result<Accounts> {
        let default_currency = Currency::stored(code)?;
        Ok(Accounts { default_currency })
    };
    let (eur, sek) = (of("EUR")?, of("SEK")?);
    tables.keep_settings(&eur).await?;
    let changed = tables.keep_settings(&sek).await;
    let text = changed
        .err()
        .context("another currency starts")?
        .to_string();
    ensure!(text.contains("has been used with EUR"), "{text}");
    Ok(())
}
