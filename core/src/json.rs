//! JSON objects as attributes, so that one data format reads rows, commands and public events.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::attribute::{Attribute, Attributes};
use crate::error::DecodeError;

/// The value of a member that its object contains more than once. Only reading the member is an error,
/// because the values of members that the domain doesn't know are not checked.
const REPEATED: Attribute = Attribute::Other("a repeated member");
/// The value of a number with a fraction or an exponent: `1.0` isn't accepted as the integer 1.
const NO_INTEGER: Attribute = Attribute::Other("a number with a fraction or an exponent");

/// Reads one JSON object.
///
/// # Errors
/// [`DecodeError`] without a path if `json` is not a JSON object. The error doesn't quote any of it.
pub fn object(json: &[u8]) -> Result<Attributes, DecodeError> {
    match serde_json::from_slice(json) {
        Ok(Json(Attribute::Map(members))) => Ok(members),
        Ok(Json(_)) => Err(DecodeError::constant("is not a JSON object")),
        Err(error) => Err(DecodeError::whole(format!(
            "is not JSON, at line {} column {}",
            error.line(),
            error.column()
        ))),
    }
}

struct Json(Attribute);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Attribute;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Attribute, E> {
        Ok(Attribute::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Attribute, E> {
        Ok(Attribute::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Attribute, E> {
        Ok(Attribute::number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Attribute, E> {
        Ok(Attribute::number(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Attribute, E> {
        Ok(NO_INTEGER)
    }

    fn visit_str<E>(self, text: &str) -> Result<Attribute, E> {
        Ok(Attribute::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Attribute, A::Error> {
        let mut list = Vec::new();
        while let Some(Json(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Attribute::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Attribute, A::Error> {
        let mut map = Attributes::new();
        while let Some((name, Json(value))) = members.next_entry::<String, Json>()? {
            map.entry(name)
                .and_modify(|repeated| *repeated = REPEATED)
                .or_insert(value);
        }
        Ok(Attribute::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_becomes_attributes() {
        let read = object(br#"{"a":[1,-2,true,null,"x"],"b":{"c":18446744073709551615}}"#);
        let list = vec![
            Attribute::number(1),
            Attribute::number(-2),
            Attribute::Bool(true),
            Attribute::Null,
            Attribute::text("x"),
        ];
        let inner = [("c".to_owned(), Attribute::number(u64::MAX))].into();
        assert_eq!(
            read,
            Ok([
                ("a".to_owned(), Attribute::List(list)),
                ("b".to_owned(), Attribute::Map(inner)),
            ]
            .into())
        );
    }

    #[test]
    fn no_form_of_a_float_is_an_integer() {
        for number in ["1.0", "1e3", "-0.5", "99999999999999999999999999"] {
            let read = object(format!(r#"{{"a":{number}}}"#).as_bytes()).expect("JSON");
            assert_eq!(read["a"], NO_INTEGER, "{number}");
        }
    }

    #[test]
    fn a_repeated_member_is_none() {
        let read = object(br#"{"a":1,"a":1,"b":2}"#).expect("JSON");
        assert_eq!(read["a"], REPEATED);
        assert_eq!(read["b"], Attribute::number(2));
    }

    #[test]
    fn an_error_says_where_and_quotes_nothing() {
        for (json, text) in [
            (&b"{\"a\":secret}"[..], "is not JSON, at line 1 column 6"),
            (b"", "is not JSON, at line 1 column 0"),
            (b"{} {}", "is not JSON, at line 1 column 4"),
            (b"[1]", "is not a JSON object"),
            (b"null", "is not a JSON object"),
        ] {
            assert_eq!(object(json).expect_err(text).to_string(), text);
        }
    }
}
