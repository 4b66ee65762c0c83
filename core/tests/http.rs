//! Paths, commands, answers and lines of the lake of a domain that isn't an account, and its stored
//! settings.

mod orders;

use millrace_core::command::{self, CommandError};
use millrace_core::resource::item_path;
use millrace_core::{
    Aggregate, AggregateId, Attribute, HistoryEntry, Metadata, PathError, Resource, Sequence,
    Timestamp, View, answer, lake, settings,
};
use orders::{Command, Orders, orders, placed};
use serde_json::json;

fn id(id: &str) -> AggregateId {
    AggregateId::new(id).expect("valid")
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).expect("in range")
}

#[test]
fn a_path_names_one_resource_and_a_resource_takes_one_method() {
    for (path, resource, method) in [
        ("/orders", Resource::Collection, "POST"),
        ("/orders/a", Resource::Item(id("a")), "GET"),
        ("/orders/a%20b", Resource::Item(id("a b")), "GET"),
        ("/orders/a%2541", Resource::Item(id("a%41")), "GET"),
        ("/orders/place", Resource::Item(id("place")), "GET"),
        (
            "/orders/a/ship",
            Resource::Command(id("a"), "ship".to_owned()),
            "POST",
        ),
        (
            "/orders/a/cancel",
            Resource::Command(id("a"), "cancel".to_owned()),
            "POST",
        ),
        ("/orders/a/history", Resource::History(id("a")), "GET"),
        ("/orders/a/status", Resource::ViewAt(id("a")), "GET"),
    ] {
        assert_eq!(Resource::parse::<Orders>(path).as_ref(), Ok(&resource));
        assert_eq!(resource.method(), method, "{path}");
    }
    for path in [
        "",
        "/",
        "orders",
        "/orders/",
        "/orders/a/",
        "/orders/a/place",
        "/orders/a/close",
        "/orders/a/Cancel",
        "/orders/%ff",
        "/orders/a/cancel/b",
        "/orders//cancel",
        "//orders/a",
        "/accounts/a",
    ] {
        let parsed = Resource::parse::<Orders>(path);
        assert_eq!(parsed, Err(PathError::Unknown), "{path}");
    }
}

#[test]
fn without_a_read_model_the_paths_of_queries_below_an_aggregate_are_unknown() {
    for path in ["/orders/a/history", "/orders/a/status"] {
        assert!(Resource::parse::<Orders>(path).is_ok(), "{path}");
        let parsed = Resource::parse_command::<Orders>(path);
        assert_eq!(parsed, Err(PathError::Unknown), "{path}");
    }
    for path in [
        "/orders",
        "/orders/a",
        "/orders/a/ship",
        "/orders/a/place",
        "/orders/..",
    ] {
        let parsed = Resource::parse_command::<Orders>(path);
        assert_eq!(parsed, Resource::parse::<Orders>(path), "{path}");
    }
}

#[test]
fn a_path_of_an_id_leads_back_to_it_or_there_is_none() {
    assert_eq!(
        item_path::<Orders>(&id("a-b_c.d~e ä")).as_deref(),
        Some("/orders/a-b_c.d~e%20%C3%A4")
    );
    for text in ["a%2Fb", "...", "a#b", "ä b%"] {
        let path = item_path::<Orders>(&id(text)).expect(text);
        assert_eq!(
            Resource::parse::<Orders>(&path),
            Ok(Resource::Item(id(text)))
        );
    }
    for text in ["a/b", "a?b", ".", ".."] {
        assert_eq!(item_path::<Orders>(&id(text)), None, "{text}");
    }
    for path in ["/orders/x%2Fcancel", "/orders/x%3Fy", "/orders/%2e%2e/ship"] {
        let parsed = Resource::parse::<Orders>(path);
        assert_eq!(parsed, Err(PathError::NotAddressable), "{path}");
    }
}

fn read(name: &str, body: &str) -> Result<Command, CommandError> {
    command::read::<Orders>(name, body.as_bytes())
}

#[test]
fn a_command_is_read_by_its_name() {
    let sku = || "x".to_owned();
    assert_eq!(
        read("ship", r#"{"sku":"x"}"#),
        Ok(Command::Ship { sku: sku() })
    );
    assert_eq!(read("cancel", "{}"), Ok(Command::Cancel));
    assert_eq!(read("close", "{}"), Err(CommandError::Unknown));
}

#[test]
fn a_wrong_body_is_pointed_at_and_not_quoted() {
    for (name, body, pointer, detail) in [
        ("ship", "", "", "the body is not JSON, at line 1 column 0"),
        (
            "ship",
            "secret",
            "",
            "the body is not JSON, at line 1 column 1",
        ),
        ("ship", "[]", "", "the body is not a JSON object"),
        ("ship", "{}", "/sku", "sku is missing"),
        ("ship", r#"{"sku":5}"#, "/sku", "sku is not a string"),
        ("ship", r#"{"sku":"x","y":1}"#, "/y", "y is unknown"),
        (
            "ship",
            r#"{"sku":"x","sku":"x"}"#,
            "/sku",
            "sku is not a string",
        ),
        ("place", "", "/customer", "customer is missing"),
        (
            "place",
            r#"{"customer":"c","lines":[{"sku":"x","quantity":"secret"}]}"#,
            "/lines/0/quantity",
            "lines[0].quantity is not an integer",
        ),
        (
            "place",
            r#"{"customer":"c","lines":[{"sku":"x","quantity":1.0}]}"#,
            "/lines/0/quantity",
            "lines[0].quantity is not an integer",
        ),
        (
            "place",
            r#"{"customer":"c","lines":[{"sku":"x","quantity":1,"options":{"a/b":7}}]}"#,
            "/lines/0/options/a~1b",
            "lines[0].options.a/b is not a string",
        ),
    ] {
        let expected = CommandError::Body {
            pointer: pointer.to_owned(),
            detail: detail.to_owned(),
        };
        assert_eq!(read(name, body), Err(expected), "{body}");
    }
}

#[test]
fn answers_have_cores_members_and_the_domains() {
    let begun = Aggregate::<Orders>::new(id("o"));
    assert_eq!(answer::accepted(&begun), None);
    let (aggregate, _) = begun
        .append(&[placed(&["x"])], at(0), &Metadata::default())
        .expect("orders have rows");
    let accepted = answer::accepted(&aggregate).expect("placed");
    assert_eq!(
        serde_json::to_string(&accepted).expect("serialises"),
        r#"{"orderId":"o","sequence":1}"#
    );
    let view = View {
        id: id("o"),
        sequence: Sequence::FIRST,
        opened_at: at(0),
        updated_at: at(1),
        view: orders::View {
            shipped: vec!["x".to_owned()],
            closed: false,
        },
    };
    assert_eq!(
        serde_json::to_string(&answer::view::<Orders>(&view)).expect("serialises"),
        concat!(
            r#"{"orderId":"o","shipped":["x"],"closed":false,"sequence":1,"#,
            r#""openedAt":"1970-01-01T00:00:00.000Z","updatedAt":"1970-01-01T00:00:00.001Z"}"#
        )
    );
    let entry = HistoryEntry {
        id: id("o"),
        sequence: Sequence::FIRST,
        event_type: "OrderPlaced".to_owned(),
        time: at(0),
        effective_at: at(1),
        correlation_id: None,
        entry: (),
    };
    let page = answer::history_page::<Orders>(id("o"), vec![entry], None);
    assert_eq!(
        serde_json::to_value(page).expect("serialises"),
        json!({"orderId": "o", "history": [
            {"sequence": 1, "type": "OrderPlaced", "time": "1970-01-01T00:00:00.000Z"}
        ]})
    );
}

#[test]
fn a_line_of_the_lake_has_the_types_of_cores_and_the_domains_columns() {
    let line = |data: &str| format!(r#"{{"id":"o:1","type":"LineShipped","data":{data}}}"#);
    for data in [
        "{}",
        r#"{"orderId":"o","sequence":1,"sku":"x","new":5}"#,
        r#"{"SKU":"x"}"#,
        r#"{"cancelled":false}"#,
        r#"{"lines":[]}"#,
        r#"{"lines":[null,{},{"SKU":"x","quantity":2,"new":[1]}]}"#,
        r#"{"lines":[{"options":null},{"options":{"Colour":"red","size":7}}]}"#,
    ] {
        assert!(lake::is_row::<Orders>(line(data).as_bytes()), "{data}");
    }
    for data in [
        "[]",
        r#"{"orderId":1}"#,
        r#"{"sequence":"1"}"#,
        r#"{"sku":1}"#,
        r#"{"SKU":1}"#,
        r#"{"cancelled":"false"}"#,
        r#"{"lines":{}}"#,
        r#"{"lines":"x"}"#,
        r#"{"lines":["x"]}"#,
        r#"{"lines":[{},[]]}"#,
        r#"{"lines":[{"quantity":1},{"quantity":"1"}]}"#,
        r#"{"Lines":[{"Quantity":0.5}]}"#,
        r#"{"lines":[{"sku":"x","SKU":"y"}]}"#,
        r#"{"lines":[{"options":[]}]}"#,
        r#"{"lines":[{"options":{"colour":1}}]}"#,
    ] {
        assert!(!lake::is_row::<Orders>(line(data).as_bytes()), "{data}");
    }
}

#[test]
fn settings_that_differ_from_the_stored_ones_are_named() {
    let stored = settings::to_row(&orders());
    assert_eq!(settings::check(&orders(), &stored), Ok(()));
    let other = Orders {
        house_account: "other",
    };
    assert_eq!(
        settings::check(&other, &stored)
            .expect_err("changed")
            .to_string(),
        "HOUSE_ACCOUNT is other, but the events table has been used with house: another \
         value would change events that are published; set HOUSE_ACCOUNT to house again"
    );
    let mut unreadable = stored;
    unreadable.insert("HouseAccount".to_owned(), Attribute::number(1));
    assert!(settings::check(&orders(), &unreadable).is_err());
    unreadable.remove("HouseAccount");
    assert!(settings::check(&orders(), &unreadable).is_err());
}
