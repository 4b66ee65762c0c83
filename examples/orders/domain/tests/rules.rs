//! The rules of orders as given/when/then, and the requirements of the traits.

use millrace_core::testing::{assert_conforms, assert_projects, given};
use orders_domain::{Command, Event, Line, Lines, Orders, Quantity, Reason, Recipient, Sku};

fn lines(units: u32) -> Lines {
    let line = Line {
        sku: Sku::new("A-1").expect("valid"),
        quantity: Quantity::try_from(units).expect("valid"),
    };
    Lines::try_from(vec![line]).expect("valid")
}

fn placed(units: u32) -> Event {
    Event::OrderPlaced {
        recipient: Recipient::new("Ada").expect("valid"),
        lines: lines(units),
    }
}

fn shipped(units: u32) -> Event {
    Event::ParcelShipped {
        lines: lines(units),
    }
}

#[test]
fn the_last_parcel_completes_the_order() {
    given(Orders, [placed(3), shipped(1)])
        .when(Command::Ship { lines: lines(2) })
        .then([shipped(2), Event::OrderCompleted {}]);
}

#[test]
fn refuses_to_ship_more_than_is_outstanding() {
    given(Orders, [placed(3), shipped(1)])
        .when(Command::Ship { lines: lines(3) })
        .then_refused("not-outstanding");
}

#[test]
fn refuses_cancellation_after_the_first_parcel() {
    let cancel = || Command::Cancel {
        reason: Reason::OutOfStock,
    };
    let cancelled = Event::OrderCancelled {
        reason: Reason::OutOfStock,
    };
    given(Orders, [placed(3)]).when(cancel()).then([cancelled]);
    given(Orders, [placed(3), shipped(1)])
        .when(cancel())
        .then_refused("parcel-shipped");
}

#[test]
fn orders_meet_the_requirements_of_the_traits() {
    let added = Event::LinesAdded { lines: lines(1) };
    for last in [
        Event::OrderCompleted {},
        Event::OrderCancelled {
            reason: Reason::NotPaid,
        },
    ] {
        let history = [placed(2), added.clone(), shipped(3), last];
        assert_conforms(&Orders, &history);
        assert_projects::<Orders>(&history);
    }
}
