//! Why a domain refuses a command.

use std::borrow::Cow;

/// Why a command is refused. Nothing is appended, and a retry of the command is refused again as
/// long as the aggregate's state stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// What the refusal says of the aggregate, which decides the HTTP status.
    pub kind: RefusalKind,
    /// Its name in the public API, which never changes: the last part of the problem's type.
    pub code: &'static str,
    /// What the client reads. It may quote the command and the aggregate, so it belongs in the
    /// response and never in a log.
    pub detail: Cow<'static, str>,
}

/// What a refusal says of the aggregate, in words that every domain shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such aggregate.
    Unknown,
    /// The command opens an aggregate that exists already.
    Conflict,
    /// The aggregate exists, and its rules don't allow the command.
    Rule,
}

impl RefusalKind {
    /// The status of a response that refuses a command for this reason
    /// ([RFC 9110, section 15.5](https://www.rfc-editor.org/rfc/rfc9110#section-15.5)).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Unknown => 404,
            Self::Conflict => 409,
            Self::Rule => 422,
        }
    }
}

impl Refusal {
    /// There is no such aggregate.
    #[must_use]
    pub fn unknown(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Unknown, code, detail)
    }

    /// The aggregate is there where a new one was to begin.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Conflict, code, detail)
    }

    /// The aggregate's rules don't allow the command.
    #[must_use]
    pub fn rule(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Rule, code, detail)
    }

    fn new(kind: RefusalKind, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            code,
            detail: detail.into(),
        }
    }
}
