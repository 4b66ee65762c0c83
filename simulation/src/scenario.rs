//! The parts of the simulation that a domain provides, and the values expected from its rows.

use millrace_core::envelope::Envelope;
use millrace_core::{Attribute, Attributes, Project, StoredRow, encode};
use serde_json::{Map, Value};

use super::Rng;

/// A command as a client sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The command's serde name, which is the end of its path; for an opening, `Domain::OPENS`.
    pub name: &'static str,
    /// The request's body; [`Value::Null`] for none.
    pub body: Value,
}

impl Command {
    /// The request's body as a string.
    pub(crate) fn body(&self) -> String {
        if self.body.is_null() {
            return String::new();
        }
        self.body.to_string()
    }
}

/// A way to make an event's row undecodable.
#[derive(Clone, Copy)]
pub struct RowDamage {
    /// The damage's name in the history of a seed.
    pub name: &'static str,
    /// Damages a row that [`Scenario::other_event`] returned. Afterwards [`Scenario::is_readable`] has
    /// to return `false` for the row.
    pub apply: fn(&mut Attributes),
}

/// What a domain provides to the simulation. The columns in its methods are only the domain's own: the
/// simulation adds `Id`, `Version`, `Timestamp`, `OpenedAt` and every other column that core uses.
///
/// A method takes random values only from its `Rng` argument, so that a seed always produces the same
/// history.
pub trait Scenario: Send + Sync + 'static {
    /// The domain under test.
    type Domain: Project + Clone
    where
        Self: Sized;
    /// Computes the expected values: [`FoldByDomain`], or code that is independent of the domain's.
    type Expectation: Expectation
    where
        Self: Sized;

    /// The domain, with which every function is built.
    fn domain(&self) -> Self::Domain
    where
        Self: Sized;

    /// The expectation of an aggregate without rows.
    fn expectation(&self) -> Self::Expectation
    where
        Self: Sized;

    /// A command that opens an aggregate, and that the domain accepts.
    fn draw_opening(&self, rng: &mut Rng) -> Command;

    /// A command other than an opening. The domain may refuse it.
    fn draw_command(&self, rng: &mut Rng) -> Command;

    /// Another command of the same name, with another body. One caller sends it with the
    /// `Idempotency-Key` that another caller uses for `command`.
    fn variation_of(&self, command: &Command) -> Command;

    /// A command that an aggregate accepts after its opening, any number of times. It leads to one event
    /// each time.
    fn accepted_command(&self) -> Command;

    /// Whether an aggregate in this state accepts [`Scenario::accepted_command`]. An aggregate in a final state
    /// doesn't; then only other writers append events to it.
    fn is_continued(&self, state: &Attributes) -> bool {
        let _ = state;
        true
    }

    /// Checks that `rows` are exactly the events of `command`, in order.
    ///
    /// # Errors
    /// The difference, in words.
    fn leads_to(&self, command: &Command, rows: &[&Attributes]) -> Result<(), String>;

    /// Whether the domain's columns of the row can be read, according to the row's `Type`. The simulation
    /// itself checks the form of `Type`, `Version`, `Sequence`, `SchemaVersion` and `Timestamp`.
    fn is_readable(&self, row: &Attributes) -> bool;

    /// The ways to make the domain's columns undecodable. The simulation has its own ways for the columns
    /// that core reads.
    fn row_damages(&self) -> &'static [RowDamage];

    /// Converts an event's row to the row that the application's previous version would have stored. By default,
    /// both store the same.
    fn previous_row(&self, _row: &mut Attributes) {}

    /// The row of an opening, including its `Type`, as another writer than Millrace's appends it: an
    /// older version, a legacy system, an import.
    fn other_opening(&self) -> Attributes;

    /// The row of an event, as another writer appends it. Any aggregate may have this event at `version`.
    /// Every call must return the same bytes, because the simulation repairs a damaged row with them.
    fn other_event(&self, version: u64) -> Attributes;

    /// The row of a snapshot of this state, as another writer appends it, without its `Type`.
    fn other_snapshot(&self, state: &Attributes) -> Attributes {
        state.clone()
    }

    /// Whether a snapshot's row contains this state.
    fn is_snapshot_of(&self, row: &Attributes, state: &Attributes) -> bool {
        state
            .iter()
            .all(|(name, value)| row.get(name) == Some(value))
    }

    /// Checks a condition that must hold for every state that the writer's commands lead to.
    ///
    /// # Errors
    /// The violated condition, in words.
    fn invariant(&self, state: &Attributes) -> Result<(), String> {
        let _ = state;
        Ok(())
    }
}

/// Computes the expected values of one aggregate's events, in order.
pub trait Expectation: Clone + Send + Sync + 'static {
    /// Returns the expected values of the aggregate's next event, whose row is decodable.
    fn apply(&mut self, row: &Attributes) -> Expected;
}

/// The expected values of an event: the domain's own columns and members.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The public event's type. Version 1 has the type alone, a later one its number too: `Shipped:2`.
    pub name: String,
    /// The domain's members of its `data`, as the JSON that follows `"sequence":n`, without a comma at
    /// either end: `"articles":1,"unit":"piece"`.
    pub data: String,
    /// The state after the event, as a snapshot's columns.
    pub state: Attributes,
    /// The view after the event, as columns.
    pub view: Attributes,
    /// The event's history entry, as columns.
    pub entry: Attributes,
    /// The members of the response to the event's command next to id and sequence.
    pub accepted: Attributes,
}

/// An expectation that the domain's own functions compute. With it, the simulation checks Millrace but not the
/// domain: the domain's rules and the bytes of its public events need their own tests.
pub struct FoldByDomain<D: Project> {
    domain: D,
    state: Option<D::State>,
    context: D::Context,
    view: Option<D::View>,
}

impl<D: Project> FoldByDomain<D> {
    /// The expectation of an aggregate without rows.
    #[must_use]
    pub fn new(domain: D) -> Self {
        Self {
            domain,
            state: None,
            context: D::Context::default(),
            view: None,
        }
    }
}

impl<D: Project + Clone> Clone for FoldByDomain<D> {
    fn clone(&self) -> Self {
        Self {
            domain: self.domain.clone(),
            state: self.state.clone(),
            context: self.context.clone(),
            view: self.view.clone(),
        }
    }
}

impl<D: Project + Clone> Expectation for FoldByDomain<D> {
    fn apply(&mut self, row: &Attributes) -> Expected {
        let StoredRow::Event(recorded) = StoredRow::read(&self.domain, row).expect("readable")
        else {
            panic!("a snapshot is not an event");
        };
        let state = D::evolve(self.state.take(), &recorded.event).expect("a state after an event");
        let envelope = Envelope::publish::<D>(&mut self.context, &recorded)
            .expect("the context contains what events repeat");
        let (view, entry) = D::project(self.view.as_ref(), &envelope.event);
        let bytes = envelope.to_bytes::<D>().expect("public data is JSON");
        let expected = Expected {
            name: encode::variant_name(&envelope.event)
                .expect("public events are an enum")
                .to_owned(),
            data: own_data(&bytes, envelope.sequence.get()),
            state: encode::encode_struct(&state).expect("a state is a struct"),
            view: encode::encode_struct(&view).expect("a view is a struct"),
            entry: encode::encode_struct(&entry).expect("an entry is a struct"),
            accepted: encode::encode_struct(&D::accepted(&state)).expect("a response is a struct"),
        };
        self.state = Some(state);
        self.view = Some(view);
        expected
    }
}

/// The domain's members of `data`.
fn own_data(envelope: &[u8], sequence: u64) -> String {
    let json = std::str::from_utf8(envelope).expect("JSON is UTF-8");
    let (_, data) = json
        .split_once(r#""data":{"#)
        .expect("an envelope has data");
    let before = format!(r#""sequence":{sequence}"#);
    let (_, own) = data.split_once(&before).expect("data has a sequence");
    let own = own.strip_suffix("}}").expect("data ends the envelope");
    own.trim_start_matches(',').to_owned()
}

impl Expected {
    /// The public event's type, and the version of the type.
    pub(crate) fn type_and_version(&self) -> (&str, &str) {
        self.name.split_once(':').unwrap_or((&self.name, "1"))
    }
}

/// An [`Expectation`] as a trait object, because the simulation doesn't know its type.
pub(crate) trait Fold: Send + Sync {
    fn apply(&mut self, row: &Attributes) -> Expected;

    fn boxed(&self) -> Box<dyn Fold>;
}

impl<E: Expectation> Fold for E {
    fn apply(&mut self, row: &Attributes) -> Expected {
        Expectation::apply(self, row)
    }

    fn boxed(&self) -> Box<dyn Fold> {
        Box::new(self.clone())
    }
}

impl std::fmt::Debug for RowDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// These columns as members of a response. A member's name is the column's with a lower-case first letter.
pub(crate) fn members(columns: &Attributes) -> Map<String, Value> {
    let members = columns.iter();
    members
        .filter(|(_, value)| **value != Attribute::Null)
        .map(|(name, value)| {
            let mut letters = name.chars();
            let first = letters.next().map(|letter| letter.to_ascii_lowercase());
            (first.into_iter().chain(letters).collect(), shown(value))
        })
        .collect()
}

fn shown(value: &Attribute) -> Value {
    match value {
        Attribute::Text(text) => text.clone().into(),
        Attribute::Number(number) => serde_json::from_str(number).expect("a number"),
        Attribute::Bool(value) => (*value).into(),
        Attribute::Null => Value::Null,
        Attribute::List(elements) => elements.iter().map(shown).collect(),
        Attribute::Map(members) => {
            let members = members.iter();
            Value::Object(
                members
                    .map(|(name, it)| (name.clone(), shown(it)))
                    .collect(),
            )
        }
        Attribute::Other(name) => panic!("a domain's column can't have the type {name}"),
    }
}
