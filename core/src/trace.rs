//! The trace that a command and its events belong to, as
//! [W3C Trace Context](https://www.w3.org/TR/trace-context/) describes it.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use serde::{Serialize, Serializer};

/// One span of a trace: the value of the HTTP header `traceparent`, and of the attribute of this name in
/// CloudEvents'
/// [distributed tracing extension](https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md).
///
/// It is always written in version 00 of the header, so that the same span is always the same bytes. Of the
/// flags, it has `sampled`, the only one of that version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: NonZeroU128,
    parent_id: NonZeroU64,
    is_sampled: bool,
}

/// The id of a trace, the same in all its spans. Its text form has 32 hexadecimal digits, and may be
/// logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// A string that isn't a `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a traceparent such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01, in lower case"
)]
pub struct InvalidTraceParent;

/// The form in which a span is written: version, trace id, parent id and flags.
const WRITTEN: &[u8; 55] = b"00-00000000000000000000000000000000-0000000000000000-00";

/// The flag of a trace that the caller may have recorded
/// ([section 3.2.2.5](https://www.w3.org/TR/trace-context/#sampled-flag)).
const SAMPLED: u128 = 1;
/// The version that no `traceparent` has
/// ([section 3.2.2.1](https://www.w3.org/TR/trace-context/#version)).
const FORBIDDEN_VERSION: u128 = 0xff;

impl TraceParent {
    /// The first span of a new trace. It isn't sampled: nothing records it.
    #[must_use]
    pub const fn start(trace_id: NonZeroU128, parent_id: NonZeroU64) -> Self {
        Self {
            trace_id,
            parent_id,
            is_sampled: false,
        }
    }

    /// Another span of the same trace, with the same flag.
    #[must_use]
    pub const fn child(self, parent_id: NonZeroU64) -> Self {
        Self { parent_id, ..self }
    }

    /// The trace that the span belongs to.
    #[must_use]
    pub const fn trace_id(self) -> TraceId {
        TraceId(self.trace_id)
    }

    /// Reads a `traceparent` of any version. Of a version above 00, only the members of version 00 are read
    /// ([section 4.3](https://www.w3.org/TR/trace-context/#versioning-of-traceparent)).
    ///
    /// # Errors
    /// [`InvalidTraceParent`] if it isn't one, also if its digits aren't in lower case, or its trace id or
    /// parent id is zero ([section 3.2.2](https://www.w3.org/TR/trace-context/#traceparent-header-field-values)).
    pub fn parse(text: &str) -> Result<Self, InvalidTraceParent> {
        read(text.as_bytes()).ok_or(InvalidTraceParent)
    }

    fn written(self) -> [u8; WRITTEN.len()] {
        let mut text = *WRITTEN;
        write_digits(&mut text[3..35], &self.trace_id.get().to_be_bytes());
        write_digits(&mut text[36..52], &self.parent_id.get().to_be_bytes());
        write_digits(&mut text[53..], &[u8::from(self.is_sampled)]);
        text
    }
}

fn read(text: &[u8]) -> Option<TraceParent> {
    let (members, rest) = text.split_first_chunk::<{ WRITTEN.len() }>()?;
    if [members[2], members[35], members[52]] != *b"---" {
        return None;
    }
    let is_whole = match number(&members[..2])? {
        0 => rest.is_empty(),
        FORBIDDEN_VERSION => false,
        _ => matches!(rest, [] | [b'-', ..]),
    };
    if !is_whole {
        return None;
    }
    Some(TraceParent {
        trace_id: NonZeroU128::new(number(&members[3..35])?)?,
        parent_id: NonZeroU64::new(u64::try_from(number(&members[36..52])?).ok()?)?,
        is_sampled: number(&members[53..])? & SAMPLED == SAMPLED,
    })
}

/// Reads these hexadecimal digits as a number; `None` if one isn't a digit in lower case.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(value))
    })
}

/// Writes these bytes as hexadecimal digits.
fn write_digits(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.written()).expect("ASCII"))
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.written()).expect("ASCII"))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        write_digits(&mut text, &self.0.get().to_be_bytes());
        f.write_str(std::str::from_utf8(&text).expect("ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of [section 3.2.3](https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers).
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn rewritten(text: &str) -> Option<String> {
        let read = TraceParent::parse(text).ok()?;
        assert_eq!(serde_json::json!(read), read.to_string());
        Some(read.to_string())
    }

    #[test]
    fn reads_and_writes_the_example_of_the_specification() {
        let read = TraceParent::parse(EXAMPLE).expect("the example");
        assert_eq!(read.to_string(), EXAMPLE);
        assert!(read.is_sampled);
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(read.trace_id().to_string(), trace_id);
    }

    #[test]
    fn keeps_only_the_sampled_flag() {
        for (flags, written) in [
            ("00", "00"),
            ("01", "01"),
            ("02", "00"),
            ("03", "01"),
            ("fe", "00"),
            ("ff", "01"),
        ] {
            let text = format!("{}{flags}", &EXAMPLE[..53]);
            let expected = format!("{}{written}", &EXAMPLE[..53]);
            assert_eq!(rewritten(&text), Some(expected), "{flags}");
        }
    }

    #[test]
    fn reads_the_members_that_version_00_has_of_a_higher_version() {
        for version in ["01", "cc", "fe"] {
            for rest in ["", "-", "-what-the-future-brings", "-\u{e9}"] {
                let text = format!("{version}{}{rest}", &EXAMPLE[2..]);
                assert_eq!(rewritten(&text).as_deref(), Some(EXAMPLE), "{text}");
            }
            for rest in ["0", ".what", ",", " "] {
                let text = format!("{version}{}{rest}", &EXAMPLE[2..]);
                assert_eq!(rewritten(&text), None, "{text}");
            }
        }
    }

    #[test]
    fn refuses_what_is_no_traceparent() {
        for text in [
            "",
            "00",
            // Version 00 has no further members.
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            // Two headers, which API Gateway joins.
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01,00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            // Capitals.
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067aa0ba902b7-01",
            "0A-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0F",
            // Other characters than digits.
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-gbf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b:-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0/",
            // Other separators.
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
        ] {
            assert_eq!(TraceParent::parse(text), Err(InvalidTraceParent), "{text}");
        }
    }

    #[test]
    fn a_new_trace_is_not_sampled() {
        let (one, two) = (NonZeroU128::MIN, NonZeroU64::MIN.saturating_add(1));
        let written = "00-00000000000000000000000000000001-0000000000000002-00";
        assert_eq!(TraceParent::start(one, two).to_string(), written);
    }

    prop_compose! {
        fn any_span()(
            trace_id in 1..=u128::MAX,
            parent_id in 1..=u64::MAX,
            is_sampled in any::<bool>(),
        ) -> TraceParent {
            TraceParent {
                trace_id: NonZeroU128::new(trace_id).expect("not zero"),
                parent_id: NonZeroU64::new(parent_id).expect("not zero"),
                is_sampled,
            }
        }
    }

    proptest! {
        #[test]
        fn text_is_read_back(span in any_span()) {
            prop_assert_eq!(TraceParent::parse(&span.to_string()), Ok(span));
        }

        #[test]
        fn a_child_has_the_trace_and_the_flag_of_its_parent(span in any_span(), other in any_span()) {
            let child = span.child(other.parent_id);
            prop_assert_eq!(child.trace_id(), span.trace_id());
            let (written, parent, other) = (child.to_string(), span.to_string(), other.to_string());
            prop_assert_eq!(&written[..36], &parent[..36]);
            prop_assert_eq!(&written[36..52], &other[36..52]);
            prop_assert_eq!(&written[52..], &parent[52..]);
        }

        /// The [grammar](https://www.w3.org/TR/trace-context/#traceparent-header-field-values) as a regular
        /// expression makes values that are read, and what is read is written as a value of version 00.
        #[test]
        fn every_value_of_the_grammar_is_read(
            text in "(00-[0-9a-f]{31}[1-9a-f]-[0-9a-f]{15}[1-9a-f]-[0-9a-f]{2})|([1-9a-e][0-9a-f]-[1-9a-f][0-9a-f]{31}-[1-9a-f][0-9a-f]{15}-[0-9a-f]{2}(-[ -~]{0,20})?)",
        ) {
            let written = TraceParent::parse(&text).expect("a traceparent").to_string();
            prop_assert_eq!(&written[2..53], &text[2..53]);
            prop_assert_eq!(rewritten(&written), Some(written));
        }

        #[test]
        fn no_string_makes_parsing_panic(text in any::<String>(), at in 0..EXAMPLE.len(), other in any::<char>()) {
            prop_assert!(TraceParent::parse(&text).is_err());
            let changed = format!("{}{other}{}", &EXAMPLE[..at], &EXAMPLE[at + 1..]);
            if let Ok(read) = TraceParent::parse(&changed) {
                prop_assert_eq!(TraceParent::parse(&read.to_string()), Ok(read));
            }
        }
    }
}
