//! Why an order is cancelled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why an order is cancelled. It is public, so it is one of a few codes: a free text would end up
/// containing personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The customer asked for it.
    CustomerRequest,
    /// An article can't be had.
    OutOfStock,
    /// The customer didn't pay.
    NotPaid,
}
