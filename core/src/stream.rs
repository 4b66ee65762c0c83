//! The event with which Lambda delivers records of a DynamoDB stream, read in one pass over its bytes.
//!
//! Strings are borrowed from the bytes, except where they had to be unescaped. Only the members that are
//! used are kept; all others are skipped, whatever they contain.
//!
//! A record of an unexpected shape is no error of the batch: a member that isn't what it should be is
//! treated as missing, and an attribute value that has no known form is an [`Attribute::Other`], which is
//! an error of the one who uses it.

use std::borrow::Cow;

use crate::attribute::{Attribute, Attributes, BorrowedAttribute};
use crate::columns::Columns;
use crate::error::DecodeError;
use crate::json_reader::{JsonReader, SyntaxError};

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
    let mut reader = JsonReader::new(text);
    read_event(&mut reader, each).map_err(|error| match error {
        EventError::NoRecords => DecodeError::constant("is not an object with a list of Records"),
        EventError::Syntax(error) => {
            let (line, column) = error.line_and_column(text);
            DecodeError::whole(format!("is not JSON, at line {line} column {column}"))
        }
    })
}

/// Why bytes are no event.
enum EventError {
    Syntax(SyntaxError),
    NoRecords,
}

impl From<SyntaxError> for EventError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

fn read_event<'a>(
    reader: &mut JsonReader<'a>,
    mut each: impl FnMut(usize, &mut StreamRecord<'a>),
) -> Result<(), EventError> {
    if reader.peek() != b'{' {
        reader.skip()?;
        return Err(EventError::NoRecords);
    }
    let mut is_found = false;
    reader.object(|reader, name| {
        if name != RECORDS {
            return Ok(reader.skip()?);
        }
        if is_found {
            return Err(EventError::NoRecords);
        }
        is_found = true;
        records(reader, &mut each)
    })?;
    if !is_found {
        return Err(EventError::NoRecords);
    }
    Ok(reader.end()?)
}

fn records<'a>(
    reader: &mut JsonReader<'a>,
    mut each: impl FnMut(usize, &mut StreamRecord<'a>),
) -> Result<(), EventError> {
    if reader.peek() != b'[' {
        reader.skip()?;
        return Err(EventError::NoRecords);
    }
    let mut record = StreamRecord::default();
    let mut position = 0;
    reader.list(|reader| {
        record.clear();
        read_record(reader, &mut record)?;
        record.keys.sort();
        each(position, &mut record);
        position += 1;
        Ok(())
    })
}

fn read_record<'a>(
    reader: &mut JsonReader<'a>,
    record: &mut StreamRecord<'a>,
) -> Result<(), SyntaxError> {
    object_or_skip(reader, |reader, name| {
        match &*name {
            "eventName" => record.event_name = optional_string(reader)?,
            "eventID" => record.event_id = optional_string(reader)?,
            "dynamodb" => read_change(reader, record)?,
            _ => reader.skip()?,
        }
        Ok(())
    })
}

fn read_change<'a>(
    reader: &mut JsonReader<'a>,
    record: &mut StreamRecord<'a>,
) -> Result<(), SyntaxError> {
    object_or_skip(reader, |reader, name| {
        match &*name {
            "SequenceNumber" => record.sequence_number = optional_string(reader)?,
            "Keys" => read_item(reader, &mut record.keys)?,
            "NewImage" => read_item(reader, &mut record.new_image)?,
            _ => reader.skip()?,
        }
        Ok(())
    })
}

fn read_item<'a>(
    reader: &mut JsonReader<'a>,
    columns: &mut Columns<'a>,
) -> Result<(), SyntaxError> {
    object_or_skip(reader, |reader, name| {
        columns.push(name, attribute(reader)?);
        Ok(())
    })
}

/// Reads an object's members, or skips a value of another shape.
#[inline]
fn object_or_skip<'a>(
    reader: &mut JsonReader<'a>,
    read_value: impl FnMut(&mut JsonReader<'a>, Cow<'a, str>) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    match reader.peek() {
        b'{' => reader.object(read_value),
        _ => reader.skip(),
    }
}

/// A string; `None` for a value of another shape.
fn optional_string<'a>(reader: &mut JsonReader<'a>) -> Result<Option<Cow<'a, str>>, SyntaxError> {
    if reader.peek() == b'"' {
        return reader.string().map(Some);
    }
    reader.skip()?;
    Ok(None)
}

/// `{"S":"a string"}`, or the same of another type.
fn attribute<'a>(reader: &mut JsonReader<'a>) -> Result<BorrowedAttribute<'a>, SyntaxError> {
    // Nearly all values are one of these.
    if let Some(text) = reader.string_between(r#"{"S":""#, "}") {
        return Ok(Attribute::Text(Cow::Borrowed(text)));
    }
    if let Some(number) = reader.string_between(r#"{"N":""#, "}") {
        return Ok(Attribute::Number(Cow::Borrowed(number)));
    }
    let mut attribute = None;
    object_or_skip(reader, |reader, name| {
        // An attribute value has one member.
        attribute = Some(if attribute.is_none() {
            typed_value(reader, &name)?
        } else {
            reader.skip()?;
            MALFORMED
        });
        Ok(())
    })?;
    Ok(attribute.unwrap_or(MALFORMED))
}

/// The value of an attribute of this type. Sets and binary values aren't read.
fn typed_value<'a>(
    reader: &mut JsonReader<'a>,
    type_name: &str,
) -> Result<BorrowedAttribute<'a>, SyntaxError> {
    let first = reader.peek();
    match (type_name, first) {
        ("S", b'"') => return reader.string().map(Attribute::Text),
        ("N", b'"') => return reader.string().map(Attribute::Number),
        ("BOOL", b't' | b'f') => return reader.boolean().map(Attribute::Bool),
        ("L", b'[') => return list(reader),
        ("M", b'{') => return map(reader),
        _ => reader.skip()?,
    }
    Ok(match (type_name, first) {
        ("NULL", b't' | b'f') => Attribute::Null,
        ("B", _) => Attribute::Other("B"),
        ("SS", _) => Attribute::Other("SS"),
        ("NS", _) => Attribute::Other("NS"),
        ("BS", _) => Attribute::Other("BS"),
        _ => MALFORMED,
    })
}

fn list<'a>(reader: &mut JsonReader<'a>) -> Result<BorrowedAttribute<'a>, SyntaxError> {
    let mut list = Vec::new();
    reader.list(|reader| {
        list.push(attribute(reader)?);
        Ok::<_, SyntaxError>(())
    })?;
    Ok(Attribute::List(list))
}

fn map<'a>(reader: &mut JsonReader<'a>) -> Result<BorrowedAttribute<'a>, SyntaxError> {
    let mut map = Attributes::new();
    let mut is_repeated = false;
    reader.object(|reader, name| {
        is_repeated |= map.insert(name, attribute(reader)?).is_some();
        Ok::<_, SyntaxError>(())
    })?;
    Ok(if is_repeated {
        REPEATED
    } else {
        Attribute::Map(map)
    })
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
