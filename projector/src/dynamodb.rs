//! The view table and the history table behind [`ReadModel`].

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use millrace_domain::{Attribute, Attributes, view};
use millrace_runtime::dynamodb::{from_item, to_item, to_value};
use millrace_runtime::{Backoff, ServiceError, System};

use crate::model::{ReadModel, Saved};
use crate::stale;

/// The most items that one `BatchWriteItem` takes
/// ([BatchWriteItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html)).
const MAX_ITEMS: usize = 25;
/// How often items that a `BatchWriteItem` left unprocessed are sent again, with backoff as its page
/// advises.
const MAX_BATCH_TRIES: u32 = 6;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(20),
    cap: Duration::from_secs(1),
};
const WRITE: &str = "BatchWriteItem on the history table";

/// The two tables.
#[derive(Debug, Clone)]
pub struct Tables {
    client: Client,
    views: String,
    history: String,
}

impl Tables {
    /// The tables of these names.
    #[must_use]
    pub const fn new(client: Client, views: String, history: String) -> Self {
        Self {
            client,
            views,
            history,
        }
    }

    async fn write(&self, requests: Vec<WriteRequest>) -> Result<(), ServiceError> {
        let mut left: HashMap<String, Vec<WriteRequest>> =
            [(self.history.clone(), requests)].into();
        for retry in 0..MAX_BATCH_TRIES {
            let answer = self
                .client
                .batch_write_item()
                .set_request_items(Some(left))
                .send()
                .await
                .map_err(|error| ServiceError::new(WRITE, error))?;
            left = answer.unprocessed_items.unwrap_or_default();
            if left.values().all(Vec::is_empty) {
                return Ok(());
            }
            tokio::time::sleep(BACKOFF.delay(retry, &System)).await;
        }
        Err(ServiceError::new(
            WRITE,
            "items were left unprocessed every time",
        ))
    }
}

impl ReadModel for Tables {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.views)
            .consistent_read(true)
            .key(view::ID, AttributeValue::S(aggregate.to_owned()))
            .send()
            .await
            .map_err(|error| ServiceError::new("GetItem on the view table", error))?;
        Ok(answer.item.map(from_item))
    }

    async fn put_history(&self, lines: Vec<Attributes>) -> Result<(), ServiceError> {
        let requests = lines
            .into_iter()
            .map(|line| {
                let put = PutRequest::builder().set_item(Some(to_item(line))).build();
                put.map(|put| WriteRequest::builder().put_request(put).build())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ServiceError::new(WRITE, error))?;
        for chunk in requests.chunks(MAX_ITEMS) {
            self.write(chunk.to_vec()).await?;
        }
        Ok(())
    }

    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&self.views)
            .set_item(Some(to_item(item)))
            .expression_attribute_names("#sequence", view::SEQUENCE);
        // An item without a sequence is nobody's view; it is replaced as one that isn't there.
        put = match read.filter(|read| read.contains_key(view::SEQUENCE)) {
            None => put.condition_expression("attribute_not_exists(#sequence)"),
            Some(read) => {
                let put = put
                    .expression_attribute_names("#stale", stale::SEQUENCE)
                    .expression_attribute_values(":sequence", value(read, view::SEQUENCE));
                if read.contains_key(stale::SEQUENCE) {
                    put.expression_attribute_values(":stale", value(read, stale::SEQUENCE))
                        .condition_expression("#sequence = :sequence AND #stale = :stale")
                } else {
                    put.condition_expression(
                        "#sequence = :sequence AND attribute_not_exists(#stale)",
                    )
                }
            }
        };
        match put.send().await {
            Ok(_) => Ok(Saved::Stored),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(Saved::Moved)
            }
            Err(error) => Err(ServiceError::new("PutItem on the view table", error)),
        }
    }

    async fn mark(&self, aggregate: &str, attributes: Attributes) -> Result<(), ServiceError> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.views)
            .key(view::ID, AttributeValue::S(aggregate.to_owned()));
        let mut set = Vec::new();
        for (index, (name, attribute)) in attributes.into_iter().enumerate() {
            set.push(format!("#mark{index} = :mark{index}"));
            update = update
                .expression_attribute_names(format!("#mark{index}"), name)
                .expression_attribute_values(format!(":mark{index}"), to_value(attribute));
        }
        update
            .update_expression(format!("SET {}", set.join(", ")))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| ServiceError::new("UpdateItem on the view table", error))
    }
}

/// The value that an item was read with, to hold the stored one against.
fn value(item: &Attributes, name: &str) -> AttributeValue {
    match item.get(name) {
        Some(Attribute::Number(number)) => AttributeValue::N(number.clone()),
        Some(Attribute::Text(text)) => AttributeValue::S(text.clone()),
        Some(Attribute::Other(_)) | None => AttributeValue::Null(true),
    }
}
