//! [`ReadModel`] on two DynamoDB tables: the view table and the history table.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, PutRequest, WriteRequest};
use millrace_core::{Attribute, Attributes, view};
use millrace_runtime::dynamodb::{from_item, service_error, to_item, to_value};
use millrace_runtime::{ServiceError, items};

use crate::ports::{REVISION, ReadModel, Saved, ViewSave, Views};
use crate::stale;

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

    /// The client that calls the tables.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The view table's name.
    #[must_use]
    pub fn views(&self) -> &str {
        &self.views
    }

    /// The history table's name.
    #[must_use]
    pub fn history(&self) -> &str {
        &self.history
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
            .map_err(|error| service_error("GetItem on the view table", error))?;
        Ok(answer.item.map(from_item))
    }

    async fn read_views(&self, aggregates: &[&str]) -> Result<Views, ServiceError> {
        const ACTION: &str = "BatchGetItem on the view table";
        let read = items::read(&self.client, &self.views, view::ID, aggregates, ACTION).await?;
        let found = read.found.into_iter();
        Ok(Views {
            found: found
                .map(|(aggregate, item)| (aggregate, from_item(item)))
                .collect(),
            unprocessed: read.unprocessed,
        })
    }

    async fn put_history(&self, items: Vec<Attributes>) -> Result<Vec<Attributes>, ServiceError> {
        let requests = items
            .into_iter()
            .map(|item| {
                let put = PutRequest::builder().set_item(Some(to_item(item))).build();
                put.map(|put| WriteRequest::builder().put_request(put).build())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ServiceError::new(WRITE, error))?;
        let answer = self
            .client
            .batch_write_item()
            .request_items(self.history.clone(), requests)
            .send()
            .await
            .map_err(|error| service_error(WRITE, error))?;
        let unprocessed = answer.unprocessed_items.unwrap_or_default();
        Ok(unprocessed
            .into_values()
            .flatten()
            .filter_map(|request| Some(from_item(request.put_request?.item)))
            .collect())
    }

    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        let condition = Condition::unchanged(read);
        let put = self
            .client
            .put_item()
            .table_name(&self.views)
            .set_item(Some(to_item(item)))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(Some(condition.names))
            .set_expression_attribute_values(
                Some(condition.values).filter(|values| !values.is_empty()),
            );
        match put.send().await {
            Ok(_) => Ok(Saved::Stored),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(Saved::Moved)
            }
            Err(error) => Err(service_error("PutItem on the view table", error)),
        }
    }

    async fn save_views(&self, saves: Vec<ViewSave>) -> Result<Vec<bool>, ServiceError> {
        const ACTION: &str = "BatchExecuteStatement on the view table";
        let statements = saves.into_iter().map(|save| statement(&self.views, save));
        items::write(&self.client, statements.collect(), ACTION).await
    }

    async fn set_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Result<Saved, ServiceError> {
        let condition = Condition::unchanged(Some(read));
        let mut update = self
            .client
            .update_item()
            .table_name(&self.views)
            .key(view::ID, AttributeValue::S(aggregate.to_owned()))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(Some(condition.names))
            .set_expression_attribute_values(Some(condition.values));
        let mut set = Vec::new();
        for (index, (name, attribute)) in attributes.into_iter().enumerate() {
            set.push(format!("#mark{index} = :mark{index}"));
            update = update
                .expression_attribute_names(format!("#mark{index}"), name)
                .expression_attribute_values(format!(":mark{index}"), to_value(attribute));
        }
        let update = update.update_expression(format!("SET {}", set.join(", ")));
        match update.send().await {
            Ok(_) => Ok(Saved::Stored),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(Saved::Moved)
            }
            Err(error) => Err(service_error("UpdateItem on the view table", error)),
        }
    }
}

/// The statement that saves a view item; `None` if the item has to be saved in another way.
///
/// Every write gives an item a new revision, so an item of the revision that was read is that item, and the
/// attributes that differ are all there is to change.
fn statement(table: &str, save: ViewSave) -> Option<BatchStatementRequest> {
    let ViewSave { mut item, read } = save;
    let Some(read) = read else {
        return items::insert(table, item);
    };
    let Some(Attribute::Text(id)) = item.remove(view::ID) else {
        return None;
    };
    let Some(Attribute::Text(revision)) = read.get(REVISION) else {
        return None;
    };
    let removed: Vec<&str> = read
        .keys()
        .map(String::as_str)
        .filter(|name| *name != view::ID && !item.contains_key(*name))
        .collect();
    item.retain(|name, value| read.get(name) != Some(value));
    let condition = items::Condition::Equal(REVISION, AttributeValue::S(revision.clone()));
    items::update(table, (view::ID, &id), item, removed, [condition])
}

/// A condition on the stored item.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// The expression.
    pub expression: String,
    /// The attributes that it names.
    pub names: HashMap<String, String>,
    /// The values that it compares with; empty where it compares with none.
    pub values: HashMap<String, AttributeValue>,
}

impl Condition {
    /// The stored view item is the one that was read; `None`: there is none. It is what
    /// [`ReadModel::save_view`] promises.
    #[must_use]
    pub fn unchanged(read: Option<&Attributes>) -> Self {
        match read {
            None => Self::same(&Attributes::new(), &[view::ID]),
            Some(read) if read.contains_key(REVISION) => Self::same(read, &[REVISION]),
            Some(read) => Self::same(read, &[REVISION, view::SEQUENCE, stale::SEQUENCE]),
        }
    }

    /// The stored item has these attributes as they were read: absent, or of the same value. Of a
    /// type that is no string and no number the type alone is compared, because the value isn't kept
    /// on reading.
    #[must_use]
    pub fn same(read: &Attributes, attributes: &[&str]) -> Self {
        let mut condition = Self::default();
        let mut terms = Vec::new();
        for (index, name) in attributes.iter().enumerate() {
            condition
                .names
                .insert(format!("#read{index}"), (*name).to_owned());
            let (term, value) = match read.get(*name) {
                None => (format!("attribute_not_exists(#read{index})"), None),
                Some(Attribute::Other(of)) => (
                    format!("attribute_type(#read{index}, :read{index})"),
                    Some(AttributeValue::S((*of).to_owned())),
                ),
                Some(value) => (
                    format!("#read{index} = :read{index}"),
                    Some(to_value(value.clone())),
                ),
            };
            condition
                .values
                .extend(value.map(|value| (format!(":read{index}"), value)));
            terms.push(term);
        }
        condition.expression = terms.join(" AND ");
        condition
    }
}
