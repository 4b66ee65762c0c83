//! What has happened to an order, as its rows contain it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::article::Lines;
use crate::reason::Reason;
use crate::recipient::Recipient;

/// What has happened to an order. A variant's name is its row's `Type`, its fields are columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all_fields = "PascalCase")]
pub enum Event {
    /// The order was placed.
    OrderPlaced {
        /// Who gets the parcels: the only row that says it.
        recipient: Recipient,
        /// What was ordered.
        lines: Lines,
    },
    /// More was ordered.
    LinesAdded {
        /// What was ordered in addition.
        lines: Lines,
    },
    /// A parcel was shipped.
    ParcelShipped {
        /// What was in it.
        lines: Lines,
    },
    /// The last unit was shipped.
    OrderCompleted {},
    /// The order was cancelled.
    OrderCancelled {
        /// Why.
        reason: Reason,
    },
}
