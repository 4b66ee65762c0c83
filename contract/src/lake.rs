//! The lake's columns.

use millrace_core::lake::{self, Column};
use serde_json::{Value, json};

use crate::Contract;

/// The columns of the lake's table in its order, with their types in Hive; the fields of the column `data`; and the
/// partition's column. The CDK app creates the table with them. All names are in lower case, as Glue and Athena compare
/// them ([Athena](https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html)).
pub(crate) fn columns<D: Contract>() -> Value {
    let fields = lake::data_fields::<D>();
    let columns = lake::COLUMNS.iter().filter_map(|(name, column)| {
        let hive = match column {
            Column::Partition => return None,
            Column::Data => row(&fields),
            column => hive(*column),
        };
        Some(json!({ "name": name, "type": hive }))
    });
    let partitions = lake::COLUMNS.iter();
    let partitions = partitions.filter(|(_, column)| *column == Column::Partition);
    json!({
        "columns": columns.collect::<Vec<_>>(),
        "data": described(&fields),
        "partitions": partitions
            .map(|(name, column)| json!({ "name": name, "type": hive(*column) }))
            .collect::<Vec<_>>(),
    })
}

/// The fields with their types. A field that has fields itself also names these.
fn described(fields: &[(&str, Column)]) -> Vec<Value> {
    let described = fields.iter().map(|(name, column)| {
        let mut described = json!({ "name": name.to_lowercase(), "type": hive(*column) });
        if let Column::Object(inner) | Column::List(inner) = column {
            described["fields"] = self::described(inner).into();
        }
        described
    });
    described.collect()
}

/// The type in Hive.
fn hive(column: Column) -> String {
    match column {
        Column::Bigint => "bigint".to_owned(),
        Column::Boolean => "boolean".to_owned(),
        Column::Object(fields) => row(fields),
        Column::List(fields) => format!("array<{}>", row(fields)),
        Column::Text | Column::Data | Column::Partition => "string".to_owned(),
    }
}

/// The type in Hive of an object with these fields.
fn row(fields: &[(&str, Column)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, column)| format!("{}:{}", name.to_lowercase(), hive(*column)))
        .collect();
    format!("struct<{}>", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: Column = Column::List(&[
        ("articleNumber", Column::Text),
        ("quantity", Column::Bigint),
        ("packing", Column::Object(&[("isGift", Column::Boolean)])),
    ]);

    #[test]
    fn types_are_those_of_hive_with_names_in_lower_case() {
        for (column, expected) in [
            (Column::Text, "string"),
            (Column::Bigint, "bigint"),
            (Column::Boolean, "boolean"),
            (Column::Partition, "string"),
            (
                LINES,
                "array<struct<articlenumber:string,quantity:bigint,packing:struct<isgift:boolean>>>",
            ),
        ] {
            assert_eq!(hive(column), expected);
        }
    }

    #[test]
    fn a_field_names_its_own_fields() {
        let described = described(&[("Lines", LINES), ("note", Column::Text)]);
        let packing = json!({
            "name": "packing", "type": "struct<isgift:boolean>",
            "fields": [{ "name": "isgift", "type": "boolean" }],
        });
        assert_eq!(
            described,
            [
                json!({
                    "name": "lines", "type": hive(LINES),
                    "fields": [
                        { "name": "articlenumber", "type": "string" },
                        { "name": "quantity", "type": "bigint" },
                        packing,
                    ],
                }),
                json!({ "name": "note", "type": "string" }),
            ]
        );
    }
}
