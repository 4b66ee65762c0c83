//! The commands that clients send.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::article::Lines;
use crate::reason::Reason;
use crate::recipient::Recipient;

/// A command. A variant's serde name is the last segment of its path: `POST /orders/{orderId}/ship`. The
/// exception is `place`, the first command of an order: `POST /orders`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Place an order.
    Place {
        /// The name and the address that the parcels are sent to.
        recipient: Recipient,
        /// The ordered articles.
        lines: Lines,
    },
    /// Order more. Units of an article that the order already contains are added to its line.
    AddLines {
        /// The additional articles.
        lines: Lines,
    },
    /// Ship a parcel.
    Ship {
        /// The articles in the parcel.
        lines: Lines,
    },
    /// Cancel the order. It is refused after the first parcel.
    Cancel {
        /// The reason, which becomes public.
        reason: Reason,
    },
}
