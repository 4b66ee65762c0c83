//! The read model in its two DynamoDB tables.
//!
//! Every read is consistent. An eventually consistent read may return an older state than the read
//! before it, so a client would see an event disappear again; it would cost half as much
//! ([read consistency](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html)).

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_core::view::{ID, SEQUENCE};
use millrace_core::{AggregateId, Attribute, Attributes, Sequence};
use millrace_runtime::ServiceError;
use millrace_runtime::dynamodb::{from_item, to_value};

use crate::ports::ReadModel;

/// The two tables.
#[derive(Debug, Clone)]
pub struct Tables {
    client: Client,
    view: String,
    history: String,
}

impl Tables {
    /// The tables of these names.
    #[must_use]
    pub const fn new(client: Client, view: String, history: String) -> Self {
        Self {
            client,
            view,
            history,
        }
    }
}

impl ReadModel for Tables {
    async fn view(&self, id: &AggregateId) -> Result<Option<Attributes>, ServiceError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.view)
            .key(ID, text(id))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| ServiceError::new("GetItem on the view table", error))?;
        Ok(output.item.map(from_item))
    }

    /// DynamoDB ends a page at 1 MB, even below the limit
    /// ([Query](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html)), so
    /// pages are read until there are enough items or no more.
    async fn history(
        &self,
        id: &AggregateId,
        newest: Sequence,
        limit: usize,
    ) -> Result<Vec<Attributes>, ServiceError> {
        let mut items = Vec::with_capacity(limit);
        let mut start_key: Option<HashMap<String, AttributeValue>> = None;
        while items.len() < limit {
            let missing = i32::try_from(limit - items.len()).unwrap_or(i32::MAX);
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
                .set_exclusive_start_key(start_key)
                .send()
                .await
                .map_err(|error| ServiceError::new("Query on the history table", error))?;
            items.extend(output.items.unwrap_or_default().into_iter().map(from_item));
            start_key = output.last_evaluated_key.filter(|key| !key.is_empty());
            if start_key.is_none() {
                break;
            }
        }
        Ok(items)
    }

    async fn entry(
        &self,
        id: &AggregateId,
        sequence: Sequence,
    ) -> Result<Option<Attributes>, ServiceError> {
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
        Ok(output.item.map(from_item))
    }
}

fn text(id: &AggregateId) -> AttributeValue {
    to_value(Attribute::text(id))
}

fn number(sequence: Sequence) -> AttributeValue {
    to_value(Attribute::number(sequence.get()))
}
