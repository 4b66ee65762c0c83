//! What the engine can't know of a domain, and what should come of its rows.

use millrace_core::envelope::Envelope;
use millrace_core::{Attribute, Attributes, Project, StoredRow, encode};
use serde_json::{Map, Value};

use super::Rng;

/// A command as a client sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The command's serde name, which its path ends with; `Domain::OPENS` of an opening.
    pub name: &'static str,
    /// The request's body; [`Value::Null`] for none.
    pub body: Value,
}

impl Command {
    /// The request's body as it is sent.
    pub(crate) fn body(&self) -> String {
        if self.body.is_null() {
            return String::new();
        }
        self.body.to_string()
    }
}

/// A way in which an event's row is made undecodable.
#[derive(Clone, Copy)]
pub struct RowDamage {
    /// Its name in the history of a seed.
    pub name: &'static str,
    /// Damages a row that [`Scenario::other_event`] returned. Afterwards [`Scenario::is_readable`] has
    /// to be false.
    pub apply: fn(&mut Attributes),
}

/// What a domain tells the engine about itself. Columns are always the domain's own: the engine adds
/// `Id`, `Version`, `Timestamp`, `OpenedAt` and every other column that core claims.
///
/// Whatever a method draws comes from the `Rng` that it is given, so that a seed stays one history.
pub trait Scenario: Send + Sync + 'static {
    /// The domain.
    type Domain: Project + Clone
    where
        Self: Sized;
    /// How the expected values are computed: [`FoldByDomain`], or code that is independent of the
    /// domain's own.
    type Expectation: Expectation
    where
        Self: Sized;

    /// The domain's value, which every function gets.
    fn domain(&self) -> Self::Domain
    where
        Self: Sized;

    /// The expectation of an aggregate without rows.
    fn expectation(&self) -> Self::Expectation
    where
        Self: Sized;

    /// A command that opens an aggregate, and that the domain accepts.
    fn draw_opening(&self, rng: &mut Rng) -> Command;

    /// Any other command, which the domain may refuse.
    fn draw_command(&self, rng: &mut Rng) -> Command;

    /// Another command of the same name, with another body. One caller sends it with the
    /// `Idempotency-Key` that another caller uses for `command`.
    fn variation_of(&self, command: &Command) -> Command;

    /// A command that every aggregate which is open accepts, any number of times, with one event each
    /// time.
    fn accepted_command(&self) -> Command;

    /// Whether `rows` are the events of `command`, in order, neither more nor less.
    ///
    /// # Errors
    /// What is wrong.
    fn leads_to(&self, command: &Command, rows: &[&Attributes]) -> Result<(), String>;

    /// Whether the domain's columns of a row with this `Type` can be read. The engine itself looks at
    /// `Type`'s, `Version`'s, `Sequence`'s, `SchemaVersion`'s and `Timestamp`'s form.
    fn is_readable(&self, row: &Attributes) -> bool;

    /// The ways in which the domain's columns become undecodable. The engine has its own for columns
    /// that core reads.
    fn row_damages(&self) -> &'static [RowDamage];

    /// The row of an opening, its `Type` included, as a writer other than Millrace's appends it: an
    /// older version, a legacy system, an import.
    fn other_opening(&self) -> Attributes;

    /// The same for an event that any aggregate may have at the row `version`. Its bytes must be the
    /// same for every call, since a damaged row is fixed with it.
    fn other_event(&self, version: u64) -> Attributes;

    /// The same for a snapshot of this state, without its `Type`.
    fn other_snapshot(&self, state: &Attributes) -> Attributes {
        state.clone()
    }

    /// Whether a snapshot's row contains this state.
    fn is_snapshot_of(&self, row: &Attributes, state: &Attributes) -> bool {
        state
            .iter()
            .all(|(name, value)| row.get(name) == Some(value))
    }

    /// What has to be true of every state that the writer's commands lead to.
    ///
    /// # Errors
    /// What isn't.
    fn invariant(&self, state: &Attributes) -> Result<(), String> {
        let _ = state;
        Ok(())
    }
}

/// What should come of one aggregate's events.
pub trait Expectation: Clone + Send + Sync + 'static {
    /// What should come of the next event, whose row can be read.
    fn apply(&mut self, row: &Attributes) -> Expected;
}

/// What should come of an event, in the domain's own columns and members.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The public event's type.
    pub name: String,
    /// The domain's members of its `data`, as the JSON that follows `"sequence":n`, without a comma at
    /// either end: `"articles":1,"unit":"piece"`.
    pub data: String,
    /// The state after it, as a snapshot's columns.
    pub state: Attributes,
    /// The view after it, as columns.
    pub view: Attributes,
    /// Its history entry, as columns.
    pub entry: Attributes,
    /// What the answer to its command shows next to id and sequence, as members.
    pub accepted: Attributes,
}

/// The expectation by the domain's own functions. With it the simulation checks everything that
/// Millrace does with the domain, and nothing that the domain does: tests of the domain's rules and
/// of its public bytes have to do that.
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
            panic!("a snapshot is no event");
        };
        let state = D::evolve(self.state.take(), &recorded.event).expect("it has begun");
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
            accepted: encode::encode_struct(&D::accepted(&state)).expect("an answer is a struct"),
        };
        self.state = Some(state);
        self.view = Some(view);
        expected
    }
}

/// The domain's members of `data`.
fn own_data(envelope: &[u8], sequence: u64) -> String {
    let json = std::str::from_utf8(envelope).expect("JSON is UTF-8");
    let (_, data) = json.split_once(r#""data":{"#).expect("it has data");
    let before = format!(r#""sequence":{sequence}"#);
    let (_, own) = data.split_once(&before).expect("data has a sequence");
    let own = own.strip_suffix("}}").expect("data ends the envelope");
    own.trim_start_matches(',').to_owned()
}

/// What an [`Expectation`] is to the engine, which doesn't know its type.
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

/// The members of an answer that show these columns: a column's name with a small first letter.
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
        Attribute::Other(name) => panic!("{name} is no type that a domain has"),
    }
}
