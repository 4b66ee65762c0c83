//! JSON in UTF-8, read from its beginning to its end without a tree of its values. Strings are borrowed from
//! the text, except where they had to be unescaped.
//!
//! The reader knows objects, lists and plain strings, which is nearly all of what Lambda sends, and leaves
//! numbers and strings with escapes to `serde_json`. A batch of records is read in less than half the time that
//! visitors of `serde_json`'s deserializer take: the reader compares eight bytes of a string at a time, and reads an
//! attribute value such as `{"S":"text"}` as one token.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// How deep objects and lists that aren't empty may be nested, which bounds the stack. An attribute of `DynamoDB` has
/// [up to 32 levels](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html),
/// each of two objects or lists in JSON.
const MAX_DEPTH: u8 = 127;

/// A byte that no JSON contains outside of a string. It means the end of the text.
const END: u8 = 0;

/// The position of a byte at which a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SyntaxError(usize);

impl SyntaxError {
    /// The line and the column of the byte, both from 1 on. An error at the end of the text has the column of
    /// its last byte.
    pub(crate) fn line_and_column(self, text: &str) -> (usize, usize) {
        let (before, rest) = text.as_bytes().split_at(self.0);
        let mut lines = before.split(|byte| *byte == b'\n');
        let line = lines.clone().count();
        let column = lines.next_back().map_or(0, <[u8]>::len);
        (line, column + usize::from(!rest.is_empty()))
    }
}

/// Reads one JSON text. After an error, it must not be used any more.
pub(crate) struct JsonReader<'a> {
    text: &'a str,
    position: usize,
    depth: u8,
}

impl<'a> JsonReader<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self {
            text,
            position: 0,
            depth: 0,
        }
    }

    /// The first byte of the next value or punctuation mark.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        loop {
            match self.text.as_bytes().get(self.position) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.position += 1,
                Some(byte) => return *byte,
                None => return END,
            }
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), SyntaxError> {
        self.peek();
        if self.position == self.text.len() {
            Ok(())
        } else {
            self.error()
        }
    }

    /// Reads an object. `read_value` is called with each member's name, and must read the member's value.
    #[inline]
    pub(crate) fn object<E: From<SyntaxError>>(
        &mut self,
        mut read_value: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.sequence(b'{', b'}', |reader| {
            let name = reader.string()?;
            reader.punctuation(b':')?;
            read_value(reader, name)
        })
    }

    /// Reads a list. `read_element` is called for each element, and must read it.
    #[inline]
    pub(crate) fn list<E: From<SyntaxError>>(
        &mut self,
        read_element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.sequence(b'[', b']', read_element)
    }

    #[inline]
    fn sequence<E: From<SyntaxError>>(
        &mut self,
        begin: u8,
        end: u8,
        mut read_element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.punctuation(begin)?;
        if self.peek() == end {
            self.position += 1;
            return Ok(());
        }
        if self.depth == MAX_DEPTH {
            return Err(self.here().into());
        }
        self.depth += 1;
        loop {
            read_element(self)?;
            let byte = self.peek();
            if byte != b',' && byte != end {
                return Err(self.here().into());
            }
            self.position += 1;
            if byte == end {
                self.depth -= 1;
                return Ok(());
            }
        }
    }

    /// Reads a string.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.punctuation(b'"')?;
        match self.plain_string() {
            Some(string) => Ok(Cow::Borrowed(string)),
            None => self.string_with_escapes().map(Cow::Owned),
        }
    }

    /// Reads a string without escapes between two texts without whitespace, if the JSON continues so. Otherwise
    /// nothing is read.
    #[inline]
    pub(crate) fn string_between(&mut self, before: &str, after: &str) -> Option<&'a str> {
        let begin = self.position;
        if self.rest().starts_with(before.as_bytes()) {
            self.position += before.len();
            if let Some(string) = self.plain_string()
                && self.rest().starts_with(after.as_bytes())
            {
                self.position += after.len();
                return Some(string);
            }
            self.position = begin;
        }
        None
    }

    /// Reads `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Result<bool, SyntaxError> {
        let value = self.peek() == b't';
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads any value, and keeps nothing of it.
    pub(crate) fn skip(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            b'"' => self.skip_string(),
            b'{' => self.sequence(b'{', b'}', |reader| {
                reader.skip_string()?;
                reader.punctuation(b':')?;
                reader.skip()
            }),
            b'[' => self.list(Self::skip),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.skip_number(),
        }
    }

    fn skip_string(&mut self) -> Result<(), SyntaxError> {
        self.punctuation(b'"')?;
        match self.plain_string() {
            Some(_) => Ok(()),
            None => self.string_with_escapes().map(|IgnoredAny| ()),
        }
    }

    fn skip_number(&mut self) -> Result<(), SyntaxError> {
        let rest = &self.text[self.position..];
        let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let end = rest.bytes().position(|byte| !is_part(byte));
        let number = &rest[..end.unwrap_or(rest.len())];
        self.position += number.len();
        self.delegate::<IgnoredAny>(number)?;
        Ok(())
    }

    /// Reads the rest of a string after its first quote, if it has no escape. Otherwise nothing is read.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a str> {
        let length = special_byte(self.rest())?;
        let end = self.position + length;
        if self.text.as_bytes()[end] != b'"' {
            return None;
        }
        let string = &self.text[self.position..end];
        self.position = end + 1;
        Some(string)
    }

    /// Reads the rest of a string after its first quote.
    #[cold]
    fn string_with_escapes<T: Deserialize<'a>>(&mut self) -> Result<T, SyntaxError> {
        let quote = self.position - 1;
        while let Some(length) = special_byte(self.rest()) {
            self.position += length;
            match self.rest() {
                [b'"', ..] => {
                    self.position += 1;
                    return self.delegate(&self.text[quote..self.position]);
                }
                [b'\\', b' '..=u8::MAX, ..] => self.position += 2,
                _ => return self.error(),
            }
        }
        self.position = self.text.len();
        self.error()
    }

    /// Reads the part of the text that was read last with `serde_json`.
    #[cold]
    fn delegate<T: Deserialize<'a>>(&self, part: &'a str) -> Result<T, SyntaxError> {
        serde_json::from_str(part).map_err(|error| {
            let end_in_part = if error.is_eof() {
                0
            } else {
                part.len() + 1 - error.column()
            };
            SyntaxError(self.position - end_in_part)
        })
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), SyntaxError> {
        for expected in literal.bytes() {
            if self.text.as_bytes().get(self.position) != Some(&expected) {
                return self.error();
            }
            self.position += 1;
        }
        Ok(())
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.position..]
    }

    #[inline]
    fn punctuation(&mut self, expected: u8) -> Result<(), SyntaxError> {
        if self.peek() != expected {
            return self.error();
        }
        self.position += 1;
        Ok(())
    }

    #[cold]
    const fn error<T>(&self) -> Result<T, SyntaxError> {
        Err(self.here())
    }

    const fn here(&self) -> SyntaxError {
        SyntaxError(self.position)
    }
}

/// The position of the first quote, backslash or control character.
#[inline]
fn special_byte(text: &[u8]) -> Option<usize> {
    let (chunks, rest) = text.as_chunks();
    for (chunk, bytes) in chunks.iter().enumerate() {
        let found = special_bytes(u64::from_le_bytes(*bytes));
        if found != 0 {
            return Some(chunk * size_of::<u64>() + (found.trailing_zeros() / u8::BITS) as usize);
        }
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let position = rest.iter().position(is_special)?;
    Some(text.len() - rest.len() + position)
}

/// Has the highest bit of the first of eight bytes that is a quote, a backslash or a control character. Bits
/// of the bytes after it may be wrong.
#[inline]
const fn special_bytes(bytes: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);

    // This is below 0x21 for a quote, which becomes a space, and for control characters alone.
    let quotes_as_spaces = bytes ^ (ONES * (b'"' ^ b' ') as u64);
    let is_quote_or_control = quotes_as_spaces.wrapping_sub(ONES * 0x21);
    let is_backslash = (bytes ^ BACKSLASHES).wrapping_sub(ONES);
    (is_quote_or_control | is_backslash) & !bytes & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parts of JSON, and what isn't JSON.
    const PARTS: [&str; 32] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\\"",
        "\\n",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\x",
        "a",
        "é",
        "\u{1}",
        "\u{7f}",
        " ",
        "\n",
        "\t",
        "0",
        "-1.5e+7",
        "1e999",
        "1.",
        "01",
        "true",
        "false",
        "null",
        "nul",
        "\"name\":",
        "\"a string\"",
    ];

    const DOCUMENTS: [&str; 3] = [
        r#"{"a":["a longer string","",{}, [] ,{"b":null}],"c":{"d":true,"e":false},"f":-1.5e7}"#,
        "{ \"a\" :\n[ 1 , \"\\u00e9\\n\" ,\t{ \"é\" : \"é é\" } ]\r\n}\n",
        r#""a string with an escape \\ and \" and more""#,
    ];

    /// A document after some of its characters were replaced.
    fn any_text() -> impl Strategy<Value = String> {
        let parts = || prop::collection::vec(prop::sample::select(&PARTS[..]), 0..6);
        let change = (any::<prop::sample::Index>(), 0..3_usize, parts());
        let changes = prop::collection::vec(change, 0..3);
        (prop::sample::select(&DOCUMENTS[..]), changes).prop_map(|(document, changes)| {
            let mut text: Vec<char> = document.chars().collect();
            for (at, replaced, parts) in changes {
                let begin = at.index(text.len() + 1);
                let end = text.len().min(begin + replaced);
                text.splice(begin..end, parts.concat().chars());
            }
            text.into_iter().collect()
        })
    }

    fn read<'a, T>(
        text: &'a str,
        read: impl FnOnce(&mut JsonReader<'a>) -> Result<T, SyntaxError>,
    ) -> Result<T, (usize, usize)> {
        let mut reader = JsonReader::new(text);
        read(&mut reader)
            .and_then(|value| reader.end().map(|()| value))
            .map_err(|error| error.line_and_column(text))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn the_same_texts_are_json_as_for_serde_json(text in any_text()) {
            let expected = serde_json::from_str::<IgnoredAny>(&text);
            let read = read(&text, JsonReader::skip);
            prop_assert_eq!(read.is_ok(), expected.is_ok(), "{:?} {:?}", read, expected);
        }

        #[test]
        fn strings_are_those_of_serde_json(parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..9)) {
            let text = format!("\"{}\"", parts.concat());
            let expected = serde_json::from_str::<String>(&text).ok();
            let read = read(&text, |reader| reader.string().map(Cow::into_owned));
            prop_assert_eq!(read.ok(), expected);
        }
    }

    #[test]
    fn a_string_between_two_texts_is_read_or_left() {
        let between = |text| {
            let mut reader = JsonReader::new(text);
            (reader.string_between("{\"S\":\"", "}"), reader.position)
        };
        assert_eq!(between(r#"{"S":"text"},"#), (Some("text"), 12));
        for left in [
            "",
            r#"{"N":"1"}"#,
            r#"{"S":"te\nxt"}"#,
            r#"{"S":"text" }"#,
            r#"{"S":"text","N":"1"}"#,
            r#"{"S":"text"#,
        ] {
            assert_eq!(between(left), (None, 0), "{left}");
        }
    }

    #[test]
    fn the_first_special_byte_is_found_among_any_others() {
        for other in [b'a', b' ', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
            for position in 0..20 {
                for byte in 0..=u8::MAX {
                    let mut text = [other; 20];
                    text[position] = byte;
                    // A special byte after the first one is not found.
                    text[19] = b'"';
                    let is_special = byte < b' ' || byte == b'"' || byte == b'\\';
                    let expected = if is_special { position } else { 19 };
                    assert_eq!(
                        special_byte(&text),
                        Some(expected),
                        "{byte} {position} {other}"
                    );
                }
            }
            assert_eq!(special_byte(&[other; 20]), None);
        }
    }

    #[test]
    fn an_error_has_the_line_and_the_column_of_its_byte() {
        for (text, line, column) in [
            ("", 1, 0),
            ("[", 1, 1),
            ("[1 2]", 1, 4),
            ("[\n\n \n", 4, 0),
            ("[\n  truth]", 2, 6),
            ("{\n\"a\":1,}", 2, 7),
            ("[1.]", 1, 3),
            ("[01]", 1, 3),
            ("\"a\u{1}\"", 1, 3),
            ("\"a", 1, 2),
            ("\"\\", 1, 2),
            ("[\"\\x\"]", 1, 4),
        ] {
            let read = read(text, JsonReader::skip);
            assert_eq!(read, Err((line, column)), "{text:?}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let deepest = usize::from(MAX_DEPTH) + 1;
        assert_eq!(read(&nested(deepest), JsonReader::skip), Ok(()));
        assert_eq!(
            read(&nested(deepest + 1), JsonReader::skip),
            Err((1, deepest + 1))
        );
        let neighbours = format!("[{}1]", "[2],".repeat(2 * deepest));
        assert_eq!(read(&neighbours, JsonReader::skip), Ok(()));
    }
}
