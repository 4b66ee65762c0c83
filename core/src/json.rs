//! JSON objects as attributes, so that one data format reads rows, commands and public events.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::attribute::{Attribute, Attributes, BorrowedAttribute};
use crate::error::DecodeError;

/// The value of a member that its object contains more than once. Only reading the member is an error,
/// because the values of members that the domain doesn't know are not checked.
const REPEATED: BorrowedAttribute<'static> = Attribute::Other("a repeated member");
/// The value of a number with a fraction or an exponent: `1.0` isn't accepted as the integer 1.
const NO_INTEGER: BorrowedAttribute<'static> =
    Attribute::Other("a number with a fraction or an exponent");

/// Reads one JSON object.
///
/// # Errors
/// [`DecodeError`] without a path if `json` is not a JSON object. The error doesn't quote any of it.
pub fn object(json: &[u8]) -> Result<Attributes, DecodeError> {
    let members = borrowed_object(json)?.into_iter();
    Ok(members
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect())
}

/// [`object`] with strings that are borrowed from the JSON, except where they had to be unescaped.
pub(crate) fn borrowed_object(json: &[u8]) -> Result<Attributes<Cow<'_, str>>, DecodeError> {
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

struct Json<'a>(BorrowedAttribute<'a>);

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

/// The name of a member.
pub(crate) struct Name<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AnyName).map(Self)
    }
}

struct AnyName;

impl<'de> Visitor<'de> for AnyName {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = BorrowedAttribute<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Attribute::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Attribute::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Attribute::Number(number.to_string().into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Attribute::Number(number.to_string().into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(NO_INTEGER)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Attribute::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Attribute::Text(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Json(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Attribute::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = Attributes::new();
        while let Some((Name(name), Json(value))) = members.next_entry()? {
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
        let escaped = object(br#"{"\u0061":"\u0078"}"#);
        assert_eq!(escaped, Ok([("a".to_owned(), Attribute::text("x"))].into()));
    }

    #[test]
    fn no_form_of_a_float_is_an_integer() {
        for number in ["1.0", "1e3", "-0.5", "99999999999999999999999999"] {
            let read = object(format!(r#"{{"a":{number}}}"#).as_bytes()).expect("JSON");
            assert_eq!(read["a"], NO_INTEGER.into_owned(), "{number}");
        }
    }

    #[test]
    fn a_repeated_member_is_none() {
        let read = object(br#"{"a":1,"a":1,"b":2}"#).expect("JSON");
        assert_eq!(read["a"], REPEATED.into_owned());
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
