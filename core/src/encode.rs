//! A domain's own types written through serde: the counterpart of [`decode`](crate::decode).
//!
//! An enum's variant becomes a tag and fields, a struct becomes fields. `None` and `()` leave their
//! field out, so that absent is written in one way only. Floats, bytes and maps whose keys are no
//! strings have no form here.

use serde::ser::{
    Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, Serializer,
};

use crate::attribute::{Attribute, Attributes};
use crate::error::EncodeError;

type Result<T = (), E = EncodeError> = std::result::Result<T, E>;

/// A name that a type declares: its own, a field's or a variant's.
type Name = &'static str;

/// Writes a struct's fields as attributes.
///
/// # Errors
/// [`EncodeError`] if `value` is no struct, or a field has no form as an attribute.
pub fn encode_struct<T: Serialize>(value: &T) -> Result<Attributes, EncodeError> {
    let mut row = AttributeSink::default();
    value.serialize(TaggedSerializer::new(&mut row))?;
    match row.tag {
        None => Ok(row.attributes),
        Some(_) => Err(EncodeError::new("is not a struct")),
    }
}

/// Writes a variant's serde name, and its fields as attributes.
///
/// # Errors
/// [`EncodeError`] if `value` is no enum whose variants are structs, or a field has no form as an
/// attribute.
pub fn encode_variant<T: Serialize>(value: &T) -> Result<(&'static str, Attributes), EncodeError> {
    let mut row = AttributeSink::default();
    value.serialize(TaggedSerializer::new(&mut row))?;
    let tag = row.tag.ok_or(NO_ENUM)?;
    Ok((tag, row.attributes))
}

/// The serde name of an enum's variant. Its fields are not encoded.
///
/// # Errors
/// [`EncodeError`] if `value` is no enum whose variants are structs.
pub fn variant_name<T: Serialize>(value: &T) -> Result<&'static str, EncodeError> {
    let mut sink = TagSink(None);
    value.serialize(TaggedSerializer::new(&mut sink))?;
    sink.0.ok_or(NO_ENUM)
}

pub(crate) const NO_ENUM: EncodeError = EncodeError::new("is not an enum");
const NO_FIELDS: EncodeError = EncodeError::new("is neither a struct nor an enum of structs");
const NO_FORM: EncodeError = EncodeError::new("has a type that is not supported");

/// Receives a value's tag, and then its fields in the order of their declaration.
pub(crate) trait FieldSink {
    /// Receives the tag; `None` for a struct.
    fn begin(&mut self, tag: Option<Name>) -> Result;

    /// Receives a field.
    fn field<T: Serialize + ?Sized>(&mut self, name: Name, value: &T) -> Result;
}

#[derive(Default)]
struct AttributeSink {
    tag: Option<Name>,
    attributes: Attributes,
}

impl FieldSink for AttributeSink {
    fn begin(&mut self, tag: Option<Name>) -> Result {
        self.tag = tag;
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: Name, value: &T) -> Result {
        match encode_attribute(value).map_err(|error| error.in_field(name))? {
            Attribute::Null => {}
            value => _ = self.attributes.insert(name.to_owned(), value),
        }
        Ok(())
    }
}

/// Keeps the tag and drops the fields.
struct TagSink(Option<Name>);

impl FieldSink for TagSink {
    fn begin(&mut self, tag: Option<Name>) -> Result {
        self.0 = tag;
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, _: Name, _: &T) -> Result {
        Ok(())
    }
}

/// Writes one value.
pub(crate) fn encode_attribute<T: Serialize + ?Sized>(value: &T) -> Result<Attribute> {
    value.serialize(AttributeSerializer)
}

/// Splits an enum's variant into its tag and its fields.
pub(crate) struct TaggedSerializer<'s, S> {
    sink: &'s mut S,
    tag: Option<Name>,
}

impl<'s, S: FieldSink> TaggedSerializer<'s, S> {
    pub(crate) const fn new(sink: &'s mut S) -> Self {
        Self { sink, tag: None }
    }

    fn begin(self, tag: Option<Name>) -> Result<SinkFields<'s, S>> {
        self.sink.begin(tag)?;
        Ok(SinkFields(self.sink))
    }
}

/// Passes a struct's fields on to a sink.
pub(crate) struct SinkFields<'s, S>(&'s mut S);

/// One of serde's traits for fields, which passes each on to the sink.
macro_rules! sink_fields {
    ($trait:ident) => {
        impl<S: FieldSink> $trait for SinkFields<'_, S> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: Name, value: &T) -> Result {
                self.0.field(name, value)
            }

            fn end(self) -> Result {
                Ok(())
            }
        }
    };
}

sink_fields! { SerializeStruct }
sink_fields! { SerializeStructVariant }

/// Methods of a serializer that refuse their value.
macro_rules! refuse {
    ($error:expr; $($method:ident($($argument:ty),*) -> $output:ty,)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$output> {
            Err($error)
        })*
    };
}

impl<'s, S: FieldSink> Serializer for TaggedSerializer<'s, S> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Impossible<(), EncodeError>;
    type SerializeTuple = Impossible<(), EncodeError>;
    type SerializeTupleStruct = Impossible<(), EncodeError>;
    type SerializeTupleVariant = Impossible<(), EncodeError>;
    type SerializeMap = Impossible<(), EncodeError>;
    type SerializeStruct = SinkFields<'s, S>;
    type SerializeStructVariant = SinkFields<'s, S>;

    refuse! { NO_FIELDS;
        serialize_bool(bool) -> (),
        serialize_i8(i8) -> (),
        serialize_i16(i16) -> (),
        serialize_i32(i32) -> (),
        serialize_i64(i64) -> (),
        serialize_u8(u8) -> (),
        serialize_u16(u16) -> (),
        serialize_u32(u32) -> (),
        serialize_u64(u64) -> (),
        serialize_f32(f32) -> (),
        serialize_f64(f64) -> (),
        serialize_char(char) -> (),
        serialize_str(&str) -> (),
        serialize_bytes(&[u8]) -> (),
        serialize_none() -> (),
        serialize_seq(Option<usize>) -> Self::SerializeSeq,
        serialize_tuple(usize) -> Self::SerializeTuple,
        serialize_tuple_struct(Name, usize) -> Self::SerializeTupleStruct,
        serialize_tuple_variant(Name, u32, Name, usize) -> Self::SerializeTupleVariant,
        serialize_map(Option<usize>) -> Self::SerializeMap,
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result {
        self.sink.begin(self.tag)
    }

    fn serialize_unit_struct(self, _: Name) -> Result {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: Name, _: u32, variant: Name) -> Result {
        self.sink.begin(Some(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: Name, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: Name,
        _: u32,
        variant: Name,
        value: &T,
    ) -> Result {
        value.serialize(Self {
            sink: self.sink,
            tag: Some(variant),
        })
    }

    fn serialize_struct(self, _: Name, _: usize) -> Result<Self::SerializeStruct> {
        let tag = self.tag;
        self.begin(tag)
    }

    fn serialize_struct_variant(
        self,
        _: Name,
        _: u32,
        variant: Name,
        _: usize,
    ) -> Result<Self::SerializeStructVariant> {
        self.begin(Some(variant))
    }
}

/// Writes one value as an attribute.
struct AttributeSerializer;

/// A list's elements so far.
struct List(Vec<Attribute>);

/// A map's entries so far, and the variant that they are the fields of.
#[derive(Default)]
struct Map {
    variant: Option<Name>,
    entries: Attributes,
    key: Option<String>,
}

macro_rules! serialize_integers {
    ($($serialize:ident $integer:ty,)*) => {
        $(fn $serialize(self, number: $integer) -> Result<Attribute> {
            Ok(Attribute::Number(number.to_string()))
        })*
    };
}

impl Serializer for AttributeSerializer {
    type Ok = Attribute;
    type Error = EncodeError;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = Impossible<Attribute, EncodeError>;
    type SerializeMap = Map;
    type SerializeStruct = Map;
    type SerializeStructVariant = Map;

    serialize_integers! {
        serialize_i8 i8,
        serialize_i16 i16,
        serialize_i32 i32,
        serialize_i64 i64,
        serialize_i128 i128,
        serialize_u8 u8,
        serialize_u16 u16,
        serialize_u32 u32,
        serialize_u64 u64,
        serialize_u128 u128,
    }

    refuse! { NO_FORM;
        serialize_f32(f32) -> Attribute,
        serialize_f64(f64) -> Attribute,
        serialize_bytes(&[u8]) -> Attribute,
        serialize_tuple_variant(Name, u32, Name, usize) -> Self::SerializeTupleVariant,
    }

    fn serialize_bool(self, value: bool) -> Result<Attribute> {
        Ok(Attribute::Bool(value))
    }

    fn serialize_char(self, value: char) -> Result<Attribute> {
        Ok(Attribute::text(value))
    }

    fn serialize_str(self, value: &str) -> Result<Attribute> {
        Ok(Attribute::text(value))
    }

    fn serialize_none(self) -> Result<Attribute> {
        Ok(Attribute::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Attribute> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Attribute> {
        Ok(Attribute::Null)
    }

    fn serialize_unit_struct(self, _: Name) -> Result<Attribute> {
        Ok(Attribute::Null)
    }

    fn serialize_unit_variant(self, _: Name, _: u32, variant: Name) -> Result<Attribute> {
        Ok(Attribute::text(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: Name,
        value: &T,
    ) -> Result<Attribute> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: Name,
        _: u32,
        variant: Name,
        value: &T,
    ) -> Result<Attribute> {
        let value = encode_attribute(value).map_err(|error| error.in_field(variant))?;
        Ok(Attribute::Map([(variant.to_owned(), value)].into()))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<List> {
        Ok(List(Vec::with_capacity(length.unwrap_or_default())))
    }

    fn serialize_tuple(self, length: usize) -> Result<List> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: Name, length: usize) -> Result<List> {
        self.serialize_seq(Some(length))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map> {
        Ok(Map::default())
    }

    fn serialize_struct(self, _: Name, _: usize) -> Result<Map> {
        Ok(Map::default())
    }

    fn serialize_struct_variant(self, _: Name, _: u32, variant: Name, _: usize) -> Result<Map> {
        Ok(Map {
            variant: Some(variant),
            ..Map::default()
        })
    }
}

impl List {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.0.push(encode_attribute(value)?);
        Ok(())
    }
}

impl Map {
    fn insert<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result {
        match encode_attribute(value).map_err(|error| error.in_field(key))? {
            Attribute::Null => {}
            value => _ = self.entries.insert(key.to_owned(), value),
        }
        Ok(())
    }

    fn finish(self) -> Attribute {
        let map = Attribute::Map(self.entries);
        match self.variant {
            None => map,
            Some(variant) => Attribute::Map([(variant.to_owned(), map)].into()),
        }
    }
}

/// One of serde's traits for sequences.
macro_rules! sequence {
    ($trait:ident $method:ident) => {
        impl $trait for List {
            type Ok = Attribute;
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
                self.push(value)
            }

            fn end(self) -> Result<Attribute> {
                Ok(Attribute::List(self.0))
            }
        }
    };
}

sequence! { SerializeSeq serialize_element }
sequence! { SerializeTuple serialize_element }
sequence! { SerializeTupleStruct serialize_field }

/// One of serde's traits for fields.
macro_rules! fields {
    ($trait:ident) => {
        impl $trait for Map {
            type Ok = Attribute;
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: Name, value: &T) -> Result {
                self.insert(name, value)
            }

            fn end(self) -> Result<Attribute> {
                Ok(self.finish())
            }
        }
    };
}

fields! { SerializeStruct }
fields! { SerializeStructVariant }

impl SerializeMap for Map {
    type Ok = Attribute;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        let Attribute::Text(key) = encode_attribute(key)? else {
            return Err(NO_FORM);
        };
        self.key = Some(key);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        let key = self
            .key
            .take()
            .expect("serde writes a key before its value");
        self.insert(&key, value)
    }

    fn end(self) -> Result<Attribute> {
        Ok(self.finish())
    }
}
