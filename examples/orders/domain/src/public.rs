//! The public events of an order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::article::Lines;
use crate::event::Event;
use crate::reason::Reason;

/// A public event. A variant's name is the envelope's `type`; its fields are the members of `data` next to
/// the order's id and the sequence. No public event contains the recipient.
///
/// Events with lines also contain the number of units, so that consumers and queries of the lake needn't add up the
/// quantities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PublicEvent {
    /// The order was placed.
    OrderPlaced {
        /// The ordered articles.
        lines: Lines,
        /// The sum of the lines' quantities.
        units: u64,
    },
    /// Lines were added.
    LinesAdded {
        /// The additional articles.
        lines: Lines,
        /// The sum of the added lines' quantities.
        units: u64,
    },
    /// A parcel was shipped.
    ParcelShipped {
        /// The articles in the parcel.
        lines: Lines,
        /// The sum of the lines' quantities.
        units: u64,
    },
    /// The last outstanding unit was shipped.
    OrderCompleted {},
    /// The order was cancelled.
    OrderCancelled {
        /// The reason, one of a few codes.
        reason: Reason,
    },
}

impl From<&Event> for PublicEvent {
    fn from(event: &Event) -> Self {
        match event {
            Event::OrderPlaced {
                recipient: _,
                lines,
            } => Self::OrderPlaced {
                lines: lines.clone(),
                units: lines.units(),
            },
            Event::LinesAdded { lines } => Self::LinesAdded {
                lines: lines.clone(),
                units: lines.units(),
            },
            Event::ParcelShipped { lines } => Self::ParcelShipped {
                lines: lines.clone(),
                units: lines.units(),
            },
            Event::OrderCompleted {} => Self::OrderCompleted {},
            Event::OrderCancelled { reason } => Self::OrderCancelled { reason: *reason },
        }
    }
}
