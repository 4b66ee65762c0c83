//! Page cursors: where the next page begins, as a text that clients hand back and don't read.
//!
//! A cursor holds the sequence of the last line shown, and a digest over it and the aggregate's id.
//! The digest is there to refuse what isn't ours: a cut or altered cursor, and one of another
//! aggregate. It is no secret: who forges a cursor gets a page that they could have asked for
//! anyway.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millrace_domain::{AggregateId, Sequence};
use sha2::{Digest, Sha256};

/// The first byte. Another form of cursor takes another one, and this form is refused then.
const FORM: u8 = 1;
const SEQUENCE_BYTES: usize = 8;
/// So few that a cursor stays short, so many that damage never passes by chance.
const DIGEST_BYTES: usize = 8;
const BYTES: usize = 1 + SEQUENCE_BYTES + DIGEST_BYTES;

/// The cursor behind a page whose last line is `shown`.
#[must_use]
pub fn write(id: &AggregateId, shown: Sequence) -> String {
    URL_SAFE_NO_PAD.encode(bytes(id, shown))
}

/// The last line shown before the page that `cursor` asks for; `None` if it is no cursor that
/// [`write`] gave for this aggregate.
#[must_use]
pub fn read(id: &AggregateId, cursor: &str) -> Option<Sequence> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let sequence = decoded.get(1..=SEQUENCE_BYTES)?.try_into().ok()?;
    let shown = Sequence::new(u64::from_be_bytes(sequence))?;
    (decoded == bytes(id, shown)).then_some(shown)
}

fn bytes(id: &AggregateId, shown: Sequence) -> [u8; BYTES] {
    let shown = shown.get().to_be_bytes();
    let digest = Sha256::new()
        .chain_update([FORM])
        .chain_update(shown)
        .chain_update(id.as_str())
        .finalize();
    let mut bytes = [FORM; BYTES];
    bytes[1..=SEQUENCE_BYTES].copy_from_slice(&shown);
    bytes[1 + SEQUENCE_BYTES..].copy_from_slice(&digest[..DIGEST_BYTES]);
    bytes
}

#[cfg(test)]
mod tests {
    use millrace_domain::layout::MAX_POSITION;
    use proptest::prelude::*;

    use super::*;

    fn id(id: &str) -> AggregateId {
        AggregateId::new(id).expect("valid")
    }

    fn any_cursor() -> impl Strategy<Value = (Sequence, String)> {
        (0..=MAX_POSITION).prop_map(|sequence| {
            let shown = Sequence::new(sequence).expect("in range");
            (shown, write(&id("a"), shown))
        })
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_back_and_needs_no_encoding_in_a_url((shown, cursor) in any_cursor()) {
            prop_assert_eq!(read(&id("a"), &cursor), Some(shown));
            prop_assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        }

        #[test]
        fn a_cursor_of_another_aggregate_is_refused((_, cursor) in any_cursor(), other in "[a-z]{1,3}") {
            prop_assume!(other != "a");
            prop_assert_eq!(read(&id(&other), &cursor), None);
        }

        #[test]
        fn a_damaged_cursor_is_refused(
            (_, cursor) in any_cursor(),
            place in any::<prop::sample::Index>(),
            put in prop_oneof!["[A-Za-z0-9_-]", "\\PC", Just(String::new())],
        ) {
            let place = place.index(cursor.len());
            let damaged = format!("{}{put}{}", &cursor[..place], &cursor[place + 1..]);
            prop_assume!(damaged != cursor);
            prop_assert_eq!(read(&id("a"), &damaged), None);
        }

        #[test]
        fn a_text_that_is_no_cursor_is_refused(text in "\\PC{0,40}") {
            prop_assert_eq!(read(&id("a"), &text), None);
        }
    }

    #[test]
    fn a_cursor_keeps_its_form() {
        let shown = Sequence::new(21).expect("valid");
        assert_eq!(write(&id("a"), shown), "AQAAAAAAAAAVqgECUgAq1P8");
    }
}
