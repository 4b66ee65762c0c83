//! The event with which Lambda delivers records of a DynamoDB stream, read in one pass over its bytes.
//!
//! Strings are borrowed from the bytes, except where they had to be unescaped. Only the members that are
//! used are kept; all others are skipped, whatever they contain.
//!
//! A record of an unexpected shape is no error of the batch: a member that isn't what it should be is
//! treated as missing, and an attribute value that has no known form is an [`Attribute::Other`], which is
//! an error of the one who uses it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::error::Category;

use crate::attribute::{Attribute, Attributes, BorrowedAttribute};
use crate::columns::Columns;
use crate::error::DecodeError;

/// An attribute value that isn't an object of one member whose name is a type of DynamoDB's, or whose
/// value isn't of that type.
const MALFORMED: BorrowedAttribute<'static> = Attribute::Other("a malformed attribute value");

/// A map that contains a name more than once.
const REPEATED: BorrowedAttribute<'static> = Attribute::Other("a map with a repeated name");

const RECORDS: &str = "Records";

/// One record of a DynamoDB stream. Of a member that the record contains more than once, the last one
/// counts; attributes of repeated images are joined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamRecord<'a> {
    /// `eventName`: `INSERT`, `MODIFY` or `REMOVE`.
    pub event_name: Option<Cow<'a, str>>,
    /// `eventID`, for the log.
    pub event_id: Option<Cow<'a, str>>,
    /// `SequenceNumber`, by which a response names the record.
    pub sequence_number: Option<Cow<'a, str>>,
    /// `Keys`: the item's key attributes.
    pub keys: Columns<'a>,
    /// `NewImage`: the item after the change; empty for `REMOVE`.
    pub new_image: Columns<'a>,
}

impl<'a> StreamRecord<'a> {
    /// The item after the change: the new image, and the key attributes that it lacks.
    pub fn item(&mut self) -> &mut Columns<'a> {
        self.new_image.add_missing(&mut self.keys);
        &mut self.new_image
    }

    fn clear(&mut self) {
        self.event_name = None;
        self.event_id = None;
        self.sequence_number = None;
        self.keys.clear();
        self.new_image.clear();
    }
}

/// Reads an event and calls `each` for each of its records, in order, with the record's position. The
/// record's memory is used again for the next one.
///
/// # Errors
/// [`DecodeError`] if `json` is not JSON in UTF-8, or not an object with a list `Records`. Some records may
/// have been passed to `each` by then. The error doesn't quote any of it.
pub fn read_records<'a>(
    json: &'a [u8],
    each: impl FnMut(usize, &mut StreamRecord<'a>),
) -> Result<(), DecodeError> {
    // Checking all bytes at once is faster than checking each string.
    let text =
        std::str::from_utf8(json).map_err(|_| DecodeError::constant("is not JSON in UTF-8"))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_map(StreamEvent { each })
        .and_then(|()| deserializer.end())
        .map_err(|error| match error.classify() {
            Category::Data => DecodeError::constant("is not an object with a list of Records"),
            Category::Syntax | Category::Eof | Category::Io => DecodeError::whole(format!(
                "is not JSON, at line {} column {}",
                error.line(),
                error.column()
            )),
        })
}

struct StreamEvent<F> {
    each: F,
}

impl<'a, F: FnMut(usize, &mut StreamRecord<'a>)> Visitor<'a> for StreamEvent<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut is_found = false;
        while let Some(name) = members.next_key_seed(Name)? {
            if name != RECORDS {
                members.next_value::<IgnoredAny>()?;
            } else if is_found {
                return Err(A::Error::duplicate_field(RECORDS));
            } else {
                members.next_value_seed(Records {
                    each: &mut self.each,
                })?;
                is_found = true;
            }
        }
        if is_found {
            Ok(())
        } else {
            Err(A::Error::missing_field(RECORDS))
        }
    }
}

struct Records<'f, F> {
    each: &'f mut F,
}

impl<'a, F: FnMut(usize, &mut StreamRecord<'a>)> DeserializeSeed<'a> for Records<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a, F: FnMut(usize, &mut StreamRecord<'a>)> Visitor<'a> for Records<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut record = StreamRecord::default();
        let mut position = 0;
        loop {
            record.clear();
            let seed = AnyShape(RecordMembers(&mut record));
            if elements.next_element_seed(seed)?.is_none() {
                return Ok(());
            }
            record.keys.sort();
            (self.each)(position, &mut record);
            position += 1;
        }
    }
}

/// Reads a value that may have any shape. A method that isn't implemented skips the value.
trait Shape<'a>: Sized {
    type Value;

    /// The result for a value of another shape.
    fn unexpected(self) -> Self::Value;

    fn string(self, _: Cow<'a, str>) -> Self::Value {
        self.unexpected()
    }

    fn boolean(self, _: bool) -> Self::Value {
        self.unexpected()
    }

    fn list<A: SeqAccess<'a>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.unexpected())
    }

    fn object<A: MapAccess<'a>>(self, members: A) -> Result<Self::Value, A::Error> {
        skip_members(members)?;
        Ok(self.unexpected())
    }
}

/// Skips an object's remaining members; returns whether there were any.
fn skip_members<'a, A: MapAccess<'a>>(mut members: A) -> Result<bool, A::Error> {
    let mut is_any = false;
    while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
        is_any = true;
    }
    Ok(is_any)
}

struct AnyShape<S>(S);

impl<'a, S: Shape<'a>> DeserializeSeed<'a> for AnyShape<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, S: Shape<'a>> Visitor<'a> for AnyShape<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<S::Value, E> {
        Ok(self.0.unexpected())
    }

    fn visit_bool<E>(self, value: bool) -> Result<S::Value, E> {
        Ok(self.0.boolean(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<S::Value, E> {
        Ok(self.0.unexpected())
    }

    fn visit_u64<E>(self, _: u64) -> Result<S::Value, E> {
        Ok(self.0.unexpected())
    }

    fn visit_f64<E>(self, _: f64) -> Result<S::Value, E> {
        Ok(self.0.unexpected())
    }

    fn visit_str<E>(self, text: &str) -> Result<S::Value, E> {
        Ok(self.0.string(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<S::Value, E> {
        Ok(self.0.string(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, elements: A) -> Result<S::Value, A::Error> {
        self.0.list(elements)
    }

    fn visit_map<A: MapAccess<'a>>(self, members: A) -> Result<S::Value, A::Error> {
        self.0.object(members)
    }
}

/// The name of a member.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(name))
    }
}

struct RecordMembers<'r, 'a>(&'r mut StreamRecord<'a>);

impl<'a> Shape<'a> for RecordMembers<'_, 'a> {
    type Value = ();

    fn unexpected(self) {}

    fn object<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(record) = self;
        while let Some(name) = members.next_key_seed(Name)? {
            match &*name {
                "eventName" => {
                    record.event_name = members.next_value_seed(AnyShape(OptionalString))?;
                }
                "eventID" => record.event_id = members.next_value_seed(AnyShape(OptionalString))?,
                "dynamodb" => members.next_value_seed(AnyShape(ChangeMembers(record)))?,
                _ => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

struct ChangeMembers<'r, 'a>(&'r mut StreamRecord<'a>);

impl<'a> Shape<'a> for ChangeMembers<'_, 'a> {
    type Value = ();

    fn unexpected(self) {}

    fn object<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(record) = self;
        while let Some(name) = members.next_key_seed(Name)? {
            match &*name {
                "SequenceNumber" => {
                    record.sequence_number = members.next_value_seed(AnyShape(OptionalString))?;
                }
                "Keys" => members.next_value_seed(AnyShape(Item(&mut record.keys)))?,
                "NewImage" => members.next_value_seed(AnyShape(Item(&mut record.new_image)))?,
                _ => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

struct OptionalString;

impl<'a> Shape<'a> for OptionalString {
    type Value = Option<Cow<'a, str>>;

    fn unexpected(self) -> Self::Value {
        None
    }

    fn string(self, text: Cow<'a, str>) -> Self::Value {
        Some(text)
    }
}

struct Item<'c, 'a>(&'c mut Columns<'a>);

impl<'a> Shape<'a> for Item<'_, 'a> {
    type Value = ();

    fn unexpected(self) {}

    fn object<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key_seed(Name)? {
            let value = members.next_value_seed(AnyShape(AttributeValue))?;
            self.0.push(name, value);
        }
        Ok(())
    }
}

/// `{"S":"a string"}`, or the same of another type.
struct AttributeValue;

impl<'a> Shape<'a> for AttributeValue {
    type Value = BorrowedAttribute<'a>;

    fn unexpected(self) -> Self::Value {
        MALFORMED
    }

    fn object<A: MapAccess<'a>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Some(name) = members.next_key_seed(Name)? else {
            return Ok(MALFORMED);
        };
        let kind = match &*name {
            "S" => Kind::Text,
            "N" => Kind::Number,
            "BOOL" => Kind::Bool,
            "NULL" => Kind::Null,
            "L" => Kind::List,
            "M" => Kind::Map,
            "B" => Kind::Other("B"),
            "SS" => Kind::Other("SS"),
            "NS" => Kind::Other("NS"),
            "BS" => Kind::Other("BS"),
            _ => Kind::Unknown,
        };
        let value = members.next_value_seed(AnyShape(kind))?;
        Ok(if skip_members(members)? {
            MALFORMED
        } else {
            value
        })
    }
}

/// The type of an attribute value. Sets and binary values aren't read.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Bool,
    Null,
    List,
    Map,
    Other(&'static str),
    Unknown,
}

impl<'a> Shape<'a> for Kind {
    type Value = BorrowedAttribute<'a>;

    fn unexpected(self) -> Self::Value {
        match self {
            Self::Other(name) => Attribute::Other(name),
            Self::Text
            | Self::Number
            | Self::Bool
            | Self::Null
            | Self::List
            | Self::Map
            | Self::Unknown => MALFORMED,
        }
    }

    fn string(self, text: Cow<'a, str>) -> Self::Value {
        match self {
            Self::Text => Attribute::Text(text),
            Self::Number => Attribute::Number(text),
            other => other.unexpected(),
        }
    }

    fn boolean(self, value: bool) -> Self::Value {
        match self {
            Self::Bool => Attribute::Bool(value),
            Self::Null => Attribute::Null,
            other => other.unexpected(),
        }
    }

    fn list<A: SeqAccess<'a>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        if matches!(self, Self::List) {
            while let Some(element) = elements.next_element_seed(AnyShape(AttributeValue))? {
                list.push(element);
            }
            return Ok(Attribute::List(list));
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.unexpected())
    }

    fn object<A: MapAccess<'a>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        if !matches!(self, Self::Map) {
            skip_members(members)?;
            return Ok(self.unexpected());
        }
        let mut map = Attributes::new();
        let mut is_repeated = false;
        while let Some(name) = members.next_key_seed(Name)? {
            let value = members.next_value_seed(AnyShape(AttributeValue))?;
            is_repeated |= map.insert(name, value).is_some();
        }
        Ok(if is_repeated {
            REPEATED
        } else {
            Attribute::Map(map)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(json: &str) -> Result<Vec<StreamRecord<'_>>, String> {
        let mut records = Vec::new();
        read_records(json.as_bytes(), |position, record| {
            assert_eq!(position, records.len());
            let mut record = record.clone();
            record.new_image.sort();
            records.push(record);
        })
        .map_err(|error| error.to_string())?;
        Ok(records)
    }

    fn image(json: &str) -> Columns<'_> {
        records(json).expect("JSON").remove(0).new_image
    }

    fn text(text: &str) -> BorrowedAttribute<'_> {
        Attribute::Text(Cow::Borrowed(text))
    }

    #[test]
    fn a_record_is_read_in_any_order_with_escapes_and_unknown_members() {
        let expected = |event_id| {
            let mut record = StreamRecord {
                event_name: Some("INSERT".into()),
                event_id,
                sequence_number: Some("7".into()),
                ..StreamRecord::default()
            };
            record.keys.push("Id".into(), text("a"));
            record.new_image.push("A".into(), text("x"));
            record
                .new_image
                .push("N".into(), Attribute::Number("1".into()));
            record
        };
        let json = r#"{"Records":[{"eventID":"e","eventName":"INSERT","dynamodb":{"Keys":{"Id":{"S":"a"}},"NewImage":{"A":{"S":"x"},"N":{"N":"1"}},"SequenceNumber":"7"}}]}"#;
        assert_eq!(records(json), Ok(vec![expected(Some("e".into()))]));
        let json = r#" { "other" : [ { } ] , "Records" : [
            { "dynamodb" : { "SizeBytes" : 1e999, "SequenceNumber" : "\u0037" ,
                "NewImage" : { "N" : { "N" : "1" } , "\u0041" : { "S" : "\u0078" } } ,
                "Keys" : { "\u0049d" : { "\u0053" : "a" } } } ,
              "userIdentity" : null , "event\u004eame" : "INSERT" } ] } "#;
        assert_eq!(records(json), Ok(vec![expected(None)]));
    }

    #[test]
    fn every_type_of_dynamodb_is_read() {
        let json = r#"{"Records":[{"dynamodb":{"NewImage":{
            "a":{"S":""},"b":{"N":"-1.5"},"c":{"BOOL":false},"d":{"NULL":true},
            "e":{"L":[{"S":"x"},{"L":[]}]},"f":{"M":{"k":{"N":"2"}}},
            "g":{"B":"AA=="},"h":{"SS":["x"]},"i":{"NS":["1"]},"j":{"BS":["AA=="]}}}}]}"#;
        let map = [("k".into(), Attribute::Number("2".into()))].into();
        let list = vec![text("x"), Attribute::List(Vec::new())];
        let expected = [
            ("a", text("")),
            ("b", Attribute::Number("-1.5".into())),
            ("c", Attribute::Bool(false)),
            ("d", Attribute::Null),
            ("e", Attribute::List(list)),
            ("f", Attribute::Map(map)),
            ("g", Attribute::Other("B")),
            ("h", Attribute::Other("SS")),
            ("i", Attribute::Other("NS")),
            ("j", Attribute::Other("BS")),
        ];
        let image = image(json);
        assert!(
            image
                .iter()
                .eq(expected.iter().map(|(name, value)| (*name, value)))
        );
    }

    #[test]
    fn a_value_of_an_unexpected_shape_is_an_error_of_its_attribute_alone() {
        for value in [
            "null",
            "1",
            "1.5",
            "true",
            r#""x""#,
            "[{}]",
            "{}",
            r#"{"S":1}"#,
            r#"{"S":null}"#,
            r#"{"S":["x"]}"#,
            r#"{"S":{"S":"x"}}"#,
            r#"{"N":1}"#,
            r#"{"BOOL":"true"}"#,
            r#"{"NULL":"true"}"#,
            r#"{"L":{"S":"x"}}"#,
            r#"{"M":[]}"#,
            r#"{"X":"x"}"#,
            r#"{"S":"x","N":"1"}"#,
            r#"{"S":"x","S":"x"}"#,
        ] {
            let json = format!(
                r#"{{"Records":[{{"dynamodb":{{"NewImage":{{"A":{value},"B":{{"S":"b"}}}}}}}}]}}"#
            );
            let image = image(&json);
            assert_eq!(image.get("A"), Some(&MALFORMED), "{value}");
            assert_eq!(image.text("B"), Some("b"), "{value}");
        }
        let json =
            r#"{"Records":[{"dynamodb":{"NewImage":{"A":{"M":{"k":{"S":"x"},"k":{"S":"x"}}}}}}]}"#;
        assert_eq!(image(json).get("A"), Some(&REPEATED));
        let json = r#"{"Records":[{"dynamodb":{"NewImage":{"A":{"S":"x"},"B":{"S":"b"},"A":{"S":"x"}}}}]}"#;
        let image = image(json);
        let found = image.get("A").map(Attribute::type_name);
        assert_eq!(found, Some("a repeated attribute"));
        assert_eq!(image.text("B"), Some("b"));
    }

    #[test]
    fn a_record_of_an_unexpected_shape_lacks_members_and_affects_no_other() {
        let whole = r#"{"eventName":"INSERT","dynamodb":{"SequenceNumber":"1"}}"#;
        for (record, is_named) in [
            ("null", false),
            ("[1]", false),
            (r#""x""#, false),
            (r#"{"eventName":1,"eventID":{},"dynamodb":[]}"#, false),
            (
                r#"{"eventName":"INSERT","dynamodb":{"SequenceNumber":1,"Keys":null,"NewImage":"x"}}"#,
                true,
            ),
        ] {
            let json = format!(r#"{{"Records":[{record},{whole}]}}"#);
            let records = records(&json).expect("JSON");
            let expected = StreamRecord {
                event_name: is_named.then(|| "INSERT".into()),
                ..StreamRecord::default()
            };
            assert_eq!(records[0], expected, "{record}");
            assert_eq!(records[1].sequence_number.as_deref(), Some("1"), "{record}");
        }
    }

    #[test]
    fn an_item_is_the_image_and_the_keys_that_it_lacks() {
        let json = r#"{"Records":[{"dynamodb":{"Keys":{"Id":{"S":"k"},"Version":{"N":"1"}},"NewImage":{"Z":{"S":"z"},"Id":{"S":"a"}}}}]}"#;
        let mut record = records(json).expect("JSON").remove(0);
        let names: Vec<&str> = record.item().iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Id", "Z", "Version"]);
        assert_eq!(record.item().text("Id"), Some("a"));
    }

    #[test]
    fn bytes_that_are_no_event_are_an_error_that_quotes_nothing() {
        for (json, error) in [
            (
                &b"{\"Records\":[{\"secret\":\xff}]}"[..],
                "is not JSON in UTF-8",
            ),
            (b"", "is not JSON, at line 1 column 0"),
            (
                b"{\"Records\":[secret]}",
                "is not JSON, at line 1 column 13",
            ),
            (b"{\"Records\":[]} x", "is not JSON, at line 1 column 16"),
            (
                b"{\"Records\":[{\"eventName\":\"\\ud800\"}]}",
                "is not JSON, at line 1 column 33",
            ),
            (b"{}", "is not an object with a list of Records"),
            (b"[]", "is not an object with a list of Records"),
            (
                b"{\"Records\":{}}",
                "is not an object with a list of Records",
            ),
            (
                b"{\"Records\":null}",
                "is not an object with a list of Records",
            ),
            (
                b"{\"Records\":[],\"Records\":[]}",
                "is not an object with a list of Records",
            ),
        ] {
            let read = read_records(json, |_, _| {});
            assert_eq!(read.expect_err(error).to_string(), error);
        }
        assert_eq!(records(r#"{"Records":[]}"#), Ok(Vec::new()));
    }
}
