//! Money in integer minor units (cents for EUR, yen for JPY). Never a float.

use std::fmt;

use iso_currency::Currency as Iso4217;
use millrace_core::InvalidValue;
use millrace_core::decode::from_text;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest amount and balance, in minor units: 2^53-1. JSON parsers that read numbers as doubles
/// read all integers up to it exactly ([RFC 8259, section 6](https://www.rfc-editor.org/rfc/rfc8259#section-6)).
pub const MAX_MINOR_UNITS: i64 = (1 << 53) - 1;

/// The unit of amounts and balances in the contract.
const UNIT: &str =
    "minor units of `currency`: 100 for 1.00 EUR and for 100 JPY, as ISO 4217 sets the exponent";

/// The amount of a credit or a withdrawal: 1 to [`MAX_MINOR_UNITS`] minor units.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "i64")]
#[schemars(
    description = "The amount of a credit or a withdrawal.",
    extend("minimum" = 1, "maximum" = MAX_MINOR_UNITS, "x-unit" = UNIT)
)]
pub struct Amount(i64);

/// The balance of an account, in minor units: -[`MAX_MINOR_UNITS`] to [`MAX_MINOR_UNITS`].
///
/// `decide` keeps it between 0 and [`MAX_MINOR_UNITS`]. It can be negative if rows of a legacy writer
/// overdrew the account: replaying history runs no rule.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "i64")]
#[schemars(
    description = "The balance of an account. It is negative only if an older writer has overdrawn the account.",
    extend("minimum" = -MAX_MINOR_UNITS, "maximum" = MAX_MINOR_UNITS, "x-unit" = UNIT)
)]
pub struct Balance(i64);

/// A number of minor units that is less than 1 or greater than [`MAX_MINOR_UNITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{NO_AMOUNT}")]
pub struct InvalidAmount;

/// A string that [`Currency::stored`] or [`Currency::listed`] refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{NO_CURRENCY}")]
pub struct InvalidCurrency;

const NO_AMOUNT: &str = "is not a whole number of minor units from 1 to 9007199254740991";
pub(crate) const NO_BALANCE: &str = "is not a number of minor units from -(2^53-1) to 2^53-1";
pub(crate) const NO_CURRENCY: &str = "is not an ISO 4217 currency code such as EUR";

impl Amount {
    /// Checks the range of an amount.
    ///
    /// # Errors
    /// [`InvalidAmount`] if `minor_units` is less than 1 or greater than [`MAX_MINOR_UNITS`].
    pub const fn new(minor_units: i64) -> Result<Self, InvalidAmount> {
        if minor_units >= 1 && minor_units <= MAX_MINOR_UNITS {
            Ok(Self(minor_units))
        } else {
            Err(InvalidAmount)
        }
    }

    /// Minor units.
    #[must_use]
    pub const fn minor_units(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = InvalidValue;

    fn try_from(minor_units: i64) -> Result<Self, InvalidValue> {
        Self::new(minor_units).map_err(|InvalidAmount| InvalidValue::new(NO_AMOUNT))
    }
}

impl TryFrom<i64> for Balance {
    type Error = InvalidValue;

    fn try_from(minor_units: i64) -> Result<Self, InvalidValue> {
        Self::new(minor_units).ok_or(InvalidValue::new(NO_BALANCE))
    }
}

impl Balance {
    /// The balance of a new account: 0.
    pub const ZERO: Self = Self(0);

    /// Reads a stored balance; `None` if it is less than -[`MAX_MINOR_UNITS`] or greater than
    /// [`MAX_MINOR_UNITS`].
    #[must_use]
    pub const fn new(minor_units: i64) -> Option<Self> {
        if minor_units >= -MAX_MINOR_UNITS && minor_units <= MAX_MINOR_UNITS {
            Some(Self(minor_units))
        } else {
            None
        }
    }

    /// Minor units.
    #[must_use]
    pub const fn minor_units(self) -> i64 {
        self.0
    }

    /// The balance after a credit; `None` if it would exceed [`MAX_MINOR_UNITS`].
    #[must_use]
    pub const fn checked_credit(self, amount: Amount) -> Option<Self> {
        // Both are below 2^53, so the sum fits into an i64.
        let sum = self.0 + amount.0;
        if sum <= MAX_MINOR_UNITS {
            Some(Self(sum))
        } else {
            None
        }
    }

    /// The balance after a withdrawal; `None` if it would become negative.
    #[must_use]
    pub const fn checked_withdraw(self, amount: Amount) -> Option<Self> {
        let rest = self.0 - amount.0;
        if rest >= 0 { Some(Self(rest)) } else { None }
    }

    /// The balance after a recorded movement, even if today's rules don't allow it. The result is clamped
    /// to ±[`MAX_MINOR_UNITS`]; only a history that other rules decided can exceed that range.
    #[must_use]
    pub(crate) fn moved(self, minor_units: i64) -> Self {
        Self((self.0 + minor_units).clamp(-MAX_MINOR_UNITS, MAX_MINOR_UNITS))
    }
}

/// A currency's ISO 4217 code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(transparent, extend("x-unit" = "ISO 4217 code"))]
pub struct Currency(#[schemars(with = "String", regex(pattern = "^[A-Z]{3}$"))] [u8; 3]);

impl Currency {
    /// Reads a code that ISO 4217 lists.
    ///
    /// # Errors
    /// [`InvalidCurrency`] if ISO 4217 doesn't list the code.
    pub fn listed(code: &str) -> Result<Self, InvalidCurrency> {
        Iso4217::from_code(code).ok_or(InvalidCurrency)?;
        Self::stored(code)
    }

    /// Reads a code from a stored row or a published event. It accepts any three capital ASCII letters,
    /// because a stored code stays valid after ISO 4217 has withdrawn it.
    ///
    /// # Errors
    /// [`InvalidCurrency`] if the code isn't three capital ASCII letters.
    pub fn stored(code: &str) -> Result<Self, InvalidCurrency> {
        match code.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|letter| letter.is_ascii_uppercase()) => {
                Ok(Self([*a, *b, *c]))
            }
            _ => Err(InvalidCurrency),
        }
    }

    /// The code: three capital ASCII letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("three capital ASCII letters")
    }
}

/// An amount or balance as text for people: in the currency's major unit, with as many decimals as ISO 4217
/// defines, such as `12.50 EUR` or `1250 JPY`. The amount of a code that ISO 4217 doesn't list, or for which
/// it defines no decimals, is shown in minor units.
#[must_use]
pub fn decimal(minor_units: i64, currency: Currency) -> String {
    major_units(minor_units.into(), currency).map_or_else(
        || format!("{minor_units} minor units of {currency}"),
        |number| format!("{number} {currency}"),
    )
}

/// An amount or a sum of amounts in the currency's major unit, with as many decimals as ISO 4217 defines: `12.50`.
/// `None` for a code that ISO 4217 doesn't list, or for which it defines no decimals.
#[must_use]
pub fn major_units(minor_units: i128, currency: Currency) -> Option<String> {
    let exponent = Iso4217::from_code(currency.as_str()).and_then(Iso4217::exponent)?;
    let digits = usize::from(exponent);
    let sign = if minor_units < 0 { "-" } else { "" };
    // At least one digit before the decimal point.
    let number = format!("{:0>1$}", minor_units.unsigned_abs(), digits + 1);
    let (major, minor) = number.split_at(number.len() - digits);
    let point = if digits == 0 { "" } else { "." };
    Some(format!("{sign}{major}{point}{minor}"))
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, |code| {
            Self::stored(code).map_err(|InvalidCurrency| InvalidValue::new(NO_CURRENCY))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_for_invalid_amounts_names_the_maximum() {
        assert!(NO_AMOUNT.ends_with(&MAX_MINOR_UNITS.to_string()));
    }

    #[test]
    fn refuses_amounts_outside_the_range() {
        for refused in [i64::MIN, -1, 0, MAX_MINOR_UNITS + 1, i64::MAX] {
            assert_eq!(Amount::new(refused), Err(InvalidAmount));
        }
        assert!(Amount::new(1).is_ok());
        assert!(Amount::new(MAX_MINOR_UNITS).is_ok());
    }

    #[test]
    fn commands_and_replays_keep_a_balance_within_its_limits() {
        let one = Amount::new(1).expect("valid");
        let full = Balance::new(MAX_MINOR_UNITS).expect("valid");
        assert_eq!(full.checked_credit(one), None);
        assert_eq!(full.moved(1), full);
        assert_eq!(Balance::ZERO.checked_withdraw(one), None);
        assert_eq!(Balance::ZERO.moved(-1).minor_units(), -1);
        let empty = Balance::new(-MAX_MINOR_UNITS).expect("valid");
        assert_eq!(empty.moved(-1), empty);
        assert_eq!(Balance::new(MAX_MINOR_UNITS + 1), None);
        assert_eq!(Balance::new(-MAX_MINOR_UNITS - 1), None);
    }

    #[test]
    fn commands_need_a_listed_currency_and_stored_rows_any_three_capitals() {
        assert_eq!(
            Currency::listed("EUR").map(|c| c.to_string()),
            Ok("EUR".into())
        );
        assert_eq!(format!("{:?}", Currency::stored("EUR")), "Ok(EUR)");
        assert_eq!(Currency::listed("QQQ"), Err(InvalidCurrency));
        assert!(Currency::stored("QQQ").is_ok());
        for text in ["eur", "EURO", "EU", "", "E1R", "ÉUR"] {
            assert_eq!(Currency::stored(text), Err(InvalidCurrency), "{text}");
            assert_eq!(Currency::listed(text), Err(InvalidCurrency), "{text}");
        }
    }

    #[test]
    fn money_has_the_decimals_of_its_currency() {
        for (minor_units, currency, shown) in [
            (1250, "EUR", "12.50 EUR"),
            (5, "EUR", "0.05 EUR"),
            (0, "EUR", "0.00 EUR"),
            (-120, "EUR", "-1.20 EUR"),
            (1250, "JPY", "1250 JPY"),
            (1250, "KWD", "1.250 KWD"),
            (MAX_MINOR_UNITS, "USD", "90071992547409.91 USD"),
            (1250, "QQQ", "1250 minor units of QQQ"),
        ] {
            let currency = Currency::stored(currency).expect("a code");
            assert_eq!(decimal(minor_units, currency), shown);
        }
    }

    proptest! {
        #[test]
        fn a_withdrawal_undoes_a_credit(start in 0..=MAX_MINOR_UNITS, amount in 1..=MAX_MINOR_UNITS) {
            let (start, amount) = (Balance(start), Amount(amount));
            if let Some(credited) = start.checked_credit(amount) {
                prop_assert_eq!(credited.checked_withdraw(amount), Some(start));
                prop_assert_eq!(start.moved(amount.minor_units()), credited);
            }
        }
    }
}
