//! The reader: HTTP queries over the read model, the query side of CQRS.
//!
//! The projector writes the read model from the domain stream, and the reader answers queries from it.
//! The reader never reads the events table, so a query puts no load on the writer. The read model may
//! lag the events table by a moment; a client that needs an event's effect names the event's sequence in
//! its query (`minSequence`).
//!
//! * [`handler`]: converts API Gateway's events to requests, and responses back.
//! * [`service`]: handles a request and returns the response, with status and headers.
//! * `fresh`: reads the view when it has reached the sequence that the client needs.
//! * `page`, `view_at`: the two queries over the history.
//! * `query`: decodes a request into a query.
//! * [`ports`]: the read model as a trait.
//! * [`adapters`]: the trait's implementation on DynamoDB, and the Lambda function.
//! * `testing` (feature `testing`): the read model in memory.
//!
//! Invariant: a response contains only events up to the view's sequence. The projector writes the
//! history before the view, so the history may already contain later entries. Every query reads the
//! view first, so the responses agree.
//!
//! Invariant: every read is consistent, so a later query never returns an older state than an earlier
//! query.
//!
//! The reader also shows documents, such as those of the contract. They are parts of the program.
//!
//! The domain determines what an aggregate is and its form in JSON. API Gateway's authorizer determines
//! who may send queries.
//!
//! # Use
//!
//! The reader is a program of the application, with the application's domain:
//!
//! ```no_run
//! use millrace_domain::Accounts;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     Ok(millrace_reader::run::<Accounts>(&[]).await?)
//! }
//! ```

pub mod adapters;
mod config;
mod fresh;
pub mod handler;
mod page;
pub mod ports;
mod query;
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;
mod view_at;

pub use adapters::lambda::run;
pub use service::Documents;
