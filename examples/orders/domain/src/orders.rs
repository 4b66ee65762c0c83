//! The orders as a [`Domain`] and a [`Project`]: their rules, schema versions and read models.
//!
//! `decide` validates and may refuse; `evolve` never refuses and never panics, so that a stricter rule
//! never makes an old history unreadable.

use millrace_core::lake::Column;
use millrace_core::row::{SNAPSHOT, TYPE};
use millrace_core::{Attribute, Columns, Domain, Project, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::article::{Line, Lines, MAX_QUANTITY};
use crate::command::Command;
use crate::event::Event;
use crate::order::{Order, OrderLine, Status};
use crate::public::PublicEvent;
use crate::reason::Reason;

/// The most lines of an order. The limit keeps a snapshot far below DynamoDB's 400 KB per item.
pub const MAX_LINES: usize = 100;

/// The orders' domain. It has no settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders;

/// What the response to a command contains next to the order's id and sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Accepted {
    /// The order's status after the command.
    pub status: Status,
    /// The number of units that were ordered and not shipped.
    pub outstanding: u64,
}

/// An entry of the history: what it contains next to the event's type, sequence and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// The ordered or shipped articles; `None` if the event has none.
    pub lines: Option<Lines>,
    /// The reason of a cancellation; `None` for other events.
    pub reason: Option<Reason>,
}

impl Domain for Orders {
    const COLLECTION: &'static str = "orders";
    const ID: &'static str = "orderId";
    const OPENS: &'static str = "place";
    const BEGINS: &'static str = "OrderPlaced";
    const SCHEMA: u32 = 2;
    const LAKE: &'static [(&'static str, Column)] = &[
        (
            "lines",
            Column::List(&[("sku", Column::Text), ("quantity", Column::Bigint)]),
        ),
        ("units", Column::Bigint),
        ("reason", Column::Text),
    ];

    type Command = Command;
    type Event = Event;
    type State = Order;
    type PublicEvent = PublicEvent;
    type Context = ();
    type Accepted = Accepted;

    fn decide(&self, order: Option<&Order>, command: Command) -> Result<Vec<Event>, Refusal> {
        match (command, order) {
            (Command::Place { recipient, lines }, None) => {
                check_limits(&Order::placed(&lines))?;
                Ok(vec![Event::OrderPlaced { recipient, lines }])
            }
            (Command::Place { .. }, Some(_)) => Err(already_placed()),
            (Command::AddLines { .. } | Command::Ship { .. } | Command::Cancel { .. }, None) => {
                Err(Self::not_found())
            }
            (Command::AddLines { lines }, Some(order)) => add_lines(order, lines),
            (Command::Ship { lines }, Some(order)) => ship(order, lines),
            (Command::Cancel { reason }, Some(order)) => cancel(order, reason),
        }
    }

    fn evolve(order: Option<Order>, event: &Event) -> Option<Order> {
        let Some(order) = order else {
            return match event {
                Event::OrderPlaced { lines, .. } => Some(Order::placed(lines)),
                // An order's first event is `OrderPlaced`: `decide` returns no other, and rows with another
                // one are refused.
                Event::LinesAdded { .. }
                | Event::ParcelShipped { .. }
                | Event::OrderCompleted {}
                | Event::OrderCancelled { .. } => None,
            };
        };
        Some(match event {
            Event::OrderPlaced { .. } => order,
            Event::LinesAdded { lines } => order.with_lines_added(lines),
            Event::ParcelShipped { lines } => order.with_shipped(lines),
            Event::OrderCompleted {} => order.with_status(Status::Completed),
            Event::OrderCancelled { .. } => order.with_status(Status::Cancelled),
        })
    }

    fn publish((): &mut (), event: &Event) -> Option<PublicEvent> {
        Some(event.into())
    }

    fn accepted(order: &Order) -> Accepted {
        Accepted {
            status: order.status,
            outstanding: order.outstanding(),
        }
    }

    /// Changes rows of schema version 1, in which an order had one article, to version 2, which has `Lines`.
    /// In version 1, the rows of `OrderPlaced` and `ParcelShipped` had `Sku` and `Quantity`, and snapshots
    /// also `Shipped`.
    fn upcast(&self, schema: u32, row: &mut Columns<'_>) {
        if schema > 1 {
            return;
        }
        match row.text(TYPE) {
            Some("OrderPlaced" | "ParcelShipped") => {
                to_lines(row, &[("Sku", "sku"), ("Quantity", "quantity")]);
            }
            Some(SNAPSHOT) => to_lines(
                row,
                &[
                    ("Sku", "sku"),
                    ("Quantity", "ordered"),
                    ("Shipped", "shipped"),
                ],
            ),
            Some(_) | None => {}
        }
    }
}

impl Project for Orders {
    type View = Order;
    type Entry = Entry;
    const HISTORY: &'static str = "history";

    fn project(before: Option<&Order>, event: &PublicEvent) -> (Order, Entry) {
        // A history begins with `OrderPlaced`. `project` can't refuse another first event, so it begins with
        // an order without lines.
        let order = before.cloned().unwrap_or(Order {
            status: Status::Open,
            lines: Vec::new(),
        });
        let with_lines = |lines: &Lines| Entry {
            lines: Some(lines.clone()),
            reason: None,
        };
        let with_reason = |reason| Entry {
            lines: None,
            reason,
        };
        match event {
            PublicEvent::OrderPlaced { lines, .. } | PublicEvent::LinesAdded { lines, .. } => {
                (order.with_lines_added(lines), with_lines(lines))
            }
            PublicEvent::ParcelShipped { lines, .. } => {
                (order.with_shipped(lines), with_lines(lines))
            }
            PublicEvent::OrderCompleted {} => {
                (order.with_status(Status::Completed), with_reason(None))
            }
            PublicEvent::OrderCancelled { reason } => (
                order.with_status(Status::Cancelled),
                with_reason(Some(*reason)),
            ),
        }
    }

    fn not_found() -> Refusal {
        Refusal::unknown("order-not-found", "there is no such order")
    }
}

fn add_lines(order: &Order, lines: Lines) -> Result<Vec<Event>, Refusal> {
    check_open(order)?;
    check_limits(&order.clone().with_lines_added(&lines))?;
    Ok(vec![Event::LinesAdded { lines }])
}

/// Ships a parcel. The parcel with the last outstanding units also completes the order.
fn ship(order: &Order, lines: Lines) -> Result<Vec<Event>, Refusal> {
    check_open(order)?;
    for line in lines.iter() {
        let outstanding = order.line(&line.sku).map_or(0, OrderLine::outstanding);
        if u64::from(line.quantity.units()) > outstanding {
            return Err(not_outstanding(line, outstanding));
        }
    }
    let is_last = lines.units() == order.outstanding();
    let parcel = Event::ParcelShipped { lines };
    Ok(if is_last {
        vec![parcel, Event::OrderCompleted {}]
    } else {
        vec![parcel]
    })
}

fn cancel(order: &Order, reason: Reason) -> Result<Vec<Event>, Refusal> {
    check_open(order)?;
    if order.lines.iter().any(|line| line.shipped > 0) {
        return Err(Refusal::rule(
            "parcel-shipped",
            "a part of the order was shipped already",
        ));
    }
    Ok(vec![Event::OrderCancelled { reason }])
}

fn check_open(order: &Order) -> Result<(), Refusal> {
    match order.status {
        Status::Open => Ok(()),
        Status::Completed => Err(Refusal::rule("order-completed", "all of it was shipped")),
        Status::Cancelled => Err(Refusal::rule("order-cancelled", "the order was cancelled")),
    }
}

fn check_limits(order: &Order) -> Result<(), Refusal> {
    if order.lines.len() > MAX_LINES {
        let detail = format!("an order has at most {MAX_LINES} lines");
        return Err(Refusal::rule("too-many-lines", detail));
    }
    let most = u64::from(MAX_QUANTITY);
    match order.lines.iter().find(|line| line.ordered > most) {
        Some(line) => {
            let detail = format!("there would be more than {most} of {}", line.sku);
            Err(Refusal::rule("quantity-limit", detail))
        }
        None => Ok(()),
    }
}

fn already_placed() -> Refusal {
    Refusal::conflict("order-already-placed", "the order was placed already")
}

fn not_outstanding(line: &Line, outstanding: u64) -> Refusal {
    let units = line.quantity.units();
    Refusal::rule(
        "not-outstanding",
        format!(
            "{outstanding} of {} are outstanding, which is less than {units}",
            line.sku
        ),
    )
}

/// Moves columns of version 1 into one line, the only element of `Lines`.
fn to_lines(row: &mut Columns<'_>, columns: &[(&str, &str)]) {
    let members = columns.iter().filter_map(|(column, member)| {
        let value = row.remove(column)?;
        Some(((*member).to_owned(), value))
    });
    let line = Attribute::Map(members.collect());
    row.set("Lines", Attribute::List(vec![line]));
}

#[cfg(test)]
mod tests;
