//! `If-Match`: a command that is executed only on the state that its client has seen
//! ([RFC 9110, section 13.1.1](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1)).

use millrace_core::Sequence;

/// What `If-Match` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// `*`: any state.
    Any,
    /// One of these entity tags, compared strongly; weak ones, which never match, are left out.
    Tags(Vec<String>),
}

/// The entity tag of an aggregate's state: the sequence of its last event.
pub(crate) fn entity_tag(sequence: Sequence) -> String {
    format!("\"{sequence}\"")
}

impl IfMatch {
    /// Reads the header's value; `None` where it is neither `*` nor a list of entity tags.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        if value.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = value.trim();
        loop {
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let (tag, remainder) = quoted.strip_prefix('"')?.split_once('"')?;
            if !tag.bytes().all(is_tag_byte) {
                return None;
            }
            if !weak {
                tags.push(format!("\"{tag}\""));
            }
            let remainder = remainder.trim_start();
            if remainder.is_empty() {
                return Some(Self::Tags(tags));
            }
            rest = remainder.strip_prefix(',')?.trim_start();
        }
    }

    /// Whether the aggregate's state at this sequence matches. An aggregate without events has no state,
    /// and never matches.
    pub(crate) fn holds(&self, sequence: Sequence) -> bool {
        sequence != Sequence::NONE
            && match self {
                Self::Any => true,
                Self::Tags(tags) => tags.contains(&entity_tag(sequence)),
            }
    }
}

/// `etagc` of RFC 9110, section 8.8.3.
const fn is_tag_byte(byte: u8) -> bool {
    byte == 0x21 || (0x23 <= byte && byte <= 0x7e) || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tags: &[&str]) -> IfMatch {
        IfMatch::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    #[test]
    fn reads_what_the_rfc_allows_and_nothing_else() {
        for (value, read) in [
            ("*", Some(IfMatch::Any)),
            ("\"7\"", Some(tags(&["\"7\""]))),
            (
                "\"7\", \"8\" ,\"9\"",
                Some(tags(&["\"7\"", "\"8\"", "\"9\""])),
            ),
            ("W/\"7\", \"8\"", Some(tags(&["\"8\""]))),
            ("\"a,b\"", Some(tags(&["\"a,b\""]))),
            ("\"\"", Some(tags(&["\"\""]))),
            ("", None),
            ("7", None),
            ("\"7", None),
            ("\"7\" \"8\"", None),
            ("\"7\",", None),
            ("\"a b\"", None),
            ("w/\"7\"", None),
            ("*, \"7\"", None),
        ] {
            assert_eq!(IfMatch::parse(value), read, "{value}");
        }
    }

    #[test]
    fn holds_for_the_state_that_was_named_alone() {
        let seven = Sequence::new(7).expect("valid");
        assert!(IfMatch::Any.holds(seven));
        assert!(!IfMatch::Any.holds(Sequence::NONE));
        let named = |value| IfMatch::parse(value).expect("valid");
        assert!(named("\"6\", \"7\"").holds(seven));
        assert!(!named("\"6\"").holds(seven));
        assert!(!named("W/\"7\"").holds(seven));
        assert!(!named("\"0\"").holds(Sequence::NONE));
    }
}
