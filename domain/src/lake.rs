//! What the lake's table can hold: a line whose known members have the types of its columns.
//!
//! This is wider than [`Envelope::parse`](crate::Envelope::parse): event types and members that are
//! newer than this code have their place in the lake too. A line of other types would make every
//! query over it fail.
//!
//! Athena reads a line with the `OpenX` `SerDe`, which compares names without regard to case and fails
//! on an object that names a member twice, whatever the member
//! ([Athena](https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html)).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The type of a column, or of a field of the column `data`.
#[derive(Debug, Clone, Copy)]
enum Column {
    Text,
    Bigint,
    Data,
    /// The partition column `dt` comes from the object's place in S3, and not from the line.
    Partition,
}

/// The table's columns as the `SerDe` compares names: in lower case. `infra/lib/lake-catalog.ts`
/// creates them.
const COLUMNS: [(&str, Column); 13] = [
    ("specversion", Column::Text),
    ("id", Column::Text),
    ("source", Column::Text),
    ("type", Column::Text),
    ("subject", Column::Text),
    ("time", Column::Text),
    ("datacontenttype", Column::Text),
    ("dataschema", Column::Text),
    ("correlationid", Column::Text),
    ("causationid", Column::Text),
    ("data_base64", Column::Text),
    ("data", Column::Data),
    ("dt", Column::Partition),
];

/// The fields of the column `data`.
const DATA: [(&str, Column); 4] = [
    ("accountid", Column::Text),
    ("sequence", Column::Bigint),
    ("amount", Column::Bigint),
    ("currency", Column::Text),
];

/// The columns that every row of the lake has.
const REQUIRED: [&str; 2] = ["id", "type"];

/// A JSON value, reduced to the distinctions that matter for a column.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Null,
    Text { is_empty: bool },
    Integer,
    Other,
    Object(Members),
}

/// An object's members by their names in lower case.
type Members = BTreeMap<String, Value>;

/// Whether these bytes can be a line of the lake as they are: one line, and a row of its table.
#[must_use]
pub fn is_row(bytes: &[u8]) -> bool {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return false;
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(bytes) else {
        return false;
    };
    let has = |name| matches!(members.get(name), Some(Value::Text { is_empty: false }));
    REQUIRED.into_iter().all(has) && fits(&members, &COLUMNS)
}

/// Whether each member that has a column can be its value. A member without a column can be
/// anything.
fn fits(members: &Members, columns: &[(&str, Column)]) -> bool {
    columns
        .iter()
        .all(|(name, column)| match (column, members.get(*name)) {
            (_, None | Some(Value::Null))
            | (Column::Text, Some(Value::Text { .. }))
            | (Column::Bigint, Some(Value::Integer)) => true,
            (Column::Data, Some(Value::Object(data))) => fits(data, &DATA),
            (Column::Text | Column::Bigint | Column::Data | Column::Partition, Some(_)) => false,
        })
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Integer)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(if i64::try_from(number).is_ok() {
            Value::Integer
        } else {
            Value::Other
        })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text {
            is_empty: text.is_empty(),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        while elements.next_element::<Value>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut members = Members::new();
        while let Some((name, value)) = fields.next_entry::<String, Value>()? {
            if members.insert(name.to_lowercase(), value).is_some() {
                return Err(A::Error::custom("an object names a member twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn events_of_today_and_of_tomorrow_are_rows() {
        for row in [
            r#"{"id":"a:1","type":"AccountCreated"}"#,
            r#"{"id":"a:1","type":"AccountClosed","new":{"x":[1]},"data":{"accountId":"a","why":1}}"#,
            r#"{"id":"a:1","type":"T","data":{"sequence":7,"amount":9007199254740991},"time":null}"#,
            r#"{"id":"\u00e4:1","type":"T","subject":"\"\\"}"#,
            r#"{"ID":"a:1","Type":"T","DATA":{"ACCOUNTID":"a","Sequence":7},"new":[0.5,true,[]]}"#,
            r#"{"id":"a:1","type":"T","data":null,"dt":null,"new":18446744073709551615}"#,
            r#"{"id":"a:1","type":"T","new":{"id":5,"data":{"amount":"5"}}}"#,
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
            r#"{"id":"a","type":"T","data":{"amount":9223372036854775808}}"#,
            r#"{"id":"a","type":"T","id":"b"}"#,
            r#"{"id":"a","type":"T","ID":"b"}"#,
            r#"{"id":"a","type":"T","ID":null}"#,
            r#"{"id":"a","type":"T","TYPE":5}"#,
            r#"{"id":"a","type":"T","Data":5}"#,
            r#"{"id":"a","type":"T","SUBJECT":{}}"#,
            r#"{"id":"a","type":"T","data":{"Amount":"5"}}"#,
            r#"{"id":"a","type":"T","data":{"accountId":"a","accountid":"a"}}"#,
            r#"{"id":"a","type":"T","DT":"2026-11-20"}"#,
            r#"{"id":"a","type":"T","new":1,"New":2}"#,
            r#"{"id":"a","type":"T","new":[{"x":{"y":1,"Y":2}}]}"#,
            r#"{"id":"a","type":"T","new":1e999}"#,
            r#"{"id":"a","type":"T","dt":"2026-11-20"}"#,
            "{\"id\":\"a\",\n\"type\":\"T\"}",
            r#"{"id":"a","type":"T"} {}"#,
        ] {
            assert!(!is_row(none.as_bytes()), "{none}");
        }
        assert!(!is_row(b"{\"id\":\"\xff\",\"type\":\"T\"}"));
    }

    /// A line from members and their values, both as they are.
    fn line(members: &[(String, String)]) -> String {
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{}:{value}", json!(name)))
            .collect();
        format!("{{{}}}", members.join(","))
    }

    fn recased(name: &str, upper: &[bool]) -> String {
        let letters = name.chars().zip(upper.iter().cycle());
        letters
            .map(|(letter, upper)| {
                if *upper {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            })
            .collect()
    }

    fn case() -> impl Strategy<Value = Vec<bool>> {
        prop::collection::vec(any::<bool>(), 1..12)
    }

    /// A value of a column, and one that is none.
    fn values(column: Column) -> (&'static str, &'static str) {
        match column {
            Column::Text => (r#""x""#, "5"),
            Column::Bigint => ("7", r#""7""#),
            Column::Data => (r#"{"accountId":"a","amount":5}"#, "[]"),
            Column::Partition => ("null", r#""2026-11-20""#),
        }
    }

    proptest! {
        #[test]
        fn a_name_in_another_case_is_the_same_name(
            cases in prop::collection::vec(case(), COLUMNS.len()),
            wrong in prop::option::of(0..COLUMNS.len()),
            twice in prop::option::of((0..COLUMNS.len(), case())),
        ) {
            let mut members: Vec<_> = COLUMNS
                .iter()
                .enumerate()
                .map(|(index, (name, column))| {
                    let (right, other) = values(*column);
                    let value = if wrong == Some(index) { other } else { right };
                    (recased(name, &cases[index]), value.to_owned())
                })
                .collect();
            if let Some((index, case)) = &twice {
                members.push((recased(COLUMNS[*index].0, case), "null".to_owned()));
            }
            let line = line(&members);
            prop_assert_eq!(is_row(line.as_bytes()), wrong.is_none() && twice.is_none(), "{}", line);
        }

        #[test]
        fn a_field_of_data_in_another_case_is_the_same_field(
            cases in prop::collection::vec(case(), DATA.len()),
            wrong in prop::option::of(0..DATA.len()),
            twice in prop::option::of((0..DATA.len(), case())),
            data in case(),
        ) {
            let mut fields: Vec<_> = DATA
                .iter()
                .enumerate()
                .map(|(index, (name, column))| {
                    let (right, other) = values(*column);
                    let value = if wrong == Some(index) { other } else { right };
                    (recased(name, &cases[index]), value.to_owned())
                })
                .collect();
            if let Some((index, case)) = &twice {
                fields.push((recased(DATA[*index].0, case), "null".to_owned()));
            }
            let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let line = line(&[
                text("id", r#""a:1""#),
                text("type", r#""T""#),
                (recased("data", &data), line(&fields)),
            ]);
            prop_assert_eq!(is_row(line.as_bytes()), wrong.is_none() && twice.is_none(), "{}", line);
        }

        #[test]
        fn a_member_that_is_named_twice_makes_no_row_at_any_depth(
            name in "[a-z]{1,6}",
            case in case(),
            depth in 0_usize..20,
        ) {
            let nested = |names: &[&str]| {
                let object = line(&names.iter().map(|it| ((*it).to_owned(), "1".into())).collect::<Vec<_>>());
                let nested = (0..depth).fold(object, |inner, _| format!(r#"[{{"x":{inner}}}]"#));
                format!(r#"{{"id":"a","type":"T","new":{nested}}}"#)
            };
            prop_assert!(is_row(nested(&[&name]).as_bytes()));
            prop_assert!(!is_row(nested(&[&name, &recased(&name, &case)]).as_bytes()));
        }
    }
}
