//! Checks whether a line can be a row of the lake's table: its known members have the types of the
//! columns.
//!
//! The check accepts more than [`Envelope::parse`](crate::Envelope::parse), because the lake also stores
//! event types and members that are newer than this code. A line with other types would make every
//! query that reads it fail.
//!
//! Firehose reads a line with the `OpenX` deserializer and makes it a row of Parquet, or Athena reads it
//! with the Hive JSON `SerDe`. Both compare names without regard to case: Firehose brings them into lower
//! case, as Glue and Athena do with the names of columns. Neither accepts an object that names a member
//! twice
//! ([Firehose](https://docs.aws.amazon.com/firehose/latest/APIReference/API_OpenXJsonSerDe.html),
//! [OpenX](https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html),
//! [Hive](https://docs.aws.amazon.com/athena/latest/ug/hive-json-serde.html)).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::domain::Domain;
use crate::envelope;
use crate::json::Name;

/// The type of a column, or of a field of the column `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// `string`.
    Text,
    /// `bigint`: an integer of 64 bits.
    Bigint,
    /// `boolean`.
    Boolean,
    /// `struct`: an object with these fields.
    Object(&'static [(&'static str, Column)]),
    /// `array` of `struct`: a list of objects with these fields.
    List(&'static [(&'static str, Column)]),
    /// `struct`: the column `data`.
    Data,
    /// The partition column `dt` comes from the object's path in S3, and not from the line.
    Partition,
}

/// The table's columns, in lower case. The CDK app creates them.
pub const COLUMNS: [(&str, Column); 14] = [
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
    ("traceparent", Column::Text),
    ("data", Column::Data),
    ("data_base64", Column::Text),
    ("dt", Column::Partition),
];

/// The columns that every row of the lake has.
const REQUIRED: [&str; 2] = ["id", "type"];

/// A JSON value's kind, as far as it decides whether the value fits a column.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Null,
    Text {
        is_empty: bool,
    },
    Integer,
    Boolean,
    Other,
    /// A list that contains only these objects and nulls. A list with other values is `Other`.
    List(Vec<Members<'a>>),
    Object(Members<'a>),
}

/// An object's members by their names in lower case.
type Members<'a> = BTreeMap<Cow<'a, str>, Value<'a>>;

/// Whether these bytes can be a line of the lake as they are: one line, and a row of the table whose
/// column `data` has the fields that [`Domain::LAKE`] names.
#[must_use]
pub fn is_row<D: Domain>(bytes: &[u8]) -> bool {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return false;
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(bytes) else {
        return false;
    };
    let has = |name| matches!(members.get(name), Some(Value::Text { is_empty: false }));
    REQUIRED.into_iter().all(has) && fits(&members, &COLUMNS, &data_fields::<D>())
}

/// Whether each member that has a column can be its value. A member without a column can be
/// anything.
fn fits(
    members: &Members<'_>,
    columns: &[(&'static str, Column)],
    data: &[(&'static str, Column)],
) -> bool {
    columns.iter().all(|(name, column)| {
        let value = members.get(lower_case((*name).into()).as_ref());
        match (column, value) {
            (_, None | Some(Value::Null))
            | (Column::Text, Some(Value::Text { .. }))
            | (Column::Bigint, Some(Value::Integer))
            | (Column::Boolean, Some(Value::Boolean)) => true,
            (Column::Data, Some(Value::Object(members))) => fits(members, data, &[]),
            (Column::Object(fields), Some(Value::Object(members))) => fits(members, fields, &[]),
            (Column::List(fields), Some(Value::List(objects))) => {
                objects.iter().all(|members| fits(members, fields, &[]))
            }
            (
                Column::Text
                | Column::Bigint
                | Column::Boolean
                | Column::Object(_)
                | Column::List(_)
                | Column::Data
                | Column::Partition,
                Some(_),
            ) => false,
        }
    })
}

/// The fields of the column `data`: core's, and the domain's.
#[must_use]
pub fn data_fields<D: Domain>() -> Vec<(&'static str, Column)> {
    let core = [(D::ID, Column::Text), (envelope::SEQUENCE, Column::Bigint)];
    core.into_iter().chain(D::LAKE.iter().copied()).collect()
}

/// The name in lower case. Nearly all names are, and are not copied.
fn lower_case(name: Cow<'_, str>) -> Cow<'_, str> {
    let is_lower = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if name.bytes().all(is_lower) {
        name
    } else {
        name.to_lowercase().into()
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Boolean)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(if i64::try_from(number).is_ok() {
            Value::Integer
        } else {
            Value::Other
        })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text {
            is_empty: text.is_empty(),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value<'de>, A::Error> {
        let mut objects = Vec::new();
        let mut has_others = false;
        while let Some(element) = elements.next_element()? {
            match element {
                Value::Object(members) => objects.push(members),
                Value::Null => {}
                _ => has_others = true,
            }
        }
        Ok(if has_others {
            Value::Other
        } else {
            Value::List(objects)
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value<'de>, A::Error> {
        let mut members = Members::new();
        while let Some((Name(name), value)) = fields.next_entry()? {
            if members.insert(lower_case(name), value).is_some() {
                return Err(A::Error::custom("an object names a member twice"));
            }
        }
        Ok(Value::Object(members))
    }
}
