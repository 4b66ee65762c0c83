//! One aggregate's way through a batch: which event comes next, and from where.
//!
//! News that continues the cursor is published from the images at hand. News from before the cursor
//! is published already and dropped. Before news from beyond a hole, the missing rows are fetched
//! from the events table. An aggregate that was blocked is read from the table to its end, since
//! the stream has gone past what came while it was.
//!
//! Invariant: events leave in the order 1, 2, 3, …, each once per run.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_domain::envelope::Context;
use millrace_domain::{
    Envelope, RecordedEvent, RowError, Sequence, Settings, StoredRow, Timestamp, Version,
};
use millrace_runtime::{Ambient, ServiceError};

use crate::cursor::{Block, Cursor};
use crate::news::{Image, News};
use crate::publish::{Queue, Record, Refused};
use crate::rows::EventRows;

/// How many events a run holds ready, so that a long history takes bounded memory: it makes no more
/// ready from there on. What is being read then, a page, is added.
const MAX_READY: usize = 1_000;

/// How many bytes of records all runs of a batch hold ready together: some full puts. None makes more
/// ready from there on. What is being read then, a page of 1 MB for each run that reads, is added.
pub const MAX_READY_BYTES: usize = 32 * 1024 * 1024;

/// What a run needs of its surroundings.
#[derive(Debug)]
pub struct Sources<'a, R, A> {
    /// The events table.
    pub rows: &'a R,
    /// The domain's settings.
    pub settings: &'a Settings,
    /// Time.
    pub ambient: &'a A,
    /// What the runs of the batch hold ready.
    pub ready: &'a ReadyBytes,
}

/// How many bytes of records the runs of a batch have made ready since the last put.
#[derive(Debug, Default)]
pub struct ReadyBytes(AtomicUsize);

impl ReadyBytes {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MAX_READY_BYTES
    }
}

/// One aggregate on its way.
#[derive(Debug)]
pub struct Run {
    aggregate: String,
    first: usize,
    /// The cursor as it is stored.
    cursor: Cursor,
    context: Option<Context>,
    /// The sequence that is to be made ready next.
    next: Sequence,
    /// The last row that was handled.
    after: Option<Version>,
    /// The row before which events are missing, while they are fetched.
    gap: Option<Version>,
    images: VecDeque<Image>,
    /// A block from before, whose row is to be looked at again.
    recheck: Option<Block>,
    /// Whether the table is to be read to its end, whatever the images say.
    to_the_end: bool,
    /// The highest sequence in the batch that the cursor has passed.
    passed: Option<Sequence>,
    block: Option<Block>,
    queue: Queue,
    tally: Tally,
}

/// What came of a run, or of all runs of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Events that the batch told of.
    pub told: usize,
    /// Of these, those that were published before.
    pub repeated: usize,
    /// Events that came from the events table.
    pub repaired: usize,
    /// Events that were acknowledged.
    pub published: usize,
    /// How often an event has to be put again.
    pub retries: usize,
    /// The time of the oldest event that the batch told of and that was not published before.
    pub oldest: Option<Timestamp>,
}

/// Where a row stands, seen from the next event.
enum Place {
    /// Its event is published, or made ready, already; or it holds none.
    Past,
    /// It is what comes next, or stands in its way.
    Next,
    /// Events between are missing.
    Beyond(Version),
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            told: self.told + other.told,
            repeated: self.repeated + other.repeated,
            repaired: self.repaired + other.repaired,
            published: self.published + other.published,
            retries: self.retries + other.retries,
            oldest: self.oldest.into_iter().chain(other.oldest).min(),
        }
    }
}

impl Run {
    /// A run from this cursor over this news.
    #[must_use]
    pub fn new(aggregate: String, cursor: Cursor, news: News) -> Self {
        let last = cursor.published_through;
        Self {
            aggregate,
            first: news.first,
            context: cursor.context,
            next: last.next(),
            after: last.version(),
            gap: None,
            images: news.images.into(),
            recheck: cursor.blocked.clone(),
            to_the_end: cursor.blocked.is_some(),
            passed: None,
            block: None,
            queue: Queue::default(),
            tally: Tally::default(),
            cursor,
        }
    }

    /// What came of it so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        let (published, retries) = self.queue.tally();
        Tally {
            published,
            retries,
            ..self.tally
        }
    }

    /// The aggregate's id, as stored.
    #[must_use]
    pub fn aggregate(&self) -> &str {
        &self.aggregate
    }

    /// The place of the aggregate's first record in the batch.
    #[must_use]
    pub const fn first(&self) -> usize {
        self.first
    }

    /// The events that are ready to be published.
    pub const fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Whether everything that the batch told of is published, or set aside with its reason.
    #[must_use]
    pub fn is_through(&self) -> bool {
        self.queue.waiting() == 0
            && (self.block.is_some() || (self.images.is_empty() && !self.to_the_end))
    }

    /// Whether it stands still for a reason that the cursor tells.
    #[must_use]
    pub const fn is_blocked(&self) -> bool {
        self.block.is_some()
    }

    /// The cursor as it is to be stored now; `None` where the stored one is right already.
    ///
    /// Invariant: it never passes what was acknowledged.
    #[must_use]
    pub fn unsaved_cursor(&self) -> Option<Cursor> {
        let published_through = self
            .queue
            .acknowledged()
            .unwrap_or(self.cursor.published_through);
        // An old block stays until all is through. What came while it stood is on nobody's way any
        // more, and the block alone tells the next run to read the table to its end.
        let blocked = if self.is_through() {
            self.block.clone()
        } else {
            self.cursor.blocked.clone()
        };
        let context = self.context.filter(|_| published_through != Sequence::NONE);
        let cursor = Cursor {
            published_through,
            context,
            blocked,
        };
        (cursor != self.cursor).then_some(cursor)
    }

    /// The block that the stored cursor holds.
    #[must_use]
    pub const fn stored_block(&self) -> Option<&Block> {
        self.cursor.blocked.as_ref()
    }

    /// Takes note that this cursor is the stored one now.
    pub fn saved(&mut self, cursor: Cursor) {
        self.cursor = cursor;
    }

    /// Makes events ready, up to a limit; once they are published, call it again for the rest.
    ///
    /// # Errors
    /// [`ServiceError`] when the table could not be read. What was made ready before that stays,
    /// and nothing was passed over.
    pub async fn fill<R: EventRows, A: Ambient>(
        &mut self,
        sources: &Sources<'_, R, A>,
    ) -> Result<(), ServiceError> {
        self.look_again_at_the_block(sources).await?;
        while self.block.is_none() && self.queue.waiting() < MAX_READY && !sources.ready.is_full() {
            if self.to_the_end {
                self.to_the_end = self.fetch(None, sources).await?;
                continue;
            }
            if let Some(version) = self.gap {
                if !self.fetch(Some(version), sources).await? {
                    self.gap = None;
                    if self.block.is_none() && self.is_beyond(version) {
                        self.block_at_missing(version, sources.ambient);
                    }
                }
                continue;
            }
            let Some(image) = self.images.front() else {
                break;
            };
            match self.place(image) {
                Place::Past => {
                    let is_event = matches!(image.row, Ok(StoredRow::Event(_)));
                    self.tally.told += usize::from(is_event);
                    self.tally.repeated += usize::from(is_event);
                    self.passed = self.passed.max(image.version.map(Version::sequence));
                    self.images.pop_front();
                }
                Place::Beyond(version) => self.gap = Some(version),
                Place::Next => {
                    let image = image.clone();
                    if let Ok(StoredRow::Event(event)) = &image.row {
                        self.tally.told += 1;
                        let oldest = self.tally.oldest.unwrap_or(event.time);
                        self.tally.oldest = Some(oldest.min(event.time));
                    }
                    self.take_image(image, sources).await?;
                    self.images.pop_front();
                }
            }
        }
        self.check_the_cursor(sources).await
    }

    /// If the batch contains only events before the cursor's, either these are duplicates, or the
    /// cursor is ahead of the events table: the cursor is wrong, or the table was restored to an
    /// earlier state. In the second case the row of the cursor's event is missing, and taking the
    /// events for duplicates would lose them.
    async fn check_the_cursor<R: EventRows, A: Ambient>(
        &mut self,
        sources: &Sources<'_, R, A>,
    ) -> Result<(), ServiceError> {
        let cursor = self.cursor.published_through;
        let is_idle = self.block.is_none() && self.next == cursor.next();
        let (Some(passed), Some(version)) = (self.passed, cursor.version()) else {
            return Ok(());
        };
        if !is_idle || passed >= cursor {
            return Ok(());
        }
        let version = version.to_string();
        if sources.rows.row(&self.aggregate, &version).await?.is_none() {
            let reason = format!("the cursor is at event {cursor}, which the events table lacks");
            self.set_block(Sequence::NONE, Some(version), reason, sources.ambient);
        }
        self.passed = None;
        Ok(())
    }

    /// Blocks at the event that can't be stored, if there is one.
    pub fn block_at_refused(&mut self, ambient: &impl Ambient) {
        if let Some(Refused { sequence, refusal }) = self.queue.take_refused() {
            let row = sequence.version().map(|version| version.to_string());
            self.set_block(sequence, row, refusal.to_string(), ambient);
        }
    }

    fn place(&self, image: &Image) -> Place {
        let Some(version) = image.version else {
            return Place::Next;
        };
        match &image.row {
            Ok(StoredRow::Snapshot(_)) => Place::Past,
            _ if self.is_beyond(version) => Place::Beyond(version),
            // Damage at a snapshot's place was never published, so it is never in the past.
            Err(_) if version.is_snapshot() => Place::Next,
            _ if version.sequence() < self.next => Place::Past,
            Ok(StoredRow::Event(_)) | Err(_) => Place::Next,
        }
    }

    /// Whether events before this row are neither published nor made ready.
    fn is_beyond(&self, version: Version) -> bool {
        let sequence = version.sequence();
        // A snapshot's sequence is that of the event before it, which it stands behind.
        if version.is_snapshot() {
            sequence >= self.next
        } else {
            sequence > self.next
        }
    }

    /// Deals with news. An image that can't be understood is only news: the table tells whether
    /// the row is still so.
    async fn take_image<R: EventRows, A: Ambient>(
        &mut self,
        image: Image,
        sources: &Sources<'_, R, A>,
    ) -> Result<(), ServiceError> {
        let (Err(_), Some(stored_version)) = (&image.row, &image.stored_version) else {
            return self.take(image, sources).await;
        };
        if let Some(row) = sources.rows.row(&self.aggregate, stored_version).await? {
            return self
                .take(Image::read(&row, sources.settings), sources)
                .await;
        }
        // Gone. If an event belongs there, it is missing; else nothing is.
        if let Some(version) = image.version.filter(|version| !version.is_snapshot()) {
            self.block_at_missing(version, sources.ambient);
        }
        Ok(())
    }

    /// Makes a row's event ready, or blocks at it.
    async fn take<R: EventRows, A: Ambient>(
        &mut self,
        image: Image,
        sources: &Sources<'_, R, A>,
    ) -> Result<(), ServiceError> {
        match image.row {
            Ok(StoredRow::Event(event)) => {
                if self.context.is_none() && event.version != Version::FIRST {
                    self.context = self.context_of_the_first_row(sources).await?;
                }
                self.make_ready(&event, sources);
            }
            Ok(StoredRow::Snapshot(snapshot)) => {
                self.after = self.after.max(Some(snapshot.version));
            }
            Err(error) => self.block_at_row(image.stored_version, &error, sources.ambient),
        }
        Ok(())
    }

    fn make_ready<R, A: Ambient>(&mut self, event: &RecordedEvent, sources: &Sources<'_, R, A>) {
        self.context = Context::after(self.context, event);
        let Some(context) = self.context else {
            let error = RowError::new(
                millrace_domain::row::ID,
                "has no first row that can be read",
            );
            self.block_at_row(Some(event.version.to_string()), &error, sources.ambient);
            return;
        };
        let record = Record {
            partition_key: self.aggregate.clone(),
            data: Envelope::of(event, context).to_bytes(),
        };
        sources.ready.add(record.size());
        self.queue.push(self.next, record);
        self.next = self.next.next();
        self.after = Some(event.version);
    }

    /// For a cursor that holds no context although events are published: the first row tells it.
    async fn context_of_the_first_row<R: EventRows, A: Ambient>(
        &self,
        sources: &Sources<'_, R, A>,
    ) -> Result<Option<Context>, ServiceError> {
        let first = sources
            .rows
            .row(&self.aggregate, &Version::FIRST.to_string())
            .await?;
        Ok(
            first.and_then(|row| match StoredRow::read(&row, sources.settings) {
                Ok(StoredRow::Event(event)) => Context::after(None, &event),
                Ok(StoredRow::Snapshot(_)) | Err(_) => None,
            }),
        )
    }

    /// Fetches the next page of rows and makes them ready. Answers whether more may follow.
    async fn fetch<R: EventRows, A: Ambient>(
        &mut self,
        before: Option<Version>,
        sources: &Sources<'_, R, A>,
    ) -> Result<bool, ServiceError> {
        if before.is_some() && before <= self.after {
            return Ok(false);
        }
        let page = sources
            .rows
            .page(&self.aggregate, self.after, before)
            .await?;
        let more = page.more && !page.rows.is_empty();
        for row in &page.rows {
            let image = Image::read(row, sources.settings);
            match self.place(&image) {
                Place::Beyond(version) => self.block_at_missing(version, sources.ambient),
                Place::Past | Place::Next => {
                    let is_event = matches!(image.row, Ok(StoredRow::Event(_)));
                    self.tally.repaired += usize::from(is_event);
                    self.take(image, sources).await?;
                }
            }
            if self.block.is_some() {
                return Ok(false);
            }
        }
        Ok(more)
    }

    /// Lifts the block once its row can be decoded, or is gone. The block of a cursor that was ahead
    /// stays.
    async fn look_again_at_the_block<R: EventRows, A: Ambient>(
        &mut self,
        sources: &Sources<'_, R, A>,
    ) -> Result<(), ServiceError> {
        if let Some(block) = &self.recheck {
            if block.is_cursor_ahead() {
                self.block = Some(block.clone());
            } else if let Some(version) = &block.row {
                let row = sources.rows.row(&self.aggregate, version).await?;
                if row.is_some_and(|row| StoredRow::read(&row, sources.settings).is_err()) {
                    self.block = Some(block.clone());
                }
            }
            self.recheck = None;
        }
        Ok(())
    }

    fn block_at_row(&mut self, row: Option<String>, error: &RowError, ambient: &impl Ambient) {
        self.set_block(self.next, row, error.to_string(), ambient);
    }

    fn block_at_missing(&mut self, found: Version, ambient: &impl Ambient) {
        let missing = self.next.version().unwrap_or(Version::FIRST);
        let reason = if found == missing {
            format!("row {missing} is missing")
        } else {
            format!("row {missing} is missing, and row {found} is there")
        };
        self.set_block(self.next, None, reason, ambient);
    }

    fn set_block(
        &mut self,
        sequence: Sequence,
        row: Option<String>,
        reason: String,
        ambient: &impl Ambient,
    ) {
        let block = Block {
            sequence,
            row,
            reason,
            since: ambient.now(),
        };
        // The same trouble as before has been there since before.
        let same = self.cursor.blocked.clone().filter(|before| {
            (before.sequence, &before.row, &before.reason)
                == (block.sequence, &block.row, &block.reason)
        });
        self.block = Some(same.unwrap_or(block));
    }
}
