//! A table's item as plain names and values, independent of the AWS SDK.

use std::collections::BTreeMap;

/// One value of an item, by DynamoDB's types. Sets and binary values are kept by the name of their
/// type only, so that an error can say what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// `S`.
    Text(String),
    /// `N`, as the decimal string that DynamoDB returns; never a float.
    Number(String),
    /// `BOOL`.
    Bool(bool),
    /// `NULL`.
    Null,
    /// `L`.
    List(Vec<Attribute>),
    /// `M`.
    Map(Attributes),
    /// A value that was not kept, by its type: `B`, `BS`, `NS`, `SS`, …
    Other(&'static str),
}

/// An item: attribute names and their values.
pub type Attributes = BTreeMap<String, Attribute>;

impl Attribute {
    /// A string value.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hold texts, ids and times alike"
    )]
    pub fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    /// An integer value.
    #[must_use]
    pub fn number(value: impl Into<i128>) -> Self {
        Self::Number(value.into().to_string())
    }

    /// DynamoDB's name for this value's type.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "S",
            Self::Number(_) => "N",
            Self::Bool(_) => "BOOL",
            Self::Null => "NULL",
            Self::List(_) => "L",
            Self::Map(_) => "M",
            Self::Other(name) => name,
        }
    }

    /// The value as an integer; `None` for any other type, a fraction, or a number beyond 2^63. Trailing
    /// zero decimals are no fraction: `10` and `10.0` are the same number in DynamoDB, which returns the
    /// shorter form.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        let Self::Number(number) = self else {
            return None;
        };
        let whole = match number.split_once('.') {
            Some((whole, decimals))
                if !decimals.is_empty() && decimals.bytes().all(|d| d == b'0') =>
            {
                whole
            }
            Some(_) => return None,
            None => number,
        };
        whole.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whole_numbers_exactly() {
        for (text, value) in [
            ("0", Some(0)),
            ("-7", Some(-7)),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("10.0", Some(10)),
            ("10.", None),
            ("1.5", None),
            ("1e3", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(Attribute::Number(text.into()).as_integer(), value, "{text}");
        }
        assert_eq!(Attribute::Text("1".into()).as_integer(), None);
        assert_eq!(Attribute::Other("BOOL").as_integer(), None);
    }
}
