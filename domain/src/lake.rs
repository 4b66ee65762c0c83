//! What the lake's table can hold: a line whose known members have the types of its columns.
//!
//! This is wider than [`Envelope::parse`](crate::Envelope::parse): event types and members that are
//! newer than this code have their place in the lake too. A line of other types would make every
//! query over it fail.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::json::Object;

type Text<'a> = Option<Cow<'a, str>>;

#[expect(dead_code, reason = "reading the members is the check")]
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    specversion: Text<'a>,
    #[serde(borrow, default)]
    source: Text<'a>,
    #[serde(borrow, default)]
    subject: Text<'a>,
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(borrow, default)]
    datacontenttype: Text<'a>,
    #[serde(borrow, default)]
    dataschema: Text<'a>,
    #[serde(borrow, default)]
    correlationid: Text<'a>,
    #[serde(borrow, default)]
    causationid: Text<'a>,
    #[serde(borrow, default)]
    data_base64: Text<'a>,
    #[serde(borrow, default)]
    data: Option<Object<Data<'a>>>,
    // The partition column comes from the object's place and not from the line.
    dt: Option<IgnoredAny>,
}

#[expect(dead_code, reason = "reading the members is the check")]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow, default)]
    account_id: Text<'a>,
    sequence: Option<i64>,
    amount: Option<i64>,
    #[serde(borrow, default)]
    currency: Text<'a>,
}

/// Whether these bytes can be a line of the lake as they are: one line, and a row of its table.
#[must_use]
pub fn is_row(bytes: &[u8]) -> bool {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return false;
    }
    let Ok(Object(line)) = serde_json::from_slice::<Object<Line<'_>>>(bytes) else {
        return false;
    };
    !line.id.is_empty() && !line.r#type.is_empty() && line.dt.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_today_and_of_tomorrow_are_rows() {
        for row in [
            r#"{"id":"a:1","type":"AccountCreated"}"#,
            r#"{"id":"a:1","type":"AccountClosed","new":{"x":[1]},"data":{"accountId":"a","why":1}}"#,
            r#"{"id":"a:1","type":"T","data":{"sequence":7,"amount":9007199254740991},"time":null}"#,
            r#"{"id":"\u00e4:1","type":"T","subject":"\"\\"}"#,
        ] {
            assert!(is_row(row.as_bytes()), "{row}");
        }
    }

    #[test]
    fn whatever_would_break_a_query_is_none() {
        for none in [
            "",
            "null",
            "[]",
            r#"["a:1","T"]"#,
            r#"{"id":"a:1"}"#,
            r#"{"type":"T"}"#,
            r#"{"id":1,"type":"T"}"#,
            r#"{"id":"","type":"T"}"#,
            r#"{"id":"a","type":"T","source":5}"#,
            r#"{"id":"a","type":"T","data":5}"#,
            r#"{"id":"a","type":"T","data":[1]}"#,
            r#"{"id":"a","type":"T","data":{"amount":"5"}}"#,
            r#"{"id":"a","type":"T","data":{"amount":0.5}}"#,
            r#"{"id":"a","type":"T","id":"b"}"#,
            r#"{"id":"a","type":"T","dt":"2026-11-20"}"#,
            "{\"id\":\"a\",\n\"type\":\"T\"}",
            r#"{"id":"a","type":"T"} {}"#,
        ] {
            assert!(!is_row(none.as_bytes()), "{none}");
        }
        assert!(!is_row(b"{\"id\":\"\xff\",\"type\":\"T\"}"));
    }
}
