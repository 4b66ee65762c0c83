//! A command as it comes in over HTTP: its name in the path, its fields in the body.

use crate::attribute::Attributes;
use crate::columns::Columns;
use crate::decode::decode_variant;
use crate::domain::Domain;
use crate::json;

/// A command that can't be read. A retry fails in the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The domain has no command of this name.
    #[error("there is no such command")]
    Unknown,
    /// The body isn't the command's.
    #[error("{detail}")]
    Body {
        /// A JSON pointer (RFC 6901) to what is wrong; empty for the whole body.
        pointer: String,
        /// What is wrong with it. It names members and quotes no value.
        detail: String,
    },
}

/// Whether the domain has a command of this name.
#[must_use]
pub fn exists<D: Domain>(name: &str) -> bool {
    match decode_variant::<D::Command>(name, &Columns::default(), |_| false) {
        Ok(_) => true,
        Err(error) => !error.is_unknown_tag(),
    }
}

/// Reads the command of this name. An empty body of [`Domain::OPENS`] is an object without members:
/// it asks for the defaults.
///
/// # Errors
/// [`CommandError`].
pub fn read<D: Domain>(name: &str, body: &[u8]) -> Result<D::Command, CommandError> {
    let members = if body.is_empty() && name == D::OPENS {
        Attributes::new()
    } else {
        json::borrowed_object(body).map_err(|error| CommandError::Body {
            pointer: String::new(),
            detail: format!("the body {error}"),
        })?
    };
    let command = decode_variant(name, &Columns::from(members), |_| false);
    command.map_err(|error| {
        if error.is_unknown_tag() {
            return CommandError::Unknown;
        }
        CommandError::Body {
            pointer: error.json_pointer(),
            detail: format!("{} {}", error.path(), error.problem_in_json()),
        }
    })
}
