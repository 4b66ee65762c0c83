//! The reconciler's services on AWS: `DynamoDB`, Lambda and S3.

use std::collections::{BTreeMap, HashMap};
use std::iter;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::EventSourceMappingConfiguration;
use aws_sdk_s3::operation::get_object::GetObjectError;
use millrace_core::layout::MAX_POSITION;
use millrace_core::{Attributes, Timestamp, cursor, row, spread};
use millrace_projector::adapters::dynamodb::Tables as ViewTables;
use millrace_projector::ports::{ReadModel as _, Saved};
use millrace_projector::stale;
use millrace_runtime::ServiceError;
use millrace_runtime::dynamodb::{from_item, to_item};
use serde_json::Value;

use crate::config::Config;
use crate::discarded::function_name;
use crate::ports::{
    FailureBucket, Functions, INVOCATION, Mapping, MarkedPage, Marker, ObjectInfo, ObjectPage,
    SEGMENTS, Source, Store, StoredPage, Tables, Views,
};
use crate::state;

const KIND: &str = "Kind";
const NAME: &str = "Name";
const OWNER: &str = "Owner";
const UNTIL: &str = "Until";

/// The cursor table's sparse index of suspended aggregates.
pub const SUSPENDED_INDEX: &str = "Suspended";
/// The view table's sparse index of stale views.
pub const STALE_INDEX: &str = "Stale";
/// Where Lambda writes the objects of discarded batches.
const PREFIX: &str = "aws/lambda/";

/// The AWS clients, and the names of the tables, the bucket and the streams.
#[derive(Debug, Clone)]
pub struct AwsServices {
    dynamodb: Client,
    lambda: aws_sdk_lambda::Client,
    s3: aws_sdk_s3::Client,
    views: ViewTables,
    events_table: String,
    cursor_table: String,
    reconciler_table: String,
    failure_bucket: String,
    events_stream_arn: String,
    stream_arn: String,
    stream_consumer_arn: Option<String>,
}

impl AwsServices {
    /// The services that the configuration names.
    #[must_use]
    pub fn new(
        dynamodb: Client,
        lambda: aws_sdk_lambda::Client,
        s3: aws_sdk_s3::Client,
        config: &Config,
    ) -> Self {
        Self {
            // The history isn't used.
            views: ViewTables::new(dynamodb.clone(), config.view_table.clone(), String::new()),
            dynamodb,
            lambda,
            s3,
            events_table: config.events_table.clone(),
            cursor_table: config.cursor_table.clone(),
            reconciler_table: config.reconciler_table.clone(),
            failure_bucket: config.failure_bucket.clone(),
            events_stream_arn: config.events_stream_arn.clone(),
            stream_arn: config.stream_arn.clone(),
            stream_consumer_arn: config.stream_consumer_arn.clone(),
        }
    }

    fn key(kind: &str, name: &str) -> HashMap<String, AttributeValue> {
        [
            (KIND.to_owned(), AttributeValue::S(kind.to_owned())),
            (NAME.to_owned(), AttributeValue::S(name.to_owned())),
        ]
        .into()
    }
}

impl Tables for AwsServices {
    async fn marked(
        &self,
        marker: Marker,
        partition: u8,
        after: Option<&Attributes>,
    ) -> Result<MarkedPage, ServiceError> {
        let (table, index, key) = match marker {
            Marker::Blocked | Marker::Parked => {
                (&self.cursor_table, SUSPENDED_INDEX, cursor::SUSPENDED_IN)
            }
            Marker::Stale => (&self.views.views().to_owned(), STALE_INDEX, stale::IN),
        };
        let value = spread::index_key(marker.into(), partition);
        let answer = self
            .dynamodb
            .query()
            .table_name(table)
            .index_name(index)
            .key_condition_expression("#key = :key")
            .expression_attribute_names("#key", key)
            .expression_attribute_values(":key", AttributeValue::S(value))
            .set_exclusive_start_key(after.cloned().map(to_item))
            .send()
            .await
            .map_err(|error| ServiceError::new("Query on an index of markers", error))?;
        let items = answer.items.unwrap_or_default().into_iter();
        Ok(MarkedPage {
            ids: items.filter_map(|item| text(&item, row::ID)).collect(),
            after: answer
                .last_evaluated_key
                .filter(|key| !key.is_empty())
                .map(from_item),
        })
    }

    async fn next_id(
        &self,
        segment: u32,
        after: Option<&str>,
    ) -> Result<Option<String>, ServiceError> {
        // The key to start after needn't be an item's: this one follows every row of the aggregate.
        let start = after.map(|id| {
            let version = AttributeValue::N(MAX_POSITION.to_string());
            let id = AttributeValue::S(id.to_owned());
            [(row::ID.to_owned(), id), (row::VERSION.to_owned(), version)].into()
        });
        let mut start = start;
        loop {
            let answer = self
                .dynamodb
                .scan()
                .table_name(&self.events_table)
                .segment(segment.cast_signed())
                .total_segments(SEGMENTS.cast_signed())
                .limit(1)
                .projection_expression("#id")
                .expression_attribute_names("#id", row::ID)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| ServiceError::new("Scan of the events table", error))?;
            let items = answer.items.unwrap_or_default();
            let next = items.first().and_then(|item| text(item, row::ID));
            start = answer.last_evaluated_key.filter(|key| !key.is_empty());
            // A page may be empty before the segment's end.
            if next.is_some() || start.is_none() {
                return Ok(next);
            }
        }
    }

    async fn newest_row(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        let answer = self
            .dynamodb
            .query()
            .table_name(&self.events_table)
            .consistent_read(true)
            .key_condition_expression("#id = :id")
            .expression_attribute_names("#id", row::ID)
            .expression_attribute_values(":id", AttributeValue::S(aggregate.to_owned()))
            .scan_index_forward(false)
            .limit(1)
            .send()
            .await
            .map_err(|error| ServiceError::new("Query on the events table", error))?;
        Ok(answer.items.unwrap_or_default().pop().map(from_item))
    }
}

impl Views for AwsServices {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        self.views.view(aggregate).await
    }

    async fn mark_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Result<Saved, ServiceError> {
        self.views.set_stale(aggregate, attributes, read).await
    }
}

impl Functions for AwsServices {
    async fn mappings(&self, source: Source) -> Result<Vec<Mapping>, ServiceError> {
        // AWS doesn't say whether the list of a stream includes the mappings of its consumers
        // (https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html).
        let (stream, consumer) = match source {
            Source::Events => (&self.events_stream_arn, None),
            Source::Domain => (&self.stream_arn, self.stream_consumer_arn.as_ref()),
        };
        let mut mappings = BTreeMap::new();
        for arn in iter::once(stream).chain(consumer) {
            let mut pages = self
                .lambda
                .list_event_source_mappings()
                .event_source_arn(arn)
                .into_paginator()
                .items()
                .send();
            while let Some(mapping) = pages.next().await {
                let mapping =
                    mapping.map_err(|error| ServiceError::new("ListEventSourceMappings", error))?;
                let mapping = read_mapping(mapping, source);
                mappings.insert(mapping.id.clone(), mapping);
            }
        }
        Ok(mappings.into_values().collect())
    }

    async fn invoke(&self, function: &str, payload: &Value) -> Result<Value, ServiceError> {
        const ACTION: &str = "Invoke";
        let answer = self
            .lambda
            .invoke()
            .function_name(function)
            .payload(Blob::new(payload.to_string()))
            .customize()
            .config_override(once())
            .send()
            .await
            .map_err(|error| ServiceError::new(ACTION, error))?;
        if let Some(error) = answer.function_error {
            // The response's text may quote a payload.
            return Err(ServiceError::new(
                ACTION,
                format!("the function failed: {error}"),
            ));
        }
        let response = answer.payload.unwrap_or_else(|| Blob::new([]));
        serde_json::from_slice(response.as_ref()).map_err(|error| ServiceError::new(ACTION, error))
    }
}

/// An attempt that isn't repeated: the function may still run when its response is no longer waited for.
fn once() -> aws_sdk_lambda::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(INVOCATION)
        .operation_timeout(INVOCATION)
        .build();
    aws_sdk_lambda::Config::builder()
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
}

fn read_mapping(mapping: EventSourceMappingConfiguration, source: Source) -> Mapping {
    let arn = mapping.function_arn.unwrap_or_default();
    Mapping {
        id: mapping.uuid.unwrap_or_default(),
        function: function_name(&arn).unwrap_or(&arn).to_owned(),
        source,
        state: mapping.state.unwrap_or_default(),
        last_result: mapping.last_processing_result,
    }
}

impl FailureBucket for AwsServices {
    async fn objects(&self, after: Option<&str>) -> Result<ObjectPage, ServiceError> {
        let answer = self
            .s3
            .list_objects_v2()
            .bucket(&self.failure_bucket)
            .prefix(PREFIX)
            .set_start_after(after.map(str::to_owned))
            .send()
            .await
            .map_err(|error| ServiceError::new("ListObjectsV2 on the failure bucket", error))?;
        let more = answer.is_truncated.unwrap_or_default();
        let objects: Vec<ObjectInfo> = answer
            .contents
            .unwrap_or_default()
            .into_iter()
            .filter_map(|object| {
                let written = object.last_modified?.to_millis().ok()?;
                Some(ObjectInfo {
                    key: object.key?,
                    written: Timestamp::from_unix_millis(written)?,
                })
            })
            .collect();
        let last = objects.last().map(|object| object.key.clone());
        Ok(ObjectPage {
            after: last.filter(|_| more),
            objects,
        })
    }

    async fn object(&self, key: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        const ACTION: &str = "GetObject on the failure bucket";
        let object = self
            .s3
            .get_object()
            .bucket(&self.failure_bucket)
            .key(key)
            .send();
        match object.await {
            Ok(object) => {
                let content = object.body.collect().await;
                let content = content.map_err(|error| ServiceError::new(ACTION, error))?;
                Ok(Some(content.to_vec()))
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetObjectError::is_no_such_key) =>
            {
                Ok(None)
            }
            Err(error) => Err(ServiceError::new(ACTION, error)),
        }
    }
}

impl Store for AwsServices {
    async fn acquire(
        &self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, ServiceError> {
        let millis = |time: Timestamp| AttributeValue::N(time.unix_millis().to_string());
        let put = self
            .dynamodb
            .put_item()
            .table_name(&self.reconciler_table)
            .set_item(Some(Self::key(state::LEASE, state::LAST)))
            .item(OWNER, AttributeValue::S(owner.to_owned()))
            .item(UNTIL, millis(until))
            .condition_expression(
                "attribute_not_exists(#until) OR #until <= :now OR #owner = :owner",
            )
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
            .send();
        match put.await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(ServiceError::new("PutItem of the lease", error)),
        }
    }

    async fn release(&self, owner: &str) -> Result<(), ServiceError> {
        let delete = self
            .dynamodb
            .delete_item()
            .table_name(&self.reconciler_table)
            .set_key(Some(Self::key(state::LEASE, state::LAST)))
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
            .send();
        match delete.await {
            Ok(_) => Ok(()),
            // The lease has ended and is another run's.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(ServiceError::new("DeleteItem of the lease", error)),
        }
    }

    async fn item(&self, kind: &str, name: &str) -> Result<Option<Attributes>, ServiceError> {
        let answer = self
            .dynamodb
            .get_item()
            .table_name(&self.reconciler_table)
            .consistent_read(true)
            .set_key(Some(Self::key(kind, name)))
            .send()
            .await
            .map_err(|error| ServiceError::new("GetItem on the reconciler table", error))?;
        Ok(answer.item.map(from_item))
    }

    async fn put_item(
        &self,
        kind: &str,
        name: &str,
        attributes: Attributes,
    ) -> Result<(), ServiceError> {
        let mut item = to_item(attributes);
        item.extend(Self::key(kind, name));
        self.dynamodb
            .put_item()
            .table_name(&self.reconciler_table)
            .set_item(Some(item))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| ServiceError::new("PutItem on the reconciler table", error))
    }

    async fn delete_item(&self, kind: &str, name: &str) -> Result<(), ServiceError> {
        self.dynamodb
            .delete_item()
            .table_name(&self.reconciler_table)
            .set_key(Some(Self::key(kind, name)))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| ServiceError::new("DeleteItem on the reconciler table", error))
    }

    async fn items(&self, kind: &str, after: Option<&str>) -> Result<StoredPage, ServiceError> {
        let answer = self
            .dynamodb
            .query()
            .table_name(&self.reconciler_table)
            .consistent_read(true)
            .key_condition_expression("#kind = :kind")
            .expression_attribute_names("#kind", KIND)
            .expression_attribute_values(":kind", AttributeValue::S(kind.to_owned()))
            .set_exclusive_start_key(after.map(|name| Self::key(kind, name)))
            .send()
            .await
            .map_err(|error| ServiceError::new("Query on the reconciler table", error))?;
        let items = answer.items.unwrap_or_default().into_iter();
        Ok(StoredPage {
            items: items
                .filter_map(|item| Some((text(&item, NAME)?, from_item(item))))
                .collect(),
            more: answer.last_evaluated_key.is_some_and(|key| !key.is_empty()),
        })
    }
}

fn text(item: &HashMap<String, AttributeValue>, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}
