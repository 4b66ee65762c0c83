//! The lake's columns.

use millrace_core::lake::{self, Column};
use serde_json::{Value, json};

use crate::Contract;

/// The columns of the lake's table in its order, with their types in Hive; the fields of the column `data`; and the
/// partition's column. The CDK app creates the table with them.
pub(crate) fn columns<D: Contract>() -> Value {
    let fields = lake::data_fields::<D>();
    let of_struct: Vec<String> = fields
        .iter()
        .map(|(name, column)| format!("{name}:{}", hive(*column)))
        .collect();
    let of_struct = format!("struct<{}>", of_struct.join(","));
    let columns = lake::COLUMNS.iter().filter_map(|(name, column)| {
        let hive = match column {
            Column::Text | Column::Bigint => hive(*column),
            Column::Data => &of_struct,
            Column::Partition => return None,
        };
        Some(json!({ "name": name, "type": hive }))
    });
    let partitions = lake::COLUMNS.iter();
    let partitions = partitions.filter(|(_, column)| *column == Column::Partition);
    json!({
        "columns": columns.collect::<Vec<_>>(),
        "data": fields
            .iter()
            .map(|(name, column)| json!({ "name": name, "type": hive(*column) }))
            .collect::<Vec<_>>(),
        "partitions": partitions
            .map(|(name, _)| json!({ "name": name, "type": "string" }))
            .collect::<Vec<_>>(),
    })
}

/// The type in Hive of a column that isn't a `struct`.
const fn hive(column: Column) -> &'static str {
    match column {
        Column::Bigint => "bigint",
        Column::Text | Column::Data | Column::Partition => "string",
    }
}
