//! JSON whose objects keep the order of their members and may repeat names, with changes of it and ways to
//! write it.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    /// `null`, `true`, `false` or a number.
    Word(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// A change of one place in a value. Places are counted in the order of the text, modulo their number.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    place: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Replaces the value.
    Replace(Json),
    /// Adds a member to an object, at this place among the others, modulo their number.
    Add(usize, String, Json),
    /// Repeats a member of an object.
    Repeat(usize, usize),
    /// Removes a member of an object.
    Remove(usize),
    /// Moves a member of an object to another place.
    Move(usize, usize),
    /// Replaces the text of a string.
    Text(String),
}

/// How a value is written: white space, and escapes in strings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Layout {
    seed: u64,
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Word(value.to_string()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Object(members) => {
                let members = members.iter();
                Self::Object(
                    members
                        .map(|(name, value)| (name.clone(), value.into()))
                        .collect(),
                )
            }
        }
    }
}

impl Json {
    /// The first record of an event.
    pub(crate) fn first_record(&mut self) -> &mut Self {
        let Self::Object(members) = self else {
            panic!("an event is an object")
        };
        let Self::List(records) = &mut members[0].1 else {
            panic!("Records is a list")
        };
        &mut records[0]
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        let mut places = Vec::new();
        self.collect(&change.kind, &mut Vec::new(), &mut places);
        if places.is_empty() {
            return;
        }
        let path = &places[change.place % places.len()];
        let value = path.iter().fold(self, |value, index| match value {
            Self::List(list) => &mut list[*index],
            Self::Object(members) => &mut members[*index].1,
            Self::Word(_) | Self::Text(_) => panic!("a path leads to a value"),
        });
        value.change(&change.kind);
    }

    /// The paths to all places that a change applies to.
    fn collect(&self, kind: &Kind, path: &mut Vec<usize>, places: &mut Vec<Vec<usize>>) {
        let applies = match (kind, self) {
            (Kind::Replace(_), _)
            | (Kind::Text(_), Self::Text(_))
            | (Kind::Add(..), Self::Object(_)) => true,
            (Kind::Repeat(..) | Kind::Remove(_) | Kind::Move(..), Self::Object(members)) => {
                !members.is_empty()
            }
            _ => false,
        };
        if applies {
            places.push(path.clone());
        }
        let children: Vec<&Self> = match self {
            Self::Word(_) | Self::Text(_) => Vec::new(),
            Self::List(list) => list.iter().collect(),
            Self::Object(members) => members.iter().map(|(_, value)| value).collect(),
        };
        for (index, child) in children.into_iter().enumerate() {
            path.push(index);
            child.collect(kind, path, places);
            path.pop();
        }
    }

    fn change(&mut self, kind: &Kind) {
        match (kind, self) {
            (Kind::Replace(other), value) => *value = other.clone(),
            (Kind::Text(other), Self::Text(text)) => text.clone_from(other),
            (Kind::Add(to, name, value), Self::Object(members)) => {
                members.insert(to % (members.len() + 1), (name.clone(), value.clone()));
            }
            (Kind::Repeat(from, to), Self::Object(members)) => {
                let member = members[from % members.len()].clone();
                members.insert(to % (members.len() + 1), member);
            }
            (Kind::Remove(from), Self::Object(members)) => {
                members.remove(from % members.len());
            }
            (Kind::Move(from, to), Self::Object(members)) => {
                let member = members.remove(from % members.len());
                members.insert(to % (members.len() + 1), member);
            }
            (kind, value) => panic!("{kind:?} doesn't apply to {value:?}"),
        }
    }

    /// The value's text.
    pub(crate) fn write(&self, mut layout: Layout) -> String {
        let mut text = String::new();
        self.write_to(&mut text, &mut layout);
        text
    }

    fn write_to(&self, text: &mut String, layout: &mut Layout) {
        layout.space(text);
        match self {
            Self::Word(word) => text.push_str(word),
            Self::Text(string) => layout.string(text, string),
            Self::List(list) => {
                text.push('[');
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    value.write_to(text, layout);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    layout.space(text);
                    layout.string(text, name);
                    layout.space(text);
                    text.push(':');
                    value.write_to(text, layout);
                }
                text.push('}');
            }
        }
        layout.space(text);
    }
}

impl Layout {
    /// A number below `end`, always 0 in the default layout (xorshift).
    fn below(&mut self, end: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % end
    }

    fn space(&mut self, text: &mut String) {
        match self.below(8) {
            1 => text.push(' '),
            2 => text.push_str("\r\n\t"),
            _ => {}
        }
    }

    fn string(&mut self, text: &mut String, string: &str) {
        text.push('"');
        for character in string.chars() {
            let is_required = character < ' ' || matches!(character, '"' | '\\');
            if is_required || self.below(16) == 1 {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(text, "\\u{unit:04x}").expect("a String accepts every write");
                }
            } else {
                text.push(character);
            }
        }
        text.push('"');
    }
}

/// A name that means something in a record, or any.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(Id|Version|Type|Timestamp|Sequence|SchemaVersion|Currency|Amount|Balance|CommandId|CorrelationId|TraceParent|Actor)",
        2 => "(S|N|B|BOOL|NULL|L|M|SS|NS|BS)",
        2 => "(eventName|eventID|dynamodb|Keys|NewImage|OldImage|SequenceNumber)",
        2 => "(kinesis|data|partitionKey|sequenceNumber|approximateArrivalTimestamp|encryptionType)",
        1 => "\\PC{0,4}",
    ]
}

/// A string that means something in a row, or any.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "(-?[0-9]{1,20}(\\.[0-9]{1,3})?|[0-9]e[0-9]|1E3|-0|0[0-9])",
        2 => "(CREATED|CREDIT|WITHDRAW|SNAPSHOT|EUR|SEK|INSERT|MODIFY|2026-11-20T21:03:05[Z.])",
        1 => "([A-Za-z0-9+/]{4}){0,3}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
        1 => "\u{1}[a-z]{0,3}",
        1 => "\\PC{0,9}",
        1 => any::<String>(),
    ]
}

fn any_json() -> impl Strategy<Value = Json> {
    let word = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-1.5",
        "1e3",
        "12345678901234567890",
    ]);
    let scalar = prop_oneof![
        word.prop_map(|word| Json::Word(word.to_owned())),
        any_text().prop_map(Json::Text),
    ];
    scalar.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Json::List),
            1 => prop::collection::vec((any_name(), inner.clone()), 0..3).prop_map(Json::Object),
            4 => ("(S|N|BOOL|NULL|L|M|B|SS|NS)", inner).prop_map(|(kind, value)| Json::Object(vec![(kind, value)])),
        ]
    })
}

impl Arbitrary for Change {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let at = any::<usize>;
        let kind = prop_oneof![
            3 => any_json().prop_map(Kind::Replace),
            3 => (at(), any_name(), any_json()).prop_map(|(to, name, value)| Kind::Add(to, name, value)),
            1 => (at(), at()).prop_map(|(from, to)| Kind::Repeat(from, to)),
            2 => at().prop_map(Kind::Remove),
            2 => (at(), at()).prop_map(|(from, to)| Kind::Move(from, to)),
            4 => any_text().prop_map(Kind::Text),
        ];
        (at(), kind)
            .prop_map(|(place, kind)| Self { place, kind })
            .boxed()
    }
}

impl Arbitrary for Layout {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        any::<u64>().prop_map(|seed| Self { seed }).boxed()
    }
}
