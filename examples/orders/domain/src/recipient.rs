//! The recipient of an order: the domain's only personal data.

use std::fmt;

use millrace_core::InvalidValue;
use millrace_core::decode::from_text;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// The name and the address that parcels are sent to: 1 to 200 printable characters. `Debug` hides them, and
/// there is no `Display`.
#[derive(Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(transparent)]
pub struct Recipient(#[schemars(length(min = 1, max = 200))] String);

impl Recipient {
    /// Reads a recipient.
    ///
    /// # Errors
    /// [`InvalidValue`] unless the text is 1 to 200 printable characters. The error doesn't quote the text.
    pub fn new(text: &str) -> Result<Self, InvalidValue> {
        let is_printable = !text.contains(char::is_control);
        if is_printable && (1..=200).contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            let problem = "is not a recipient of 1 to 200 printable characters";
            Err(InvalidValue::new(problem))
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(hidden)")
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_is_1_to_200_printable_characters() {
        for text in ["Ada", "Åsa Öberg, 1 Main St", &"ä".repeat(200)] {
            assert!(Recipient::new(text).is_ok(), "{text}");
        }
        for text in ["", "Ada\nLovelace", "\u{7f}", &"ä".repeat(201)] {
            assert!(Recipient::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn neither_debug_nor_an_error_contains_the_recipient() {
        let recipient = Recipient::new("Ada").expect("valid");
        assert_eq!(format!("{recipient:?}"), "Recipient(hidden)");
        let error = Recipient::new("Ada\n").expect_err("refused");
        assert!(!error.to_string().contains("Ada"));
    }
}
