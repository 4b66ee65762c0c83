//! The public contract of a domain, generated from its Rust types: what subscribers, clients and analysts build
//! on.
//!
//! [`documents`] generates it: a JSON Schema for the data of each event version and for the envelope, an
//! [AsyncAPI 3](https://www.asyncapi.com/docs/reference/specification/v3.0.0) document of the domain stream, an
//! [OpenAPI 3.1](https://spec.openapis.org/oas/v3.1.1.html) document of the HTTP API, the lake's columns, and a
//! page that describes every event. The documents are checked in next to the code, so that a change of the
//! contract shows in a review.
//!
//! [`breaking_changes`] compares the contract with the frozen copies of what was published, and names each change
//! that would break a consumer or a client.
//!
//! Everything is pure: the caller reads and writes the files.

mod asyncapi;
mod breaking;
mod document;
mod events;
mod guide;
mod lake;
mod openapi;
mod problems;
mod schema;

use std::collections::BTreeMap;

use millrace_core::{Project, Refusal};
use schemars::JsonSchema;

pub use breaking::{Breaking, PUBLISHED, breaking_changes, frozen_path, published};

/// A domain whose contract can be generated. Its types describe their members with `JsonSchema`: a doc comment is
/// the description of a type or member, and `#[schemars(extend("x-unit" = "…"))]` is the unit of a number.
pub trait Contract:
    Project<
        Command: JsonSchema,
        PublicEvent: JsonSchema,
        Accepted: JsonSchema,
        View: JsonSchema,
        Entry: JsonSchema,
    >
{
    /// The title of the documents, such as `Shelves`.
    const TITLE: &'static str;
    /// The version of the contract, `MAJOR.MINOR.PATCH`. Raise it with each change of the contract.
    const VERSION: &'static str;

    /// An event of each type and version, for the examples.
    fn examples() -> Vec<Self::PublicEvent>;

    /// Every refusal of the domain's commands and queries, each with a text for clients: the
    /// cause, or what to do.
    fn refusals() -> Vec<(Refusal, &'static str)>;
}

/// The contract's documents: the content of each file by its path, which begins at the repository's folder.
pub type Documents = BTreeMap<String, String>;

/// The folder of the documents that programs read.
pub const FOLDER: &str = "contracts";

/// The page that describes the events.
pub const GUIDE: &str = "docs/events.md";

/// A contract that can't be generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// A type has another form than [`millrace_core::Domain`] asks for.
    #[error("the schema of {0} is not that of an enum or a struct with named fields")]
    Form(String),
    /// A version of an event type has no example.
    #[error("there is no example of {0}")]
    NoExample(String),
    /// Two types of a document have the same name and different schemas. Rename one of them with
    /// `#[schemars(rename = "…")]`.
    #[error("two types with different schemas have the name {0}")]
    NameTaken(String),
    /// An example can't be encoded.
    #[error("an example can't be encoded: {0}")]
    Example(String),
}

/// Generates the documents of a domain's contract.
///
/// # Errors
/// [`ContractError`]: the domain's types or examples have to be changed.
pub fn documents<D: Contract>() -> Result<Documents, ContractError> {
    let events = events::of::<D>()?;
    let mut documents = Documents::new();
    let mut add = |name: String, content: &serde_json::Value| {
        documents.insert(format!("{FOLDER}/{name}"), document::text(content));
    };
    for event in &events {
        add(format!("schemas/{}.json", event.file()), &event.data_schema);
    }
    add(
        "schemas/envelope.json".to_owned(),
        &events::envelope::<D>(&events),
    );
    add(
        "asyncapi.json".to_owned(),
        &asyncapi::document::<D>(&events)?,
    );
    add("openapi.json".to_owned(), &openapi::document::<D>()?);
    add("lake.json".to_owned(), &lake::columns::<D>());
    documents.insert(GUIDE.to_owned(), guide::page::<D>(&events));
    Ok(documents)
}
