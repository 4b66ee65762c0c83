//! Articles and quantities, in commands, rows and public events.

use std::fmt;

use millrace_core::InvalidValue;
use millrace_core::decode::from_text;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// The most units of one article in an order.
pub const MAX_QUANTITY: u32 = 1_000_000;

/// An article's number: 1 to 40 capital letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(transparent)]
pub struct Sku(#[schemars(regex(pattern = "^[A-Z0-9-]{1,40}$"))] String);

/// A number of units of one article: 1 to [`MAX_QUANTITY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
#[schemars(extend("minimum" = 1, "maximum" = MAX_QUANTITY))]
pub struct Quantity(u32);

/// An article and its quantity.
///
/// An unknown member is refused, because in a command it is a misspelling. A row with a new member therefore
/// needs a new schema version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The article.
    pub sku: Sku,
    /// The number of units.
    pub quantity: Quantity,
}

/// One or more lines, at most one for each article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Line>")]
#[schemars(extend("minItems" = 1))]
pub struct Lines(Vec<Line>);

impl Sku {
    /// Reads an article's number.
    ///
    /// # Errors
    /// [`InvalidValue`] unless it is 1 to 40 capital letters, digits and hyphens.
    pub fn new(text: &str) -> Result<Self, InvalidValue> {
        let is_known = |byte: u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-');
        if (1..=40).contains(&text.len()) && text.bytes().all(is_known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue::new("is not an article's number such as A-1"))
        }
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Sku {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::new)
    }
}

impl Quantity {
    /// The number of units.
    #[must_use]
    pub const fn units(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Quantity {
    type Error = InvalidValue;

    fn try_from(units: u32) -> Result<Self, InvalidValue> {
        if (1..=MAX_QUANTITY).contains(&units) {
            Ok(Self(units))
        } else {
            Err(InvalidValue::new("is not a quantity from 1 to 1000000"))
        }
    }
}

impl Lines {
    /// The lines, in the order of the command.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    /// The sum of the quantities.
    #[must_use]
    pub fn units(&self) -> u64 {
        let units = self.iter().map(|line| u64::from(line.quantity.units()));
        units.sum()
    }
}

impl TryFrom<Vec<Line>> for Lines {
    type Error = InvalidValue;

    fn try_from(lines: Vec<Line>) -> Result<Self, InvalidValue> {
        if lines.is_empty() {
            return Err(InvalidValue::new("has no line"));
        }
        let is_repeated = |(index, line): (usize, &Line)| {
            let before = &lines[..index];
            before.iter().any(|other| other.sku == line.sku)
        };
        if lines.iter().enumerate().any(is_repeated) {
            return Err(InvalidValue::new("has two lines of one article"));
        }
        Ok(Self(lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sku_is_1_to_40_capital_letters_digits_and_hyphens() {
        let longest = "A".repeat(40);
        for sku in ["A", "0", "A-1", &*longest] {
            assert_eq!(Sku::new(sku).map(|sku| sku.to_string()), Ok(sku.to_owned()));
        }
        for text in ["", "a", "A 1", "Ä", "A_1", &*"A".repeat(41)] {
            assert!(Sku::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_quantities_outside_the_range() {
        for units in [1, MAX_QUANTITY] {
            assert_eq!(Quantity::try_from(units).map(Quantity::units), Ok(units));
        }
        for units in [0, MAX_QUANTITY + 1, u32::MAX] {
            let error = Quantity::try_from(units).expect_err("refused");
            assert!(error.to_string().ends_with(&MAX_QUANTITY.to_string()));
        }
    }

    #[test]
    fn refuses_two_lines_of_one_article() {
        let line = |sku| Line {
            sku: Sku::new(sku).expect("valid"),
            quantity: Quantity(2),
        };
        let lines = Lines::try_from(vec![line("A"), line("B")]).expect("valid");
        assert_eq!(lines.units(), 4);
        assert!(Lines::try_from(Vec::new()).is_err());
        assert!(Lines::try_from(vec![line("A"), line("B"), line("A")]).is_err());
    }
}
