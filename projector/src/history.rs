//! Writing the transaction history: any number of items, in calls that the service takes.

use std::time::Duration;

use millrace_domain::Attributes;
use millrace_runtime::{Ambient, Backoff, ServiceError};

use crate::model::{MAX_HISTORY_ITEMS, ReadModel};

/// How often items that a call left unprocessed are sent again, with backoff as
/// [`BatchWriteItem`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html)'s
/// page advises.
const MAX_BATCH_TRIES: u32 = 6;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(20),
    cap: Duration::from_secs(1),
};

/// Puts history items, each in place of whatever is there. Items that a call leaves unprocessed are
/// sent again, and only those.
///
/// # Errors
/// [`ServiceError`]: some of the items may be stored. Putting them again changes nothing.
pub async fn put_all(
    model: &impl ReadModel,
    ambient: &impl Ambient,
    mut items: Vec<Attributes>,
) -> Result<(), ServiceError> {
    while !items.is_empty() {
        let rest = items.split_off(items.len().min(MAX_HISTORY_ITEMS));
        put(model, ambient, items).await?;
        items = rest;
    }
    Ok(())
}

async fn put(
    model: &impl ReadModel,
    ambient: &impl Ambient,
    mut items: Vec<Attributes>,
) -> Result<(), ServiceError> {
    for retry in 0..MAX_BATCH_TRIES {
        items = model.put_history(items).await?;
        if items.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(BACKOFF.delay(retry, ambient)).await;
    }
    Err(ServiceError::new(
        "BatchWriteItem on the history table",
        "each attempt left items unprocessed",
    ))
}
