//! Points in time, to the millisecond.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decode::from_text;
use crate::error::InvalidValue;

use ::time::format_description::well_known::Rfc3339;
use ::time::{Date, Month, OffsetDateTime, Time};

/// A point in time in milliseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999. Its
/// text form is RFC 3339 in UTC with exactly three decimals, so that the same time is always the
/// same bytes and texts sort as times do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A string that isn't a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{NO_TIME}")]
pub struct InvalidTime;

const NO_TIME: &str = "is not an RFC 3339 time such as 2026-11-20T21:03:05.123Z";

/// The form in which a time is written; each `0` is a digit.
const WRITTEN: &[u8; 24] = b"0000-00-00T00:00:00.000Z";

const NANOS_PER_MILLI: i128 = 1_000_000;
/// 0001-01-01T00:00:00.000Z.
const MIN_MILLIS: i64 = -62_135_596_800_000;
/// 9999-12-31T23:59:59.999Z.
const MAX_MILLIS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The time so many milliseconds after the epoch; `None` outside the years 1 to 9999.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Option<Self> {
        if millis >= MIN_MILLIS && millis <= MAX_MILLIS {
            Some(Self(millis))
        } else {
            None
        }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 time with any offset; what is finer than a millisecond is cut off.
    ///
    /// # Errors
    /// [`InvalidTime`] if the string is no such time.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        if let Some(time) = parse_written(text) {
            return Ok(time);
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTime)?;
        let millis = time.unix_timestamp_nanos().div_euclid(NANOS_PER_MILLI);
        i64::try_from(millis)
            .ok()
            .and_then(Self::from_unix_millis)
            .ok_or(InvalidTime)
    }
}

/// Reads a time in the form in which it is written. Nearly all are in this form, and reading only this one
/// is several times faster. `None` for any other text.
fn parse_written(text: &str) -> Option<Timestamp> {
    let bytes: &[u8; WRITTEN.len()] = text.as_bytes().try_into().ok()?;
    let is_form = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == form,
    };
    if !bytes.iter().zip(WRITTEN).all(is_form) {
        return None;
    }
    let number = |digits: Range<usize>| {
        let digits = bytes[digits].iter();
        digits.fold(0, |number: u16, digit| {
            number * 10 + u16::from(digit - b'0')
        })
    };
    let two_digits = |begin: usize| u8::try_from(number(begin..begin + 2)).ok();
    let month = Month::try_from(two_digits(5)?).ok()?;
    let date = Date::from_calendar_date(number(0..4).into(), month, two_digits(8)?).ok()?;
    let (hour, minute, second) = (two_digits(11)?, two_digits(14)?, two_digits(17)?);
    let time = Time::from_hms_milli(hour, minute, second, number(20..23)).ok()?;
    let seconds = date.with_time(time).assume_utc().unix_timestamp();
    Timestamp::from_unix_millis(seconds * 1000 + i64::from(time.millisecond()))
}

impl Timestamp {
    fn written(self) -> [u8; WRITTEN.len()] {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * NANOS_PER_MILLI)
            .expect("a Timestamp is between the years 1 and 9999");
        let mut text = *WRITTEN;
        let mut write = |end: usize, digits: usize, mut number: u16| {
            for digit in text[end - digits..end].iter_mut().rev() {
                *digit += u8::try_from(number % 10).expect("a digit");
                number /= 10;
            }
        };
        write(4, 4, u16::try_from(time.year()).expect("1 to 9999"));
        write(7, 2, u8::from(time.month()).into());
        write(10, 2, time.day().into());
        write(13, 2, time.hour().into());
        write(16, 2, time.minute().into());
        write(19, 2, time.second().into());
        write(23, 3, time.millisecond());
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.written()).expect("ASCII"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.written()).expect("ASCII"))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, |text| {
            Self::parse(text).map_err(|InvalidTime| InvalidValue::new(NO_TIME))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_three_decimals_in_utc() {
        for (read, written) in [
            ("2026-11-20T21:03:05Z", "2026-11-20T21:03:05.000Z"),
            ("2026-11-20T22:03:05.1+01:00", "2026-11-20T21:03:05.100Z"),
            ("2026-11-20T21:03:05.123999999Z", "2026-11-20T21:03:05.123Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::parse(read).expect(read).to_string(), written);
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "now",
            "2026-11-20",
            "2026-13-01T00:00:00Z",
            "2026-11-20T21:03:05",
            "0000-01-01T00:00:00.000Z",
            "2026-00-20T21:03:05.000Z",
            "2026-02-29T21:03:05.000Z",
            "2026-11-20T24:03:05.000Z",
            "2026-11-20T21:03:61.000Z",
            "2026-11-20T21:03:05.00aZ",
            "2026-11-20T21:03:05.0000",
        ] {
            assert_eq!(Timestamp::parse(text), Err(InvalidTime), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_is_read_back_and_sorts_as_time(a in MIN_MILLIS..=MAX_MILLIS, b in MIN_MILLIS..=MAX_MILLIS) {
            let (a, b) = (Timestamp(a), Timestamp(b));
            prop_assert_eq!(parse_written(&a.to_string()), Some(a));
            let with_offset = a.to_string().replace('Z', "+00:00");
            prop_assert_eq!(Timestamp::parse(&with_offset), Ok(a));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
            prop_assert_eq!(Timestamp::from_unix_millis(a.unix_millis()), Some(a));
        }
    }
}
