//! The events of an order, as rows of the events table contain them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::article::Lines;
use crate::reason::Reason;
use crate::recipient::Recipient;

/// An event of an order. A variant's name is the row's `Type`, its fields are the row's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all_fields = "PascalCase")]
pub enum Event {
    /// The order was placed.
    OrderPlaced {
        /// The name and the address that the parcels are sent to. No other event contains them.
        recipient: Recipient,
        /// The ordered articles.
        lines: Lines,
    },
    /// Lines were added.
    LinesAdded {
        /// The additional articles.
        lines: Lines,
    },
    /// A parcel was shipped.
    ParcelShipped {
        /// The articles in the parcel.
        lines: Lines,
    },
    /// The last outstanding unit was shipped.
    OrderCompleted {},
    /// The order was cancelled.
    OrderCancelled {
        /// The reason, which is public.
        reason: Reason,
    },
}
