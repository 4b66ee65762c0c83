//! The orders' public contract: what its documents say besides what its types say.

use millrace_contract::Contract;
use millrace_core::{Project as _, Refusal};

use crate::article::{Line, Lines, Quantity, Sku};
use crate::orders::Orders;
use crate::public::PublicEvent;
use crate::reason::Reason;

impl Contract for Orders {
    const TITLE: &'static str = "Orders";
    const VERSION: &'static str = "1.0.0";

    fn examples() -> Vec<PublicEvent> {
        let Some(lines) = example_lines() else {
            return Vec::new();
        };
        let units = lines.units();
        vec![
            PublicEvent::OrderPlaced {
                lines: lines.clone(),
                units,
            },
            PublicEvent::LinesAdded {
                lines: lines.clone(),
                units,
            },
            PublicEvent::ParcelShipped { lines, units },
            PublicEvent::OrderCompleted {},
            PublicEvent::OrderCancelled {
                reason: Reason::OutOfStock,
            },
        ]
    }

    fn refusals() -> Vec<(Refusal, &'static str)> {
        let rule = |code| Refusal::rule(code, code);
        vec![
            (
                Self::not_found(),
                "The order doesn't exist. To a query, it may also be too new: repeat the query with `minSequence`.",
            ),
            (
                Refusal::conflict("order-already-placed", "it exists"),
                "The order was placed already.",
            ),
            (rule("order-completed"), "All of the order was shipped."),
            (rule("order-cancelled"), "The order was cancelled."),
            (
                rule("parcel-shipped"),
                "A part of the order was shipped, so it can't be cancelled.",
            ),
            (
                rule("not-outstanding"),
                "The parcel contains more units than are outstanding.",
            ),
            (rule("too-many-lines"), "An order has at most 100 lines."),
            (
                rule("quantity-limit"),
                "The quantity of an article would exceed its limit.",
            ),
        ]
    }
}

fn example_lines() -> Option<Lines> {
    let line = Line {
        sku: Sku::new("MUG-BLUE").ok()?,
        quantity: Quantity::try_from(2).ok()?,
    };
    Lines::try_from(vec![line]).ok()
}
