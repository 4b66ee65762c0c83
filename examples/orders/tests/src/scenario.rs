//! Orders in the fault simulation. The domain's own functions compute the expected values from its rows. The
//! tests of `orders-domain` check its rules and the bytes of its public events.

use millrace_core::{Attribute, Attributes, StoredRow, encode, json as attributes};
use millrace_simulation::Rng;
use millrace_simulation::scenario::{Command, FoldByDomain, RowDamage, Scenario};
use orders_domain::Orders;
use serde_json::{Value, json};

/// The scenario of orders.
#[derive(Debug, Clone, Copy)]
pub struct OrdersScenario;

/// The articles that clients order.
const SKUS: [&str; 3] = ["A-1", "B-2", "C-3"];
/// The only article of orders in schema version 1.
const OLD_SKU: &str = "OLD-1";
const REASONS: [&str; 3] = ["customer-request", "out-of-stock", "not-paid"];

impl Scenario for OrdersScenario {
    type Domain = Orders;
    type Expectation = FoldByDomain<Orders>;

    fn domain(&self) -> Orders {
        Orders
    }

    fn expectation(&self) -> FoldByDomain<Orders> {
        FoldByDomain::new(Orders)
    }

    fn draw_opening(&self, rng: &mut Rng) -> Command {
        let lines = draw_lines(rng, 12);
        Command {
            name: "place",
            body: json!({ "recipient": format!("Ada {}", rng.u8(..)), "lines": lines }),
        }
    }

    fn draw_command(&self, rng: &mut Rng) -> Command {
        match rng.u8(0..20) {
            0 => Command {
                name: "cancel",
                body: json!({ "reason": REASONS[rng.usize(0..REASONS.len())] }),
            },
            1..5 => with_lines("add-lines", &draw_lines(rng, 3)),
            _ => with_lines("ship", &draw_lines(rng, 4)),
        }
    }

    fn variation_of(&self, command: &Command) -> Command {
        let mut other = command.clone();
        if let Some(quantity) = other.body.pointer_mut("/lines/0/quantity") {
            *quantity = json!(quantity.as_u64().unwrap_or(0) + 1);
        } else {
            let reason = command.body["reason"].as_str();
            let another = REASONS.into_iter().find(|it| Some(*it) != reason);
            other.body["reason"] = json!(another);
        }
        other
    }

    fn accepted_command(&self) -> Command {
        with_lines("add-lines", &json!([{ "sku": SKUS[0], "quantity": 1 }]))
    }

    fn is_continued(&self, order: &Attributes) -> bool {
        is_text(order, "Status", "open")
    }

    fn leads_to(&self, command: &Command, rows: &[&Attributes]) -> Result<(), String> {
        let body = command.body.to_string();
        let asked = attributes::object(body.as_bytes()).map_err(|error| error.to_string())?;
        let (expected, columns): (&[&str], &[(&str, &str)]) = match command.name {
            "place" => (
                &["OrderPlaced"],
                &[("Recipient", "recipient"), ("Lines", "lines")],
            ),
            "add-lines" => (&["LinesAdded"], &[("Lines", "lines")]),
            // The last parcel completes the order.
            "ship" if rows.len() == 2 => {
                (&["ParcelShipped", "OrderCompleted"], &[("Lines", "lines")])
            }
            "ship" => (&["ParcelShipped"], &[("Lines", "lines")]),
            "cancel" => (&["OrderCancelled"], &[("Reason", "reason")]),
            name => return Err(format!("{name} is not a command")),
        };
        let are_types = rows.len() == expected.len()
            && rows
                .iter()
                .zip(expected)
                .all(|(row, expected)| is_text(row, "Type", expected));
        if !are_types {
            return Err("the rows are events of another command".to_owned());
        }
        let is_as_asked =
            |(column, member): &(&str, &str)| rows[0].get(*column) == asked.get(*member);
        if !columns.iter().all(is_as_asked) {
            return Err("a column differs from the command".to_owned());
        }
        Ok(())
    }

    fn is_readable(&self, row: &Attributes) -> bool {
        StoredRow::read(&Orders, row).is_ok()
    }

    fn row_damages(&self) -> &'static [RowDamage] {
        &[
            RowDamage {
                name: "NoSku",
                apply: |row| drop(row.remove("Sku")),
            },
            RowDamage {
                name: "NumberSku",
                apply: |row| set(row, "Sku", Attribute::number(1)),
            },
            RowDamage {
                name: "UnknownSku",
                apply: |row| set(row, "Sku", Attribute::text("an article")),
            },
            RowDamage {
                name: "ZeroQuantity",
                apply: |row| set(row, "Quantity", Attribute::number(0)),
            },
        ]
    }

    /// In schema version 1, like [`Scenario::other_event`].
    fn other_opening(&self) -> Attributes {
        item([
            ("Type", Attribute::text("OrderPlaced")),
            ("Recipient", Attribute::text("Ada")),
            ("Sku", Attribute::text(OLD_SKU)),
            ("Quantity", Attribute::number(1_000_000)),
        ])
    }

    fn other_event(&self, version: u64) -> Attributes {
        item([
            ("Type", Attribute::text("ParcelShipped")),
            ("Sku", Attribute::text(OLD_SKU)),
            ("Quantity", Attribute::number(1 + version % 3)),
        ])
    }

    /// In schema version 1 if the order has one article; version 1 can't contain more.
    fn other_snapshot(&self, order: &Attributes) -> Attributes {
        if let Some(Attribute::List(lines)) = order.get("Lines")
            && let [Attribute::Map(line)] = &lines[..]
        {
            return item([
                ("Status", order["Status"].clone()),
                ("Sku", line["sku"].clone()),
                ("Quantity", line["ordered"].clone()),
                ("Shipped", line["shipped"].clone()),
            ]);
        }
        let mut order = order.clone();
        set(&mut order, "SchemaVersion", Attribute::number(2));
        order
    }

    fn is_snapshot_of(&self, row: &Attributes, order: &Attributes) -> bool {
        match StoredRow::read(&Orders, row) {
            Ok(StoredRow::Snapshot(snapshot)) => {
                encode::encode_struct(&snapshot.state).as_ref() == Ok(order)
            }
            Ok(StoredRow::Event(_)) | Err(_) => false,
        }
    }

    fn invariant(&self, order: &Attributes) -> Result<(), String> {
        let Some(Attribute::List(lines)) = order.get("Lines") else {
            return Err("no lines".to_owned());
        };
        let is_completed = is_text(order, "Status", "completed");
        for line in lines {
            let Attribute::Map(line) = line else {
                return Err("a line is not a map".to_owned());
            };
            let (ordered, shipped) = (line["ordered"].as_integer(), line["shipped"].as_integer());
            if shipped > ordered {
                return Err("more was shipped than ordered".to_owned());
            }
            if is_completed && shipped < ordered {
                return Err("the order is completed before all units were shipped".to_owned());
            }
        }
        Ok(())
    }
}

/// One or two lines, each of 1 to `most` - 1 units.
fn draw_lines(rng: &mut Rng, most: u32) -> Value {
    let first = rng.usize(0..SKUS.len());
    let count = 1 + rng.usize(0..SKUS.len()) / 2;
    let lines = (first..first + count).map(|index| {
        let sku = SKUS[index % SKUS.len()];
        json!({ "sku": sku, "quantity": rng.u32(1..most) })
    });
    lines.collect()
}

fn with_lines(name: &'static str, lines: &Value) -> Command {
    Command {
        name,
        body: json!({ "lines": lines }),
    }
}

fn item<const N: usize>(columns: [(&str, Attribute); N]) -> Attributes {
    columns.map(|(name, value)| (name.to_owned(), value)).into()
}

fn set(row: &mut Attributes, name: &str, value: Attribute) {
    row.insert(name.to_owned(), value);
}

fn is_text(row: &Attributes, name: &str, expected: &str) -> bool {
    matches!(row.get(name), Some(Attribute::Text(text)) if text == expected)
}
