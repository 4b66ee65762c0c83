//! `millrace inspect`: prints one aggregate's rows, events, cursor and view.

use anyhow::{Result, bail};
use millrace_core::Project;
use millrace_core::answer;
use millrace_core::row::{self, StoredRow};
use millrace_core::{Attribute, Attributes, DecodeError, Sequence, StoredRowOf};
use millrace_runtime::{Ambient as _, System};
use millrace_translator::cursor::Cursor;
use serde_json::{Map, Value, json};

use super::aggregates;
use super::deployment::Deployment;
use super::fold::Fold;
use crate::args::Inspect;
use crate::output::Output;

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    inspect: &Inspect,
    output: Output,
) -> Result<()> {
    let id = inspect.id.as_str();
    let client = &deployment.clients.dynamodb;
    let rows = aggregates::items(client, &deployment.names.events_table, id).await?;
    if rows.is_empty() {
        bail!(
            "the events table contains no {} {id}",
            deployment.words.noun
        );
    }
    let standing = deployment
        .examiner()
        .examine(id, None, System.now())
        .await?;
    let published = standing
        .cursor
        .as_ref()
        .map_or(Sequence::NONE, |cursor| cursor.published_through);
    let (is_then, at) = match inspect.at {
        Some(at) => (true, format!("at {at}")),
        None => (false, "now".to_owned()),
    };
    let upto = |time| inspect.at.is_none_or(|at| time <= at);
    if is_then {
        output.text(format_args!(
            "Rows, events and fold are those of {at}. Cursor, view, findings and the column \
             `published` are those of now."
        ))?;
    }
    output.text(format_args!(
        "{:>7}  {:<24}  {:<9}  {:>4}  {:<9}  {}",
        "version", "time", "type", "seq", "published", "row"
    ))?;
    for stored in &rows {
        let read = StoredRowOf::<D>::read(&deployment.domain(), stored);
        if read.as_ref().is_ok_and(|row| !upto(row.time())) {
            break;
        }
        show_row::<D>(stored, &read, published, output)?;
    }
    let events = deployment.events();
    let domain = deployment.domain();
    let mut fold = Fold::new(&domain, &events, id);
    let mut last = None;
    while let Some(folded) = fold.next().await? {
        if upto(folded.envelope.time) {
            let bytes = String::from_utf8_lossy(&folded.envelope.to_bytes::<D>()?).into_owned();
            output.result(
                format_args!("event  {bytes}"),
                &json!({ "event": serde_json::from_str::<Value>(&bytes)? }),
            )?;
        }
        if upto(folded.entry.effective_at) {
            last = Some(answer::history_entry::<D>(folded.entry));
        }
    }
    output.result(
        format_args!("fold   ({at}) {}", serde_json::to_string(&last)?),
        &json!({ "fold": last, "as": at }),
    )?;
    show_cursor(&standing.cursor, published, output)?;
    let view = standing.readable_view().map(answer::view::<D>);
    output.result(
        format_args!("view   (now) {}", serde_json::to_string(&view)?),
        &json!({
            "view": view, "as": "now", "stale": standing.stale.as_ref().map(|it| &it.reason),
        }),
    )?;
    for finding in &standing.findings {
        let command = finding.kind.command(output.words).replace("ID", id);
        output.result(
            format_args!(
                "✗ (now) {}: {}: `{command}`",
                finding.kind.name(),
                finding.detail
            ),
            &json!({
                "finding": finding.kind, "as": "now", "detail": finding.detail,
                "command": command,
            }),
        )?;
    }
    Ok(())
}

fn show_cursor(
    cursor: &Result<Cursor, DecodeError>,
    published: Sequence,
    output: Output,
) -> Result<()> {
    match cursor {
        Ok(cursor) => {
            let blocked = cursor.blocked().map(|block| {
                json!({
                    "sequence": block.sequence, "reason": block.reason,
                    "since": block.since, "row": block.row,
                })
            });
            let object = json!({ "publishedThrough": published, "blocked": blocked });
            output.result(
                format_args!("cursor (now) {object}"),
                &json!({ "cursor": object, "as": "now" }),
            )
        }
        Err(error) => output.result(
            format_args!("cursor (now) can't be read: {error}"),
            &json!({ "cursor": null, "as": "now", "error": error.to_string() }),
        ),
    }
}

fn show_row<D: Project>(
    stored: &Attributes,
    read: &Result<StoredRowOf<D>, DecodeError>,
    published: Sequence,
    output: Output,
) -> Result<()> {
    let plain = plain(stored);
    let text = |name: &str| plain[name].as_str().unwrap_or("?").to_owned();
    let (sequence, state) = match read {
        Ok(StoredRow::Event(event)) => (
            event.sequence().to_string(),
            if event.sequence() <= published {
                "yes".to_owned()
            } else {
                "no".to_owned()
            },
        ),
        Ok(StoredRow::Snapshot(_)) => (String::new(), "never".to_owned()),
        Err(_) => ("?".to_owned(), "unreadable".to_owned()),
    };
    let error = read.as_ref().err().map(ToString::to_string);
    let content = error
        .as_ref()
        .map_or_else(|| plain.to_string(), |error| format!("{plain}  ✗ {error}"));
    output.result(
        format_args!(
            "{:>7}  {:<24}  {:<9}  {sequence:>4}  {state:<9}  {content}",
            plain[row::VERSION].to_string(),
            text("Timestamp"),
            text(row::TYPE),
        ),
        &json!({ "row": plain, "published": state, "error": error }),
    )
}

/// A row as JSON. What JSON has no type for is shown as its type.
fn plain(row: &Attributes) -> Value {
    let members = row.iter();
    members
        .map(|(name, attribute)| (name.clone(), plain_value(attribute)))
        .collect::<Map<String, Value>>()
        .into()
}

fn plain_value(attribute: &Attribute) -> Value {
    match attribute {
        Attribute::Text(text) => text.clone().into(),
        Attribute::Number(number) => attribute
            .as_integer()
            .map_or_else(|| number.clone().into(), Value::from),
        Attribute::Bool(value) => (*value).into(),
        Attribute::Null => Value::Null,
        Attribute::List(items) => items.iter().map(plain_value).collect(),
        Attribute::Map(members) => plain(members),
        Attribute::Other(_) => format!("({})", attribute.type_name()).into(),
    }
}
