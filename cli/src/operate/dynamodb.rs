//! Implements the operators' [ports](super::ports) with the AWS SDK.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_core::cursor::{BLOCKED, PARKED, PUBLISHED_THROUGH};
use millrace_core::ids::is_reserved_id;
use millrace_core::{Attribute, Attributes, row, view};
use millrace_projector::adapters::dynamodb::{Condition, Tables};
use millrace_projector::ports::Saved;
use millrace_runtime::ServiceError;
use millrace_runtime::dynamodb::{from_item, to_item};
use millrace_translator::adapters::dynamodb::{
    CursorTable, EventsTable, marker_attributes, read_cursor,
};
use millrace_translator::cursor::{Block, Suspension};

use super::ports::{
    AggregateIds, CursorRepair, EventLog, HistoryPage, IdPage, ReadModelRepair, Reset, Segment,
    StoredCursor,
};

/// Rows per query for the newest row that is no snapshot. A row at a snapshot's version follows
/// every nine events, so the first query finds an event unless foreign rows are in between.
const NEWEST: i32 = 3;

/// A table whose hash key is `Id`, scanned for its aggregates.
#[derive(Debug, Clone)]
pub struct ScannedTable {
    client: Client,
    table: String,
    filter: Option<&'static str>,
}

impl ScannedTable {
    /// All aggregates in the table.
    #[must_use]
    pub const fn all(client: Client, table: String) -> Self {
        Self {
            client,
            table,
            filter: None,
        }
    }

    /// The aggregates in the cursor table whose publication is blocked.
    #[must_use]
    pub const fn blocked(client: Client, table: String) -> Self {
        Self {
            client,
            table,
            filter: Some("attribute_exists(Blocked)"),
        }
    }
}

impl AggregateIds for ScannedTable {
    async fn ids_page(
        &self,
        segment: Segment,
        after: Option<&Attributes>,
    ) -> Result<IdPage, ServiceError> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .segment(segment.index.cast_signed())
            .total_segments(segment.count.cast_signed())
            .projection_expression("#id")
            .expression_attribute_names("#id", row::ID)
            .set_filter_expression(self.filter.map(str::to_owned))
            .set_exclusive_start_key(after.cloned().map(to_item))
            .send()
            .await
            .map_err(|error| ServiceError::new("Scan of a table", error))?;
        let items = answer.items.unwrap_or_default().into_iter();
        Ok(IdPage {
            ids: items
                .filter_map(|mut item| match item.remove(row::ID) {
                    Some(AttributeValue::S(id)) if !is_reserved_id(&id) => Some(id),
                    _ => None,
                })
                .collect(),
            last: answer
                .last_evaluated_key
                .filter(|key| !key.is_empty())
                .map(from_item),
        })
    }
}

impl EventLog for EventsTable {
    async fn newest_event_row(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        let mut after = None;
        loop {
            let answer = self
                .client()
                .query()
                .table_name(self.name())
                .consistent_read(true)
                .key_condition_expression("#id = :id")
                .expression_attribute_names("#id", row::ID)
                .expression_attribute_values(":id", AttributeValue::S(aggregate.to_owned()))
                .scan_index_forward(false)
                .limit(NEWEST)
                .set_exclusive_start_key(after)
                .send()
                .await
                .map_err(|error| ServiceError::new("Query on the events table", error))?;
            let mut rows = answer.items.unwrap_or_default().into_iter().map(from_item);
            if let Some(row) = rows.find(|row| !row::is_plainly_a_snapshot(row)) {
                return Ok(Some(row));
            }
            after = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if after.is_none() {
                return Ok(None);
            }
        }
    }
}

impl CursorRepair for CursorTable {
    type Item = HashMap<String, AttributeValue>;

    async fn stored(
        &self,
        aggregate: &str,
    ) -> Result<Option<StoredCursor<Self::Item>>, ServiceError> {
        let answer = self
            .client()
            .get_item()
            .table_name(self.name())
            .consistent_read(true)
            .key(row::ID, AttributeValue::S(aggregate.to_owned()))
            .send()
            .await
            .map_err(|error| ServiceError::new("GetItem on the cursor table", error))?;
        Ok(answer.item.map(|item| StoredCursor {
            cursor: read_cursor(item.clone()),
            item,
        }))
    }

    async fn reset(
        &self,
        aggregate: &str,
        read: &Self::Item,
        until_published: Option<&Block>,
    ) -> Result<Reset, ServiceError> {
        let (mut names, mut values) = (HashMap::new(), HashMap::new());
        let mut conditions = Vec::new();
        for (index, (name, value)) in read.iter().enumerate() {
            conditions.push(format!("#a{index} = :a{index}"));
            names.insert(format!("#a{index}"), name.clone());
            values.insert(format!(":a{index}"), value.clone());
        }
        for name in [PUBLISHED_THROUGH, BLOCKED, PARKED] {
            if !read.contains_key(name) {
                conditions.push(format!("attribute_not_exists({name})"));
            }
        }
        let condition = conditions.join(" AND ");
        let id = AttributeValue::S(aggregate.to_owned());
        let is_as_read = if let Some(block) = until_published {
            let suspended = Suspension::Blocked(block.clone());
            let mut put = self
                .client()
                .put_item()
                .table_name(self.name())
                .item(row::ID, id);
            for (name, value) in marker_attributes(aggregate, &suspended) {
                put = put.item(name, value);
            }
            let put = put
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values(Some(values))
                .condition_expression(condition);
            let is_changed = PutItemError::is_conditional_check_failed_exception;
            condition_held(put.send().await, is_changed, "PutItem on the cursor table")?
        } else {
            let delete = self
                .client()
                .delete_item()
                .table_name(self.name())
                .key(row::ID, id)
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values(Some(values))
                .condition_expression(condition);
            let is_changed = DeleteItemError::is_conditional_check_failed_exception;
            let action = "DeleteItem on the cursor table";
            condition_held(delete.send().await, is_changed, action)?
        };
        Ok(if is_as_read {
            Reset::Done
        } else {
            Reset::Changed
        })
    }
}

impl ReadModelRepair for Tables {
    async fn history_page(
        &self,
        aggregate: &str,
        after: Option<&Attributes>,
    ) -> Result<HistoryPage, ServiceError> {
        let answer = self
            .client()
            .query()
            .table_name(self.history())
            .consistent_read(true)
            .key_condition_expression("#id = :id")
            .expression_attribute_names("#id", view::ID)
            .expression_attribute_values(":id", AttributeValue::S(aggregate.to_owned()))
            .set_exclusive_start_key(after.cloned().map(to_item))
            .send()
            .await
            .map_err(|error| ServiceError::new("Query on the history table", error))?;
        let items = answer.items.unwrap_or_default();
        Ok(HistoryPage {
            items: items.into_iter().map(from_item).collect(),
            last: answer
                .last_evaluated_key
                .filter(|key| !key.is_empty())
                .map(from_item),
        })
    }

    async fn delete_view(&self, aggregate: &str, read: &Attributes) -> Result<Saved, ServiceError> {
        let key = [(view::ID.to_owned(), Attribute::text(aggregate))].into();
        let condition = Condition::unchanged(Some(read));
        delete(self.client(), self.views(), key, condition).await
    }

    async fn delete_history(
        &self,
        read: &Attributes,
        columns: &[&str],
    ) -> Result<Saved, ServiceError> {
        let key = read
            .iter()
            .filter(|(name, _)| [view::ID, view::SEQUENCE].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        // The condition names the attributes that were read, and those that a write since then may have
        // added.
        let mut attributes: BTreeSet<&str> = view::HISTORY_COLUMNS.into();
        attributes.extend(columns);
        attributes.extend(read.keys().map(String::as_str));
        attributes.remove(view::ID);
        let attributes: Vec<&str> = attributes.into_iter().collect();
        let condition = Condition::same(read, &attributes);
        delete(self.client(), self.history(), key, condition).await
    }
}

async fn delete(
    client: &Client,
    table: &str,
    key: Attributes,
    condition: Condition,
) -> Result<Saved, ServiceError> {
    let deleted = client
        .delete_item()
        .table_name(table)
        .set_key(Some(to_item(key)))
        .condition_expression(condition.expression)
        .set_expression_attribute_names(Some(condition.names))
        .set_expression_attribute_values(Some(condition.values).filter(|values| !values.is_empty()))
        .send()
        .await;
    let is_moved = DeleteItemError::is_conditional_check_failed_exception;
    let action = "DeleteItem on a read model's table";
    Ok(if condition_held(deleted, is_moved, action)? {
        Saved::Stored
    } else {
        Saved::Moved
    })
}

/// Whether a conditional write succeeded; `false` if its condition failed, and nothing was written.
fn condition_held<T, E>(
    written: Result<T, SdkError<E>>,
    is_condition_failed: fn(&E) -> bool,
    action: &'static str,
) -> Result<bool, ServiceError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match written {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(is_condition_failed) => Ok(false),
        Err(error) => Err(ServiceError::new(action, error)),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
    use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
    use aws_sdk_dynamodb::operation::query::QueryOutput;
    use aws_sdk_dynamodb::operation::scan::ScanOutput;
    use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use millrace_core::{Attribute, Attributes, Timestamp};
    use millrace_runtime::{Ambient as _, System};
    use millrace_translator::cursor::Cursor;

    use super::*;

    fn item(attributes: &[(&str, &str)]) -> HashMap<String, AttributeValue> {
        attributes
            .iter()
            .map(|&(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())))
            .collect()
    }

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        from_item(item(pairs))
    }

    #[tokio::test]
    async fn a_page_of_ids_is_one_consistent_scan_of_a_segment() {
        let rule = mock!(Client::scan)
            .match_requests(|request| {
                request.table_name() == Some("cursors")
                    && request.consistent_read() == Some(true)
                    && request.segment() == Some(2)
                    && request.total_segments() == Some(4)
                    && request.filter_expression() == Some("attribute_exists(Blocked)")
                    && request.exclusive_start_key() == Some(&item(&[("Id", "a")]))
            })
            .then_output(|| {
                ScanOutput::builder()
                    .items(item(&[("Id", "b")]))
                    .items(item(&[("Id", "c")]))
                    .last_evaluated_key("Id", AttributeValue::S("c".to_owned()))
                    .build()
            });
        let client = mock_client!(aws_sdk_dynamodb, [&rule]);
        let table = ScannedTable::blocked(client, "cursors".to_owned());
        let segment = Segment { index: 2, count: 4 };
        let after = attributes(&[("Id", "a")]);
        let page = table.ids_page(segment, Some(&after)).await.expect("read");
        assert_eq!(page.ids, ["b", "c"]);
        assert_eq!(page.last, Some(attributes(&[("Id", "c")])));

        let rule = mock!(Client::scan)
            .match_requests(|request| {
                request.filter_expression().is_none() && request.exclusive_start_key().is_none()
            })
            .then_output(|| {
                let none = Some(HashMap::new());
                ScanOutput::builder().set_last_evaluated_key(none).build()
            });
        let client = mock_client!(aws_sdk_dynamodb, [&rule]);
        let table = ScannedTable::all(client, "events".to_owned());
        let page = table.ids_page(segment, None).await.expect("read");
        assert_eq!(page, IdPage::default());
    }

    fn newest_rows(types: &'static [&'static str], more: bool, first: bool) -> Rule {
        mock!(Client::query)
            .match_requests(move |request| {
                request.table_name() == Some("events")
                    && request.consistent_read() == Some(true)
                    && request.scan_index_forward() == Some(false)
                    && request.exclusive_start_key().is_none() == first
            })
            .then_output(move || {
                let rows = types.iter().map(|&of| item(&[("Id", "a"), ("Type", of)]));
                let last = more.then(|| item(&[("Id", "a")]));
                QueryOutput::builder()
                    .set_items(Some(rows.collect()))
                    .set_last_evaluated_key(last)
                    .build()
            })
    }

    #[tokio::test]
    async fn the_newest_event_row_is_found_after_any_number_of_snapshots() {
        let first = newest_rows(&["SNAPSHOT", "SNAPSHOT", "SNAPSHOT"], true, true);
        let second = newest_rows(&["SNAPSHOT", "CREDIT", "WITHDRAW"], true, false);
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, [&first, &second]);
        let events = EventsTable::new(client, "events".to_owned());
        let row = events.newest_event_row("a").await.expect("read");
        let row = row.expect("there is one");
        assert_eq!(row[row::TYPE], Attribute::Text("CREDIT".to_owned()));

        let only = newest_rows(&["SNAPSHOT"], false, true);
        let client = mock_client!(aws_sdk_dynamodb, [&only]);
        let events = EventsTable::new(client, "events".to_owned());
        assert_eq!(events.newest_event_row("a").await.expect("read"), None);
    }

    #[tokio::test]
    async fn a_reset_is_conditional_on_every_attribute_that_was_read() {
        const CONDITION: &str = "#a0 = :a0 AND #a1 = :a1 AND attribute_not_exists(Blocked) AND attribute_not_exists(Parked)";
        let read = item(&[("Id", "a"), (PUBLISHED_THROUGH, "nine")]);
        let block = Block::after_reset(Timestamp::from_unix_millis(0).expect("valid"));
        let is_as_read =
            |names: Option<&HashMap<String, String>>,
             values: Option<&HashMap<String, AttributeValue>>| {
                let (names, values) = (names.expect("names"), values.expect("values"));
                ["0", "1"].iter().all(|index| {
                    let name = &names[&format!("#a{index}")];
                    values[&format!(":a{index}")]
                        == AttributeValue::S(if name == "Id" { "a" } else { "nine" }.to_owned())
                })
            };
        let removes = mock!(Client::delete_item)
            .match_requests(move |request| {
                request.table_name() == Some("cursors")
                    && request.condition_expression() == Some(CONDITION)
                    && is_as_read(
                        request.expression_attribute_names(),
                        request.expression_attribute_values(),
                    )
            })
            .then_output(|| DeleteItemOutput::builder().build());
        let stored = block.clone();
        let replaces = mock!(Client::put_item)
            .match_requests(move |request| {
                let item = request.item().cloned().expect("an item");
                let cursor = read_cursor(item.clone()).expect("readable");
                let expected = Cursor {
                    suspended: Some(Suspension::Blocked(stored.clone())),
                    context: Some(Attributes::new()),
                    ..Cursor::default()
                };
                request.table_name() == Some("cursors")
                    && request.condition_expression() == Some(CONDITION)
                    && is_as_read(
                        request.expression_attribute_names(),
                        request.expression_attribute_values(),
                    )
                    && item["Id"] == AttributeValue::S("a".to_owned())
                    && item["SuspendedIn"] == AttributeValue::S("blocked/4".to_owned())
                    && cursor == expected
            })
            .then_output(|| PutItemOutput::builder().build());
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&removes, &replaces]);
        let cursors = CursorTable::new(client, "cursors".to_owned());
        for until_published in [None, Some(&block)] {
            let reset = cursors.reset("a", &read, until_published).await;
            assert_eq!(reset.expect("answered"), Reset::Done);
        }
        assert_eq!((removes.num_calls(), replaces.num_calls()), (1, 1));
    }

    #[tokio::test]
    async fn a_cursor_that_changed_is_not_reset() {
        let failed = || ConditionalCheckFailedException::builder().build();
        let removes = mock!(Client::delete_item)
            .then_error(move || DeleteItemError::ConditionalCheckFailedException(failed()));
        let replaces = mock!(Client::put_item)
            .then_error(move || PutItemError::ConditionalCheckFailedException(failed()));
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&removes, &replaces]);
        let cursors = CursorTable::new(client, "cursors".to_owned());
        let (read, block) = (item(&[("Id", "a")]), Block::after_reset(System.now()));
        for until_published in [None, Some(&block)] {
            let reset = cursors.reset("a", &read, until_published).await;
            assert_eq!(reset.expect("answered"), Reset::Changed);
        }
    }
}
