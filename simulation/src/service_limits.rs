//! The limits of one call of each service, according to AWS's documentation. They are defined and checked
//! independently of the code under test. A simulated service refuses a call over a limit and records a violation,
//! because the functions must not exceed limits.

use millrace_archiver::ports::Packed;
use millrace_core::{Attribute, Attributes};
use millrace_projector::ports::ViewSave;
use millrace_translator::ports::Record;
use millrace_writer::ports::Append;
use serde_json::{Map, Value, json};

/// 500 records, 1 MiB for a record with the stream's default setting, 10 MiB for the request; data and partition
/// keys count
/// ([PutRecords](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html),
/// [large records](https://docs.aws.amazon.com/streams/latest/dev/large-records.html)).
pub(crate) fn put_records(records: &[Record]) -> Result<(), String> {
    let sizes: Vec<usize> = records
        .iter()
        .map(|record| record.partition_key.len() + record.data.len())
        .collect();
    check("PutRecords", &sizes, 500, 1_048_576, 10_485_760)
}

/// 500 records, 1,000 KiB for a record, 4 MiB for the request
/// ([Record](https://docs.aws.amazon.com/firehose/latest/APIReference/API_Record.html),
/// [quota](https://docs.aws.amazon.com/firehose/latest/dev/limits.html)).
pub(crate) fn put_record_batch(records: &[Packed]) -> Result<(), String> {
    let sizes: Vec<usize> = records.iter().map(|record| record.data.len()).collect();
    check("PutRecordBatch", &sizes, 500, 1_024_000, 4_194_304)
}

/// 25 items, 400 KB for an item, 16 MB for the request
/// ([BatchWriteItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html)).
pub(crate) fn batch_write_item(items: &[Attributes]) -> Result<(), String> {
    const ACTION: &str = "BatchWriteItem";
    let sizes: Vec<usize> = items.iter().map(item_size).collect();
    check(ACTION, &sizes, 25, 409_600, usize::MAX)?;
    let requests = json!({ "a table": items.iter().map(request).collect::<Vec<_>>() });
    let sent = json!({ "RequestItems": requests }).to_string().len();
    check(ACTION, &[sent], 1, usize::MAX, 16_000_000)
}

/// 400 KB for an item
/// ([quotas](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-items)).
pub(crate) fn put_item(item: &Attributes) -> Result<(), String> {
    check("PutItem", &[item_size(item)], 1, 409_600, 409_600)
}

/// 25 statements, 400 KB for an item
/// ([BatchExecuteStatement](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html)).
pub(crate) fn save_views(saves: &[ViewSave]) -> Result<(), String> {
    let sizes: Vec<usize> = saves.iter().map(|save| item_size(&save.item)).collect();
    check("BatchExecuteStatement", &sizes, 25, 409_600, usize::MAX)
}

/// 100 items, 400 KB for an item, 4 MB for the request
/// ([TransactWriteItems](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html)).
pub(crate) fn append(append: &Append) -> Result<(), String> {
    let rows = append.rows.iter().map(|(_, row)| row);
    let sizes: Vec<usize> = rows.chain(&append.record).map(item_size).collect();
    check("TransactWriteItems", &sizes, 100, 409_600, 4_194_304)
}

fn check(
    action: &str,
    sizes: &[usize],
    most: usize,
    of_one: usize,
    of_all: usize,
) -> Result<(), String> {
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let all: usize = sizes.iter().sum();
    for (what, is, limit) in [
        ("entries", sizes.len(), most),
        ("bytes in an entry", largest, of_one),
        ("bytes", all, of_all),
    ] {
        if is > limit {
            return Err(format!("{action} with {is} {what}; the limit is {limit}"));
        }
    }
    Ok(())
}

/// The bytes of an item's names and values. A number has one byte for two significant digits, and one more
/// ([item sizes](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html)).
fn item_size(item: &Attributes) -> usize {
    item.iter()
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

fn value_size(value: &Attribute) -> usize {
    match value {
        Attribute::Text(text) => text.len(),
        Attribute::Number(number) => number.trim_matches('0').len().div_ceil(2) + 1,
        Attribute::Bool(_) | Attribute::Null | Attribute::Other(_) => 1,
        Attribute::List(elements) => {
            3 + elements.iter().map(|it| 1 + value_size(it)).sum::<usize>()
        }
        Attribute::Map(members) => 3 + members.len() + item_size(members),
    }
}

fn request(item: &Attributes) -> Value {
    json!({ "PutRequest": { "Item": members(item) } })
}

/// An item in `DynamoDB`'s JSON.
pub(crate) fn members(attributes: &Attributes) -> Map<String, Value> {
    let members = attributes.iter();
    members
        .map(|(name, value)| (name.clone(), typed(value)))
        .collect()
}

fn typed(value: &Attribute) -> Value {
    match value {
        Attribute::Text(text) => json!({ "S": text }),
        Attribute::Number(number) => json!({ "N": number }),
        Attribute::Bool(value) => json!({ "BOOL": value }),
        Attribute::Null => json!({ "NULL": true }),
        Attribute::List(elements) => {
            json!({ "L": elements.iter().map(typed).collect::<Vec<_>>() })
        }
        Attribute::Map(attributes) => json!({ "M": members(attributes) }),
        Attribute::Other(name) => json!({ *name: null }),
    }
}
