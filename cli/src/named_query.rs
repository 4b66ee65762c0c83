//! The domain's named queries over the lake: files of plain SQL in Athena's dialect, with a header of comments that
//! describes the query, its parameters, and how people see its result.
//!
//! ```sql
//! -- The articles that were taken from each shelf.
//! --
//! -- Any other line of the header is an explanation.
//! --
//! -- parameter from: date, default today-30. The first day.
//! -- amounts: price, total in currency
//! -- chart: articles by day per shelf
//! SELECT …
//! WHERE time >= ? /* from */
//! ```
//!
//! A parameter is a `?` of Athena ([parameterized queries]), followed by a comment with its name. Athena accepts them
//! only in `WHERE`. So the same text runs in Athena's console, which asks for the values in their order.
//!
//! [parameterized queries]: https://docs.aws.amazon.com/athena/latest/ug/querying-with-prepared-statements.html

use std::collections::BTreeMap;
use std::fmt;

use millrace_core::Timestamp;

/// A domain's named queries: the name and the text of each. The name is that of the file, without `.sql`.
pub type NamedQueries = &'static [(&'static str, &'static str)];

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// A named query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedQuery {
    /// The name.
    pub name: &'static str,
    /// What the query returns, in one sentence.
    pub title: String,
    /// Its explanation, as lines.
    pub explanation: Vec<String>,
    /// The parameters in the order of their descriptions.
    pub parameters: Vec<Parameter>,
    /// The columns with amounts.
    pub amounts: Option<Amounts>,
    /// The chart of the result.
    pub chart: Option<Chart>,
    /// The text that Athena runs. It includes the header.
    pub sql: &'static str,
    /// The parameter of each `?`.
    placeholders: Vec<String>,
}

/// A parameter of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The name.
    pub name: String,
    /// The type of its values.
    pub kind: Kind,
    /// The value if none is given. `None` if a value must be given.
    pub default: Option<String>,
    /// What it means.
    pub description: String,
}

/// The type of a parameter's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// Any text.
    Text,
    /// A day in UTC: `2026-11-20`, `today`, or `today-30`.
    Date,
    /// A time: RFC 3339, or `now`.
    Time,
    /// An integer of 64 bits.
    Integer,
}

/// The columns whose integers are amounts in a currency's minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amounts {
    /// The columns.
    pub columns: Vec<String>,
    /// The column with the currency's code.
    pub currency: String,
}

/// A chart of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The column with the lengths of the bars.
    pub value: String,
    /// The column with the labels of the bars.
    pub label: String,
    /// The column that divides the bars into series.
    pub series: Option<String>,
}

/// A named query that can't be run as it is, or with these values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query {query}: {problem}")]
pub struct InvalidQuery {
    query: &'static str,
    problem: String,
}

impl NamedQuery {
    /// Reads a query.
    ///
    /// # Errors
    /// [`InvalidQuery`] if the header is wrong, or doesn't describe the parameters of the text.
    pub fn parse(name: &'static str, sql: &'static str) -> Result<Self, InvalidQuery> {
        let invalid = |problem: String| InvalidQuery {
            query: name,
            problem,
        };
        let mut header = sql
            .lines()
            .map_while(|line| line.strip_prefix("--"))
            .map(str::trim);
        let title = header.next().unwrap_or_default().to_owned();
        if title.is_empty() {
            return Err(invalid("the first line has no comment".to_owned()));
        }
        let mut query = Self {
            name,
            title,
            explanation: Vec::new(),
            parameters: Vec::new(),
            amounts: None,
            chart: None,
            sql,
            placeholders: placeholders(sql).map_err(invalid)?,
        };
        for line in header {
            let is_read = query.read(line).map_err(invalid)?;
            let is_before_the_text = line.is_empty() && query.explanation.is_empty();
            if !is_read && !is_before_the_text {
                query.explanation.push(line.to_owned());
            }
        }
        while query.explanation.last().is_some_and(String::is_empty) {
            query.explanation.pop();
        }
        let is_described = |name: &String| query.parameters.iter().any(|it| it.name == *name);
        if let Some(other) = query.placeholders.iter().find(|name| !is_described(name)) {
            return Err(invalid(format!("the header lacks the parameter {other}")));
        }
        let unused = query
            .parameters
            .iter()
            .find(|parameter| !query.placeholders.contains(&parameter.name));
        if let Some(unused) = unused {
            let problem = format!("no `?` is followed by /* {} */", unused.name);
            return Err(invalid(problem));
        }
        Ok(query)
    }

    /// Reads a line of the header. Returns whether it is more than explanation.
    fn read(&mut self, line: &str) -> Result<bool, String> {
        if let Some(text) = line.strip_prefix("parameter ") {
            let parameter = parameter(text).ok_or_else(|| {
                format!("`{line}` isn't `parameter NAME: TYPE[, default VALUE]. DESCRIPTION`")
            })?;
            if let Some(default) = &parameter.default {
                let unix = Timestamp::from_unix_millis(0).ok_or("there is no time 0")?;
                literal(&parameter, default, unix)?;
            }
            self.parameters.push(parameter);
        } else if let Some(text) = line.strip_prefix("amounts: ") {
            let (columns, currency) = text
                .split_once(" in ")
                .ok_or_else(|| format!("`{line}` isn't `amounts: COLUMN, … in COLUMN`"))?;
            self.amounts = Some(Amounts {
                columns: columns.split(", ").map(str::to_owned).collect(),
                currency: currency.to_owned(),
            });
        } else if let Some(text) = line.strip_prefix("chart: ") {
            let (value, rest) = text
                .split_once(" by ")
                .ok_or_else(|| format!("`{line}` isn't `chart: COLUMN by COLUMN [per COLUMN]`"))?;
            let (label, series) = match rest.split_once(" per ") {
                Some((label, series)) => (label, Some(series.to_owned())),
                None => (rest, None),
            };
            self.chart = Some(Chart {
                value: value.to_owned(),
                label: label.to_owned(),
                series,
            });
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The literals of SQL for the `?` in their order, from values by the names of parameters. `now` is the time from
    /// which defaults such as `today` are computed.
    ///
    /// # Errors
    /// [`InvalidQuery`] if a value is missing or invalid, or the query has no parameter of a name.
    pub fn literals(
        &self,
        values: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<Vec<String>, InvalidQuery> {
        let invalid = |problem: String| InvalidQuery {
            query: self.name,
            problem,
        };
        let is_parameter = |name: &String| self.parameters.iter().any(|it| it.name == *name);
        if let Some(other) = values.keys().find(|name| !is_parameter(name)) {
            let names: Vec<&str> = self.parameters.iter().map(|it| &*it.name).collect();
            let known = match names[..] {
                [] => "it has none".to_owned(),
                _ => format!("it has {}", names.join(", ")),
            };
            return Err(invalid(format!("there is no parameter {other}; {known}")));
        }
        let mut literals = BTreeMap::new();
        for parameter in &self.parameters {
            let given = values.get(&parameter.name).or(parameter.default.as_ref());
            let given = given.ok_or_else(|| {
                let Parameter {
                    name, description, ..
                } = parameter;
                invalid(format!(
                    "the parameter {name} has no value; set it with --set {name}=VALUE: {description}"
                ))
            })?;
            let literal = literal(parameter, given, now).map_err(invalid)?;
            literals.insert(&parameter.name, literal);
        }
        let literals = self.placeholders.iter().map(|name| literals[name].clone());
        Ok(literals.collect())
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            kind,
            default,
            description,
        } = self;
        write!(formatter, "{name}={}", kind.to_string().to_uppercase())?;
        if let Some(default) = default {
            write!(formatter, " [default: {default}]")?;
        }
        write!(formatter, "  {description}")
    }
}

/// Reads `NAME: TYPE[, default VALUE]. DESCRIPTION`.
fn parameter(text: &str) -> Option<Parameter> {
    let (name, rest) = text.split_once(": ")?;
    let (declared, description) = rest.split_once(". ")?;
    let (kind, default) = match declared.split_once(", default ") {
        Some((kind, default)) => (kind, Some(default.to_owned())),
        None => (declared, None),
    };
    Some(Parameter {
        name: name.to_owned(),
        kind: kind.parse().ok()?,
        default,
        description: description.to_owned(),
    })
}

/// A value as a literal of SQL.
fn literal(parameter: &Parameter, value: &str, now: Timestamp) -> Result<String, String> {
    let Parameter { name, kind, .. } = parameter;
    let invalid = |form: &str| format!("the parameter {name} is {value:?}, which isn't {form}");
    match kind {
        Kind::Text => Ok(format!("'{}'", value.replace('\'', "''"))),
        Kind::Integer => {
            let number: Result<i64, _> = value.parse();
            number
                .map(|number| number.to_string())
                .map_err(|_| invalid("an integer"))
        }
        Kind::Date => {
            let day = day(value, now);
            let day = day.ok_or_else(|| invalid("a day such as 2026-11-20 or today-30"))?;
            Ok(format!("'{day}'"))
        }
        Kind::Time => {
            let time = match value {
                "now" => Ok(now),
                value => Timestamp::parse(value),
            };
            let time = time.map_err(|_| invalid("a time such as 2026-11-20T21:03:05Z"))?;
            Ok(format!("'{time}'"))
        }
    }
}

/// A day as text.
fn day(value: &str, now: Timestamp) -> Option<String> {
    let time = match value.strip_prefix("today") {
        Some("") => now,
        Some(before) => {
            let days: u32 = before.strip_prefix('-')?.parse().ok()?;
            let before = i64::from(days).checked_mul(DAY_MILLIS)?;
            Timestamp::from_unix_millis(now.unix_millis().checked_sub(before)?)?
        }
        None => {
            // Only this form: `Timestamp` reads others too.
            let is_day = value.len() == 10;
            let time = Timestamp::parse(&format!("{value}T00:00:00Z"));
            time.ok().filter(|_| is_day)?
        }
    };
    let mut day = time.to_string();
    day.truncate(10);
    Some(day)
}

/// The name of each `?` in the text, outside of strings, quoted names and comments.
fn placeholders(sql: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = sql;
    while let Some(at) = rest.find(['\'', '"', '?', '-', '/']) {
        let found = &rest[at..];
        let skipped = match found.as_bytes() {
            [b'\'', ..] => 2 + found[1..].find('\'').ok_or("a string doesn't end")?,
            [b'"', ..] => 2 + found[1..].find('"').ok_or("a quoted name doesn't end")?,
            [b'-', b'-', ..] => found.find('\n').unwrap_or(found.len()),
            [b'/', b'*', ..] => 2 + found.find("*/").ok_or("a comment doesn't end")?,
            [b'?', ..] => {
                let comment = found[1..].trim_start().strip_prefix("/*");
                let name = comment.and_then(|comment| Some(comment.split_once("*/")?.0.trim()));
                let name = name.filter(|name| !name.is_empty());
                let name = name.ok_or("a `?` isn't followed by /* NAME */")?;
                names.push(name.to_owned());
                1
            }
            _ => 1,
        };
        rest = &found[skipped..];
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "-- What was taken.\n--\n-- One row for each day.\n--\n\
        -- parameter shelf: text. The shelf's id.\n\
        -- parameter from: date, default today-30. The first day.\n\
        -- parameter until: time, default now. The last time.\n\
        -- parameter most: integer, default 10. The most rows.\n\
        -- amounts: price, total in currency\n-- chart: total by day per shelf\n\
        SELECT '?' AS \"a?\" -- ?\nFROM t /* ? */ WHERE s = ? /* shelf */ AND d >= ?/* from */\n\
        AND t <= ? /* until */ AND n <= ? /* most */ AND e >= ? /* from */";

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-22T19:00:00.5Z").expect("a time")
    }

    fn values(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = values.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        owned.collect()
    }

    fn query() -> NamedQuery {
        NamedQuery::parse("taken", TEXT).expect("valid")
    }

    #[test]
    fn the_header_is_read() {
        let query = query();
        assert_eq!(query.title, "What was taken.");
        assert_eq!(query.explanation, ["One row for each day."]);
        let parameters: Vec<String> = query.parameters.iter().map(ToString::to_string).collect();
        assert_eq!(
            parameters,
            [
                "shelf=TEXT  The shelf's id.",
                "from=DATE [default: today-30]  The first day.",
                "until=TIME [default: now]  The last time.",
                "most=INTEGER [default: 10]  The most rows.",
            ]
        );
        let amounts = query.amounts.expect("amounts");
        assert_eq!(amounts.columns, ["price", "total"]);
        assert_eq!(amounts.currency, "currency");
        let chart = query.chart.expect("a chart");
        assert_eq!(
            (&*chart.value, &*chart.label, chart.series.as_deref()),
            ("total", "day", Some("shelf"))
        );
    }

    #[test]
    fn values_and_defaults_become_literals_in_the_order_of_the_text() {
        let literals = query().literals(&values(&[("shelf", "it's")]), now());
        let expected = [
            "'it''s'",
            "'2026-10-23'",
            "'2026-11-22T19:00:00.500Z'",
            "10",
            "'2026-10-23'",
        ];
        assert_eq!(literals.expect("valid"), expected);
        let given = values(&[("shelf", ""), ("from", "2024-02-29"), ("most", "-3")]);
        let literals = query().literals(&given, now()).expect("valid");
        assert_eq!(
            [&*literals[0], &literals[1], &literals[3]],
            ["''", "'2024-02-29'", "-3"]
        );
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (given, part) in [
            (&[][..], "shelf has no value"),
            (
                &[("shelf", "a"), ("size", "1")],
                "no parameter size; it has shelf, from",
            ),
            (
                &[("shelf", "a"), ("from", "2026-02-30")],
                "from is \"2026-02-30\"",
            ),
            (&[("shelf", "a"), ("from", "2026-11-2")], "isn't a day"),
            (&[("shelf", "a"), ("from", "today+1")], "isn't a day"),
            (&[("shelf", "a"), ("from", "' OR 1=1")], "isn't a day"),
            (&[("shelf", "a"), ("until", "noon")], "isn't a time"),
            (&[("shelf", "a"), ("most", "1.5")], "isn't an integer"),
        ] {
            let error = query().literals(&values(given), now()).expect_err(part);
            let error = error.to_string();
            assert!(error.starts_with("the query taken: "), "{error}");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_wrong_file_is_an_error() {
        for (text, part) in [
            ("SELECT 1", "the first line has no comment"),
            ("-- T.\nSELECT ?", "isn't followed by"),
            (
                "-- T.\nSELECT ? /* a */",
                "the header lacks the parameter a",
            ),
            (
                "-- T.\n-- parameter a: text. A.\nSELECT 1",
                "no `?` is followed by /* a */",
            ),
            (
                "-- T.\n-- parameter a: float. A.\nSELECT ? /* a */",
                "isn't `parameter",
            ),
            (
                "-- T.\n-- parameter a: date, default x. A.\nSELECT ? /* a */",
                "a day",
            ),
            ("-- T.\n-- amounts: a\nSELECT 1", "isn't `amounts"),
            ("-- T.\n-- chart: a\nSELECT 1", "isn't `chart"),
            ("-- T.\nSELECT 'a", "a string doesn't end"),
        ] {
            let error = NamedQuery::parse("q", text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_value_ends_its_literal(value in ".*") {
            let literals = query().literals(&values(&[("shelf", &value)]), now()).expect("valid");
            let inner = literals[0].strip_prefix('\'').and_then(|it| it.strip_suffix('\''));
            prop_assert_eq!(inner.expect("quotes").replace("''", ""), value.replace('\'', ""));
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "(-- T\\.\n)?[-'\"?/*a \n:,.]{0,60}") {
            drop(NamedQuery::parse("q", String::leak(text)));
        }
    }
}
