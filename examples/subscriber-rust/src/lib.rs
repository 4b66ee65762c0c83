//! Notifies of low balances: writes one notification when a withdrawal takes an account's balance below a threshold.
//!
//! The events contain amounts and no balances, so the service keeps each account's balance as its state. The
//! notification is an item of a table, written in the transaction that moves the account's position. So each crossing of
//! the threshold is notified exactly once. Sending the notifications is the task of a reader of the table's stream.

use std::future::Future;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use millrace_consumer::{Change, Envelope, Handler, Undecodable};
use serde::{Deserialize, Serialize};

/// The events that the service needs, as docs/events.md of the publisher describes them. Amounts are in minor units of
/// the currency.
#[derive(Debug, Clone, Deserialize)]
pub enum AccountEvent {
    /// The account was opened.
    AccountCreated {
        /// The account's only currency.
        currency: String,
    },
    /// The amount was added to the balance.
    BalanceCredited {
        /// The amount.
        amount: i64,
    },
    /// The amount was subtracted from the balance.
    BalanceWithdrawn {
        /// The amount.
        amount: i64,
    },
    /// The same, with the channel, which the service doesn't need.
    #[serde(rename = "BalanceWithdrawn:2")]
    BalanceWithdrawn2 {
        /// The amount.
        amount: i64,
    },
}

/// What the service keeps of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// In minor units of the currency.
    pub balance: i64,
    /// An ISO 4217 code.
    pub currency: String,
}

/// Why an event or a record could not be processed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The first event of the account is missing in the state.
    #[error("the account has no state before this event")]
    NoAccount,
    /// The balance is out of range.
    #[error("the balance is out of range")]
    OutOfRange,
    /// The notification lacks what the SDK requires.
    #[error("the notification can't be built")]
    Notification(#[source] aws_sdk_dynamodb::error::BuildError),
    /// An undecodable record could not be stored.
    #[error("the record could not be stored: {0}")]
    Store(String),
}

/// Where undecodable records are stored.
pub trait UndecodableRecords: Send + Sync {
    /// Stores a record. Storing it again replaces it.
    ///
    /// # Errors
    /// [`Failure::Store`].
    fn put(&self, record: Undecodable<'_>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The table of undecodable records. An item contains the `Reason`, the first bytes of the record (`Data`), and how many
/// the record has (`Length`).
#[derive(Debug, Clone)]
pub struct UndecodableTable {
    /// The client.
    pub client: Client,
    /// The table's name. Its partition key is `StreamId`.
    pub table: String,
}

/// The most bytes of a record that are stored. An item of DynamoDB has at most 400 KB, and a record of Kinesis up to
/// 10 MiB
/// ([DynamoDB](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html),
/// [Kinesis](https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html)). The stream retains the whole
/// record for some time.
const MAX_DATA: usize = 300_000;

impl UndecodableRecords for UndecodableTable {
    async fn put(&self, record: Undecodable<'_>) -> Result<(), Failure> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let stored = &record.data[..record.data.len().min(MAX_DATA)];
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("StreamId", text(record.stream_id))
            .item("Reason", text(&record.error.to_string()))
            .item("Length", AttributeValue::N(record.data.len().to_string()))
            .item("Data", AttributeValue::B(Blob::new(stored)));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::Store(error.into_service_error().to_string())),
        }
    }
}

/// The handler of the events.
#[derive(Debug, Clone)]
pub struct LowBalances<U> {
    /// A withdrawal that takes the balance from this amount or above to below it is notified. In minor units.
    pub threshold: i64,
    /// The name of the table of notifications. Its keys are `Account` and `Sequence`.
    pub notifications: String,
    /// Where undecodable records are stored.
    pub undecodable: U,
}

impl<U> LowBalances<U> {
    fn notification(
        &self,
        event: &Envelope<AccountEvent>,
        account: &Account,
    ) -> Result<TransactWriteItem, Failure> {
        let number = |number: i64| AttributeValue::N(number.to_string());
        let put = Put::builder()
            .table_name(&self.notifications)
            .item("Account", AttributeValue::S(event.subject.to_string()))
            .item("Sequence", AttributeValue::N(event.sequence.to_string()))
            .item("Balance", number(account.balance))
            .item("Currency", AttributeValue::S(account.currency.clone()))
            .item("Threshold", number(self.threshold))
            .build()
            .map_err(Failure::Notification)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

impl<U: UndecodableRecords> Handler for LowBalances<U> {
    const SOURCE: &'static str = "urn:millrace:accounts";
    type Event = AccountEvent;
    type State = Account;
    type Write = TransactWriteItem;
    type Error = Failure;

    async fn apply(
        &self,
        event: &Envelope<AccountEvent>,
        state: Option<Account>,
    ) -> Result<Change<Account, TransactWriteItem>, Failure> {
        let before = match &event.event {
            AccountEvent::AccountCreated { currency } => Account {
                balance: 0,
                currency: currency.clone(),
            },
            _ => state.ok_or(Failure::NoAccount)?,
        };
        let change = match event.event {
            AccountEvent::AccountCreated { .. } => 0,
            AccountEvent::BalanceCredited { amount } => amount,
            AccountEvent::BalanceWithdrawn { amount }
            | AccountEvent::BalanceWithdrawn2 { amount } => -amount,
        };
        let balance = before
            .balance
            .checked_add(change)
            .ok_or(Failure::OutOfRange)?;
        let account = Account {
            balance,
            currency: before.currency,
        };
        let is_low = before.balance >= self.threshold && balance < self.threshold;
        let notification = is_low.then(|| self.notification(event, &account));
        Ok(Change {
            writes: notification.transpose()?.into_iter().collect(),
            state: Some(account),
        })
    }

    async fn undecodable(&self, record: Undecodable<'_>) -> Result<(), Failure> {
        self.undecodable.put(record).await
    }
}
