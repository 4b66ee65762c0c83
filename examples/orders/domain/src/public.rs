//! What has happened to an order, as everyone outside sees it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::article::Lines;
use crate::event::Event;
use crate::reason::Reason;

/// A public event: the envelope's `type`, and the members of its `data` next to the order's id and the
/// sequence. It never contains the recipient.
///
/// The lake has columns for strings and integers, and none for lists, so events with lines also contain
/// the number of units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PublicEvent {
    /// The order was placed.
    OrderPlaced {
        /// What was ordered.
        lines: Lines,
        /// The units of all lines.
        units: u64,
    },
    /// More was ordered.
    LinesAdded {
        /// What was ordered in addition.
        lines: Lines,
        /// The units of all lines.
        units: u64,
    },
    /// A parcel was shipped.
    ParcelShipped {
        /// What was in it.
        lines: Lines,
        /// The units of all lines.
        units: u64,
    },
    /// The last unit was shipped.
    OrderCompleted {},
    /// The order was cancelled.
    OrderCancelled {
        /// Why.
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
