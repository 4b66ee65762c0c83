//! Why data can't be decoded or encoded: which attribute, and what is wrong with it.
//!
//! Invariant: no error quotes a value, so each may be logged and stored. Serde hands the found value
//! to its error constructors; the ones here drop it. A domain's own types say what is wrong through
//! [`InvalidValue`], whose text is a constant; any other text of theirs is replaced.

use std::any::type_name;
use std::borrow::Cow;
use std::fmt;

use serde::{de, ser};

/// How many characters of an attribute's name an error contains. Keys of maps may be of any length.
const MAX_NAME_CHARS: usize = 64;

/// Data that can't be decoded. Its text is `<path>: <problem>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DecodeError {
    path: Path,
    problem: Problem,
}

/// A domain's value that has no form as attributes or JSON members: a fault of the domain's types,
/// which the conformance kit finds. Its text is `<path>: <problem>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct EncodeError {
    path: Path,
    problem: &'static str,
}

/// Why a domain's own type refuses a value, for the `Error` of its `TryFrom`. The text completes a
/// sentence that begins with the attribute's name: "is not an amount".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidValue(&'static str);

/// Names and indices from the innermost to the outermost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Name(String),
    Index(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    Missing,
    Type {
        found: &'static str,
        expected: &'static str,
    },
    UnknownVariant,
    Other(Cow<'static, str>),
}

impl InvalidValue {
    /// A problem in constant words.
    #[must_use]
    pub const fn new(problem: &'static str) -> Self {
        Self(problem)
    }

    /// The text of `message` if it is an `InvalidValue`: every other type might quote a value. Serde
    /// doesn't ask for `'static`, so the types' names are compared, and not their `TypeId`s.
    fn constant_text<T: fmt::Display>(message: &T) -> Option<String> {
        (type_name::<T>() == type_name::<Self>()).then(|| message.to_string())
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidValue {}

impl DecodeError {
    /// An error of one attribute. `problem` must not quote a stored value.
    #[must_use]
    pub fn new(attribute: &str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::without_path(Problem::Other(problem.into())).in_field(attribute)
    }

    /// The attribute's path, such as `Amount` or `Lines[0].Options.colour`; empty for the whole item.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    /// The path as a JSON pointer (RFC 6901), such as `/lines/0/options/colour`.
    #[must_use]
    pub fn json_pointer(&self) -> String {
        let mut pointer = String::new();
        for segment in self.path.0.iter().rev() {
            pointer.push('/');
            match segment {
                Segment::Name(name) => {
                    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                }
                Segment::Index(index) => pointer.push_str(&index.to_string()),
            }
        }
        pointer
    }

    /// What is wrong with the attribute, without its path.
    #[must_use]
    pub fn problem(&self) -> String {
        self.problem.to_string()
    }

    /// What is wrong with a member of a JSON object, in JSON's words for types.
    #[must_use]
    pub(crate) fn problem_in_json(&self) -> String {
        let Problem::Type { expected, .. } = self.problem else {
            return self.problem();
        };
        let expected = match expected {
            "S" => "a string",
            "N" => "an integer",
            "BOOL" => "true or false",
            "L" => "a list",
            "M" => "an object",
            "NULL" => "null",
            other => other,
        };
        format!("is not {expected}")
    }

    pub(crate) fn missing(attribute: &str) -> Self {
        Self::without_path(Problem::Missing).in_field(attribute)
    }

    pub(crate) const fn wrong_type(found: &'static str, expected: &'static str) -> Self {
        Self::without_path(Problem::Type { found, expected })
    }

    pub(crate) const fn constant(problem: &'static str) -> Self {
        Self::without_path(Problem::Other(Cow::Borrowed(problem)))
    }

    /// An error of the whole item or JSON object. `problem` must not quote a stored value.
    #[must_use]
    pub fn whole(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::without_path(Problem::Other(problem.into()))
    }

    const fn without_path(problem: Problem) -> Self {
        Self {
            path: Path(Vec::new()),
            problem,
        }
    }

    pub(crate) fn in_field(mut self, name: &str) -> Self {
        self.path.push_name(name);
        self
    }

    pub(crate) fn in_element(mut self, index: usize) -> Self {
        self.path.0.push(Segment::Index(index));
        self
    }

    /// Whether the tag of the whole value names no variant.
    pub(crate) fn is_unknown_tag(&self) -> bool {
        self.problem == Problem::UnknownVariant && self.path.0.is_empty()
    }
}

impl EncodeError {
    pub(crate) const fn new(problem: &'static str) -> Self {
        Self {
            path: Path(Vec::new()),
            problem,
        }
    }

    /// The attribute's path, such as `Amount`; empty for the whole value.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    pub(crate) fn in_field(mut self, name: &str) -> Self {
        self.path.push_name(name);
        self
    }
}

impl Path {
    fn push_name(&mut self, name: &str) {
        let name = name.chars().take(MAX_NAME_CHARS).collect();
        self.0.push(Segment::Name(name));
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().rev().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Name(name) if depth == 0 => f.write_str(name)?,
                Segment::Name(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Type { found, expected } => write!(f, "is of type {found}, not {expected}"),
            Self::UnknownVariant => f.write_str("is none of the known variants"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_error(f, &self.path, &self.problem)
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_error(f, &self.path, &self.problem)
    }
}

fn write_error(f: &mut fmt::Formatter<'_>, path: &Path, problem: &dyn fmt::Display) -> fmt::Result {
    if path.0.is_empty() {
        write!(f, "{problem}")
    } else {
        write!(f, "{path}: {problem}")
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = InvalidValue::constant_text(&message);
        Self::without_path(Problem::Other(
            text.map_or(Cow::Borrowed("is not valid"), Cow::Owned),
        ))
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::without_path(Problem::Other(format!("is not {expected}").into()))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self::without_path(Problem::Other(
            format!("contains {length} elements, not {expected}").into(),
        ))
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::without_path(Problem::UnknownVariant)
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::constant("is unknown").in_field(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::missing(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::constant("is repeated").in_field(field)
    }
}

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::new("can't be encoded")
    }
}

#[cfg(test)]
mod tests {
    use serde::de::Error as _;

    use super::*;

    #[test]
    fn a_path_is_written_as_attributes_and_as_a_json_pointer() {
        let error = DecodeError::wrong_type("BOOL", "S")
            .in_field("a/b~c")
            .in_field("options")
            .in_element(0)
            .in_field("lines");
        assert_eq!(error.path(), "lines[0].options.a/b~c");
        assert_eq!(error.json_pointer(), "/lines/0/options/a~1b~0c");
        assert_eq!(
            error.to_string(),
            "lines[0].options.a/b~c: is of type BOOL, not S"
        );
    }

    #[test]
    fn a_long_key_is_cut() {
        let error = DecodeError::missing(&"x".repeat(1000));
        assert_eq!(error.path().len(), MAX_NAME_CHARS);
    }

    #[test]
    fn only_constant_messages_of_a_domain_are_kept() {
        let constant = DecodeError::custom(InvalidValue::new("is not an amount"));
        assert_eq!(constant.to_string(), "is not an amount");
        for quoting in [
            DecodeError::custom("secret is not an amount"),
            DecodeError::custom(format!("{} is not an amount", "secret")),
            DecodeError::invalid_value(de::Unexpected::Str("secret"), &"an amount"),
            DecodeError::invalid_type(de::Unexpected::Str("secret"), &"an amount"),
            DecodeError::unknown_variant("secret", &["a"]),
        ] {
            assert!(!quoting.to_string().contains("secret"), "{quoting}");
        }
    }
}
