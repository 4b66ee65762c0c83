//! JSON objects read as structs, and nothing else: a derived `Deserialize` would also take an array
//! of the fields' values in their order, which no contract of ours allows.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// A struct that is written and read as an object.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<T: Serialize> Serialize for Object<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Amount {
        amount: u64,
    }

    fn read(json: &str) -> Result<Amount, serde_json::Error> {
        serde_json::from_str(json).map(|Object(amount)| amount)
    }

    #[test]
    fn an_object_is_read_as_ever() {
        assert_eq!(read(r#"{"amount":5}"#).expect("read"), Amount { amount: 5 });
        for wrong in [r#"{"amount":5,"x":1}"#, r#"{"amount":5,"amount":5}"#, "{}"] {
            read(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn an_array_of_the_values_is_none() {
        for wrong in ["[5]", "5", "null", "\"amount\""] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.to_string().contains("expected an object"), "{error}");
        }
    }
}
