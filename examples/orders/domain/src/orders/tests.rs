use millrace_core::RefusalKind;
use millrace_core::command;
use millrace_core::command::CommandError;
use millrace_core::testing::given;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::article::{Quantity, Sku};
use crate::recipient::Recipient;

fn lines(lines: &[(&str, u32)]) -> Lines {
    let line = |(sku, units): &(&str, u32)| Line {
        sku: Sku::new(sku).expect("valid"),
        quantity: Quantity::try_from(*units).expect("valid"),
    };
    Lines::try_from(lines.iter().map(line).collect::<Vec<_>>()).expect("valid")
}

fn many_lines(count: usize) -> Lines {
    let skus: Vec<String> = (0..count).map(|number| format!("A-{number}")).collect();
    let one_of_each: Vec<(&str, u32)> = skus.iter().map(|sku| (&**sku, 1)).collect();
    lines(&one_of_each)
}

fn recipient() -> Recipient {
    Recipient::new("Ada").expect("valid")
}

fn place(lines: Lines) -> Command {
    Command::Place {
        recipient: recipient(),
        lines,
    }
}

fn add(added: &[(&str, u32)]) -> Command {
    Command::AddLines {
        lines: lines(added),
    }
}

fn ship(shipped: &[(&str, u32)]) -> Command {
    Command::Ship {
        lines: lines(shipped),
    }
}

const CANCEL: Command = Command::Cancel {
    reason: Reason::OutOfStock,
};
const CANCELLED: Event = Event::OrderCancelled {
    reason: Reason::OutOfStock,
};
const COMPLETED: Event = Event::OrderCompleted {};

fn placed(placed: &[(&str, u32)]) -> Event {
    Event::OrderPlaced {
        recipient: recipient(),
        lines: lines(placed),
    }
}

fn added(added: &[(&str, u32)]) -> Event {
    Event::LinesAdded {
        lines: lines(added),
    }
}

fn shipped(shipped: &[(&str, u32)]) -> Event {
    Event::ParcelShipped {
        lines: lines(shipped),
    }
}

#[test]
fn an_order_is_placed_once() {
    given(Orders, [])
        .when(place(lines(&[("A", 2)])))
        .then([placed(&[("A", 2)])]);
    given(Orders, [placed(&[("A", 2)])])
        .when(place(lines(&[("A", 2)])))
        .then_refused("order-already-placed");
}

#[test]
fn an_order_that_was_not_placed_is_not_found() {
    for command in [add(&[("A", 1)]), ship(&[("A", 1)]), CANCEL] {
        given(Orders, [])
            .when(command)
            .then_refused("order-not-found");
    }
    assert_eq!(Orders::not_found().kind, RefusalKind::Unknown);
}

#[test]
fn lines_are_added_to_an_open_order() {
    given(Orders, [placed(&[("A", 2)])])
        .when(add(&[("A", 1), ("B", 3)]))
        .then([added(&[("A", 1), ("B", 3)])]);
    given(Orders, [placed(&[("A", 2)]), added(&[("A", 1)])])
        .when(ship(&[("A", 3)]))
        .then([shipped(&[("A", 3)]), COMPLETED]);
}

#[test]
fn ships_outstanding_units_only_and_completes_the_order_with_the_last() {
    let order = || [placed(&[("A", 2), ("B", 1)]), shipped(&[("A", 1)])];
    given(Orders, order())
        .when(ship(&[("A", 1)]))
        .then([shipped(&[("A", 1)])]);
    given(Orders, order())
        .when(ship(&[("B", 1), ("A", 1)]))
        .then([shipped(&[("B", 1), ("A", 1)]), COMPLETED]);
    for too_much in [[("A", 2)], [("B", 2)], [("C", 1)]] {
        given(Orders, order())
            .when(ship(&too_much))
            .then_refused("not-outstanding");
    }
}

#[test]
fn refuses_cancellation_after_the_first_parcel() {
    given(Orders, [placed(&[("A", 2)])])
        .when(CANCEL)
        .then([CANCELLED]);
    given(Orders, [placed(&[("A", 2)]), shipped(&[("A", 1)])])
        .when(CANCEL)
        .then_refused("parcel-shipped");
}

#[test]
fn a_completed_or_cancelled_order_refuses_every_command() {
    for (last, code) in [
        (vec![shipped(&[("A", 2)]), COMPLETED], "order-completed"),
        (vec![CANCELLED], "order-cancelled"),
    ] {
        let events = || std::iter::once(placed(&[("A", 2)])).chain(last.clone());
        for command in [add(&[("A", 1)]), ship(&[("A", 1)]), CANCEL] {
            given(Orders, events()).when(command).then_refused(code);
        }
    }
}

#[test]
fn the_lines_and_the_units_of_an_order_are_limited() {
    given(Orders, [])
        .when(place(many_lines(MAX_LINES + 1)))
        .then_refused("too-many-lines");
    let full = Event::OrderPlaced {
        recipient: recipient(),
        lines: many_lines(MAX_LINES),
    };
    given(Orders, [full.clone()])
        .when(add(&[("B", 1)]))
        .then_refused("too-many-lines");
    given(Orders, [full])
        .when(add(&[("A-7", 1)]))
        .then([added(&[("A-7", 1)])]);
    given(Orders, [placed(&[("A", MAX_QUANTITY)])])
        .when(add(&[("A", 1)]))
        .then_refused("quantity-limit");
}

#[test]
fn evolve_applies_events_that_the_rules_refuse() {
    let history = [
        CANCELLED,
        placed(&[("A", 1)]),
        shipped(&[("A", 3), ("B", 1)]),
        placed(&[("C", 1)]),
        CANCELLED,
    ];
    let order = history.iter().fold(None, Orders::evolve).expect("placed");
    assert_eq!((order.outstanding(), order.lines.len()), (0, 1));
    assert_eq!(order.lines[0].shipped, 3);
    assert_eq!(order.status, Status::Cancelled);
}

#[test]
fn reads_commands_from_their_name_and_body() {
    let read = |name: &str, body: &str| command::read::<Orders>(name, body.as_bytes());
    let a = r#"[{"sku":"A","quantity":2}]"#;
    for (name, body, command) in [
        (
            "place",
            format!(r#"{{"recipient":"Ada","lines":{a}}}"#),
            place(lines(&[("A", 2)])),
        ),
        ("add-lines", format!(r#"{{"lines":{a}}}"#), add(&[("A", 2)])),
        ("ship", format!(r#"{{"lines":{a}}}"#), ship(&[("A", 2)])),
        ("cancel", r#"{"reason":"out-of-stock"}"#.to_owned(), CANCEL),
    ] {
        assert_eq!(read(name, &body), Ok(command), "{body}");
    }
    for (name, body, expected) in [
        ("place", r#"{"lines":[]}"#, "/lines"),
        ("place", "", "/recipient"),
        (
            "place",
            r#"{"recipient":"","lines":[{"sku":"A","quantity":2}]}"#,
            "/recipient",
        ),
        ("ship", r#"{"lines":[{"sku":"a"}]}"#, "/lines/0/sku"),
        ("ship", r#"{"lines":[{"sku":"A"}]}"#, "/lines/0/quantity"),
        (
            "ship",
            r#"{"lines":[{"sku":"A","quantity":0}]}"#,
            "/lines/0/quantity",
        ),
        (
            "ship",
            r#"{"lines":[{"sku":"A","quantity":1,"colour":"red"}]}"#,
            "/lines/0/colour",
        ),
        ("ship", r#"{"lines":"A"}"#, "/lines"),
        ("cancel", r#"{"reason":"moved to Ada"}"#, "/reason"),
        ("cancel", r#"{"reason":"not-paid","to":"Ada"}"#, "/to"),
    ] {
        let Err(CommandError::Body { pointer, detail }) = read(name, body) else {
            panic!("{body} should be refused");
        };
        assert_eq!(pointer, expected, "{body}: {detail}");
        assert!(!detail.contains("Ada"), "{detail}");
    }
}

#[test]
fn no_state_view_or_public_event_contains_the_recipient() {
    let placed = placed(&[("A", 1)]);
    let order = Orders::evolve(None, &placed).expect("placed");
    let public = PublicEvent::from(&placed);
    let (view, entry) = Orders::project(None, &public);
    for shown in [
        json!(public),
        json!(order),
        json!(view),
        json!(entry),
        json!(Orders::accepted(&order)),
    ] {
        assert!(!shown.to_string().contains("Ada"), "{shown}");
    }
    let debug = format!("{placed:?} {:?}", place(lines(&[("A", 1)])));
    assert!(!debug.contains("Ada"), "{debug}");
}

#[test]
fn json_schemas_match_what_is_read() {
    let row = schemars::schema_for!(Event).to_value();
    let definitions = &row["$defs"];
    assert_eq!(definitions["Lines"]["type"], "array");
    assert_eq!(definitions["Lines"]["minItems"], 1);
    assert_eq!(definitions["Line"]["additionalProperties"], false);
    assert_eq!(definitions["Quantity"]["type"], "integer");
    assert_eq!(definitions["Quantity"]["maximum"], MAX_QUANTITY);
    assert_eq!(definitions["Sku"]["pattern"], "^[A-Z0-9-]{1,40}$");
    assert_eq!(definitions["Recipient"]["maxLength"], 200);
    let public = schemars::schema_for!(PublicEvent).to_value();
    assert!(public["$defs"].get("Recipient").is_none());
    assert!(public["$defs"].get("Reason").is_some());
}

fn any_lines() -> impl Strategy<Value = Lines> {
    let units = prop::collection::vec(0_u32..4, 3)
        .prop_filter("a line", |units| units.iter().any(|units| *units > 0));
    units.prop_map(|units| {
        let all = ["A", "B", "C"].into_iter().zip(units);
        let some: Vec<_> = all.filter(|(_, units)| *units > 0).collect();
        lines(&some)
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => any_lines().prop_map(place),
        2 => any_lines().prop_map(|lines| Command::AddLines { lines }),
        9 => any_lines().prop_map(|lines| Command::Ship { lines }),
        1 => Just(CANCEL),
    ]
}

proptest! {
    #[test]
    fn an_order_is_completed_exactly_when_its_last_unit_is_shipped(
        commands in prop::collection::vec(any_command(), 0..30),
    ) {
        let mut order = None;
        for command in commands {
            let Ok(events) = Orders.decide(order.as_ref(), command) else {
                continue;
            };
            for event in events {
                let after = Orders::evolve(order.clone(), &event);
                prop_assert_ne!(&after, &order);
                order = after;
            }
            let order = order.as_ref().expect("placed");
            let is_over_shipped = order.lines.iter().any(|line| line.shipped > line.ordered);
            prop_assert!(!is_over_shipped);
            prop_assert_eq!(order.status == Status::Completed, order.outstanding() == 0);
        }
    }

    #[test]
    fn the_view_equals_the_state(commands in prop::collection::vec(any_command(), 0..30)) {
        let (mut order, mut view) = (None, None);
        for command in commands {
            let events = Orders.decide(order.as_ref(), command);
            for event in events.unwrap_or_default() {
                view = Some(Orders::project(view.as_ref(), &PublicEvent::from(&event)).0);
                order = Orders::evolve(order, &event);
            }
        }
        prop_assert_eq!(view, order);
    }
}
