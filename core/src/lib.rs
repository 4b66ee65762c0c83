//! The general half of Millrace: what every domain shares, and the trait that a domain implements.
//!
//! Everything here is pure: no AWS, no runtime, no clock, no randomness, no environment. Time, ids and
//! settings come in as arguments.
//!
//! The interface between Millrace and a domain:
//!
//! * [`domain`]: the traits [`Domain`] and [`Project`], which a team implements; [`refusal`]: why a
//!   command is refused;
//! * `testing` (feature `testing`): given/when/then, and what every domain is checked for.
//!
//! What the functions do with a domain:
//!
//! * [`aggregate`]: loads an aggregate from its newest rows and continues it;
//! * [`row`]: the rows of the events table; [`stream`]: the records of its stream;
//! * [`envelope`]: the public events' bytes; [`cursor`]: the publication cursor's attributes;
//! * [`resource`], [`command`] and [`answer`]: paths, commands and answers over HTTP;
//! * [`lake`]: which bytes can be a line of the lake;
//! * [`settings`]: what of the settings must not change, in the events table;
//! * [`sequence_gate`] and [`view`]: which event comes next, and the read model after it.
//!
//! What these are made of:
//!
//! * [`ids`], [`layout`] (versions of rows, sequences of events, and where snapshots are), [`time`],
//!   [`trace`];
//! * [`attribute`]: a table's item as plain values; [`columns`]: a row's, for a domain to edit before
//!   they are read;
//! * [`decode`] and [`encode`]: a domain's own types as attributes and back, through serde; [`json`]:
//!   JSON objects as attributes;
//! * [`error`]: errors that name the attribute and never quote a value.
//!
//! # Example
//!
//! [`Domain`] has an example of a whole domain. A row of the events table is read with it as follows:
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! # use millrace_core::{Domain, Refusal};
//! # struct Shelves;
//! # #[derive(Deserialize)]
//! # #[serde(rename_all = "kebab-case")]
//! # enum Command { Stock { articles: u32 } }
//! # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! # #[serde(rename_all_fields = "PascalCase")]
//! # enum Event { Stocked { articles: u32 } }
//! # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! # struct Shelf { articles: u32 }
//! # impl Domain for Shelves {
//! #     const COLLECTION: &'static str = "shelves";
//! #     const ID: &'static str = "shelfId";
//! #     const OPENS: &'static str = "stock";
//! #     const BEGINS: &'static str = "Stocked";
//! #     type Command = Command;
//! #     type Event = Event;
//! #     type State = Shelf;
//! #     type PublicEvent = Event;
//! #     type Context = ();
//! #     type Accepted = ();
//! #     fn decide(&self, _: Option<&Shelf>, command: Command) -> Result<Vec<Event>, Refusal> {
//! #         let Command::Stock { articles } = command;
//! #         Ok(vec![Event::Stocked { articles }])
//! #     }
//! #     fn evolve(_: Option<Shelf>, event: &Event) -> Option<Shelf> {
//! #         let Event::Stocked { articles } = event;
//! #         Some(Shelf { articles: *articles })
//! #     }
//! #     fn publish((): &mut (), event: &Event) -> Option<Event> { Some(event.clone()) }
//! #     fn accepted(_: &Shelf) {}
//! # }
//! use millrace_core::{Attribute, Attributes, StoredRow};
//!
//! let mut row: Attributes = [
//!     ("Id".to_owned(), Attribute::text("s-1")),
//!     ("Version".to_owned(), Attribute::number(1)),
//!     ("Timestamp".to_owned(), Attribute::text("2026-11-22T08:00:00.000Z")),
//!     ("Type".to_owned(), Attribute::text("Stocked")),
//!     ("Articles".to_owned(), Attribute::number(3)),
//! ]
//! .into();
//! let Ok(StoredRow::Event(stocked)) = StoredRow::read(&Shelves, &row) else {
//!     panic!("it is an event");
//! };
//! assert_eq!(stocked.event, Event::Stocked { articles: 3 });
//!
//! // An error names the attribute, and never quotes its value.
//! row.insert("Articles".to_owned(), Attribute::text("many"));
//! let error = StoredRow::read(&Shelves, &row).expect_err("it is no number");
//! assert!(error.to_string().contains("Articles") && !error.to_string().contains("many"));
//! ```

pub mod aggregate;
pub mod answer;
pub mod attribute;
pub mod columns;
pub mod command;
pub mod cursor;
pub mod decode;
pub mod domain;
pub mod encode;
pub mod envelope;
pub mod error;
pub mod ids;
pub mod json;
mod json_reader;
pub mod lake;
pub mod layout;
pub mod refusal;
pub mod resource;
pub mod row;
pub mod sequence_gate;
pub mod settings;
pub mod spread;
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod trace;
pub mod view;

pub use aggregate::{Aggregate, LoadError};
pub use attribute::{Attribute, Attributes, BorrowedAttribute};
pub use columns::Columns;
pub use domain::{Data, Domain, Project};
pub use envelope::Envelope;
pub use error::{DecodeError, EncodeError, InvalidValue};
pub use ids::{AggregateId, Metadata};
pub use layout::{Sequence, Version};
pub use refusal::{Refusal, RefusalKind};
pub use resource::{PathError, Resource};
pub use row::{BorrowedRowOf, RecordedEvent, Snapshot, StoredRow, StoredRowOf};
pub use sequence_gate::SequenceGate;
pub use settings::Setting;
pub use stream::StreamRecord;
pub use time::Timestamp;
pub use trace::{TraceId, TraceParent};
pub use view::{HistoryEntry, HistoryEntryOf, View, ViewOf};
