//! The conformance kit finds what it is there for. Each fault is one variation of a domain that
//! conforms.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use millrace_core::lake::Column;
use millrace_core::testing::{assert_conforms, assert_projects, names_every_attribute};
use millrace_core::{AggregateId, Data, Domain, Project, Refusal, Snapshot, Timestamp, Version};
use serde::{Deserialize, Serialize};

type Columns = &'static [(&'static str, Column)];

/// What a variation replaces.
trait Variation: Send + Sync + 'static {
    const OPENS: &'static str = "begin";
    const BEGINS: &'static str = "Begun";
    const BEGINS_PUBLIC: &'static str = "Begun";
    const LAKE: Columns = &[("count", Column::Bigint)];
    type Event: Data + Example;
    type State: Data + Example;
    type PublicEvent: Data + Example;
    type Context: Data + Default;
    type Accepted: Serialize + Example;
    type View: Data + Example;

    fn has_state() -> bool {
        true
    }
    fn is_published() -> bool {
        true
    }
}

trait Example {
    fn example() -> Self;
}

struct Varied<V>(PhantomData<V>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Command {
    Begin {},
}

impl<V: Variation> Domain for Varied<V> {
    const COLLECTION: &'static str = "things";
    const ID: &'static str = "thingId";
    const OPENS: &'static str = V::OPENS;
    const BEGINS: &'static str = V::BEGINS;
    const BEGINS_PUBLIC: &'static str = V::BEGINS_PUBLIC;
    const LAKE: Columns = V::LAKE;

    type Command = Command;
    type Event = V::Event;
    type State = V::State;
    type PublicEvent = V::PublicEvent;
    type Context = V::Context;
    type Accepted = V::Accepted;

    fn decide(&self, _: Option<&V::State>, command: Command) -> Result<Vec<V::Event>, Refusal> {
        match command {
            Command::Begin {} => Ok(vec![V::Event::example()]),
        }
    }

    fn evolve(_: Option<V::State>, _: &V::Event) -> Option<V::State> {
        V::has_state().then(V::State::example)
    }

    fn publish(_: &mut V::Context, _: &V::Event) -> Option<V::PublicEvent> {
        V::is_published().then(V::PublicEvent::example)
    }

    fn accepted(_: &V::State) -> V::Accepted {
        V::Accepted::example()
    }
}

impl<V: Variation> Project for Varied<V> {
    type View = V::View;
    type Entry = ();
    const HISTORY: &'static str = "history";

    fn project(_: Option<&V::View>, _: &V::PublicEvent) -> (V::View, ()) {
        (V::View::example(), ())
    }

    fn not_found() -> Refusal {
        Refusal::unknown("not-found", "there is no such thing")
    }
}

impl Example for () {
    fn example() {}
}

macro_rules! data {
    ($($(#[$attribute:meta])* $name:ident { $(#[$field:meta])* $member:ident: $type:ty = $value:expr })*) => {
        $(#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])*
        struct $name { $(#[$field])* $member: $type }
        impl Example for $name {
            fn example() -> Self {
                Self { $member: $value }
            }
        })*
    };
}

macro_rules! event {
    ($($(#[$attribute:meta])* $name:ident { $variant:ident($fields:ty) })*) => {
        $(#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])*
        enum $name { $variant($fields) }
        impl Example for $name {
            fn example() -> Self {
                Self::$variant(<$fields>::example())
            }
        })*
    };
}

data! {
    #[serde(deny_unknown_fields)]
    Count { count: u32 = 1 }
    Timed { #[serde(rename = "Timestamp")] time: u32 = 1 }
    Sequenced { sequence: u32 = 1 }
    Named { #[serde(rename = "thingId")] name: u32 = 1 }
    Revised { #[serde(rename = "Revision")] revision: u32 = 1 }
    #[derive(Default)]
    Counter { counter: u32 = 1 }
    #[derive(Default)]
    Published { #[serde(rename = "PublishedThrough")] through: u32 = 1 }
    Flattened { #[serde(flatten)] count: Count = Count::example() }
    Ratio { ratio: f64 = 0.5 }
    Nested { inner: Tagged = Tagged::example() }
    NestedFlat { inner: Flattened = Flattened::example() }
    Listed { items: Vec<Count> = vec![Count::example()] }
    Forgetful { #[serde(skip_serializing, default)] count: u32 = 1 }
}

event! {
    Plain { Begun(Count) }
    WithTime { Begun(Timed) }
    WithSequence { Begun(Sequenced) }
    WithName { Begun(Named) }
    WithFlattened { Begun(Flattened) }
    WithRatio { Begun(Ratio) }
    WithNested { Begun(Nested) }
    WithForgotten { Begun(Forgetful) }
    WithList { Begun(Listed) }
    #[serde(rename_all = "UPPERCASE")]
    NamedSnapshot { Snapshot(Count) }
    #[serde(tag = "kind")]
    Tagged { Begun(Count) }
}

macro_rules! variation {
    ($name:ident { $($item:ident = $value:ty;)* } $($rest:tt)*) => {
        struct $name;
        impl Variation for $name {
            $(type $item = $value;)*
            $($rest)*
        }
    };
}

macro_rules! variations {
    ($($name:ident: $event:ty, $state:ty, $public:ty, $context:ty, $accepted:ty, $view:ty $({ $($rest:tt)* })?;)*) => {
        $(variation! { $name {
            Event = $event; State = $state; PublicEvent = $public; Context = $context;
            Accepted = $accepted; View = $view;
        } $($($rest)*)? })*
    };
}

variations! {
    Conforming: Plain, Count, Plain, (), (), Count;
    ConformingWithContext: Plain, Count, Plain, Counter, (), Count;
    OpensNothing: Plain, Count, Plain, (), (), Count { const OPENS: &'static str = "open"; };
    BeginsNothing: Plain, Count, Plain, (), (), Count { const BEGINS: &'static str = "Opened"; };
    BeginsNothingPublic: Plain, Count, Plain, (), (), Count { const BEGINS_PUBLIC: &'static str = "Opened"; };
    SnapshotEvent: NamedSnapshot, Count, Plain, (), (), Count { const BEGINS: &'static str = "SNAPSHOT"; };
    WrongLake: Plain, Count, Plain, (), (), Count { const LAKE: Columns = &[("count", Column::Text)]; };
    ConformingWithList: Plain, Count, WithList, (), (), Count { const LAKE: Columns = &[("items", Column::List(&[("count", Column::Bigint)]))]; };
    NoColumn: Plain, Count, Plain, (), (), Count { const LAKE: Columns = &[]; };
    OtherCase: Plain, Count, Plain, (), (), Count { const LAKE: Columns = &[("Count", Column::Bigint)]; };
    NoColumnInList: Plain, Count, WithList, (), (), Count { const LAKE: Columns = &[("items", Column::List(&[]))]; };
    WrongInList: Plain, Count, WithList, (), (), Count { const LAKE: Columns = &[("items", Column::List(&[("count", Column::Boolean)]))]; };
    TwoColumns: Plain, Count, Plain, (), (), Count { const LAKE: Columns = &[("count", Column::Bigint), ("Count", Column::Bigint)]; };
    ColumnOfId: Plain, Count, Plain, (), (), Count { const LAKE: Columns = &[("count", Column::Bigint), ("THINGID", Column::Text)]; };
    TwoInList: Plain, Count, Plain, (), (), Count { const LAKE: Columns = &[("count", Column::Bigint), ("items", Column::List(&[("a", Column::Text), ("A", Column::Text)]))]; };
    SpecialColumn: Plain, Count, Plain, (), (), Count { const LAKE: Columns = &[("count", Column::Bigint), ("a:b", Column::Text)]; };
    ColumnOfData: Plain, Count, Plain, (), (), Count { const LAKE: Columns = &[("count", Column::Data)]; };
    ReservedColumn: WithTime, Count, Plain, (), (), Count;
    ReservedStateColumn: Plain, Timed, Plain, (), (), Count;
    ReservedSequence: Plain, Count, WithSequence, (), (), Count;
    ReservedId: Plain, Count, WithName, (), (), Count;
    ReservedInContext: Plain, Count, Plain, Published, (), Count;
    ReservedInAnswer: Plain, Count, Plain, (), Named, Count;
    FlattenedEvent: WithFlattened, Count, Plain, (), (), Count;
    FlattenedState: Plain, Flattened, Plain, (), (), Count;
    TaggedColumn: WithNested, Count, Plain, (), (), Count;
    FlattenedColumn: Plain, NestedFlat, Plain, (), (), Count;
    FloatColumn: WithRatio, Count, Plain, (), (), Count;
    ForgottenColumn: WithForgotten, Count, Plain, (), (), Count;
    ForgottenMember: Plain, Count, WithForgotten, (), (), Count;
    Stateless: Plain, Count, Plain, (), (), Count { fn has_state() -> bool { false } };
    Unpublished: Plain, Count, Plain, (), (), Count { fn is_published() -> bool { false } };
    ReservedInView: Plain, Count, Plain, (), (), Revised;
    FlattenedView: Plain, Count, Plain, (), (), Flattened;
}

fn conforms<V: Variation>() -> Result<(), String> {
    caught(|| assert_conforms(&Varied::<V>(PhantomData), &[V::Event::example()]))
}

fn projects<V: Variation>() -> Result<(), String> {
    caught(|| assert_projects::<Varied<V>>(&[V::Event::example()]))
}

fn caught(check: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let literal = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or(literal).unwrap_or_default()
    })
}

#[test]
fn a_domain_without_fault_conforms() {
    assert_eq!(conforms::<Conforming>(), Ok(()));
    assert_eq!(projects::<Conforming>(), Ok(()));
    assert_eq!(conforms::<ConformingWithContext>(), Ok(()));
    assert_eq!(conforms::<ConformingWithList>(), Ok(()));
    names_every_attribute(&Varied::<Conforming>(PhantomData), &Plain::example());
}

#[test]
fn a_snapshot_of_the_first_schema_has_no_schema_version() {
    let snapshot = Snapshot {
        id: AggregateId::new("a").expect("valid"),
        version: Version::FIRST.next(),
        time: Timestamp::from_unix_millis(0).expect("in range"),
        state: Count::example(),
    };
    let row = snapshot.to_row::<Varied<Conforming>>().expect("a row");
    assert!(!row.contains_key("SchemaVersion"), "{row:?}");
}

#[test]
fn each_fault_of_a_domain_is_found() {
    for (result, found) in [
        (
            conforms::<OpensNothing>(),
            "OPENS is open, which is no variant's name",
        ),
        (
            conforms::<BeginsNothing>(),
            "BEGINS is Opened, which is no variant's name",
        ),
        (
            conforms::<BeginsNothingPublic>(),
            "BEGINS_PUBLIC is Opened, which is no variant's name",
        ),
        (
            conforms::<SnapshotEvent>(),
            "is an event that can't be at this row",
        ),
        (
            conforms::<ReservedColumn>(),
            "the column Timestamp is reserved",
        ),
        (
            conforms::<ReservedStateColumn>(),
            "the column Timestamp is reserved",
        ),
        (
            conforms::<ReservedSequence>(),
            "the name sequence is reserved",
        ),
        (conforms::<ReservedId>(), "the name thingId is reserved"),
        (
            conforms::<ReservedInContext>(),
            "the column PublishedThrough is reserved",
        ),
        (
            conforms::<ReservedInAnswer>(),
            "the name thingId is reserved",
        ),
        (conforms::<FlattenedEvent>(), "neither a struct nor an enum"),
        (conforms::<FlattenedState>(), "neither a struct nor an enum"),
        (
            conforms::<FloatColumn>(),
            "ratio: has a type that is not supported",
        ),
        (conforms::<ForgottenColumn>(), "a row is read back"),
        (conforms::<ForgottenMember>(), "a public event is read back"),
        (conforms::<TaggedColumn>(), "an error names the attribute"),
        (
            conforms::<FlattenedColumn>(),
            "an error names the attribute",
        ),
        (conforms::<WrongLake>(), "is a row of the lake"),
        (conforms::<WrongInList>(), "is a row of the lake"),
        (conforms::<NoColumn>(), "no column for the member count"),
        (conforms::<OtherCase>(), "no column for the member count"),
        (
            conforms::<NoColumnInList>(),
            "no column for the member items.count",
        ),
        (conforms::<TwoColumns>(), "two columns Count"),
        (conforms::<ColumnOfId>(), "two columns THINGID"),
        (conforms::<TwoInList>(), "two columns items.A"),
        (
            conforms::<SpecialColumn>(),
            "a:b has other characters than letters",
        ),
        (
            conforms::<ColumnOfData>(),
            "the lake's column count has no type of data",
        ),
        (conforms::<Stateless>(), "there is a state after each event"),
        (conforms::<Unpublished>(), "every event is published"),
        (
            projects::<ReservedInView>(),
            "the column Revision is reserved",
        ),
        (projects::<FlattenedView>(), "neither a struct nor an enum"),
    ] {
        let panic = result.expect_err(found);
        assert!(panic.contains(found), "{found}: {panic}");
    }
}
