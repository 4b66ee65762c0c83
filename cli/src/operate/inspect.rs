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
use crate::application::Words;
use crate::args::Inspect;
use crate::event_line;
use crate::output::{Output, Rows};
use crate::terminal;

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
             `published` are those of now.\n"
        ))?;
    }
    let header = ["version", "time", "type", "seq", "published", "row"];
    let mut table = Rows::with_header(&header).right(0).right(3);
    for stored in &rows {
        let read = StoredRowOf::<D>::read(&deployment.domain(), stored);
        if read.as_ref().is_ok_and(|row| !upto(row.time())) {
            break;
        }
        add_row::<D>(stored, &read, published, &mut table, output)?;
    }
    output.table(&table)?;
    let events = deployment.events();
    let domain = deployment.domain();
    let mut fold = Fold::new(&domain, &events, id);
    let mut last = None;
    let mut table = Rows::with_header(&["seq", "time", "event", "data"]).right(0);
    while let Some(folded) = fold.next().await? {
        let sequence = folded.entry.sequence.to_string();
        if upto(folded.envelope.time) {
            let event: Value = serde_json::from_slice(&folded.envelope.to_bytes::<D>()?)?;
            let text = |name: &str| event[name].as_str().unwrap_or("?");
            let data = event_line::values(&event["data"], output.words);
            table.push(&[&sequence, text("time"), text("type"), &data]);
            output.json(&json!({ "event": event }))?;
        }
        if upto(folded.entry.effective_at) {
            last = Some(answer::history_entry::<D>(folded.entry));
        }
    }
    output.text("")?;
    output.table(&table)?;
    output.text("")?;
    let mut table = Rows::indented("");
    table.push(&["fold", &at, &optional(&json!(last), output.words)]);
    output.json(&json!({ "fold": last, "as": at }))?;
    add_cursor(&standing.cursor, published, &mut table, output)?;
    let view = json!(standing.readable_view().map(answer::view::<D>));
    let stale = standing.stale.as_ref().map(|it| &it.reason);
    let mark = stale.map_or_else(String::new, |reason| format!("  (stale: {reason})"));
    let shown = format!("{}{mark}", optional(&view, output.words));
    table.push(&["view", "now", &shown]);
    output.json(&json!({ "view": view, "as": "now", "stale": stale }))?;
    output.table(&table)?;
    for finding in &standing.findings {
        let kind = finding.kind.name();
        let command = finding.kind.command(output.words).replace("ID", id);
        output.line(
            format_args!("✗ {kind}, now: {}", finding.detail),
            &json!({
                "finding": finding.kind, "as": "now", "detail": finding.detail,
                "command": command,
            }),
        )?;
        output.next(terminal::on_one_line(&output.with_flag(&command)))?;
    }
    Ok(())
}

/// The members of a view or a history entry as text: each name with its value.
pub(super) fn members(data: &Value, words: Words) -> String {
    let mut members = data.as_object().cloned().unwrap_or_default();
    members.remove(words.id);
    let described = (words.describe)(&members).into_iter();
    let members = described.map(|(name, value)| format!("{name} {value}"));
    members.collect::<Vec<_>>().join("  ")
}

fn optional(data: &Value, words: Words) -> String {
    match data {
        Value::Null => "none".to_owned(),
        data => members(data, words),
    }
}

fn add_cursor(
    cursor: &Result<Cursor, DecodeError>,
    published: Sequence,
    table: &mut Rows,
    output: Output,
) -> Result<()> {
    match cursor {
        Ok(cursor) => {
            let through = match published {
                Sequence::NONE => "no event published".to_owned(),
                published => format!("published through event {published}"),
            };
            let blocked = cursor.blocked();
            let shown = blocked.map_or_else(String::new, |block| {
                let (sequence, since, reason) = (block.sequence, block.since, &block.reason);
                format!("; blocked at event {sequence} since {since}: {reason}")
            });
            table.push(&["cursor", "now", &format!("{through}{shown}")]);
            let blocked = blocked.map(|block| {
                json!({
                    "sequence": block.sequence, "reason": block.reason,
                    "since": block.since, "row": block.row,
                })
            });
            let object = json!({ "publishedThrough": published, "blocked": blocked });
            output.json(&json!({ "cursor": object, "as": "now" }))
        }
        Err(error) => {
            table.push(&["cursor", "now", &format!("can't be read: {error}")]);
            output.json(&json!({ "cursor": null, "as": "now", "error": error.to_string() }))
        }
    }
}

fn add_row<D: Project>(
    stored: &Attributes,
    read: &Result<StoredRowOf<D>, DecodeError>,
    published: Sequence,
    table: &mut Rows,
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
    table.push(&[
        &plain[row::VERSION].to_string(),
        &text("Timestamp"),
        &text(row::TYPE),
        &sequence,
        &state,
        &content,
    ]);
    output.json(&json!({ "row": plain, "published": state, "error": error }))
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
