//! The read model in its two DynamoDB tables.
//!
//! Every read is consistent. An eventually consistent one may see less than the read before it, and
//! a client would watch its own money come and go; it would cost half as much
//! ([read consistency](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html)).

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_domain::view::{ID, SEQUENCE};
use millrace_domain::{AggregateId, Attribute, HistoryEntry, Sequence, View};
use millrace_runtime::ServiceError;
use millrace_runtime::dynamodb::{from_item, to_value};

use crate::config::Config;
use crate::store::{ReadError, ReadModel};

/// The two tables.
#[derive(Debug, Clone)]
pub struct Tables {
    client: Client,
    view: String,
    history: String,
}

impl Tables {
    /// The tables that the configuration names.
    #[must_use]
    pub fn new(client: Client, config: Config) -> Self {
        Self {
            client,
            view: config.view_table,
            history: config.history_table,
        }
    }
}

impl ReadModel for Tables {
    async fn view(&self, id: &AggregateId) -> Result<Option<View>, ReadError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.view)
            .key(ID, text(id))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| ServiceError::new("GetItem on the view table", error))?;
        match output.item {
            None => Ok(None),
            Some(item) => Ok(View::read(&from_item(item))?),
        }
    }

    /// DynamoDB ends a page at 1 MB, whatever the limit
    /// ([Query](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html)), so
    /// pages are read until there are enough lines or no more.
    async fn history(
        &self,
        id: &AggregateId,
        newest: Sequence,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, ReadError> {
        let mut lines = Vec::with_capacity(limit);
        let mut behind: Option<HashMap<String, AttributeValue>> = None;
        while lines.len() < limit {
            let missing = i32::try_from(limit - lines.len()).unwrap_or(i32::MAX);
            let output = self
                .client
                .query()
                .table_name(&self.history)
                .key_condition_expression("#id = :id AND #sequence <= :newest")
                .expression_attribute_names("#id", ID)
                .expression_attribute_names("#sequence", SEQUENCE)
                .expression_attribute_values(":id", text(id))
                .expression_attribute_values(":newest", number(newest))
                .scan_index_forward(false)
                .limit(missing)
                .consistent_read(true)
                .set_exclusive_start_key(behind)
                .send()
                .await
                .map_err(|error| ServiceError::new("Query on the history table", error))?;
            for item in output.items.unwrap_or_default() {
                lines.push(HistoryEntry::read(&from_item(item))?);
            }
            behind = output.last_evaluated_key.filter(|key| !key.is_empty());
            if behind.is_none() {
                break;
            }
        }
        Ok(lines)
    }

    async fn entry(
        &self,
        id: &AggregateId,
        sequence: Sequence,
    ) -> Result<Option<HistoryEntry>, ReadError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.history)
            .key(ID, text(id))
            .key(SEQUENCE, number(sequence))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| ServiceError::new("GetItem on the history table", error))?;
        match output.item {
            None => Ok(None),
            Some(item) => Ok(Some(HistoryEntry::read(&from_item(item))?)),
        }
    }
}

fn text(id: &AggregateId) -> AttributeValue {
    to_value(Attribute::text(id))
}

fn number(sequence: Sequence) -> AttributeValue {
    to_value(Attribute::number(sequence.get()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemOutput};
    use aws_sdk_dynamodb::operation::query::{QueryError, QueryInput, QueryOutput};
    use aws_sdk_dynamodb::types::error::ProvisionedThroughputExceededException;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use millrace_domain::{Attributes, RowError};
    use millrace_runtime::dynamodb::to_item;

    use super::*;
    use crate::memory::{history, id};

    fn tables(rules: &[&Rule]) -> Tables {
        Tables::new(
            mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules),
            Config {
                view_table: "views".to_owned(),
                history_table: "histories".to_owned(),
            },
        )
    }

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    /// `GetItem`, when asked as it should be, finds this.
    fn get_item(
        table: &'static str,
        key: &[(&str, AttributeValue)],
        found: Option<Attributes>,
    ) -> Rule {
        let key: HashMap<String, AttributeValue> = key
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        mock!(Client::get_item)
            .match_requests(move |request| {
                request.table_name() == Some(table)
                    && request.key() == Some(&key)
                    && request.consistent_read() == Some(true)
            })
            .then_output(move || {
                GetItemOutput::builder()
                    .set_item(found.clone().map(to_item))
                    .build()
            })
    }

    fn asked_for_history(request: &QueryInput, limit: i32, behind: Option<u64>) -> bool {
        let names = [("#id", "Id"), ("#sequence", "Sequence")];
        let values = [
            (":id", AttributeValue::S("a".into())),
            (":newest", AttributeValue::N("5".into())),
        ];
        request.table_name() == Some("histories")
            && request.key_condition_expression() == Some("#id = :id AND #sequence <= :newest")
            && request.expression_attribute_names()
                == Some(
                    &names
                        .map(|(name, value)| (name.into(), value.into()))
                        .into(),
                )
            && request.expression_attribute_values()
                == Some(&values.map(|(name, value)| (name.into(), value)).into())
            && request.scan_index_forward() == Some(false)
            && request.consistent_read() == Some(true)
            && request.index_name().is_none()
            && request.filter_expression().is_none()
            && request.limit() == Some(limit)
            && request.exclusive_start_key() == behind.map(key).as_ref()
    }

    fn key(sequence: u64) -> HashMap<String, AttributeValue> {
        [
            ("Id".to_owned(), AttributeValue::S("a".into())),
            (
                "Sequence".to_owned(),
                AttributeValue::N(sequence.to_string()),
            ),
        ]
        .into()
    }

    /// Query, when asked as it should be, finds these lines, and says where to go on.
    fn query(limit: i32, behind: Option<u64>, found: &[u64], last: Option<u64>) -> Rule {
        let lines: Vec<_> = found
            .iter()
            .map(|sequence| {
                let all = history(&[0; 9]);
                let place = usize::try_from(sequence - 1).expect("small");
                to_item(all[place].1.to_attributes())
            })
            .collect();
        mock!(Client::query)
            .match_requests(move |request| asked_for_history(request, limit, behind))
            .then_output(move || {
                QueryOutput::builder()
                    .set_items(Some(lines.clone()))
                    .set_last_evaluated_key(last.map(key))
                    .build()
            })
    }

    fn sequences(lines: &[HistoryEntry]) -> Vec<u64> {
        lines.iter().map(|line| line.sequence.get()).collect()
    }

    #[tokio::test]
    async fn a_view_is_read_consistently() {
        let (view, _) = history(&[0, 1]).remove(1);
        let key = [("Id", AttributeValue::S("a".into()))];
        let found = get_item("views", &key, Some(view.to_attributes()));
        let missing = get_item("views", &key, None);
        let stub = get_item(
            "views",
            &key,
            Some(
                [
                    (ID.to_owned(), Attribute::text("a")),
                    (SEQUENCE.to_owned(), Attribute::number(0)),
                ]
                .into(),
            ),
        );
        let tables = tables(&[&found, &missing, &stub]);
        assert_eq!(tables.view(&id()).await.expect("reads"), Some(view));
        assert_eq!(tables.view(&id()).await.expect("reads"), None);
        assert_eq!(tables.view(&id()).await.expect("reads"), None);
    }

    #[tokio::test]
    async fn a_line_is_read_consistently() {
        let (_, line) = history(&[0, 1]).remove(1);
        let key = [
            ("Id", AttributeValue::S("a".into())),
            ("Sequence", AttributeValue::N("2".into())),
        ];
        let found = get_item("histories", &key, Some(line.to_attributes()));
        let missing = get_item("histories", &key, None);
        let tables = tables(&[&found, &missing]);
        assert_eq!(
            tables.entry(&id(), sequence(2)).await.expect("reads"),
            Some(line)
        );
        assert_eq!(tables.entry(&id(), sequence(2)).await.expect("reads"), None);
    }

    #[tokio::test]
    async fn a_page_is_read_until_it_is_full() {
        let first = query(3, None, &[5, 4], Some(4));
        let empty = query(1, Some(4), &[], Some(4));
        let last = query(1, Some(4), &[3], Some(3));
        let tables = tables(&[&first, &empty, &last]);
        let lines = tables.history(&id(), sequence(5), 3).await.expect("reads");
        assert_eq!(sequences(&lines), [5, 4, 3]);
        assert_eq!(last.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_page_is_read_until_there_is_no_more() {
        let first = query(9, None, &[5, 4, 3], Some(3));
        let last = query(6, Some(3), &[2, 1], None);
        let tables = tables(&[&first, &last]);
        let lines = tables.history(&id(), sequence(5), 9).await.expect("reads");
        assert_eq!(sequences(&lines), [5, 4, 3, 2, 1]);
    }

    #[tokio::test]
    async fn an_item_that_cannot_be_read_is_named() {
        let (view, line) = history(&[0]).remove(0);
        let without = |mut item: Attributes, name: &str| {
            item.remove(name);
            to_item(item)
        };
        let view = without(view.to_attributes(), "Balance");
        let line = without(line.to_attributes(), "Type");
        let views = mock!(Client::get_item).then_output(move || {
            GetItemOutput::builder()
                .set_item(Some(view.clone()))
                .build()
        });
        let lines = mock!(Client::query)
            .then_output(move || QueryOutput::builder().items(line.clone()).build());
        let tables = tables(&[&views, &lines]);
        assert!(matches!(
            tables.view(&id()).await,
            Err(ReadError::Item(RowError {
                attribute: "Balance",
                ..
            }))
        ));
        assert!(matches!(
            tables.history(&id(), sequence(5), 3).await,
            Err(ReadError::Item(RowError {
                attribute: "Type",
                ..
            }))
        ));
    }

    #[tokio::test]
    async fn a_throttled_read_is_a_services_error() {
        let throttled = || ProvisionedThroughputExceededException::builder().build();
        let item = mock!(Client::get_item)
            .then_error(move || GetItemError::ProvisionedThroughputExceededException(throttled()));
        let line = mock!(Client::get_item)
            .then_error(move || GetItemError::ProvisionedThroughputExceededException(throttled()));
        let lines = mock!(Client::query)
            .then_error(move || QueryError::ProvisionedThroughputExceededException(throttled()));
        let tables = tables(&[&item, &line, &lines]);
        assert!(matches!(
            tables.view(&id()).await,
            Err(ReadError::Service(_))
        ));
        assert!(matches!(
            tables.entry(&id(), sequence(1)).await,
            Err(ReadError::Service(_))
        ));
        let failed = tables.history(&id(), sequence(5), 3).await;
        assert!(matches!(failed, Err(ReadError::Service(_))));
    }
}
