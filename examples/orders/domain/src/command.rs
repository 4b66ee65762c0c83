//! What a client asks for.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::article::Lines;
use crate::reason::Reason;
use crate::recipient::Recipient;

/// What a client asks for. A variant's name is the last segment of its path: `POST /orders/{orderId}/ship`. The
/// exception is `place`, the first command of an order: `POST /orders`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Place an order.
    Place {
        /// Who gets the parcels.
        recipient: Recipient,
        /// What is ordered.
        lines: Lines,
    },
    /// Order more. Further units of an article that was ordered before are added to its line.
    AddLines {
        /// What is ordered in addition.
        lines: Lines,
    },
    /// Ship a parcel.
    Ship {
        /// What is in the parcel.
        lines: Lines,
    },
    /// Cancel the order, of which nothing was shipped.
    Cancel {
        /// Why.
        reason: Reason,
    },
}
