//! `millrace query`: lists the domain's named queries over the lake, and runs one of them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use millrace_runtime::{Ambient as _, System};
use serde_json::{Map, Value, json};

use super::deployment::Deployment;
use crate::application::{Application, plural};
use crate::args::Query;
use crate::athena::{self, Answer, Column};
use crate::chart::{self, Bar, Series};
use crate::named_query::{Chart, InvalidQuery, NamedQuery};
use crate::output::{self, Format, Output, Rows};
use crate::signals::StopSignal;

/// The types whose values are numbers ([Athena](https://docs.aws.amazon.com/athena/latest/ug/data-types.html)).
const NUMBERS: [&str; 8] = [
    "tinyint", "smallint", "integer", "bigint", "decimal", "double", "float", "real",
];

/// An amount in minor units as text: [`Application::amount`].
type ShowAmount = fn(i128, &str) -> Option<String>;

/// Prints the names of the queries, with their titles and parameters.
pub(crate) fn list<A: Application>(output: Output) -> Result<ExitCode> {
    let queries = all::<A>()?;
    if queries.is_empty() {
        output.text("The domain has no named queries.")?;
    }
    for query in &queries {
        let parameters = query.parameters.iter();
        let parameters = parameters.map(|parameter| format!("\n    --set {parameter}"));
        let parameters: String = parameters.collect();
        let text = format!("{}\n    {}{parameters}", query.name, query.title);
        let parameters = query.parameters.iter().map(|it| {
            json!({
                "name": it.name, "type": it.kind.to_string(), "default": it.default,
                "description": it.description,
            })
        });
        let object = json!({
            "name": query.name, "title": query.title, "explanation": query.explanation,
            "parameters": parameters.collect::<Vec<_>>(), "sql": query.sql,
        });
        output.result(text, &object)?;
    }
    let needs_nothing =
        |query: &&NamedQuery| query.parameters.iter().all(|it| it.default.is_some());
    if let Some(query) = queries.iter().find(needs_nothing) {
        let command = output.command(format_args!("query {}", query.name));
        output.next(format_args!("{command} runs the query"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The query of this name, with the literals of its parameters.
///
/// # Errors
/// If there is no such query, or a value is missing or wrong.
pub(crate) fn prepare<A: Application>(
    flags: &Query,
    name: &str,
) -> Result<(NamedQuery, Vec<String>)> {
    let queries = all::<A>()?;
    let names: Vec<&str> = queries.iter().map(|query| query.name).collect();
    let names = names.join(", ");
    let query = queries.into_iter().find(|query| query.name == name);
    let query = query.with_context(|| format!("there is no query {name}; there are: {names}"))?;
    ensure!(
        flags.svg.is_none() || query.chart.is_some(),
        "the query {name} has no chart"
    );
    let mut values = BTreeMap::new();
    for (parameter, value) in &flags.set {
        ensure!(
            values.insert(parameter.clone(), value.clone()).is_none(),
            "--set gives {parameter} two values"
        );
    }
    let literals = query.literals(&values, System.now())?;
    Ok((query, literals))
}

fn all<A: Application>() -> Result<Vec<NamedQuery>, InvalidQuery> {
    let queries = A::queries().iter();
    queries
        .map(|(name, sql)| NamedQuery::parse(name, sql))
        .collect()
}

/// Runs a query and prints its result. If the command is stopped, the query is stopped too.
pub(crate) async fn run<A: Application>(
    deployment: &Deployment<A::Domain>,
    flags: &Query,
    (query, literals): (NamedQuery, Vec<String>),
    output: Output,
) -> Result<ExitCode> {
    let names = &deployment.names;
    let client = &deployment.clients.athena;
    let mut stop_signal = StopSignal::listen()?;
    let (work_group, database) = (&names.athena_work_group, &names.glue_database);
    let id = athena::start(client, work_group, database, query.sql, &literals).await?;
    let answer = tokio::select! {
        answer = athena::answer(client, &id) => answer?,
        () = stop_signal.received() => {
            athena::stop(client, &id).await?;
            bail!("the query was stopped");
        }
    };
    if flags.csv {
        print_csv(&answer)?;
    } else if output.format == Format::Json {
        for row in &answer.rows {
            output.json(&object(&answer.columns, row))?;
        }
    } else {
        print(&query, &answer, A::amount, output)?;
    }
    if let (Some(file), Some(chart)) = (&flags.svg, &query.chart) {
        let series = series(&query, chart, &answer, A::amount)?;
        chart::write_svg(file, &query.title, &series)?;
        output.text(format_args!("The chart is in {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the result as CSV ([RFC 4180](https://www.rfc-editor.org/rfc/rfc4180)), with the values as Athena returns
/// them: amounts are in minor units. `NULL` is an empty field.
fn print_csv(answer: &Answer) -> Result<()> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::Any(b'\n'))
        .from_writer(Vec::new());
    writer.write_record(answer.columns.iter().map(|column| &column.name))?;
    for row in &answer.rows {
        writer.write_record(row.iter().map(|value| value.as_deref().unwrap_or_default()))?;
    }
    let text = String::from_utf8(writer.into_inner()?)?;
    output::line_to_reader(text.trim_end_matches('\n')).map(drop)
}

/// A row as an object. A `bigint` is a number. A `decimal` is a string, because it may have more digits than a number
/// of JSON keeps in most programs.
fn object(columns: &[Column], row: &[Option<String>]) -> Map<String, Value> {
    let members = columns.iter().zip(row).map(|(column, value)| {
        let value = match (value, is_integer(column)) {
            (None, _) => Value::Null,
            (Some(text), true) => text
                .parse::<i64>()
                .map_or_else(|_| json!(text), Value::from),
            (Some(text), false) => json!(text),
        };
        (column.name.clone(), value)
    });
    members.collect()
}

fn is_integer(column: &Column) -> bool {
    ["tinyint", "smallint", "integer", "bigint"].contains(&&*column.sql_type)
}

/// Prints a table with amounts in major units, and the chart as bars.
fn print(query: &NamedQuery, answer: &Answer, amount: ShowAmount, output: Output) -> Result<()> {
    if answer.rows.is_empty() {
        return output.text("There are no rows.");
    }
    let names: Vec<&str> = answer.columns.iter().map(|column| &*column.name).collect();
    let mut rows = Rows::with_header(&names);
    for (index, column) in answer.columns.iter().enumerate() {
        if NUMBERS.contains(&&*column.sql_type) {
            rows = rows.right(index);
        }
    }
    for row in &answer.rows {
        let cells = names.iter().zip(row);
        let cells =
            cells.map(|(name, value)| shown(query, answer, row, name, value.as_deref(), amount));
        rows.push(&cells.collect::<Vec<_>>());
    }
    output.table(&rows)?;
    output.text(plural(answer.rows.len(), "row", "rows"))?;
    if let Some(chart) = &query.chart {
        let title = format!("\n{} by {}", chart.value, chart.label);
        let series = series(query, chart, answer, amount)?;
        output.text(chart::text(&title, &series))?;
    }
    Ok(())
}

/// A value as text for people: an amount in the major unit of its row's currency, anything else unchanged.
fn shown(
    query: &NamedQuery,
    answer: &Answer,
    row: &[Option<String>],
    name: &str,
    value: Option<&str>,
    amount: ShowAmount,
) -> String {
    let value = value.unwrap_or_default();
    let amounts = query.amounts.as_ref();
    let amounts = amounts.filter(|amounts| amounts.columns.iter().any(|column| column == name));
    let in_major_units = amounts.and_then(|amounts| {
        let currency = answer
            .columns
            .iter()
            .position(|it| it.name == amounts.currency)?;
        amount(value.parse().ok()?, row.get(currency)?.as_deref()?)
    });
    in_major_units.unwrap_or_else(|| value.to_owned())
}

/// The bars of a chart, in the order of the rows.
fn series(
    query: &NamedQuery,
    chart: &Chart,
    answer: &Answer,
    amount: ShowAmount,
) -> Result<Vec<Series>> {
    let column = |name: &str| {
        let column = answer.columns.iter().position(|it| it.name == name);
        column.with_context(|| format!("the query {} has no column {name}", query.name))
    };
    let (value, label) = (column(&chart.value)?, column(&chart.label)?);
    let divided_by = chart.series.as_deref().map(column).transpose()?;
    let mut all: Vec<Series> = Vec::new();
    for row in &answer.rows {
        let text = |column: usize| row.get(column).and_then(Option::as_deref);
        let name = divided_by.and_then(text).unwrap_or_default();
        let bar = Bar {
            label: text(label).unwrap_or_default().to_owned(),
            value: text(value)
                .and_then(|value| value.parse().ok())
                .unwrap_or_default(),
            shown: shown(query, answer, row, &chart.value, text(value), amount),
        };
        match all.iter_mut().find(|series| series.name == name) {
            Some(series) => series.bars.push(bar),
            None => all.push(Series {
                name: name.to_owned(),
                bars: vec![bar],
            }),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "-- Taken.\n-- amounts: total in currency\n-- chart: total by day per currency\nSELECT 1";

    fn answer() -> Answer {
        let column = |(name, sql_type): (&str, &str)| Column {
            name: name.to_owned(),
            sql_type: sql_type.to_owned(),
        };
        let row = |cells: [&str; 4]| {
            let cells = cells
                .iter()
                .map(|cell| (*cell != "NULL").then(|| (*cell).to_owned()));
            cells.collect()
        };
        Answer {
            columns: [
                ("day", "varchar"),
                ("currency", "varchar"),
                ("number", "bigint"),
                ("total", "decimal"),
            ]
            .map(column)
            .to_vec(),
            rows: vec![
                row(["2026-11-20", "EUR", "2", "1250"]),
                row(["2026-11-20", "JPY", "9007199254740993", "7"]),
                row(["2026-11-21", "EUR", "0", "NULL"]),
            ],
            scanned_bytes: None,
        }
    }

    /// Euros have two decimals; other currencies are unknown.
    fn amount(minor_units: i128, currency: &str) -> Option<String> {
        (currency == "EUR").then(|| format!("{}.{:02}", minor_units / 100, minor_units % 100))
    }

    #[test]
    fn amounts_are_shown_in_the_major_unit_of_their_rows_currency() {
        let query = NamedQuery::parse("taken", TEXT).expect("valid");
        let answer = answer();
        let row = &answer.rows[0];
        let shown = |name: &str, value| shown(&query, &answer, row, name, value, amount);
        assert_eq!(shown("total", Some("1250")), "12.50");
        assert_eq!(shown("number", Some("1250")), "1250");
        assert_eq!(shown("total", Some("many")), "many");
        assert_eq!(shown("total", None), "");
    }

    #[test]
    fn a_chart_has_a_series_for_each_currency() {
        let query = NamedQuery::parse("taken", TEXT).expect("valid");
        let chart = query.chart.clone().expect("a chart");
        let series = series(&query, &chart, &answer(), amount).expect("a chart");
        let bars: Vec<_> = series
            .iter()
            .map(|it| {
                (
                    &*it.name,
                    it.bars.iter().map(|bar| &*bar.shown).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(bars, [("EUR", vec!["12.50", ""]), ("JPY", vec!["7"])]);
        let other = Chart {
            label: "week".to_owned(),
            ..chart
        };
        let error = super::series(&query, &other, &answer(), amount).expect_err("no column");
        assert_eq!(error.to_string(), "the query taken has no column week");
    }

    #[test]
    fn json_keeps_every_digit_and_null() {
        let answer = answer();
        let objects: Vec<Value> = answer
            .rows
            .iter()
            .map(|row| Value::Object(object(&answer.columns, row)))
            .collect();
        assert_eq!(objects[1]["number"], json!(9_007_199_254_740_993_i64));
        assert_eq!(objects[0]["total"], json!("1250"));
        assert_eq!(objects[2]["total"], Value::Null);
    }
}
