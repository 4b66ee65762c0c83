//! The traits that a domain implements. Everything else is generic over them.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::columns::Columns;
use crate::lake;
use crate::refusal::Refusal;
use crate::settings::Setting;

/// What is stored or published: plain data with serde derives. Every type with these traits has it.
///
/// The derives need no `#[serde(tag)]` and no `#[serde(flatten)]`: core finds an enum's tag itself,
/// and both attributes make errors lose the name of the column.
pub trait Data:
    Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static
{
}

impl<T> Data for T where
    T: Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static
{
}

/// One kind of aggregate: its commands, its events, and its rules.
///
/// The value contains the domain's settings, which the binary reads once. [`Domain::evolve`] and
/// [`Domain::publish`] have no `self`, so that neither state nor published bytes depend on a setting
/// but through what an event's row contains ([`Domain::upcast`]).
///
/// Everything is pure: time, ids and randomness come from the command's fields, if at all.
///
/// # Example
///
/// A shelf of one article. Its commands are `POST /shelves` and `POST /shelves/{id}/take`, its rows'
/// types `Stocked` and `Taken`.
///
/// ```
/// use millrace_core::lake::Column;
/// use millrace_core::testing::{assert_conforms, given};
/// use millrace_core::{Domain, Refusal};
/// use serde::{Deserialize, Serialize};
///
/// struct Shelves;
///
/// #[derive(Deserialize)]
/// #[serde(rename_all = "kebab-case", deny_unknown_fields)]
/// enum Command {
///     Stock { articles: u32 },
///     Take { articles: u32 },
/// }
///
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// #[serde(rename_all_fields = "PascalCase")]
/// enum Event {
///     Stocked { articles: u32 },
///     Taken { articles: u32 },
/// }
///
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// #[serde(rename_all = "PascalCase")]
/// struct Shelf {
///     articles: u32,
/// }
///
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// enum PublicEvent {
///     Stocked { articles: u32 },
///     Taken { articles: u32 },
/// }
///
/// #[derive(Serialize)]
/// struct Accepted {
///     articles: u32,
/// }
///
/// impl Domain for Shelves {
///     const COLLECTION: &'static str = "shelves";
///     const ID: &'static str = "shelfId";
///     const OPENS: &'static str = "stock";
///     const BEGINS: &'static str = "Stocked";
///     const LAKE: &'static [(&'static str, Column)] = &[("articles", Column::Bigint)];
///
///     type Command = Command;
///     type Event = Event;
///     type State = Shelf;
///     type PublicEvent = PublicEvent;
///     type Context = ();
///     type Accepted = Accepted;
///
///     fn decide(&self, shelf: Option<&Shelf>, command: Command) -> Result<Vec<Event>, Refusal> {
///         match (command, shelf) {
///             (Command::Stock { articles }, None) => Ok(vec![Event::Stocked { articles }]),
///             (Command::Stock { .. }, Some(_)) => {
///                 Err(Refusal::conflict("shelf-stocked", "the shelf is stocked already"))
///             }
///             (Command::Take { .. }, None) => {
///                 Err(Refusal::unknown("shelf-not-found", "there is no such shelf"))
///             }
///             (Command::Take { articles }, Some(shelf)) if articles > shelf.articles => {
///                 Err(Refusal::rule("not-enough-articles", "there are not so many"))
///             }
///             (Command::Take { articles }, Some(_)) => Ok(vec![Event::Taken { articles }]),
///         }
///     }
///
///     fn evolve(shelf: Option<Shelf>, event: &Event) -> Option<Shelf> {
///         match (event, shelf) {
///             (Event::Stocked { articles }, None) => Some(Shelf { articles: *articles }),
///             (Event::Taken { articles }, Some(shelf)) => Some(Shelf {
///                 articles: shelf.articles.saturating_sub(*articles),
///             }),
///             (Event::Stocked { .. }, shelf) | (Event::Taken { .. }, shelf @ None) => shelf,
///         }
///     }
///
///     fn publish((): &mut (), event: &Event) -> Option<PublicEvent> {
///         Some(match *event {
///             Event::Stocked { articles } => PublicEvent::Stocked { articles },
///             Event::Taken { articles } => PublicEvent::Taken { articles },
///         })
///     }
///
///     fn accepted(shelf: &Shelf) -> Accepted {
///         Accepted { articles: shelf.articles }
///     }
/// }
///
/// let stocked = Event::Stocked { articles: 3 };
/// let taken = Event::Taken { articles: 2 };
/// given(Shelves, [stocked.clone()])
///     .when(Command::Take { articles: 2 })
///     .then([taken.clone()]);
/// given(Shelves, [stocked.clone()])
///     .when(Command::Take { articles: 4 })
///     .then_refused("not-enough-articles");
/// assert_conforms(&Shelves, &[stocked, taken]);
/// ```
pub trait Domain: Send + Sync + 'static {
    /// The first segment of every path, and the end of every public event's `source`: `shelves`.
    const COLLECTION: &'static str;
    /// The member of public data and of responses that contains the aggregate's id: `shelfId`.
    const ID: &'static str;
    /// The serde name of the command that `POST /{COLLECTION}` is. Its aggregate gets a new id.
    const OPENS: &'static str;
    /// The serde name of the event that is an aggregate's first row, and no other row.
    const BEGINS: &'static str;
    /// The serde name of that event in public, if it has another one there.
    const BEGINS_PUBLIC: &'static str = Self::BEGINS;
    /// The schema version that rows are written in, and the highest that is read; from 1 on. Rows of
    /// lower ones go through [`Domain::upcast`].
    const SCHEMA: u32 = 1;
    /// The members of public data with the types of their columns in the lake; id and sequence have a
    /// column anyway. Each member needs one: the lake in Parquet contains no others. Names are letters,
    /// digits and underscores, and differ in more than case.
    const LAKE: &'static [(&'static str, lake::Column)] = &[];

    /// What a client asks for: an enum whose variants have named fields. A variant's serde name is the
    /// last segment of its path, its fields are the members of the body.
    type Command: DeserializeOwned + Send;
    /// What happened: an enum whose variants have named fields. A variant's serde name is the row's
    /// `Type`, its fields are the row's columns.
    type Event: Data;
    /// An aggregate that has events: a struct. Its fields are the columns of a snapshot's row.
    type State: Data;
    /// The public event that consumers read: an enum whose variants have named fields. A variant's
    /// serde name is the envelope's `type`, its fields are members of `data`. A later version of a type has a
    /// variant of its own, whose serde name ends with the version: `Shipped:2`.
    type PublicEvent: Data;
    /// The values of earlier events that public events repeat: a struct, stored with the publication
    /// cursor; `()` if they repeat nothing.
    type Context: Data + Default;
    /// What the response to a command contains next to the aggregate's id and sequence: a struct; `()`
    /// for nothing.
    type Accepted: Serialize;

    /// The events that a command leads to, in order, or why it is refused. The writer appends all of
    /// them or none. `state` is `None` before the first event.
    ///
    /// # Errors
    /// A [`Refusal`] if the aggregate's rules don't allow the command.
    fn decide(
        &self,
        state: Option<&Self::State>,
        command: Self::Command,
    ) -> Result<Vec<Self::Event>, Refusal>;

    /// The state after an event. It never refuses and never panics, even if the rules don't allow the
    /// event: replaying history runs no rule. From [`Domain::BEGINS`] on there is a state for good,
    /// also where the aggregate is closed: only an aggregate without events has none.
    fn evolve(state: Option<Self::State>, event: &Self::Event) -> Option<Self::State>;

    /// The public event of an event. `context` contains values of earlier events that public events
    /// repeat; this function adds those that later events will repeat. `None` if `context` lacks a value
    /// that the event repeats. Then publication of the aggregate is blocked, because no event is skipped.
    fn publish(context: &mut Self::Context, event: &Self::Event) -> Option<Self::PublicEvent>;

    /// What the response to a command shows of the state that the command led to.
    fn accepted(state: &Self::State) -> Self::Accepted;

    /// The settings that published bytes depend on. They are kept in the events table, and functions
    /// whose settings differ from it don't start.
    fn settings(&self) -> Vec<Setting> {
        Vec::new()
    }

    /// Changes a row of schema version `schema` to the current schema version before the row is read. It
    /// is called for events and snapshots of all versions, and may change `Type`. Rows without
    /// `SchemaVersion` are of version 1.
    fn upcast(&self, schema: u32, row: &mut Columns<'_>) {
        let _ = (schema, row);
    }
}

/// A read model: a view per aggregate and its history, both folded from the public events alone, so
/// that any consumer can build the same.
pub trait Project: Domain {
    /// What `GET /{COLLECTION}/{id}` shows next to id, sequence and times: a struct whose fields are
    /// columns of the view's item.
    type View: Data;
    /// What the history shows of an event next to its type, sequence and time: a struct, or `()`.
    type Entry: Data;
    /// The last segment of the history's path: `history`.
    const HISTORY: &'static str;
    /// The last segment of the path of the view at a time: `stock`. `None` if there is none.
    const VIEW_AT: Option<&'static str> = None;

    /// The view and the history's entry after an event that comes next in sequence. `before` is
    /// `None` for the first one. It never refuses and never panics.
    fn project(before: Option<&Self::View>, event: &Self::PublicEvent)
    -> (Self::View, Self::Entry);

    /// The view after the entry's event, for [`Project::VIEW_AT`]; `None` if an entry doesn't contain
    /// enough to restore the view.
    fn view_after(entry: &Self::Entry) -> Option<Self::View> {
        let _ = entry;
        None
    }

    /// The response to a query of an aggregate that doesn't exist.
    #[must_use]
    fn not_found() -> Refusal;

    /// The response to a query of an aggregate at a time before its first event.
    #[must_use]
    fn not_yet() -> Refusal {
        Self::not_found()
    }
}
