//! The translator's handler with services in memory that answer at once: from an invocation's bytes to the records
//! that are put on the stream and the cursors that are saved.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lambda_runtime::LambdaEvent;
use millrace_core::{Attributes, Sequence, Version};
use millrace_runtime::ServiceError;
use millrace_runtime::batch_put::RecordOutcome;
use millrace_translator::cursor::{Block, Cursor};
use millrace_translator::handler::handle;
use millrace_translator::ports::{
    Advance, CursorStore, EventRows, Loaded, Page, Publisher, PutError, Record, Saved,
};
use millrace_translator::service::Translator;
use tokio::runtime::Runtime;

use crate::ambient::{FixedAmbient, context, runtime};
use crate::{Published, accounts};

/// The handler and its services.
#[derive(Debug)]
pub struct Planner {
    runtime: Runtime,
    services: Services,
}

/// What the services have received, if it is kept.
#[derive(Debug, Default)]
pub struct Services {
    keeps: bool,
    received: Mutex<Received>,
}

#[derive(Debug, Default)]
struct Received {
    records: Vec<Record>,
    cursors: BTreeMap<String, Sequence>,
}

impl Planner {
    /// A handler whose services forget what they receive, or keep it for [`Planner::received`].
    ///
    /// # Panics
    /// If the runtime can't be built.
    #[must_use]
    pub fn new(keeps: bool) -> Self {
        Self {
            runtime: runtime(),
            services: Services {
                keeps,
                ..Services::default()
            },
        }
    }

    /// Handles an invocation with these bytes.
    ///
    /// # Panics
    /// If an aggregate of the batch is not completed.
    pub fn handle(&self, body: &Bytes) {
        let translator = Translator {
            domain: accounts().0,
            rows: &self.services,
            cursors: &self.services,
            publisher: &self.services,
            ambient: FixedAmbient,
        };
        let event = LambdaEvent::new(body.clone(), context());
        let response = self.runtime.block_on(handle(&translator, event));
        let failures = response.expect("an event").batch_item_failures;
        assert!(failures.is_empty(), "an aggregate is not completed");
    }

    /// The events that were put, and the sequence of each aggregate's cursor.
    #[must_use]
    pub fn received(&self) -> (Published, BTreeMap<String, Sequence>) {
        let received = self.services.received();
        let mut published = Published::new();
        for record in &received.records {
            let events = published.entry(record.partition_key.clone()).or_default();
            events.push(record.data.clone());
        }
        (published, received.cursors.clone())
    }
}

impl Services {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The batch contains every event, so no row is read.
fn no_row() -> ServiceError {
    ServiceError::permanent("reading a row", "the batch contains it")
}

impl EventRows for &Services {
    async fn page(
        &self,
        _: &str,
        _: Option<Version>,
        _: Option<Version>,
        _: usize,
    ) -> Result<Page, ServiceError> {
        Err(no_row())
    }

    async fn row(&self, _: &str, _: &str) -> Result<Option<Attributes>, ServiceError> {
        Err(no_row())
    }
}

impl CursorStore for &Services {
    async fn load(&self, _: &[&str]) -> Result<Loaded, ServiceError> {
        Ok(Loaded::default())
    }

    async fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        _: &Cursor,
    ) -> Result<Saved, ServiceError> {
        if self.keeps {
            let cursors = &mut self.received().cursors;
            cursors.insert(aggregate.to_owned(), cursor.published_through);
        }
        Ok(Saved::Stored)
    }

    async fn advance(&self, advances: &[Advance<'_>]) -> Result<Vec<bool>, ServiceError> {
        if self.keeps {
            let cursors = &mut self.received().cursors;
            let advances = advances.iter();
            cursors
                .extend(advances.map(|it| (it.aggregate.to_owned(), it.cursor.published_through)));
        }
        Ok(vec![true; advances.len()])
    }

    async fn mark(&self, _: &str, _: &Block) -> Result<(), ServiceError> {
        Err(no_row())
    }
}

impl Publisher for &Services {
    async fn put(&self, records: &[Record]) -> Result<Vec<RecordOutcome>, PutError> {
        if self.keeps {
            self.received().records.extend_from_slice(records);
        }
        Ok(vec![Ok(()); records.len()])
    }
}
