//! [`EventStore`] on two DynamoDB tables: the events table and the idempotency table.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Get, Put, ReturnValuesOnConditionCheckFailure as OnFailure,
    TransactGetItem, TransactWriteItem,
};
use millrace_core::layout::SNAPSHOT_INTERVAL;
use millrace_core::{AggregateId, Attributes, Domain, Version, row, settings};
use millrace_runtime::dynamodb::{from_item, stored_row, stored_settings, to_item};
use millrace_runtime::{ServiceError, StartError};

use crate::idempotency::{EXPIRES_AT, KEY, seconds};
use crate::ports::{Append, Appended, CommittedRecord, EventStore};

const PUT: &str = "PutItem on the events table";
const TRANSACT: &str = "TransactWriteItems on the events table";
const GET_ROW: &str = "GetItem on the events table";
const GET_COMMITTED: &str = "TransactGetItems on the idempotency table";
/// The cancellation reason of an item that another transaction is writing.
const CONFLICT: &str = "TransactionConflict";
const NOBODY_THERE: &str = "attribute_not_exists(#version)";
const NO_RECORD: &str = "attribute_not_exists(#key) OR #expires_at <= :now";

/// The two tables.
#[derive(Debug, Clone)]
pub struct Tables {
    client: Client,
    events: String,
    idempotency: String,
}

impl Tables {
    /// The tables of these names.
    #[must_use]
    pub const fn new(client: Client, events: String, idempotency: String) -> Self {
        Self {
            client,
            events,
            idempotency,
        }
    }

    /// Stores the domain's settings with the first start on this events table, and compares them with
    /// the stored ones from then on.
    ///
    /// # Errors
    /// [`StartError`]: they differ, or could not be compared.
    pub async fn keep_settings<D: Domain>(&self, domain: &D) -> Result<(), StartError> {
        let stored = match stored_settings(&self.client, &self.events).await? {
            Some(stored) => stored,
            None => match self.put_settings(settings::to_row(domain)).await? {
                None => return Ok(()),
                Some(stored) => stored,
            },
        };
        Ok(settings::check(domain, &stored)?)
    }

    /// Stores the settings where none are stored; returns the stored ones where some are.
    async fn put_settings(&self, row: Attributes) -> Result<Option<Attributes>, ServiceError> {
        let Err(error) = self.put_new(row).send().await else {
            return Ok(None);
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(Some(
                failed.item().cloned().map(from_item).unwrap_or_default(),
            )),
            _ => Err(ServiceError::new("PutItem of the settings", error)),
        }
    }

    /// The put of a row whose version isn't stored yet.
    fn put_new(&self, row: Attributes) -> PutItemFluentBuilder {
        self.client
            .put_item()
            .table_name(&self.events)
            .set_item(Some(to_item(row)))
            .condition_expression(NOBODY_THERE)
            .expression_attribute_names("#version", row::VERSION)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
    }

    /// Puts a single row. A transaction would cost twice as much
    /// ([capacity](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-capacity-handling)).
    async fn put(&self, row: Attributes) -> Result<Appended, ServiceError> {
        let Err(error) = self.put_new(row).send().await else {
            return Ok(Appended::Stored);
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Appended::VersionConflict {
                    by: failed.item().and_then(command_id),
                })
            }
            Some(PutItemError::TransactionConflictException(_)) => {
                Ok(Appended::TransactionConflict)
            }
            _ if is_too_large(error.code(), error.message()) => Ok(Appended::TooLarge),
            _ => Err(ServiceError::new(PUT, error)),
        }
    }

    async fn transact(&self, append: Append) -> Result<Appended, ServiceError> {
        let rows = append.rows.len();
        let mut items = Vec::with_capacity(rows + 1);
        for (_, row) in append.rows {
            let put = Put::builder()
                .table_name(&self.events)
                .set_item(Some(to_item(row)))
                .condition_expression(NOBODY_THERE)
                .expression_attribute_names("#version", row::VERSION)
                .return_values_on_condition_check_failure(OnFailure::AllOld);
            items.push(put);
        }
        if let Some(record) = append.record {
            let now = AttributeValue::N(seconds(append.now).to_string());
            let put = Put::builder()
                .table_name(&self.idempotency)
                .set_item(Some(to_item(record)))
                .condition_expression(NO_RECORD)
                .expression_attribute_names("#key", KEY)
                .expression_attribute_names("#expires_at", EXPIRES_AT)
                .expression_attribute_values(":now", now);
            items.push(put);
        }
        let items = items
            .into_iter()
            .map(|put| Ok(TransactWriteItem::builder().put(put.build()?).build()))
            .collect::<Result<_, aws_sdk_dynamodb::error::BuildError>>()
            .map_err(|error| ServiceError::new(TRANSACT, error))?;
        let transaction = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(append.token);
        let Err(error) = transaction.send().await else {
            return Ok(Appended::Stored);
        };
        let outcome = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                cancellation(cancelled.cancellation_reasons(), rows)
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                Some(Appended::TransactionInProgress)
            }
            _ => is_too_large(error.code(), error.message()).then_some(Appended::TooLarge),
        };
        outcome.ok_or_else(|| ServiceError::new(TRANSACT, error))
    }
}

/// Reads the reasons of a cancelled transaction, one per item: the rows first, then the record. The
/// record's reason has precedence, because the request that stored the record may have appended the rows
/// as well. `None` if no reason is a failed condition, a conflict or a size.
fn cancellation(reasons: &[CancellationReason], rows: usize) -> Option<Appended> {
    const CONDITION: &str = "ConditionalCheckFailed";
    let is = |reason: &&CancellationReason, code: &str| reason.code() == Some(code);
    let (of_rows, of_record) = reasons.split_at(rows.min(reasons.len()));
    if of_record.iter().any(|reason| is(&reason, CONDITION)) {
        return Some(Appended::KeyTaken);
    }
    if let Some(reason) = of_rows.iter().find(|reason| is(reason, CONDITION)) {
        return Some(Appended::VersionConflict {
            by: reason.item().and_then(command_id),
        });
    }
    let is_refused = |it: &CancellationReason| is_too_large(it.code(), it.message());
    if reasons.iter().any(is_refused) {
        return Some(Appended::TooLarge);
    }
    reasons
        .iter()
        .any(|reason| is(&reason, CONFLICT))
        .then_some(Appended::TransactionConflict)
}

/// Whether an error, or a cancelled transaction's reason, says that an item or the transaction is too
/// large, such as `Item size has exceeded the maximum allowed size`
/// ([TransactionCanceledException](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html#API_TransactWriteItems_Errors)).
/// The code alone doesn't say it.
fn is_too_large(code: Option<&str>, message: Option<&str>) -> bool {
    let message = message.unwrap_or_default().to_ascii_lowercase();
    matches!(code, Some("ValidationException" | "ValidationError")) && message.contains("size")
}

fn command_id(item: &std::collections::HashMap<String, AttributeValue>) -> Option<String> {
    item.get(row::COMMAND_ID)?.as_s().ok().cloned()
}

impl EventStore for Tables {
    async fn newest(&self, id: &AggregateId) -> Result<Vec<Attributes>, ServiceError> {
        let wanted = usize::try_from(SNAPSHOT_INTERVAL).unwrap_or(usize::MAX);
        let mut rows: Vec<Attributes> = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.events)
                .consistent_read(true)
                .key_condition_expression("#id = :id")
                .expression_attribute_names("#id", row::ID)
                .expression_attribute_values(":id", AttributeValue::S(id.to_string()))
                .scan_index_forward(false)
                .limit(i32::try_from(wanted).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| ServiceError::new("Query on the events table", error))?;
            rows.extend(page.items.unwrap_or_default().into_iter().map(from_item));
            // A page ends at 1 MB too, even below the limit
            // (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html).
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() || rows.len() >= wanted {
                return Ok(rows);
            }
        }
    }

    async fn row(
        &self,
        id: &AggregateId,
        version: Version,
    ) -> Result<Option<Attributes>, ServiceError> {
        let version = version.to_string();
        stored_row(&self.client, &self.events, id.to_string(), version, GET_ROW).await
    }

    async fn record(&self, key: &str) -> Result<Option<Attributes>, ServiceError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.idempotency)
            .consistent_read(true)
            .key(KEY, AttributeValue::S(key.to_owned()))
            .send()
            .await
            .map_err(|error| ServiceError::new("GetItem on the idempotency table", error))?;
        Ok(answer.item.map(from_item))
    }

    async fn committed_record(&self, key: &str) -> Result<CommittedRecord, ServiceError> {
        let get = Get::builder()
            .table_name(&self.idempotency)
            .key(KEY, AttributeValue::S(key.to_owned()))
            .build()
            .map_err(|error| ServiceError::new(GET_COMMITTED, error))?;
        let read = self
            .client
            .transact_get_items()
            .transact_items(TransactGetItem::builder().get(get).build())
            .send()
            .await;
        let error = match read {
            Ok(answer) => {
                let mut items = answer.responses.unwrap_or_default().into_iter();
                let item = items.next().and_then(|response| response.item);
                return Ok(CommittedRecord::Read(item.map(from_item)));
            }
            Err(error) => error,
        };
        if let Some(TransactGetItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let mut reasons = cancelled.cancellation_reasons().iter();
            if reasons.any(|reason| reason.code() == Some(CONFLICT)) {
                return Ok(CommittedRecord::TransactionConflict);
            }
        }
        Err(ServiceError::new(GET_COMMITTED, error))
    }

    async fn append(&self, mut append: Append) -> Result<Appended, ServiceError> {
        if append.record.is_none() && append.rows.len() == 1 {
            let (_, row) = append.rows.remove(0);
            return self.put(row).await;
        }
        self.transact(append).await
    }
}
