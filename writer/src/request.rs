//! Checks an HTTP request and decodes it to a command, before any call to a service.

use millrace_core::command::{self, CommandError};
use millrace_core::ids::is_printable;
use millrace_core::{AggregateId, Domain, Metadata, Resource, TraceParent};
use millrace_runtime::Ambient;
use millrace_runtime::http::{Caller, Problem, Request};

use crate::idempotency::Key;
use crate::precondition::IfMatch;

/// The largest body, in bytes. A command has a few dozen.
const MAX_BODY: usize = 16 * 1024;
/// The longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;

const CONTENT_TYPE: &str = "content-type";
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IF_MATCH: &str = "if-match";
const CAUSATION_ID: &str = "x-causation-id";

/// A checked command, ready to be executed.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The aggregate that the command changes.
    pub(crate) target: AggregateId,
    /// Whether the command begins the aggregate. The id is then made for this command, and stays
    /// the same however often it is attempted.
    pub(crate) begins: bool,
    /// The command's name.
    name: String,
    /// Its body, which can be read as this command's.
    body: Vec<u8>,
    /// The states on which the command may be executed; `None`: any.
    pub(crate) if_match: Option<IfMatch>,
    /// The idempotency key, which identifies duplicates of the command.
    pub(crate) key: Option<Key>,
    /// The metadata of the command's events. The command's id is unique to this request.
    pub(crate) metadata: Metadata,
}

impl Prepared {
    /// The command's id, which its rows contain.
    pub(crate) fn id(&self) -> &str {
        self.metadata.command_id.as_deref().unwrap_or_default()
    }

    /// The command, read again for each decision, which consumes it.
    ///
    /// # Errors
    /// A [`Problem`]; none where [`prepare`] gave none.
    pub(crate) fn read<D: Domain>(&self) -> Result<D::Command, Problem> {
        command::read::<D>(&self.name, &self.body).map_err(unreadable)
    }
}

/// Reads a request, which is executed in the span `trace_parent`. The checks come in the order that the
/// API documents: path and method, content type, size, headers, body.
///
/// # Errors
/// A [`Problem`] that says what is wrong with it.
pub(crate) fn prepare<D: Domain>(
    request: &Request,
    correlation_id: &str,
    trace_parent: TraceParent,
    ambient: &impl Ambient,
) -> Result<Prepared, Problem> {
    let resource = request.resource(Resource::parse_command::<D>)?;
    content_type(request)?;
    if request.body.len() > MAX_BODY {
        return Err(Problem::new(
            413,
            "content-too-large",
            format!("the body is larger than {MAX_BODY} bytes"),
        ));
    }
    let key = key(request)?;
    let if_match = if_match(request)?;
    let causation_id = causation_id(request)?;
    let (target, name) = match resource {
        Resource::Collection => (None, D::OPENS.to_owned()),
        Resource::Command(id, name) => (Some(id), name),
        Resource::Item(_) | Resource::History(_) | Resource::ViewAt(_) => {
            return Err(Problem::new(
                404,
                "not-found",
                "queries are answered by another function",
            ));
        }
    };
    command::read::<D>(&name, &request.body).map_err(unreadable)?;
    let begins = target.is_none();
    let target = target.unwrap_or_else(|| {
        AggregateId::new(ambient.unique_id()).expect("a unique id is short and printable")
    });
    let command_id = ambient.unique_id();
    Ok(Prepared {
        target,
        begins,
        name,
        body: request.body.clone(),
        if_match,
        key,
        metadata: Metadata {
            correlation_id: Some(correlation_id.to_owned()),
            causation_id: Some(causation_id.unwrap_or_else(|| command_id.clone())),
            command_id: Some(command_id),
            trace_parent: Some(trace_parent),
            actor: request.caller.as_ref().map(Caller::to_string),
        },
    })
}

fn unreadable(error: CommandError) -> Problem {
    match error {
        CommandError::Unknown => Problem::new(404, "not-found", error.to_string()),
        CommandError::Body { pointer, detail } => Problem::malformed(detail).at(pointer),
    }
}

/// A body has to be declared as JSON. Without a body, no content type is needed.
fn content_type(request: &Request) -> Result<(), Problem> {
    if request.body.is_empty() {
        return Ok(());
    }
    let media_type = request
        .header(CONTENT_TYPE)
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if media_type.is_some_and(|it| it.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Problem::new(
        415,
        "unsupported-media-type",
        "the Content-Type is not application/json",
    ))
}

fn key(request: &Request) -> Result<Option<Key>, Problem> {
    let Some(key) = request.header(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let printable = key.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    if key.is_empty() || key.len() > MAX_KEY || !printable {
        return Err(Problem::malformed(format!(
            "Idempotency-Key is not 1 to {MAX_KEY} printable ASCII characters"
        )));
    }
    let if_match = request.header(IF_MATCH).unwrap_or_default();
    Ok(Some(Key::of(
        request.caller.as_ref(),
        key,
        &[
            request.method.as_bytes(),
            request.path.as_bytes(),
            if_match.as_bytes(),
            &request.body,
        ],
    )))
}

fn if_match(request: &Request) -> Result<Option<IfMatch>, Problem> {
    let Some(value) = request.header(IF_MATCH) else {
        return Ok(None);
    };
    let parsed = IfMatch::parse(value);
    parsed.map(Some).ok_or_else(|| {
        Problem::malformed("If-Match is neither * nor a list of entity tags such as \"7\"")
    })
}

fn causation_id(request: &Request) -> Result<Option<String>, Problem> {
    match request.header(CAUSATION_ID) {
        None => Ok(None),
        Some(id) if is_printable(id) => Ok(Some(id.to_owned())),
        Some(_) => Err(Problem::malformed(
            "X-Causation-Id is not 1 to 256 characters without control characters",
        )),
    }
}
