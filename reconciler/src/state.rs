//! What is stored between runs, as items of the reconciler's table.

/// The kind of the report's item.
pub const REPORT: &str = "report";
/// The name of the item that there is one of in its kind.
pub const LAST: &str = "last";
/// The attribute that contains a report's JSON.
pub const REPORT_JSON: &str = "Report";
