//! Which records of the domain stream become lake records: each must be a row of the lake's table.

use proptest::prelude::*;
use serde_json::json;

use millrace_core::lake::{COLUMNS, Column};

use millrace_domain::Accounts;

fn is_row(bytes: &[u8]) -> bool {
    millrace_core::lake::is_row::<Accounts>(bytes)
}

/// The fields of the column `data`.
const DATA: [(&str, Column); 5] = [
    ("accountid", Column::Text),
    ("sequence", Column::Bigint),
    ("amount", Column::Bigint),
    ("currency", Column::Text),
    ("channel", Column::Text),
];

#[test]
fn known_and_future_events_are_rows() {
    for row in [
        r#"{"id":"a:1","type":"AccountCreated"}"#,
        r#"{"id":"a:1","type":"AccountClosed","new":{"x":[1]},"data":{"accountId":"a","why":1}}"#,
        r#"{"id":"a:1","type":"T","data":{"sequence":7,"amount":9007199254740991},"time":null}"#,
        r#"{"id":"\u00e4:1","type":"T","subject":"\"\\"}"#,
        r#"{"ID":"a:1","Type":"T","DATA":{"ACCOUNTID":"a","Sequence":7},"new":[0.5,true,[]]}"#,
        r#"{"id":"a:1","type":"T","data":null,"dt":null,"new":18446744073709551615}"#,
        r#"{"id":"a:1","type":"T","new":{"id":5,"data":{"amount":"5"}}}"#,
    ] {
        assert!(is_row(row.as_bytes()), "{row}");
    }
}

#[test]
fn bytes_that_would_break_a_query_are_no_rows() {
    for none in [
        "",
        "null",
        "[]",
        r#"["a:1","T"]"#,
        r#"{"id":"a:1"}"#,
        r#"{"type":"T"}"#,
        r#"{"id":1,"type":"T"}"#,
        r#"{"id":"","type":"T"}"#,
        r#"{"id":"a","type":"T","source":5}"#,
        r#"{"id":"a","type":"T","traceparent":5}"#,
        r#"{"id":"a","type":"T","data":5}"#,
        r#"{"id":"a","type":"T","data":[1]}"#,
        r#"{"id":"a","type":"T","data":{"amount":"5"}}"#,
        r#"{"id":"a","type":"T","data":{"amount":0.5}}"#,
        r#"{"id":"a","type":"T","data":{"amount":9223372036854775808}}"#,
        r#"{"id":"a","type":"T","id":"b"}"#,
        r#"{"id":"a","type":"T","ID":"b"}"#,
        r#"{"id":"a","type":"T","ID":null}"#,
        r#"{"id":"a","type":"T","TYPE":5}"#,
        r#"{"id":"a","type":"T","Data":5}"#,
        r#"{"id":"a","type":"T","SUBJECT":{}}"#,
        r#"{"id":"a","type":"T","data":{"Amount":"5"}}"#,
        r#"{"id":"a","type":"T","data":{"accountId":"a","accountid":"a"}}"#,
        r#"{"id":"a","type":"T","DT":"2026-11-20"}"#,
        r#"{"id":"a","type":"T","new":1,"New":2}"#,
        r#"{"id":"a","type":"T","new":[{"x":{"y":1,"Y":2}}]}"#,
        r#"{"id":"a","type":"T","new":1e999}"#,
        r#"{"id":"a","type":"T","dt":"2026-11-20"}"#,
        "{\"id\":\"a\",\n\"type\":\"T\"}",
        r#"{"id":"a","type":"T"} {}"#,
    ] {
        assert!(!is_row(none.as_bytes()), "{none}");
    }
    assert!(!is_row(b"{\"id\":\"\xff\",\"type\":\"T\"}"));
}

/// A JSON object of these members. The values are inserted unchanged.
fn line(members: &[(String, String)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", json!(name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// The name in upper or lower case, letter by letter; `upper` is repeated if the name is longer.
fn recased(name: &str, upper: &[bool]) -> String {
    let letters = name.chars().zip(upper.iter().cycle());
    letters
        .map(|(letter, upper)| {
            if *upper {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        })
        .collect()
}

fn case() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 1..12)
}

/// A value that the column accepts, and one that it refuses.
fn values(column: Column) -> (&'static str, &'static str) {
    match column {
        Column::Text => (r#""x""#, "5"),
        Column::Bigint => ("7", r#""7""#),
        Column::Boolean => ("true", r#""true""#),
        Column::Object(_) => ("{}", "[]"),
        Column::List(_) => ("[{}]", "{}"),
        Column::Data => (r#"{"accountId":"a","amount":5}"#, "[]"),
        Column::Partition => ("null", r#""2026-11-20""#),
    }
}

/// One member for each column. `cases` has the case of each name. The column with the index `wrong` has a
/// value that it refuses; the column with the index in `twice` has a second member, in the case in `twice`.
fn members(
    columns: &[(&str, Column)],
    cases: &[Vec<bool>],
    wrong: Option<usize>,
    twice: Option<&(usize, Vec<bool>)>,
) -> Vec<(String, String)> {
    let mut members: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(index, (name, column))| {
            let (right, other) = values(*column);
            let value = if wrong == Some(index) { other } else { right };
            (recased(name, &cases[index]), value.to_owned())
        })
        .collect();
    if let Some((index, case)) = twice {
        members.push((recased(columns[*index].0, case), "null".to_owned()));
    }
    members
}

proptest! {
    #[test]
    fn column_names_are_case_insensitive(
        cases in prop::collection::vec(case(), COLUMNS.len()),
        wrong in prop::option::of(0..COLUMNS.len()),
        twice in prop::option::of((0..COLUMNS.len(), case())),
    ) {
        let line = line(&members(&COLUMNS, &cases, wrong, twice.as_ref()));
        prop_assert_eq!(is_row(line.as_bytes()), wrong.is_none() && twice.is_none(), "{}", line);
    }

    #[test]
    fn field_names_of_data_are_case_insensitive(
        cases in prop::collection::vec(case(), DATA.len()),
        wrong in prop::option::of(0..DATA.len()),
        twice in prop::option::of((0..DATA.len(), case())),
        data in case(),
    ) {
        let fields = members(&DATA, &cases, wrong, twice.as_ref());
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let line = line(&[
            text("id", r#""a:1""#),
            text("type", r#""T""#),
            (recased("data", &data), line(&fields)),
        ]);
        prop_assert_eq!(is_row(line.as_bytes()), wrong.is_none() && twice.is_none(), "{}", line);
    }

    #[test]
    fn duplicate_members_at_any_depth_are_refused(
        name in "[a-z]{1,6}",
        case in case(),
        depth in 0_usize..20,
    ) {
        let nested = |names: &[&str]| {
            let object = line(&names.iter().map(|it| ((*it).to_owned(), "1".into())).collect::<Vec<_>>());
            let nested = (0..depth).fold(object, |inner, _| format!(r#"[{{"x":{inner}}}]"#));
            format!(r#"{{"id":"a","type":"T","new":{nested}}}"#)
        };
        prop_assert!(is_row(nested(&[&name]).as_bytes()));
        prop_assert!(!is_row(nested(&[&name, &recased(&name, &case)]).as_bytes()));
    }
}
