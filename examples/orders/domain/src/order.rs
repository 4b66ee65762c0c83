//! An order: what of it is shipped, and whether it goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::article::{Lines, Sku};

/// An order, as its snapshots and its view contain it. It has no recipient: no rule asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Order {
    /// Whether it goes on.
    pub status: Status,
    /// What was ordered and shipped, a line per article.
    pub lines: Vec<OrderLine>,
}

/// Whether an order goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It does.
    Open,
    /// All of it was shipped. This is final.
    Completed,
    /// It was cancelled. This is final.
    Cancelled,
}

/// The units of one article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// The article.
    pub sku: Sku,
    /// The units that were ordered.
    pub ordered: u64,
    /// The units that were shipped.
    pub shipped: u64,
}

impl Order {
    pub(crate) fn placed(lines: &Lines) -> Self {
        let nothing = Self {
            status: Status::Open,
            lines: Vec::new(),
        };
        nothing.with_lines_added(lines)
    }

    pub(crate) fn with_lines_added(mut self, added: &Lines) -> Self {
        for line in added.iter() {
            let units = u64::from(line.quantity.units());
            if let Some(ordered) = self.line_mut(&line.sku) {
                ordered.ordered = ordered.ordered.saturating_add(units);
            } else {
                self.lines.push(OrderLine {
                    sku: line.sku.clone(),
                    ordered: units,
                    shipped: 0,
                });
            }
        }
        self
    }

    /// The order after a parcel. An article that wasn't ordered, which `decide` refuses to ship, changes
    /// nothing.
    pub(crate) fn with_shipped(mut self, shipped: &Lines) -> Self {
        for line in shipped.iter() {
            if let Some(ordered) = self.line_mut(&line.sku) {
                let units = u64::from(line.quantity.units());
                ordered.shipped = ordered.shipped.saturating_add(units);
            }
        }
        self
    }

    pub(crate) fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// The line of an article.
    #[must_use]
    pub fn line(&self, sku: &Sku) -> Option<&OrderLine> {
        self.lines.iter().find(|line| line.sku == *sku)
    }

    fn line_mut(&mut self, sku: &Sku) -> Option<&mut OrderLine> {
        self.lines.iter_mut().find(|line| line.sku == *sku)
    }

    /// The units that were ordered and not shipped.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        let lines = self.lines.iter().map(OrderLine::outstanding);
        lines.fold(0, u64::saturating_add)
    }
}

impl OrderLine {
    /// The units that were ordered and not shipped; 0 if more were shipped, as a history of other rules may
    /// say.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.ordered.saturating_sub(self.shipped)
    }
}
