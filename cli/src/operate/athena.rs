//! [`Lake`] with Athena.
//!
//! The queries read the table of lake records, and not the view `domain_events`: the view reads every day, to
//! find the earliest copy of each event.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_athena::Client;
use millrace_archiver::line::UNREADABLE;
use millrace_core::lake::{self, Column};
use millrace_core::{Domain, Project, envelope};
use millrace_runtime::ServiceError;
use serde_json::{Map, Value};

use super::days::Days;
use super::deployment::Deployment;
use super::ports::{Lake, LakeRecord, Pages, QueryError, Run};
use crate::athena::{self, Failed};

/// The timeout of a query: Athena's own
/// ([quotas](https://docs.aws.amazon.com/athena/latest/ug/service-limits.html)).
const PATIENCE: Duration = Duration::from_mins(30);

const SUBJECT: &str = "subject";
const DATA: &str = "data";
/// The column of records that aren't events.
const BYTES: &str = "data_base64";

/// The lake of a deployment.
#[derive(Debug, Clone)]
pub(crate) struct AthenaLake {
    client: Client,
    work_group: String,
    database: String,
    table: String,
    /// The fields of the column `data`.
    fields: Vec<(&'static str, Column)>,
}

/// The result of a query, and what reads its rows.
pub(crate) struct Answer<R> {
    results: athena::Pages,
    read: R,
}

/// Reads a row as a run.
type ReadRun = fn(Row) -> Result<Run>;

/// A row of a result, as text; `None` is `NULL`.
type Row = Vec<Option<String>>;

/// The columns of a record, which the rows of a result have after subject and sequence.
#[derive(Debug, Clone)]
pub(crate) struct RecordColumns {
    fields: Vec<(&'static str, Column)>,
}

impl AthenaLake {
    pub(crate) fn of<D: Project + Clone>(deployment: &Deployment<D>) -> Self {
        let names = &deployment.names;
        Self {
            client: deployment.clients.athena.clone(),
            work_group: names.athena_work_group.clone(),
            database: names.glue_database.clone(),
            table: names.glue_table.clone(),
            fields: fields::<D>(),
        }
    }

    async fn query(&self, sql: &str) -> Result<athena::Pages, QueryError> {
        let pages = self.pages(sql).await;
        pages.map_err(|error| match error.downcast_ref::<Failed>() {
            Some(failed) if failed.is_too_large() => QueryError::TooLarge(failed.reason.clone()),
            _ => failed(error).into(),
        })
    }

    async fn pages(&self, sql: &str) -> Result<athena::Pages> {
        let client = &self.client;
        let id = athena::start(client, &self.work_group, &self.database, sql, &[]).await?;
        let Ok(pages) = tokio::time::timeout(PATIENCE, athena::pages(client, &id)).await else {
            athena::stop(client, &id).await?;
            bail!("the query did not end");
        };
        pages
    }
}

fn failed(error: anyhow::Error) -> ServiceError {
    ServiceError::new("a query of the lake", error)
}

/// The fields of the column `data` but the sequence.
fn fields<D: Domain>() -> Vec<(&'static str, Column)> {
    let mut fields = lake::data_fields::<D>();
    fields.retain(|(name, _)| *name != envelope::SEQUENCE);
    fields
}

/// The columns of the table that are members of an event.
fn members() -> impl Iterator<Item = &'static str> {
    let columns = lake::COLUMNS.iter();
    let texts = columns.filter(|(_, column)| *column == Column::Text);
    let names = texts.map(|(name, _)| *name);
    names.filter(|name| ![SUBJECT, BYTES].contains(name))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The sequence, as the queries select it.
fn sequence() -> String {
    format!("{DATA}.{}", envelope::SEQUENCE)
}

/// The subject, as the queries select it. The local Athena may infer another type than a string.
const SUBJECT_TEXT: &str = "CAST(subject AS varchar)";

/// The condition that selects the events of one aggregate, or of all.
fn condition(days: Days, aggregate: Option<&str>) -> String {
    let (Days { first, last }, sequence) = (days, sequence());
    let aggregate = aggregate.map_or_else(String::new, |id| {
        format!(" AND {SUBJECT_TEXT} = {}", quoted(id))
    });
    format!(
        "dt BETWEEN '{first}' AND '{last}' AND type <> {} AND {sequence} >= 1 \
         AND id = {SUBJECT_TEXT} || ':' || CAST({sequence} AS varchar){aggregate}",
        quoted(UNREADABLE),
    )
}

/// Selects the runs of consecutive sequences. In a run, a sequence and its position among the aggregate's
/// sequences have the same difference.
fn select_runs(table: &str, days: Days, aggregate: Option<&str>) -> String {
    let (condition, sequence) = (condition(days, aggregate), sequence());
    format!(
        "SELECT subject, min(n), max(n) FROM (\
         SELECT subject, n, n - row_number() OVER (PARTITION BY subject ORDER BY n) AS run FROM (\
         SELECT DISTINCT {SUBJECT_TEXT} AS subject, {sequence} AS n FROM \"{table}\" WHERE {condition}\
         ) AS numbers) AS runs GROUP BY subject, run"
    )
}

/// Selects each record once, in order.
fn select_records(
    table: &str,
    fields: &[(&str, Column)],
    days: Days,
    aggregate: Option<&str>,
) -> String {
    let (condition, sequence) = (condition(days, aggregate), sequence());
    let members = members().map(|name| format!("\"{name}\""));
    let fields = fields.iter().map(|(name, column)| {
        let name = name.to_lowercase();
        match column {
            Column::Text | Column::Bigint | Column::Boolean => format!("{DATA}.\"{name}\""),
            // Athena's own text of these types can't be read back.
            Column::Object(_) | Column::List(_) | Column::Data | Column::Partition => {
                format!("json_format(CAST({DATA}.\"{name}\" AS JSON))")
            }
        }
    });
    let columns: Vec<String> = members.chain(fields).collect();
    format!(
        "SELECT DISTINCT {SUBJECT_TEXT} AS subject, {sequence} AS n, {} FROM \"{table}\" \
         WHERE {condition} ORDER BY 1, 2",
        columns.join(", ")
    )
}

fn read_run(row: Row) -> Result<Run> {
    let [Some(subject), Some(first), Some(last)] = cells(row)? else {
        bail!("Athena returned a run without a number");
    };
    Ok(Run {
        subject,
        first: first.parse().context("the first sequence of a run")?,
        last: last.parse().context("the last sequence of a run")?,
    })
}

fn cells<const N: usize>(row: Row) -> Result<[Option<String>; N]> {
    let count = row.len();
    row.try_into()
        .ok()
        .with_context(|| format!("Athena returned a row of {count} columns"))
}

/// The value with the names of the column's fields. Athena returns names in lower case, and fields that an object
/// doesn't have as nulls.
fn named(value: Value, column: Column) -> Value {
    match (column, value) {
        (Column::List(fields), Value::Array(objects)) => {
            let objects = objects.into_iter();
            objects
                .map(|object| named(object, Column::Object(fields)))
                .collect()
        }
        (Column::Object(fields), Value::Object(mut members)) => {
            let fields = fields.iter().filter_map(|(name, column)| {
                let value = members.remove(&name.to_lowercase())?;
                (!value.is_null()).then(|| ((*name).to_owned(), named(value, *column)))
            });
            Value::Object(fields.collect())
        }
        (_, value) => value,
    }
}

impl RecordColumns {
    /// The event as JSON. Members without a value are left out.
    fn read(&self, row: Row) -> Result<LakeRecord> {
        let expected = 2 + members().count() + self.fields.len();
        ensure!(
            row.len() == expected,
            "Athena returned a row of {} columns, not {expected}",
            row.len()
        );
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten();
        let subject = next().context("Athena returned a record without subject")?;
        let sequence = next().context("Athena returned a record without sequence")?;
        let sequence: u64 = sequence.parse().context("the sequence of a record")?;
        let mut event = Map::new();
        event.insert(SUBJECT.to_owned(), subject.clone().into());
        for name in members() {
            if let Some(text) = next() {
                event.insert(name.to_owned(), text.into());
            }
        }
        let mut data = Map::new();
        data.insert(envelope::SEQUENCE.to_owned(), sequence.into());
        for (name, column) in &self.fields {
            let Some(text) = next() else { continue };
            let value = if *column == Column::Text {
                Value::String(text)
            } else {
                let value = serde_json::from_str(&text);
                value.with_context(|| format!("Athena returned no value for {DATA}.{name}"))?
            };
            if !value.is_null() {
                data.insert((*name).to_owned(), named(value, *column));
            }
        }
        event.insert(DATA.to_owned(), data.into());
        Ok(LakeRecord {
            subject,
            sequence,
            json: Value::Object(event).to_string(),
        })
    }
}

impl Lake for AthenaLake {
    type Runs = Answer<ReadRun>;
    type Records = Answer<RecordColumns>;

    async fn runs(&self, days: Days, aggregate: Option<&str>) -> Result<Self::Runs, QueryError> {
        let sql = select_runs(&self.table, days, aggregate);
        Ok(Answer {
            results: self.query(&sql).await?,
            read: read_run,
        })
    }

    async fn records(
        &self,
        days: Days,
        aggregate: Option<&str>,
    ) -> Result<Self::Records, QueryError> {
        let fields = self.fields.clone();
        let sql = select_records(&self.table, &fields, days, aggregate);
        Ok(Answer {
            results: self.query(&sql).await?,
            read: RecordColumns { fields },
        })
    }

    async fn limit(&self) -> String {
        let name = &self.work_group;
        let group = self.client.get_work_group().work_group(name).send().await;
        let bytes = group.ok().and_then(|group| {
            group
                .work_group?
                .configuration?
                .bytes_scanned_cutoff_per_query
        });
        let limit = bytes.map_or_else(
            || "its limit can't be read".to_owned(),
            |bytes| format!("{} MiB", bytes / 1024 / 1024),
        );
        format!(
            "BytesScannedCutoffPerQuery of the work group {name} ({limit}); raise it with \
             `aws athena update-work-group`, and run the command again"
        )
    }
}

impl Pages<Run> for Answer<ReadRun> {
    async fn page(&mut self) -> Result<Option<Vec<Run>>, ServiceError> {
        read_page(&mut self.results, self.read).await
    }
}

impl Pages<LakeRecord> for Answer<RecordColumns> {
    async fn page(&mut self) -> Result<Option<Vec<LakeRecord>>, ServiceError> {
        let columns = &self.read;
        read_page(&mut self.results, |row| columns.read(row)).await
    }
}

async fn read_page<T>(
    results: &mut athena::Pages,
    read: impl Fn(Row) -> Result<T> + Send,
) -> Result<Option<Vec<T>>, ServiceError> {
    let page = results.next().await.map_err(failed)?;
    let rows = page.map(|rows| rows.into_iter().map(read).collect::<Result<_>>());
    rows.transpose().map_err(failed)
}

#[cfg(test)]
mod tests {
    use millrace_core::Timestamp;
    use millrace_domain::Accounts;

    use super::super::days::Day;
    use super::*;

    fn days() -> Days {
        let last = Timestamp::parse("2026-11-20T10:00:00Z").expect("a time");
        Days {
            first: Day::FIRST,
            last: Day::of(last),
        }
    }

    const ALL: &str = "dt BETWEEN '2026-01-01' AND '2026-11-20' AND type <> 'UnreadableRecord' \
                       AND data.sequence >= 1 \
                       AND id = CAST(subject AS varchar) || ':' || CAST(data.sequence AS varchar)";

    #[test]
    fn the_queries_read_the_events_of_the_days() {
        assert_eq!(condition(days(), None), ALL);
        assert_eq!(
            condition(days(), Some("a' OR 'a' = 'a")),
            format!("{ALL} AND CAST(subject AS varchar) = 'a'' OR ''a'' = ''a'")
        );
        let runs = select_runs("events", days(), None);
        assert!(
            runs.contains(&format!("FROM \"events\" WHERE {ALL})")),
            "{runs}"
        );
    }

    #[test]
    fn records_have_every_column_of_an_event() {
        let fields = fields::<Accounts>();
        let sql = select_records("events", &fields, days(), None);
        assert_eq!(
            sql,
            format!(
                "SELECT DISTINCT CAST(subject AS varchar) AS subject, data.sequence AS n, \"specversion\", \
                 \"id\", \"source\", \"type\", \"time\", \"datacontenttype\", \"dataschema\", \
                 \"correlationid\", \"causationid\", \"traceparent\", data.\"accountid\", \
                 data.\"amount\", data.\"currency\", data.\"channel\" FROM \"events\" WHERE {ALL} ORDER BY 1, 2"
            )
        );
    }

    /// A row with these cells; an empty one is a null.
    fn row(cells: &str) -> Row {
        let cells = cells.split('|');
        cells
            .map(|cell| (!cell.is_empty()).then(|| cell.to_owned()))
            .collect()
    }

    #[test]
    fn a_record_is_the_event_with_the_names_of_the_domain() {
        let columns = RecordColumns {
            fields: fields::<Accounts>(),
        };
        let text = "a|2|1.0|a:2|urn:millrace:accounts|BalanceCredited|2026-11-20T21:00:00.000Z|\
                    application/json|urn:millrace:schema:BalanceCredited:1|c|||a|500|EUR|";
        let record = columns.read(row(text)).expect("a record");
        assert_eq!((&*record.subject, record.sequence), ("a", 2));
        let event = millrace_core::Envelope::parse::<Accounts>(record.json.as_bytes());
        let event = event.expect("an event");
        assert_eq!(event.id(), "a:2");
        assert_eq!(event.correlation_id.as_deref(), Some("c"));
        assert_eq!(event.causation_id, None);

        for (wrong, message) in [
            (text.replacen("a|", "|", 1), "without subject"),
            (text.replacen("|2|", "||", 1), "without sequence"),
            (text.replacen("|2|", "|-2|", 1), "the sequence of a record"),
            (text.replacen("500", "a lot", 1), "data.amount"),
            (format!("{text}|x"), "17 columns"),
        ] {
            let error = columns.read(row(&wrong)).expect_err(message);
            assert!(format!("{error:#}").contains(message), "{error:#}");
        }
    }

    #[test]
    fn lists_and_objects_have_the_names_of_the_domain() {
        const PRICE: &[(&str, Column)] = &[("perUnit", Column::Bigint)];
        const LINE: &[(&str, Column)] = &[
            ("articleId", Column::Text),
            ("price", Column::Object(PRICE)),
        ];
        let fields = vec![
            ("orderLines", Column::List(LINE)),
            ("isGift", Column::Boolean),
            ("none", Column::List(LINE)),
        ];
        let sql = select_records("events", &fields, days(), None);
        let list = "json_format(CAST(data.\"orderlines\" AS JSON)), data.\"isgift\", ";
        assert!(sql.contains(list), "{sql}");
        let columns = RecordColumns { fields };
        let nulls = "|".repeat(members().count());
        let lines = r#"[{"articleid":"x","price":{"perunit":5}},{"articleid":"Y","price":null}]"#;
        let text = format!("a|1{nulls}|{lines}|true|null");
        let record = columns.read(row(&text)).expect("a record");
        let event: Value = serde_json::from_str(&record.json).expect("JSON");
        assert_eq!(
            event["data"],
            serde_json::json!({
                "sequence": 1, "isGift": true,
                "orderLines": [{ "articleId": "x", "price": { "perUnit": 5 } }, { "articleId": "Y" }],
            })
        );
    }

    #[test]
    fn a_run_is_read_or_refused() {
        let run = read_run(row("a|2|9")).expect("a run");
        assert_eq!((&*run.subject, run.first, run.last), ("a", 2, 9));
        for wrong in ["a|2", "a||9", "a|2|many"] {
            assert!(read_run(row(wrong)).is_err(), "{wrong}");
        }
    }
}
