//! Attributes read into a domain's own types through serde.
//!
//! A row is an externally tagged enum to serde: the tag is the `Type` column, the fields are its
//! sibling columns. So a domain's types need plain derives, without `#[serde(tag)]` or
//! `#[serde(flatten)]`, which buffer values and lose the attribute's name. The same is true of a
//! command (the tag is its name in the path, the fields are the body's members) and of a public event
//! (`type` and `data`). A snapshot and a view are structs: fields without a tag.
//!
//! Every key is read here, so every error names its attribute.
//!
//! Integers are exact at any size that serde has; `10.0` is 10. Floats and bytes aren't read.

use std::borrow::Cow;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::attribute::{Attribute, BorrowedAttribute};
use crate::columns::Columns;
use crate::error::{DecodeError, InvalidValue};

type Result<T, E = DecodeError> = std::result::Result<T, E>;

/// A name that a type declares: its own, a field's or a variant's.
type Name = &'static str;
type Names = &'static [Name];

/// The names of a struct's fields, as serde calls them: its columns. Empty for `()`.
#[must_use]
pub fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // Deserialization passes the names of the fields first, and then always fails.
    let read: Result<T> = T::deserialize(FieldNames(&mut names));
    drop(read);
    names
}

/// The names of an enum's variants, as serde calls them. Empty for any other type.
#[must_use]
pub fn variant_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    let read: Result<T> = T::deserialize(VariantNames(&mut names));
    drop(read);
    names
}

/// Keeps the names of an enum's variants, and contains no value.
struct VariantNames<'n>(&'n mut Names);

impl<'de> Deserializer<'de> for VariantNames<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(DecodeError::constant("contains no value"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: Name,
        variants: Names,
        visitor: V,
    ) -> Result<V::Value> {
        *self.0 = variants;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Keeps the names of a struct's fields, and contains no value.
struct FieldNames<'n>(&'n mut Names);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(DecodeError::constant("contains no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: Name,
        fields: Names,
        visitor: V,
    ) -> Result<V::Value> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Reads a struct from the columns whose names `is_reserved` doesn't claim.
///
/// # Errors
/// [`DecodeError`] that names the attribute which is missing or wrong.
pub fn decode_struct<T: DeserializeOwned>(
    columns: &Columns<'_>,
    is_reserved: fn(&str) -> bool,
) -> Result<T, DecodeError> {
    decode_variant("", columns, is_reserved)
}

/// Reads the enum's variant that `tag` names; its fields are the columns whose names `is_reserved`
/// doesn't claim.
///
/// # Errors
/// [`DecodeError`] that names the attribute which is missing or wrong; its path is empty if `tag`
/// names no variant.
pub fn decode_variant<T: DeserializeOwned>(
    tag: &str,
    columns: &Columns<'_>,
    is_reserved: fn(&str) -> bool,
) -> Result<T, DecodeError> {
    T::deserialize(Tagged {
        tag,
        columns,
        is_reserved,
    })
}

/// Reads a value from a string without a copy of it: for the `Deserialize` of a domain's own type.
/// The problem becomes the error's message.
///
/// # Errors
/// The deserializer's own, for a value that is no string or that `parse` refuses.
pub fn from_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
) -> Result<T, D::Error> {
    struct Text<F>(F);

    impl<T, F: FnOnce(&str) -> Result<T, InvalidValue>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(parse))
}

/// One attribute under its name.
pub(crate) fn decode_attribute<'de, T, S>(name: &str, value: &'de Attribute<S>) -> Result<T>
where
    T: serde::Deserialize<'de>,
    S: AsRef<str>,
{
    T::deserialize(value).map_err(|error| error.in_field(name))
}

/// Methods of a deserializer that read their value as another method does.
macro_rules! forward {
    ($($deserialize:ident($($hint:ty),*) => $other:ident,)*) => {
        $(fn $deserialize<V: Visitor<'de>>(self, $(_: $hint,)* visitor: V) -> Result<V::Value> {
            self.$other(visitor)
        })*
    };
}

/// Columns next to the tag that says which variant they are the fields of.
#[derive(Clone, Copy)]
struct Tagged<'de> {
    tag: &'de str,
    columns: &'de Columns<'de>,
    is_reserved: fn(&str) -> bool,
}

impl<'de> Tagged<'de> {
    fn fields(
        self,
    ) -> Fields<'de, Cow<'de, str>, impl Iterator<Item = (&'de str, &'de BorrowedAttribute<'de>)>>
    {
        let fields = self.columns.iter();
        Fields::new(fields.filter(move |(name, _)| !(self.is_reserved)(name)))
    }
}

impl<'de> Deserializer<'de> for Tagged<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_map(self.fields())
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: Name, _: Names, visitor: V) -> Result<V::Value> {
        visitor.visit_enum(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    forward! { deserialize_unit_struct(Name) => deserialize_unit, }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: Name, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Tagged<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self)> {
        let tag: StrDeserializer<'_, DecodeError> = self.tag.into_deserializer();
        Ok((seed.deserialize(tag)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value> {
        Err(DecodeError::constant(
            "is a variant whose fields have no names",
        ))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: Names, visitor: V) -> Result<V::Value> {
        visitor.visit_map(self.fields())
    }
}

/// Named values as serde's map; the names become part of each error's path.
struct Fields<'de, S, I> {
    fields: I,
    current: Option<(&'de str, &'de Attribute<S>)>,
}

impl<S, I> Fields<'_, S, I> {
    const fn new(fields: I) -> Self {
        Self {
            fields,
            current: None,
        }
    }
}

impl<'de, S, I> MapAccess<'de> for Fields<'de, S, I>
where
    S: AsRef<str>,
    I: Iterator<Item = (&'de str, &'de Attribute<S>)>,
{
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.current = self.fields.next();
        let Some((name, _)) = self.current else {
            return Ok(None);
        };
        let key = serde::de::value::BorrowedStrDeserializer::<DecodeError>::new(name);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        let (name, value) = self
            .current
            .take()
            .expect("serde asks for a value after its key only");
        seed.deserialize(value)
            .map_err(|error| error.in_field(name))
    }
}

/// A list's values as serde's sequence; the indices become part of each error's path.
struct Elements<'de, S>(std::iter::Enumerate<std::slice::Iter<'de, Attribute<S>>>);

impl<'de, S: AsRef<str>> SeqAccess<'de> for Elements<'de, S> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some((index, value)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(value)
            .map(Some)
            .map_err(|error| error.in_element(index))
    }
}

/// The digits of a number without decimals, or with zeros for decimals only.
fn integer<T: std::str::FromStr>(value: &Attribute<impl AsRef<str>>) -> Result<T> {
    let Attribute::Number(number) = value else {
        return Err(wrong_type(value, "N"));
    };
    let number = number.as_ref();
    if let Ok(integer) = number.parse() {
        return Ok(integer);
    }
    let digits = match number.split_once('.') {
        Some((digits, decimals))
            if !decimals.is_empty() && decimals.bytes().all(|digit| digit == b'0') =>
        {
            digits
        }
        Some(_) | None => number,
    };
    digits
        .parse()
        .map_err(|_| DecodeError::constant("is not an integer in range"))
}

fn wrong_type<S>(found: &Attribute<S>, expected: &'static str) -> DecodeError {
    DecodeError::wrong_type(found.type_name(), expected)
}

macro_rules! deserialize_integers {
    ($($deserialize:ident $visit:ident,)*) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            visitor.$visit(integer(self)?)
        })*
    };
}

impl<'de, S: AsRef<str>> Deserializer<'de> for &'de Attribute<S> {
    type Error = DecodeError;

    deserialize_integers! {
        deserialize_i8 visit_i8,
        deserialize_i16 visit_i16,
        deserialize_i32 visit_i32,
        deserialize_i64 visit_i64,
        deserialize_i128 visit_i128,
        deserialize_u8 visit_u8,
        deserialize_u16 visit_u16,
        deserialize_u32 visit_u32,
        deserialize_u64 visit_u64,
        deserialize_u128 visit_u128,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Attribute::Text(text) => visitor.visit_borrowed_str(text.as_ref()),
            Attribute::Number(_) => match integer(self) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => self.deserialize_u64(visitor),
            },
            Attribute::Bool(value) => visitor.visit_bool(*value),
            Attribute::Null => visitor.visit_unit(),
            Attribute::List(_) => self.deserialize_seq(visitor),
            Attribute::Map(_) => self.deserialize_map(visitor),
            Attribute::Other(_) => Err(wrong_type(self, "a type that is read")),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Attribute::Bool(value) => visitor.visit_bool(*value),
            other => Err(wrong_type(other, "BOOL")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Attribute::Text(text) => visitor.visit_borrowed_str(text.as_ref()),
            other => Err(wrong_type(other, "S")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Attribute::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Attribute::Null => visitor.visit_unit(),
            other => Err(wrong_type(other, "NULL")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: Name, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let Attribute::List(list) = self else {
            return Err(wrong_type(self, "L"));
        };
        let mut elements = Elements(list.iter().enumerate());
        let value = visitor.visit_seq(&mut elements)?;
        if elements.0.len() == 0 {
            Ok(value)
        } else {
            Err(DecodeError::constant("contains too many elements"))
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let Attribute::Map(map) = self else {
            return Err(wrong_type(self, "M"));
        };
        visitor.visit_map(Fields::new(map.iter().map(|(k, v)| (k.as_ref(), v))))
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: Name, _: Names, visitor: V) -> Result<V::Value> {
        match self {
            Attribute::Text(name) => {
                let variant: StrDeserializer<'_, DecodeError> = name.as_ref().into_deserializer();
                visitor.visit_enum(variant)
            }
            Attribute::Map(map) => {
                let fields = Fields::new(map.iter().map(|(k, v)| (k.as_ref(), v)));
                visitor.visit_enum(MapAccessDeserializer::new(fields))
            }
            other => Err(wrong_type(other, "S or M")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    forward! {
        deserialize_char() => deserialize_str,
        deserialize_string() => deserialize_str,
        deserialize_identifier() => deserialize_str,
        deserialize_unit_struct(Name) => deserialize_unit,
        deserialize_tuple(usize) => deserialize_seq,
        deserialize_tuple_struct(Name, usize) => deserialize_seq,
        deserialize_struct(Name, Names) => deserialize_map,
        deserialize_f32() => deserialize_f64,
        deserialize_byte_buf() => deserialize_bytes,
    }

    fn deserialize_f64<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(DecodeError::constant(
            "has a float type, which is not supported",
        ))
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(DecodeError::constant(
            "has a bytes type, which is not supported",
        ))
    }
}
