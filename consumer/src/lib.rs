//! Consumes a stream of domain events in an AWS Lambda function, so that each event takes effect exactly once and
//! in the order of its aggregate, although Kinesis and Lambda deliver events more than once, invocations run at the
//! same time, and any of them may end in the middle.
//!
//! A service implements [`Handler`] and calls [`Consumer::process`] with the bytes of each invocation:
//!
//! ```
//! use millrace_consumer::{Change, Consumer, Envelope, Handler, MemoryPositions, Undecodable};
//! use serde::{Deserialize, Serialize};
//!
//! /// The types that the service needs. It counts all others.
//! #[derive(Debug, Clone, Deserialize)]
//! enum AccountEvent {
//!     BalanceCredited { amount: u64 },
//!     BalanceWithdrawn { amount: u64 },
//!     #[serde(rename = "BalanceWithdrawn:2")]
//!     BalanceWithdrawnFrom { amount: u64, channel: String },
//! }
//!
//! #[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
//! struct Balance {
//!     balance: u64,
//! }
//!
//! struct LowBalances;
//!
//! impl Handler for LowBalances {
//!     const SOURCE: &'static str = "urn:millrace:accounts";
//!     type Event = AccountEvent;
//!     type State = Balance;
//!     type Write = String;
//!     type Error = std::convert::Infallible;
//!
//!     async fn apply(
//!         &self,
//!         event: &Envelope<AccountEvent>,
//!         state: Option<Balance>,
//!     ) -> Result<Change<Balance, String>, Self::Error> {
//!         let before = state.unwrap_or_default().balance;
//!         let balance = match event.event {
//!             AccountEvent::BalanceCredited { amount } => before + amount,
//!             AccountEvent::BalanceWithdrawn { amount }
//!             | AccountEvent::BalanceWithdrawnFrom { amount, .. } => before - amount,
//!         };
//!         let is_low = before >= 100 && balance < 100;
//!         Ok(Change {
//!             state: Some(Balance { balance }),
//!             writes: is_low.then(|| format!("low: {}", event.id())).into_iter().collect(),
//!         })
//!     }
//!
//!     async fn undecodable(&self, record: Undecodable<'_>) -> Result<(), Self::Error> {
//!         println!("store {} bytes somewhere: {}", record.data.len(), record.error);
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), millrace_consumer::DecodeError> {
//! let consumer = Consumer::new(LowBalances, MemoryPositions::default());
//! let outcome = consumer.process(br#"{"Records": []}"#).await?;
//! assert_eq!(outcome.response.batch_item_failures, []);
//! # Ok(())
//! # }
//! ```
//!
//! The modules: [`batch`] reads what Lambda delivers, [`positions`] stores how far each aggregate is applied,
//! [`consumer`] processes a batch. With the feature `dynamodb`, `dynamodb` stores positions in a `DynamoDB` table. With
//! the feature `testing`, `testing` contains a hostile feed against which a service tests its handler.
//!
//! The default features contain nothing of the AWS SDK.

pub mod batch;
pub mod consumer;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod positions;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use batch::{BatchItemFailure, BatchResponse, KinesisBatch, KinesisRecord};
pub use consumer::{Change, Consumer, Handler, Outcome, Undecodable};
pub use millrace_core::envelope::{Received, UnknownType};
pub use millrace_core::{AggregateId, DecodeError, Envelope, Sequence, SequenceGate, Timestamp};
pub use positions::{Gap, MemoryPositions, Position, Positions, Save, Saved, StoreError};
