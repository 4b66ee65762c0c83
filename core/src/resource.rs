//! What a request's path names.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::command;
use crate::domain::{Domain, Project};
use crate::ids::AggregateId;

/// What a segment of a path encodes: everything but the unreserved characters
/// ([RFC 3986, section 2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `/{COLLECTION}`: takes the command [`Domain::OPENS`].
    Collection,
    /// `/{COLLECTION}/{id}`: shows the view.
    Item(AggregateId),
    /// `/{COLLECTION}/{id}/{command}`: takes the command.
    Command(AggregateId, String),
    /// `/{COLLECTION}/{id}/{HISTORY}`: shows the history.
    History(AggregateId),
    /// `/{COLLECTION}/{id}/{VIEW_AT}`: shows the view at a time.
    ViewAt(AggregateId),
}

/// A path that names no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is nothing at this path.
    #[error("there is nothing at this path")]
    Unknown,
    /// It contains an id that a path can't name.
    #[error("the path contains an id that no path can name: it is . or .., or contains / or ?")]
    NotAddressable,
}

impl Resource {
    /// What a request path names.
    ///
    /// API Gateway's HTTP API decodes a path before a function sees it (all escapes but `%25`), and
    /// cuts it off at a decoded `?`. So an id that contains a separator would name another resource, and
    /// the function couldn't notice it. An encoded separator, which another front end may leave in the
    /// path, is refused too. Segments are split first and then decoded.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse<D: Project>(path: &str) -> Result<Self, PathError> {
        Self::parse_with::<D>(path, query::<D>)
    }

    /// Like [`parse`](Self::parse), for a function that takes commands and knows no read model: the
    /// paths of [`History`](Self::History) and [`ViewAt`](Self::ViewAt) are unknown to it.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse_command<D: Domain>(path: &str) -> Result<Self, PathError> {
        Self::parse_with::<D>(path, |_| None)
    }

    fn parse_with<D: Domain>(path: &str, query: FindQuery) -> Result<Self, PathError> {
        let resource = Self::split::<D>(path, query).ok_or(PathError::Unknown)?;
        match resource.id() {
            Some(id) if !is_addressable(id) => Err(PathError::NotAddressable),
            _ => Ok(resource),
        }
    }

    fn split<D: Domain>(path: &str, query: FindQuery) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (collection, rest) = segments.split_first()?;
        if *collection != D::COLLECTION {
            return None;
        }
        let (id, rest) = match rest {
            [] => return Some(Self::Collection),
            [id, rest @ ..] => (percent_decode_str(id).decode_utf8().ok()?, rest),
        };
        let id = AggregateId::new(id).ok()?;
        let segment = match rest {
            [] => return Some(Self::Item(id)),
            [segment] => *segment,
            _ => return None,
        };
        if let Some(resource) = query(segment) {
            return Some(resource(id));
        }
        let is_command = segment != D::OPENS && command::exists::<D>(segment);
        is_command.then(|| Self::Command(id, segment.to_owned()))
    }

    fn id(&self) -> Option<&AggregateId> {
        match self {
            Self::Collection => None,
            Self::Item(id) | Self::Command(id, _) | Self::History(id) | Self::ViewAt(id) => {
                Some(id)
            }
        }
    }

    /// The one method that it takes.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Collection | Self::Command(..) => "POST",
            Self::Item(_) | Self::History(_) | Self::ViewAt(_) => "GET",
        }
    }
}

/// Finds the query whose path ends with a segment.
type FindQuery = fn(&str) -> Option<fn(AggregateId) -> Resource>;

fn query<D: Project>(segment: &str) -> Option<fn(AggregateId) -> Resource> {
    if segment == D::HISTORY {
        Some(Resource::History)
    } else if Some(segment) == D::VIEW_AT {
        Some(Resource::ViewAt)
    } else {
        None
    }
}

/// The path of an aggregate, for `Location`; `None` where no path can name its id. Such an id comes
/// from a legacy writer only.
#[must_use]
pub fn item_path<D: Domain>(id: &AggregateId) -> Option<String> {
    let encoded = utf8_percent_encode(id.as_str(), RESERVED);
    is_addressable(id).then(|| format!("/{}/{encoded}", D::COLLECTION))
}

/// Whether a path can name this id: it contains no separator, and isn't what a client or a proxy
/// removes from a path ([RFC 3986, section 5.2.4](https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4)).
fn is_addressable(id: &AggregateId) -> bool {
    !id.as_str().contains(['/', '?']) && !matches!(id.as_str(), "." | "..")
}
