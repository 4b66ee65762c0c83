//! A domain for the tests that is unlike an account: nested lists and maps, commands that lead to
//! several events, an old schema version.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use millrace_core::lake::Column;
use millrace_core::{Attribute, Columns, Domain, Project, Refusal, Setting};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Orders {
    /// The buyer of an order whose row names none.
    pub(crate) house_account: &'static str,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Command {
    Place { customer: String, lines: Vec<Line> },
    Ship { sku: String },
    Cancel,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase")]
pub(crate) enum Event {
    OrderPlaced { customer: String, lines: Vec<Line> },
    LineShipped { sku: String },
    OrderClosed(Closed),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Closed {
    pub(crate) cancelled: bool,
    pub(crate) by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum By {
    Customer,
    LastLine,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: NonZeroU32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) options: BTreeMap<String, String>,
}

/// The columns of a line in the lake.
const LINE: [(&str, Column); 3] = [
    ("sku", Column::Text),
    ("quantity", Column::Bigint),
    ("options", Column::Object(&[("colour", Column::Text)])),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Order {
    pub(crate) open: Vec<String>,
    pub(crate) status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Status {
    Open,
    Shipped,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum PublicEvent {
    OrderPlaced {
        lines: Vec<Line>,
        note: Option<String>,
    },
    LineShipped {
        sku: String,
    },
    OrderClosed {
        cancelled: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct View {
    pub(crate) shipped: Vec<String>,
    pub(crate) closed: bool,
}

impl Domain for Orders {
    const COLLECTION: &'static str = "orders";
    const ID: &'static str = "orderId";
    const OPENS: &'static str = "place";
    const BEGINS: &'static str = "OrderPlaced";
    const SCHEMA: u32 = 2;
    const LAKE: &'static [(&'static str, Column)] = &[
        ("lines", Column::List(&LINE)),
        ("note", Column::Text),
        ("sku", Column::Text),
        ("cancelled", Column::Boolean),
    ];

    type Command = Command;
    type Event = Event;
    type State = Order;
    type PublicEvent = PublicEvent;
    type Context = ();
    type Accepted = ();

    fn decide(&self, order: Option<&Order>, command: Command) -> Result<Vec<Event>, Refusal> {
        match (command, order) {
            (Command::Place { customer, lines }, None) => {
                Ok(vec![Event::OrderPlaced { customer, lines }])
            }
            (Command::Place { .. }, Some(_)) => {
                Err(Refusal::conflict("order-placed", "the order is placed"))
            }
            (_, None) => Err(Self::not_found()),
            (_, Some(order)) if order.status != Status::Open => {
                Err(Refusal::rule("order-closed", "the order is closed"))
            }
            (Command::Cancel, Some(_)) => Ok(vec![Event::OrderClosed(Closed {
                cancelled: true,
                by: By::Customer,
            })]),
            (Command::Ship { sku }, Some(order)) if !order.open.contains(&sku) => Err(
                Refusal::rule("line-not-open", format!("{sku} is no open line")),
            ),
            (Command::Ship { sku }, Some(order)) => {
                let mut events = vec![Event::LineShipped { sku }];
                if order.open.len() == 1 {
                    events.push(Event::OrderClosed(Closed {
                        cancelled: false,
                        by: By::LastLine,
                    }));
                }
                Ok(events)
            }
        }
    }

    fn evolve(order: Option<Order>, event: &Event) -> Option<Order> {
        match (event, order) {
            (Event::OrderPlaced { lines, .. }, None) => Some(Order {
                open: lines.iter().map(|line| line.sku.clone()).collect(),
                status: Status::Open,
            }),
            (_, None) => None,
            (Event::OrderPlaced { .. }, order) => order,
            (Event::LineShipped { sku }, Some(mut order)) => {
                order.open.retain(|open| open != sku);
                Some(order)
            }
            (Event::OrderClosed(closed), Some(mut order)) => {
                order.status = if closed.cancelled {
                    Status::Cancelled
                } else {
                    Status::Shipped
                };
                Some(order)
            }
        }
    }

    fn publish((): &mut (), event: &Event) -> Option<PublicEvent> {
        Some(match event.clone() {
            Event::OrderPlaced { lines, .. } => PublicEvent::OrderPlaced { lines, note: None },
            Event::LineShipped { sku } => PublicEvent::LineShipped { sku },
            Event::OrderClosed(Closed { cancelled, .. }) => PublicEvent::OrderClosed { cancelled },
        })
    }

    fn accepted(_: &Order) {}

    fn settings(&self) -> Vec<Setting> {
        vec![Setting {
            variable: "HOUSE_ACCOUNT",
            column: "HouseAccount",
            value: self.house_account.to_owned(),
        }]
    }

    /// Version 1 had one line, in columns of its own, and might name no buyer.
    fn upcast(&self, schema: u32, row: &mut Columns<'_>) {
        if schema == 1 && row.text("Type") == Some("PLACED") {
            row.set("Type", Attribute::text("OrderPlaced"));
            row.rename("Buyer", "Customer");
            row.set_default("Customer", || Attribute::text(self.house_account));
            let sku = row.remove("Sku").map(|sku| ("sku".to_owned(), sku));
            let quantity = row.remove("Quantity");
            let quantity = quantity.map(|quantity| ("quantity".to_owned(), quantity));
            let line = sku.into_iter().chain(quantity).collect();
            row.set("Lines", Attribute::List(vec![Attribute::Map(line)]));
        }
    }
}

impl Project for Orders {
    type View = View;
    type Entry = ();
    const HISTORY: &'static str = "history";
    const VIEW_AT: Option<&'static str> = Some("status");

    fn project(before: Option<&View>, event: &PublicEvent) -> (View, ()) {
        let mut view = before.cloned().unwrap_or(View {
            shipped: Vec::new(),
            closed: false,
        });
        match event {
            PublicEvent::OrderPlaced { .. } => {}
            PublicEvent::LineShipped { sku } => view.shipped.push(sku.clone()),
            PublicEvent::OrderClosed { .. } => view.closed = true,
        }
        (view, ())
    }

    fn not_found() -> Refusal {
        Refusal::unknown("order-not-found", "there is no such order")
    }
}

pub(crate) fn orders() -> Orders {
    Orders {
        house_account: "house",
    }
}

pub(crate) fn line(sku: &str, quantity: u32) -> Line {
    Line {
        sku: sku.to_owned(),
        quantity: NonZeroU32::new(quantity).expect("not 0"),
        options: [("colour".to_owned(), "red".to_owned())].into(),
    }
}

pub(crate) fn placed(skus: &[&str]) -> Event {
    Event::OrderPlaced {
        customer: "Ada".to_owned(),
        lines: skus.iter().map(|sku| line(sku, 1)).collect(),
    }
}
