//! The reason of a cancellation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The reason of a cancellation. It is a code and no free text, because it is public and users would write
/// personal data into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The customer asked for the cancellation.
    CustomerRequest,
    /// An article isn't available.
    OutOfStock,
    /// The customer didn't pay.
    NotPaid,
}
