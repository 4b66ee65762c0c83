//! What every domain is checked for, with examples of its events.

use std::collections::BTreeSet;
use std::slice::from_ref;

use crate::attribute::{Attribute, Attributes};
use crate::columns::Columns;
use crate::cursor;
use crate::decode::decode_variant;
use crate::domain::{Domain, Project};
use crate::encode::{encode_struct, encode_variant, variant_name};
use crate::envelope::{self, Envelope};
use crate::error::{DecodeError, EncodeError};
use crate::ids::{AggregateId, Metadata};
use crate::lake::{self, Column};
use crate::layout::Version;
use crate::row::{self, RecordedEvent, SNAPSHOT, Snapshot, StoredRow};
use crate::time::Timestamp;
use crate::view::{self, HistoryEntry, View};

/// What replaces a value: no domain reads this type.
const UNREADABLE: Attribute = Attribute::Other("B");

/// Checks a domain with one aggregate's history: its events from the first on, which should contain
/// every variant.
///
/// * [`Domain::OPENS`], [`Domain::BEGINS`] and [`Domain::BEGINS_PUBLIC`] are names of variants, and the
///   history begins with the named event.
/// * There is a state after each event, and a public event of each.
/// * Rows, snapshots, public events and the context are read back as they were written.
/// * Public events are rows of the lake, and each of their members has a column ([`Domain::LAKE`]), so
///   that the lake contains everything that was published.
/// * No column and no member collides with a reserved one.
/// * An error names the attribute ([`names_every_attribute`]).
///
/// # Panics
/// If one of these doesn't hold.
#[track_caller]
pub fn assert_conforms<D: Domain>(domain: &D, history: &[D::Event]) {
    assert_variant::<D::Command>("OPENS", D::OPENS);
    assert_variant::<D::Event>("BEGINS", D::BEGINS);
    assert_variant::<D::PublicEvent>("BEGINS_PUBLIC", D::BEGINS_PUBLIC);
    assert!(D::SCHEMA >= 1, "SCHEMA begins at 1");
    assert_lake("", &lake::data_fields::<D>());
    let mut state = None;
    let mut context = D::Context::default();
    let mut version = Version::FIRST;
    for (index, event) in history.iter().enumerate() {
        names_every_attribute(domain, event);
        let (row_type, columns) = encoded("an event", encode_variant(event));
        assert_eq!(
            row_type == D::BEGINS,
            index == 0,
            "BEGINS is the first event and no other"
        );
        assert_ne!(row_type, SNAPSHOT, "is the Type of snapshots");
        assert_free(&columns, &row::RESERVED_COLUMNS);

        state = D::evolve(state, event);
        let after = state.as_ref().expect("there is a state after each event");
        assert_snapshot(domain, after);
        let accepted = encoded("an answer", encode_struct(&D::accepted(after)));
        assert_free(&accepted, &[D::ID, envelope::SEQUENCE]);

        let recorded = recorded(version, event.clone());
        let public = Envelope::publish::<D>(&mut context, &recorded);
        let public = public.expect("every event is published");
        assert_public::<D>(&public);
        assert_context::<D>(&context);
        version = following(version);
    }
}

/// Checks a read model with one aggregate's history, as [`assert_conforms`] does: views and entries
/// are read back as they were written, no column collides with a reserved one, and an error names
/// the attribute.
///
/// # Panics
/// If one of these doesn't hold.
#[track_caller]
pub fn assert_projects<D: Project>(history: &[D::Event]) {
    let mut context = D::Context::default();
    let mut version = Version::FIRST;
    let mut before: Option<View<D::View>> = None;
    for event in history {
        let public = Envelope::publish::<D>(&mut context, &recorded(version, event.clone()));
        let public = public.expect("every event is published");
        let (view, entry) = encoded("a public event", view::apply::<D>(before.as_ref(), &public));
        let own = encoded("a view", encode_struct(&view.view));
        let item = encoded("a view", view.to_item());
        assert_own_columns(&own, &item, view::is_reserved_column, |item| {
            View::<D::View>::read(item).map(drop)
        });
        assert_eq!(View::read(&item), Ok(Some(view.clone())));

        let own = encoded("an entry", encode_struct(&entry.entry));
        let item = encoded("an entry", entry.to_item());
        assert_own_columns(&own, &item, view::is_reserved_column, |item| {
            HistoryEntry::<D::Entry>::read(item).map(drop)
        });
        assert_eq!(HistoryEntry::read(&item), Ok(entry));
        before = Some(view);
        version = following(version);
    }
}

/// Checks that reading an event's row back gives the event, and that an error names the attribute:
/// each value of the domain's columns, at any depth, is replaced by one of another type in turn, and
/// each column left out.
///
/// `#[serde(flatten)]`, `#[serde(tag)]` and `#[serde(untagged)]` fail here: with them, serde buffers a
/// value before it knows whose it is, and the error loses its name.
///
/// # Panics
/// If one of these doesn't hold.
#[track_caller]
pub fn names_every_attribute<D: Domain>(domain: &D, event: &D::Event) {
    let name = encoded("an event", variant_name(event));
    let version = if name == D::BEGINS {
        Version::FIRST
    } else {
        following(Version::FIRST)
    };
    let recorded = recorded(version, event.clone());
    let row = encoded("an event", recorded.to_row::<D>());
    let (_, own) = encoded("an event", encode_variant(event));
    assert_own_columns(&own, &row, row::is_reserved_column, |row| {
        StoredRow::read(domain, row).map(drop)
    });
    assert_eq!(
        StoredRow::read(domain, &row),
        Ok(StoredRow::Event(recorded)),
        "a row is read back"
    );
}

#[track_caller]
fn assert_variant<T: serde::de::DeserializeOwned>(constant: &str, name: &str) {
    let read = decode_variant::<T>(name, &Columns::default(), |_| false);
    let is_known = read.map_or_else(|error| !error.is_unknown_tag(), |_| true);
    assert!(is_known, "{constant} is {name}, which is no variant's name");
}

#[track_caller]
fn assert_snapshot<D: Domain>(domain: &D, state: &D::State) {
    let snapshot = Snapshot {
        id: example_id(),
        version: Version::FIRST.next(),
        time: example_time(),
        state: state.clone(),
    };
    let row = encoded("a state", snapshot.to_row::<D>());
    let own = encoded("a state", encode_struct(state));
    assert_own_columns(&own, &row, row::is_reserved_column, |row| {
        StoredRow::read(domain, row).map(drop)
    });
    assert_eq!(
        StoredRow::read(domain, &row),
        Ok(StoredRow::Snapshot(snapshot)),
        "a snapshot is read back"
    );
}

#[track_caller]
fn assert_public<D: Domain>(public: &Envelope<D::PublicEvent>) {
    let (name, data) = encoded("a public event", encode_variant(&public.event));
    assert_eq!(
        name == D::BEGINS_PUBLIC,
        public.sequence.get() == 1,
        "BEGINS_PUBLIC is the first public event and no other"
    );
    assert_free(&data, &[D::ID, envelope::SEQUENCE]);
    let bytes = encoded("a public event", public.to_bytes::<D>());
    assert_eq!(
        Envelope::parse::<D>(&bytes).as_ref(),
        Ok(public),
        "a public event is read back"
    );
    assert!(
        lake::is_row::<D>(&bytes),
        "a public event is a row of the lake, whose columns LAKE names"
    );
    assert_has_columns("", &data, D::LAKE);
    assert_columns(&data, &data, |data| {
        decode_variant::<D::PublicEvent>(name, &Columns::from(data), |_| false).map(drop)
    });
}

/// Glue and Athena compare names in lower case, and accept letters, digits and underscores
/// ([Athena](https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html)).
#[track_caller]
fn assert_lake(path: &str, columns: &[(&str, Column)]) {
    let mut names = BTreeSet::new();
    for (name, column) in columns {
        let path = format!("{path}{name}");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(
            !name.is_empty() && name.bytes().all(is_plain),
            "the lake's column {path} has other characters than letters, digits and underscores"
        );
        assert!(
            names.insert(name.to_ascii_lowercase()),
            "the lake has two columns {path}, in upper or lower case"
        );
        match column {
            Column::Text | Column::Bigint | Column::Boolean => {}
            Column::Object(fields) | Column::List(fields) => {
                assert_lake(&format!("{path}."), fields);
            }
            Column::Data | Column::Partition => {
                panic!("the lake's column {path} has no type of data")
            }
        }
    }
}

/// Each member has a column, also those of inner objects.
#[track_caller]
fn assert_has_columns(path: &str, members: &Attributes, columns: &[(&str, Column)]) {
    for (name, value) in members {
        let path = format!("{path}{name}");
        let column = columns.iter().find(|(column, _)| column == name);
        let Some((_, column)) = column else {
            panic!("the lake has no column for the member {path} of public data: add it to LAKE");
        };
        if let Column::Object(fields) | Column::List(fields) = column {
            let objects = match value {
                Attribute::List(elements) => elements,
                value => from_ref(value),
            };
            for object in objects {
                if let Attribute::Map(members) = object {
                    assert_has_columns(&format!("{path}."), members, fields);
                }
            }
        }
    }
}

#[track_caller]
fn assert_context<D: Domain>(context: &D::Context) {
    let columns = encoded("a context", cursor::context_columns::<D>(context));
    let read = |columns: &Attributes| cursor::read_context::<D>(columns);
    assert_own_columns(&columns, &columns, cursor::is_reserved_column, |columns| {
        read(columns).map(drop)
    });
    assert_eq!(read(&columns).as_ref(), Ok(context), "is read back");
}

/// None of the domain's columns is reserved, and an error names each of them.
#[track_caller]
fn assert_own_columns(
    own: &Attributes,
    item: &Attributes,
    is_reserved: fn(&str) -> bool,
    read: impl Fn(&Attributes) -> Result<(), DecodeError>,
) {
    for name in own.keys() {
        assert!(!is_reserved(name), "the column {name} is reserved");
    }
    assert_columns(own, item, read);
}

#[track_caller]
fn assert_columns(
    own: &Attributes,
    item: &Attributes,
    read: impl Fn(&Attributes) -> Result<(), DecodeError>,
) {
    for (name, value) in own {
        for (path, unreadable) in with_each_value_replaced(name, value, |_| UNREADABLE) {
            let mut item = item.clone();
            item.insert(name.clone(), unreadable);
            let error = read(&item).expect_err(&path);
            assert_eq!(error.path(), path, "an error names the attribute: {error}");
        }
        for (path, wrong) in with_each_value_replaced(name, value, another_type) {
            let mut item = item.clone();
            item.insert(name.clone(), wrong);
            assert_named(&path, read(&item));
        }
        let mut missing = item.clone();
        missing.remove(name);
        assert_named(name, read(&missing));
    }
}

#[track_caller]
fn assert_named(path: &str, read: Result<(), DecodeError>) {
    if let Err(error) = read {
        assert_eq!(error.path(), path, "an error names the attribute: {error}");
    }
}

/// A value of a type that is read, but not where `value` is.
const fn another_type(value: &Attribute) -> Attribute {
    match value {
        Attribute::Bool(_) => Attribute::List(Vec::new()),
        _ => Attribute::Bool(true),
    }
}

/// Copies of `value`, each with one value in it replaced, itself first; with the path of that value.
fn with_each_value_replaced(
    path: &str,
    value: &Attribute,
    replace: fn(&Attribute) -> Attribute,
) -> Vec<(String, Attribute)> {
    let mut copies = vec![(path.to_owned(), replace(value))];
    match value {
        Attribute::Map(map) => {
            for (name, inner) in map {
                let inner = with_each_value_replaced(&format!("{path}.{name}"), inner, replace);
                copies.extend(inner.into_iter().map(|(path, inner)| {
                    let mut map = map.clone();
                    map.insert(name.clone(), inner);
                    (path, Attribute::Map(map))
                }));
            }
        }
        Attribute::List(list) => {
            for (index, inner) in list.iter().enumerate() {
                let inner = with_each_value_replaced(&format!("{path}[{index}]"), inner, replace);
                copies.extend(inner.into_iter().map(|(path, inner)| {
                    let mut list = list.clone();
                    list[index] = inner;
                    (path, Attribute::List(list))
                }));
            }
        }
        Attribute::Text(_)
        | Attribute::Number(_)
        | Attribute::Bool(_)
        | Attribute::Null
        | Attribute::Other(_) => {}
    }
    copies
}

/// What a domain's value is encoded to.
#[track_caller]
fn encoded<T>(what: &str, result: Result<T, EncodeError>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[track_caller]
fn assert_free(names: &Attributes, reserved: &[&str]) {
    for name in reserved {
        assert!(!names.contains_key(*name), "the name {name} is reserved");
    }
}

fn recorded<E>(version: Version, event: E) -> RecordedEvent<E> {
    RecordedEvent {
        id: example_id(),
        version,
        time: example_time(),
        metadata: Metadata::default(),
        event,
    }
}

/// The row of the next event.
const fn following(version: Version) -> Version {
    let next = version.next();
    if next.is_snapshot() {
        next.next()
    } else {
        next
    }
}

fn example_id() -> AggregateId {
    AggregateId::new("example").expect("printable")
}

fn example_time() -> Timestamp {
    Timestamp::from_unix_millis(0).expect("in range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_by_one_of_another_type() {
        for value in [
            Attribute::Bool(true),
            Attribute::number(1),
            Attribute::text("a"),
        ] {
            assert_ne!(another_type(&value).type_name(), value.type_name());
        }
    }
}
