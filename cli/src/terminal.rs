//! Escapes untrusted text for a terminal: an id, an event or an error may contain characters that move the
//! terminal's cursor, change its colours, or reverse the reading order of a line.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

/// Escapes each character that isn't visible: the control characters C0 and C1, line breaks included, and
/// Unicode's format characters.
pub(crate) fn on_one_line(text: &str) -> Cow<'_, str> {
    escape(text, is_visible, |escaped, character| {
        escaped.extend(character.escape_debug());
    })
}

/// Escapes a text as [`on_one_line`] does, except for line breaks.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escape(
        text,
        |character| character == '\n' || is_visible(character),
        |escaped, character| escaped.extend(character.escape_debug()),
    )
}

/// Escapes a JSON text as [`on_one_line`] does, without changing the JSON value. Outside of strings, the only
/// invisible characters of a JSON text are white space.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    escape(text, is_visible, |escaped, character| match character {
        '\t' | '\n' | '\r' => escaped.push(' '),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("writing to a String never fails");
            }
        }
    })
}

/// Colours a text for a terminal: the sign at the beginning of a line, and commands in backquotes. The text has
/// been escaped.
pub(crate) fn coloured(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let unindented = line.trim_start();
        let indent = &line[..line.len() - unindented.len()];
        let mut characters = unindented.chars();
        let sign = match characters.next() {
            Some('✓') => AnsiColor::Green,
            Some('✗') => AnsiColor::Red,
            Some('?') => AnsiColor::Yellow,
            _ => return commands_coloured(line),
        };
        let rest = characters.as_str();
        let sign_end = unindented.len() - rest.len();
        let sign = painted(&unindented[..sign_end], sign.on_default().bold());
        format!("{indent}{sign}{}", commands_coloured(rest))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn commands_coloured(line: &str) -> String {
    let mut parts: Vec<String> = line.split('`').map(str::to_owned).collect();
    // After the last backquote of an odd number of them, no command begins.
    let commands = (parts.len() - 1) / 2;
    for part in parts.iter_mut().skip(1).step_by(2).take(commands) {
        *part = painted(part, AnsiColor::Cyan.on_default());
    }
    parts.join("`")
}

fn painted(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

fn escape(
    text: &str,
    is_kept: impl Fn(char) -> bool,
    push_escaped: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if text.chars().all(&is_kept) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_kept(character) {
            escaped.push(character);
        } else {
            push_escaped(&mut escaped, character);
        }
    }
    Cow::Owned(escaped)
}

fn is_visible(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    // `escape_debug` escapes exactly the characters that aren't visible, and a combining character at the
    // start of a text. So the character is tested after a letter.
    ['x', character]
        .iter()
        .collect::<String>()
        .escape_debug()
        .eq(['x', character])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Escape, control sequence introducer (C1), delete, right-to-left override and isolate, zero-width
    /// space, line separator, and a tag character that no font shows.
    const HARMFUL: &str = "\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2067}\u{200b}\u{2028}\u{e0041}";

    #[test]
    fn visible_characters_are_unchanged() {
        for text in ["a 'b' \"c\" \\ → ✓ …", "ä e\u{301} 日本 👍", ""] {
            assert_eq!(on_one_line(text), text);
            assert_eq!(lines(text), text);
            assert_eq!(json(text), text);
        }
        assert_eq!(lines("a\nb"), "a\nb");
    }

    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(
            on_one_line(HARMFUL),
            r"\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2067}\u{200b}\u{2028}\u{e0041}"
        );
        assert_eq!(on_one_line("a\r\nb"), r"a\r\nb");
        assert_eq!(lines("a\r\nb"), "a\\r\nb");
    }

    #[test]
    fn json_stays_the_same_json_on_one_line() {
        let value = Value::from(format!("ä{HARMFUL}"));
        let text = format!("{{\n\t\"a\":\r\n{value}}}");
        let shown = json(&text);
        assert!(shown.chars().all(is_visible), "{shown}");
        assert_eq!(
            serde_json::from_str::<Value>(&shown).expect("JSON")["a"],
            value
        );
    }

    #[test]
    fn signs_and_commands_are_coloured_and_nothing_else() {
        assert_eq!(
            coloured("✗ a: run `millrace verify`\n  ✓ b ✗\n? c\nwhat? `d"),
            "\u{1b}[1m\u{1b}[31m✗\u{1b}[0m a: run `\u{1b}[36mmillrace verify\u{1b}[0m`\n  \
             \u{1b}[1m\u{1b}[32m✓\u{1b}[0m b ✗\n\u{1b}[1m\u{1b}[33m?\u{1b}[0m c\nwhat? `d"
        );
    }

    proptest! {
        #[test]
        fn colours_change_no_text(text in "[✓✗? `a\n]{0,30}") {
            prop_assert_eq!(anstream::adapter::strip_str(&coloured(&text)).to_string(), text);
        }

        #[test]
        fn nothing_that_is_shown_controls_a_terminal(text in any::<String>()) {
            let harmless = |shown: &str| !shown.chars().any(char::is_control);
            prop_assert!(harmless(&on_one_line(&text)));
            prop_assert!(harmless(&lines(&text).replace('\n', "")));
            prop_assert!(harmless(&json(&text)));
        }

        #[test]
        fn every_json_string_is_read_back(text in any::<String>()) {
            let value = Value::from(text);
            let written = value.to_string();
            let read: Value = serde_json::from_str(&json(&written)).expect("JSON");
            prop_assert_eq!(read, value);
        }
    }
}
