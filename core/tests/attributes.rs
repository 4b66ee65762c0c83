//! A domain's own types as attributes and back: the mapping, and what an error says.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use millrace_core::decode::{decode_struct, decode_variant, field_names, from_text};
use millrace_core::encode::{encode_struct, encode_variant, variant_name};
use millrace_core::{Attribute, Attributes, Columns, DecodeError, InvalidValue, Timestamp};
use proptest::prelude::*;
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase")]
enum Event {
    #[serde(rename = "PLACED")]
    Placed {
        customer: Name,
        lines: Vec<Line>,
        note: Option<String>,
    },
    Paid(Payment),
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    quantity: NonZeroU32,
    #[serde(default)]
    options: BTreeMap<String, String>,
    gift: bool,
    delivery: Delivery,
    size: (i8, i8),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Delivery {
    Pickup,
    Post { zone: u8 },
    Courier(u64),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Payment {
    amount: Amount,
    at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "i64")]
struct Amount(i64);

impl TryFrom<i64> for Amount {
    type Error = InvalidValue;

    fn try_from(amount: i64) -> Result<Self, InvalidValue> {
        if amount > 0 {
            Ok(Self(amount))
        } else {
            Err(InvalidValue::new("is not an amount"))
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, |text| match text {
            "" => Err(InvalidValue::new("is not a name")),
            text => Ok(Self(text.to_owned())),
        })
    }
}

fn placed() -> Event {
    let line = |quantity, delivery| Line {
        quantity: NonZeroU32::new(quantity).expect("not 0"),
        options: [("colour".to_owned(), "red".to_owned())].into(),
        gift: true,
        delivery,
        size: (-1, 1),
    };
    Event::Placed {
        customer: Name("Ada".to_owned()),
        lines: vec![
            line(1, Delivery::Pickup),
            line(2, Delivery::Post { zone: 3 }),
            line(4, Delivery::Courier(u64::MAX)),
        ],
        note: None,
    }
}

fn paid() -> Event {
    Event::Paid(Payment {
        amount: Amount(5),
        at: Timestamp::from_unix_millis(0).expect("in range"),
    })
}

fn is_reserved(name: &str) -> bool {
    name == "Id"
}

fn decode(tag: &str, row: &Attributes) -> Result<Event, DecodeError> {
    decode_variant(tag, &Columns::from(row), is_reserved)
}

fn map<const N: usize>(entries: [(&str, Attribute); N]) -> Attributes {
    entries.map(|(name, value)| (name.to_owned(), value)).into()
}

#[test]
fn a_variant_is_a_tag_and_columns() {
    let (tag, row) = encode_variant(&placed()).expect("encodes");
    assert_eq!(tag, "PLACED");
    let line = |quantity: i64, delivery| {
        Attribute::Map(map([
            ("Quantity", Attribute::number(quantity)),
            (
                "Options",
                Attribute::Map(map([("colour", Attribute::text("red"))])),
            ),
            ("Gift", Attribute::Bool(true)),
            ("Delivery", delivery),
            (
                "Size",
                Attribute::List(vec![Attribute::number(-1), Attribute::number(1)]),
            ),
        ]))
    };
    let post = Attribute::Map(map([("zone", Attribute::number(3))]));
    let lines = vec![
        line(1, Attribute::text("Pickup")),
        line(2, Attribute::Map(map([("Post", post)]))),
        line(
            4,
            Attribute::Map(map([("Courier", Attribute::number(u64::MAX))])),
        ),
    ];
    assert_eq!(
        row,
        map([
            ("Customer", Attribute::text("Ada")),
            ("Lines", Attribute::List(lines))
        ])
    );
}

#[test]
fn what_is_written_is_read_back() {
    for event in [placed(), paid(), Event::Cancelled] {
        let (tag, mut row) = encode_variant(&event).expect("encodes");
        assert_eq!(decode(tag, &row), Ok(event.clone()));
        row.insert("Id".to_owned(), Attribute::Other("B"));
        assert_eq!(decode(tag, &row), Ok(event), "a reserved column is skipped");
    }
    let line = Line {
        quantity: NonZeroU32::MIN,
        options: BTreeMap::new(),
        gift: false,
        delivery: Delivery::Pickup,
        size: (0, 0),
    };
    let row = encode_struct(&line).expect("encodes");
    assert_eq!(
        decode_struct(&Columns::from(&row), is_reserved),
        Ok(line),
        "a struct has no tag"
    );
    assert_eq!(encode_struct(&()), Ok(Attributes::new()));
    assert_eq!(
        decode_struct(&Columns::default(), is_reserved),
        Ok::<(), _>(())
    );
}

#[test]
fn a_wrapper_is_written_as_what_it_wraps() {
    #[derive(Serialize)]
    struct Wrapper(Payment);
    #[derive(Serialize)]
    struct Nothing;
    #[derive(Serialize)]
    enum Ended {
        Unit(()),
        Struct(Nothing),
        Wrapped(Wrapper),
    }
    let payment = || Payment {
        amount: Amount(5),
        at: Timestamp::from_unix_millis(0).expect("in range"),
    };
    let columns = encode_struct(&payment()).expect("encodes");
    assert_eq!(columns.len(), 2);
    assert_eq!(encode_struct(&Some(payment())), Ok(columns.clone()));
    assert_eq!(encode_struct(&Wrapper(payment())), Ok(columns.clone()));
    assert_eq!(encode_struct(&Nothing), Ok(Attributes::new()));
    for (event, tag, columns) in [
        (Ended::Unit(()), "Unit", Attributes::new()),
        (Ended::Struct(Nothing), "Struct", Attributes::new()),
        (Ended::Wrapped(Wrapper(payment())), "Wrapped", columns),
    ] {
        assert_eq!(variant_name(&event), Ok(tag));
        assert_eq!(encode_variant(&event), Ok((tag, columns)));
    }
}

/// The row of [`placed`] with one value replaced, or removed, at a path of keys and indices.
fn placed_with(path: &[&str], value: Option<Attribute>) -> Attributes {
    fn replace(map: &mut Attributes, path: &[&str], value: Option<Attribute>) {
        let [name, rest @ ..] = path else {
            unreachable!("a path is not empty")
        };
        match (rest, map.get_mut(*name), value) {
            ([], _, None) => drop(map.remove(*name)),
            ([], _, Some(value)) => drop(map.insert((*name).to_owned(), value)),
            (rest, Some(Attribute::Map(inner)), value) => replace(inner, rest, value),
            ([index, rest @ ..], Some(Attribute::List(list)), value) => {
                let element = &mut list[index.parse::<usize>().expect("an index")];
                match (element, rest, value) {
                    (element, [], Some(value)) => *element = value,
                    (Attribute::Map(inner), rest, value) => replace(inner, rest, value),
                    other => unreachable!("{other:?}"),
                }
            }
            other => unreachable!("{other:?}"),
        }
    }
    let (_, mut row) = encode_variant(&placed()).expect("encodes");
    replace(&mut row, path, value);
    row
}

#[test]
fn an_error_names_the_attribute_at_any_depth() {
    let secret = || Some(Attribute::text("secret"));
    let number = |text: &str| Some(Attribute::Number(text.to_owned()));
    for (path, value, text) in [
        (&["Customer"][..], None, "Customer: is missing"),
        (&["Customer"], number("1"), "Customer: is of type N, not S"),
        (
            &["Customer"],
            Some(Attribute::text("")),
            "Customer: is not a name",
        ),
        (&["Lines"], secret(), "Lines: is of type S, not L"),
        (&["Lines", "0"], secret(), "Lines[0]: is of type S, not M"),
        (
            &["Lines", "1", "Quantity"],
            None,
            "Lines[1].Quantity: is missing",
        ),
        (
            &["Lines", "1", "Quantity"],
            number("0"),
            "Lines[1].Quantity: is not a nonzero u32",
        ),
        (
            &["Lines", "1", "Quantity"],
            number("1.5"),
            "Lines[1].Quantity: is not an integer in range",
        ),
        (
            &["Lines", "1", "Quantity"],
            number("4294967296"),
            "Lines[1].Quantity: is not an integer in range",
        ),
        (
            &["Lines", "0", "Options", "colour"],
            Some(Attribute::Bool(true)),
            "Lines[0].Options.colour: is of type BOOL, not S",
        ),
        (
            &["Lines", "0", "Gift"],
            secret(),
            "Lines[0].Gift: is of type S, not BOOL",
        ),
        (
            &["Lines", "0", "Delivery"],
            secret(),
            "Lines[0].Delivery: is none of the known variants",
        ),
        (
            &["Lines", "1", "Delivery", "Post", "zone"],
            secret(),
            "Lines[1].Delivery.Post.zone: is of type S, not N",
        ),
        (
            &["Lines", "0", "Size", "1"],
            secret(),
            "Lines[0].Size[1]: is of type S, not N",
        ),
        (
            &["Lines", "0", "Size"],
            Some(Attribute::List(vec![Attribute::number(1); 3])),
            "Lines[0].Size: contains too many elements",
        ),
        (
            &["Note"],
            Some(Attribute::Other("SS")),
            "Note: is of type SS, not S",
        ),
    ] {
        let error = decode("PLACED", &placed_with(path, value)).expect_err(text);
        assert_eq!(error.to_string(), text);
    }

    let (tag, mut row) = encode_variant(&paid()).expect("encodes");
    for (name, value, text) in [
        ("Amount", Attribute::number(-5), "Amount: is not an amount"),
        (
            "At",
            Attribute::text("secret"),
            "At: is not an RFC 3339 time such as 2026-11-20T21:03:05.123Z",
        ),
        ("Other", Attribute::Null, "Other: is unknown"),
    ] {
        let before = row.insert(name.to_owned(), value);
        let error = decode(tag, &row).expect_err(text);
        assert_eq!(error.to_string(), text);
        row.extend(before.map(|value| (name.to_owned(), value)));
    }
    let error = decode("secret", &row).expect_err("no variant");
    assert_eq!(error.to_string(), "is none of the known variants");
}

#[test]
fn a_type_that_is_read_from_text_says_so_to_other_formats() {
    let error = serde_json::from_str::<Name>("5").expect_err("no string");
    assert!(error.to_string().contains("expected a string"), "{error}");
}

#[test]
fn an_integer_is_read_exactly_and_zero_decimals_are_none() {
    let note = |text: &str| -> Result<u64, DecodeError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let row = map([("n", Attribute::Number(text.to_owned()))]);
        decode_struct(&Columns::from(&row), is_reserved).map(|Row { n }| n)
    };
    assert_eq!(note("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(note("10.00"), Ok(10));
    for wrong in ["-1", "10.", "1.5", "1e3", "", "18446744073709551616"] {
        assert_eq!(note(wrong).expect_err(wrong).path(), "n");
    }
}

#[test]
fn what_has_no_form_is_refused_by_name() {
    #[derive(Serialize)]
    struct Inner {
        ratio: f64,
    }
    #[derive(Serialize)]
    struct Row<T> {
        inner: T,
    }
    #[derive(Serialize)]
    enum Tuple {
        Pair(u8, u8),
    }
    let error = encode_struct(&Row {
        inner: Inner { ratio: 0.5 },
    });
    assert_eq!(
        error.expect_err("a float").to_string(),
        "inner.ratio: has a type that is not supported"
    );
    let keys: BTreeMap<u8, u8> = [(1, 1)].into();
    let error = encode_struct(&Row { inner: keys }).expect_err("a key");
    assert_eq!(error.path(), "inner");
    assert!(encode_variant(&Tuple::Pair(1, 2)).is_err());
    assert!(encode_variant(&Inner { ratio: 0.5 }).is_err(), "no enum");
    assert!(encode_struct(&Event::Cancelled).is_err(), "no struct");
    assert!(encode_struct(&5).is_err());
}

#[test]
fn the_names_of_a_structs_fields_are_those_of_its_columns() {
    assert_eq!(
        field_names::<Line>(),
        ["Quantity", "Options", "Gift", "Delivery", "Size"]
    );
    assert_eq!(field_names::<Payment>(), ["Amount", "At"]);
}

#[test]
fn a_type_that_is_no_struct_has_no_field_names() {
    assert!(field_names::<()>().is_empty());
    assert!(field_names::<Event>().is_empty());
    assert!(field_names::<Amount>().is_empty());
    assert!(field_names::<BTreeMap<String, String>>().is_empty());
    assert!(field_names::<Vec<Line>>().is_empty());
}

#[test]
fn a_variants_name_is_found_without_its_fields() {
    struct Unencodable;

    impl Serialize for Unencodable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("the field is encoded")
        }
    }

    #[derive(Serialize)]
    enum Reading {
        Read { value: Unencodable },
    }

    let read = Reading::Read { value: Unencodable };
    assert_eq!(variant_name(&read), Ok("Read"));
    assert_eq!(
        variant_name(&paid()),
        encode_variant(&paid()).map(|it| it.0)
    );
    assert_eq!(variant_name(&Event::Cancelled), Ok("Cancelled"));
    let Event::Paid(payment) = paid() else {
        unreachable!("it is paid");
    };
    assert!(variant_name(&payment).is_err(), "no enum");
}

fn any_attribute() -> impl Strategy<Value = Attribute> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Attribute::Bool),
        Just(Attribute::Null),
        "\\PC{0,4}".prop_map(Attribute::Text),
        "-?[0-9]{0,20}(\\.[0-9]{0,3})?".prop_map(Attribute::Number),
        Just(Attribute::Other("B")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = prop::sample::select(vec!["Quantity", "Options", "Gift", "Delivery", "Post"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Attribute::List),
            prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..4)
                .prop_map(Attribute::Map),
        ]
    })
}

proptest! {
    #[test]
    fn no_attribute_panics_and_what_is_read_is_written_and_read_to_the_same(
        name in prop::sample::select(vec!["Customer", "Lines", "Note", "Amount", "At", "More"]),
        value in any_attribute(),
        start in prop::sample::select(vec![placed(), paid(), Event::Cancelled]),
    ) {
        let (tag, mut row) = encode_variant(&start).expect("encodes");
        row.insert(name.to_owned(), value);
        if let Ok(read) = decode(tag, &row) {
            let (tag, row) = encode_variant(&read).expect("encodes");
            prop_assert_eq!(decode(tag, &row), Ok(read));
        }
    }
}
