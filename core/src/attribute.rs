//! A table's item as plain names and values, independent of the AWS SDK.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// One value of an item, by DynamoDB's types. Sets and binary values are kept by the name of their
/// type only, so that an error can say what was found.
///
/// `T` is the type of its strings: `String`, or that of a [`BorrowedAttribute`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute<T = String> {
    /// `S`.
    Text(T),
    /// `N`, as the decimal string that DynamoDB returns; never a float.
    Number(T),
    /// `BOOL`.
    Bool(bool),
    /// `NULL`.
    Null,
    /// `L`.
    List(Vec<Self>),
    /// `M`.
    Map(Attributes<T>),
    /// A value that was not kept, by its type: `B`, `BS`, `NS`, `SS`, …
    Other(&'static str),
}

/// An item: attribute names and their values.
pub type Attributes<T = String> = BTreeMap<T, Attribute<T>>;

/// A value whose strings are borrowed from what it was read from, except where they had to be unescaped.
pub type BorrowedAttribute<'a> = Attribute<Cow<'a, str>>;

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
}

impl<T> Attribute<T> {
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

    /// The same value with other strings.
    fn map_strings<U: Ord>(self, map: fn(T) -> U) -> Attribute<U> {
        match self {
            Self::Text(text) => Attribute::Text(map(text)),
            Self::Number(number) => Attribute::Number(map(number)),
            Self::Bool(value) => Attribute::Bool(value),
            Self::Null => Attribute::Null,
            Self::List(list) => {
                let list = list.into_iter().map(|value| value.map_strings(map));
                Attribute::List(list.collect())
            }
            Self::Map(entries) => {
                let entries = entries.into_iter();
                let entries = entries.map(|(name, value)| (map(name), value.map_strings(map)));
                Attribute::Map(entries.collect())
            }
            Self::Other(name) => Attribute::Other(name),
        }
    }
}

impl<T: AsRef<str>> Attribute<T> {
    /// The value as an integer; `None` for any other type, a fraction, or a number beyond 2^63. Trailing
    /// zero decimals are no fraction: `10` and `10.0` are the same number in DynamoDB, which returns the
    /// shorter form.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        let Self::Number(number) = self else {
            return None;
        };
        let number = number.as_ref();
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

impl BorrowedAttribute<'_> {
    /// The same value with strings of its own.
    #[must_use]
    pub fn into_owned(self) -> Attribute {
        self.map_strings(Cow::into_owned)
    }
}

impl From<Attribute> for BorrowedAttribute<'_> {
    fn from(owned: Attribute) -> Self {
        owned.map_strings(Cow::Owned)
    }
}

impl<'a> From<&'a Attribute> for BorrowedAttribute<'a> {
    fn from(value: &'a Attribute) -> Self {
        match value {
            Attribute::Text(text) => Self::Text(Cow::Borrowed(text)),
            Attribute::Number(number) => Self::Number(Cow::Borrowed(number)),
            Attribute::Bool(value) => Self::Bool(*value),
            Attribute::Null => Self::Null,
            Attribute::List(list) => Self::List(list.iter().map(Self::from).collect()),
            Attribute::Map(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(name, value)| (name.into(), value.into()));
                Self::Map(entries.collect())
            }
            Attribute::Other(name) => Self::Other(name),
        }
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
            let number = Attribute::Number(text.to_owned());
            assert_eq!(number.as_integer(), value, "{text}");
        }
        assert_eq!(Attribute::text("1").as_integer(), None);
        let other: Attribute = Attribute::Other("BOOL");
        assert_eq!(other.as_integer(), None);
    }

    #[test]
    fn a_borrowed_value_is_the_same() {
        let map = [("a".to_owned(), Attribute::Null)].into();
        let list = vec![
            Attribute::text("x"),
            Attribute::number(7),
            Attribute::Bool(true),
            Attribute::Map(map),
            Attribute::Other("B"),
        ];
        let value = Attribute::List(list);
        assert_eq!(BorrowedAttribute::from(&value).into_owned(), value);
        assert_eq!(BorrowedAttribute::from(value.clone()).into_owned(), value);
    }
}
