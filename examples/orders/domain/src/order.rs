//! An order: its status, and the ordered and shipped units of each article.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::article::{Lines, Sku};

/// An order, as its snapshots and its view contain it. It has no recipient, because no rule depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Order {
    /// Open, completed or cancelled.
    pub status: Status,
    /// The ordered and shipped units, one line for each article.
    pub lines: Vec<OrderLine>,
}

/// The status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The order accepts commands.
    Open,
    /// All units were shipped. This is final.
    Completed,
    /// The order was cancelled. This is final.
    Cancelled,
}

/// The ordered and shipped units of one article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// The article.
    pub sku: Sku,
    /// The number of ordered units.
    pub ordered: u64,
    /// The number of shipped units.
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

    /// The order after a parcel. Articles that weren't ordered are ignored; `decide` refuses to ship them.
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

    /// The line of an article; `None` if it wasn't ordered.
    #[must_use]
    pub fn line(&self, sku: &Sku) -> Option<&OrderLine> {
        self.lines.iter().find(|line| line.sku == *sku)
    }

    fn line_mut(&mut self, sku: &Sku) -> Option<&mut OrderLine> {
        self.lines.iter_mut().find(|line| line.sku == *sku)
    }

    /// The number of units that were ordered and not shipped, of all articles.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        let lines = self.lines.iter().map(OrderLine::outstanding);
        lines.fold(0, u64::saturating_add)
    }
}

impl OrderLine {
    /// The number of units that were ordered and not shipped. It is 0 if more were shipped than ordered;
    /// only a history that other rules decided can contain that.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.ordered.saturating_sub(self.shipped)
    }
}
