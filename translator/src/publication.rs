//! The publication of one aggregate in a batch: which event is next, and where it is read from.
//!
//! An event that directly follows the cursor is published from the row image in its notification. An
//! event up to the cursor's sequence is a duplicate. If events are missing before an event of a
//! notification, their rows are read from the events table first. If an aggregate was blocked, its rows
//! are read from the events table to the end, because the notifications that arrived while it was
//! blocked are not delivered again.
//!
//! [`Publication`] is a state machine without I/O: [`Publication::next_step`] returns the read that its
//! phase needs, and the driver [`Publication::prepare`] passes each result back to it.
//!
//! Invariant: events are made ready in the order 1, 2, 3, …, each once per batch.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_core::cursor::context_columns;
use millrace_core::{
    Attributes, DecodeError, Domain, EncodeError, Envelope, RecordedEvent, Sequence, StoredRow,
    Timestamp, TraceId, TraceParent, Version,
};
use millrace_runtime::{
    Ambient, Backoff, Budget, Chain, ConcurrentCalls, Panicked, ServiceError, isolated,
};

use crate::cursor::{Block, Cursor, Parked, Suspension, missing_row};
use crate::notification::{Notifications, RowImage};
use crate::ports::{EventRows, MAX_PAGE_ROWS, Page, Record};
use crate::publishing::{Queue, Refused};

/// The most events that an aggregate has ready, so that a long history needs bounded memory.
const MAX_READY: usize = 1_000;

/// The most bytes of records that all aggregates of a batch have ready together, enough for several full
/// puts, divided by the number of aggregates. An aggregate may have one event ready even if its share is
/// smaller; once the whole limit is reached, aggregates without one wait.
pub const MAX_READY_BYTES: usize = 32 * 1024 * 1024;

/// The most events of an aggregate that one invocation publishes before the aggregate is parked. It is above
/// the mapping's batch size of 1,000, so an aggregate's own notifications never park it.
pub const MAX_PENDING: u64 = 2_000;

/// The size of a row by which the number of rows of a page is chosen. Rows are usually smaller. Larger
/// ones are read a second time if they exceed the aggregate's share.
const USUAL_ROW_BYTES: usize = 1024;

/// The most service calls that are in flight for the aggregates of a batch at the same time, besides puts.
pub(crate) const CONCURRENCY: usize = 16;

/// Before a read or a write is retried.
pub(crate) const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(2),
};

/// An event whose strings may be borrowed from the invocation's bytes.
type NotifiedEvent<'a, D> = RecordedEvent<<D as Domain>::Event, Cow<'a, str>>;

/// What a publication needs besides its own state.
pub(crate) struct Sources<'a, D, R, A> {
    pub(crate) domain: &'a D,
    pub(crate) rows: &'a R,
    pub(crate) ambient: &'a A,
    pub(crate) ready: ReadyBytes,
    pub(crate) calls: ConcurrentCalls,
    pub(crate) budget: Budget,
}

impl<D, R, A: Ambient> Sources<'_, D, R, A> {
    /// [`Calls::retry`] until the budget is spent.
    async fn retry<T, F: Future<Output = Result<T, ServiceError>>>(
        &self,
        operation: impl FnMut() -> F,
    ) -> Result<T, ServiceError> {
        self.calls
            .retry(self.budget, self.ambient, BACKOFF, operation)
            .await
    }
}

/// The bytes of records that the aggregates of a batch have ready.
#[derive(Debug)]
pub(crate) struct ReadyBytes {
    bytes: AtomicUsize,
    /// The number of aggregates among which the bytes are divided.
    aggregates: AtomicUsize,
}

impl ReadyBytes {
    /// None yet, of this many aggregates.
    pub(crate) const fn new(aggregates: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            aggregates: AtomicUsize::new(aggregates),
        }
    }

    /// Notes that an aggregate has ended: the others' shares grow.
    pub(crate) fn end_aggregate(&self) {
        self.aggregates.fetch_sub(1, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that so many bytes are no longer pending.
    pub(crate) fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= MAX_READY_BYTES
    }

    /// The bytes that one aggregate may have ready. It may have one event ready of any size.
    fn share(&self) -> usize {
        MAX_READY_BYTES / self.aggregates.load(Ordering::Relaxed).max(1)
    }

    /// The number of rows of a page that fill a share.
    fn page_rows(&self) -> usize {
        (self.share() / USUAL_ROW_BYTES).clamp(1, MAX_PAGE_ROWS)
    }
}

/// The publication of one aggregate's pending events.
pub(crate) struct Publication<'a, D: Domain> {
    aggregate: String,
    first_position: usize,
    trace_id: Option<TraceId>,
    /// The cursor as it is stored.
    stored: Cursor,
    /// The cursor's sequence when the batch began.
    begin: Sequence,
    phase: Phase<D>,
    notifications: VecDeque<RowImage<'a, D>>,
    /// The highest sequence of a notification that was a duplicate.
    highest_duplicate: Option<Sequence>,
    announced: Announced,
    mode: Mode,
    /// The sequence that is made ready next.
    next: Sequence,
    /// The last row whose event is published or ready.
    last_row: Option<Version>,
    context: Context<D::Context>,
    /// The context that the cursor has to contain after an event is acknowledged, for each ready event
    /// that changes the context.
    ready_contexts: VecDeque<(Sequence, Attributes)>,
    queue: Queue,
    counters: Counters,
}

/// What the notifications of a batch announce.
#[derive(Debug, Clone, Default)]
struct Announced {
    /// The highest sequence.
    through: Sequence,
    /// The first row that reading the rows after the cursor may not find, if there is one.
    misplaced: Option<Misplaced>,
}

/// An undecodable row with a version that no event has: a snapshot's, or none that can be read. It was never
/// published, wherever the cursor is.
#[derive(Debug, Clone)]
struct Misplaced {
    version: Option<Version>,
    /// The row's `Version` as stored, if it is a number.
    row: Option<String>,
    /// Why the row can't be decoded.
    reason: String,
}

/// What a publication is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The events of a batch's notifications. An aggregate with more than [`MAX_PENDING`] is parked.
    Notified,
    /// All pending events, also of a parked aggregate.
    Pending,
}

/// The phase of a publication: what it does next.
enum Phase<D: Domain> {
    /// The row that the cursor's block names is read again.
    ExamineBlock { block: Block, row: String },
    /// Pending events are made ready.
    Publish(Source),
    /// The image of the first notification can't be decoded, so its row is read again: the row may have
    /// been repaired.
    ReadNotifiedRow(String),
    /// The context is folded from the first event on; then publishing continues.
    RestoreContext(Restoration<D>),
    /// All notifications were duplicates: the row of the cursor's own event is read, to distinguish a
    /// late redelivery from a cursor that is ahead of the events table.
    VerifyCursor(Version),
    /// Every notification is handled.
    Completed,
    /// Publication is suspended at an event.
    Blocked(Block),
    /// Publication is suspended because too many events are pending.
    Parked(Parked),
}

/// Where the next event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The notifications.
    Notifications,
    /// The rows before the row of a notification, which has this version: gap repair.
    RowsBefore(Version),
    /// All rows of the aggregate that follow the published ones.
    AllRows,
}

struct Restoration<D: Domain> {
    context: D::Context,
    expected: Sequence,
    last_row: Option<Version>,
    then: Source,
}

/// The data of earlier events that later public events repeat.
enum Context<C> {
    /// The cursor contains no context.
    Unknown,
    /// The context in the cursor. In a cursor of a previous release, a part may be missing.
    Stored(C),
    /// The context that was folded from the first event on.
    Complete(C),
}

/// The next step of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Reads the row with this `Version`, as stored.
    ReadRow(String),
    /// Reads a page of the rows between these two versions, which are excluded.
    ReadPage {
        after: Option<Version>,
        before: Option<Version>,
    },
    /// Handles the next notification, and reads nothing.
    HandleNotification,
    /// Stops: the publication is completed or blocked.
    Stop,
}

/// The result of a step's read.
enum Read {
    Row(Option<Attributes>),
    Page(Page),
    Nothing,
}

/// What a transition needs besides the state.
struct Inputs<'a, D> {
    domain: &'a D,
    now: Timestamp,
    ready: &'a ReadyBytes,
}

/// The counters of one aggregate's publication, or their sum over all aggregates of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Events that have a notification in the batch.
    pub notified: usize,
    /// Events among them that were published before.
    pub duplicates: usize,
    /// Events that were read from the events table.
    pub repaired: usize,
    /// Events that were acknowledged.
    pub published: usize,
    /// Retries: how often an event was put again.
    pub retries: usize,
    /// The most events of one aggregate that were acknowledged, each by a put of its own.
    pub longest_chain: usize,
    /// The time of the oldest event that has a notification in the batch and was not published before.
    pub oldest: Option<Timestamp>,
}

/// A row's position relative to the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The row's event is published or ready, or the row is a snapshot.
    Past,
    /// The row is the next event's, or no event can be made ready before the row is repaired.
    Next,
    /// Events before the row are missing.
    Beyond(Version),
}

impl Counters {
    /// Adds two aggregates' counters; `oldest` is the earlier of the two.
    pub(crate) fn add(self, other: Self) -> Self {
        Self {
            notified: self.notified + other.notified,
            duplicates: self.duplicates + other.duplicates,
            repaired: self.repaired + other.repaired,
            published: self.published + other.published,
            retries: self.retries + other.retries,
            longest_chain: self.longest_chain.max(other.longest_chain),
            oldest: self.oldest.into_iter().chain(other.oldest).min(),
        }
    }
}

impl<'a, D: Domain> Publication<'a, D> {
    /// A publication that starts at this cursor and publishes the events of the batch's notifications.
    ///
    /// # Errors
    /// [`DecodeError`] if the cursor's context can't be read.
    pub(crate) fn new(
        aggregate: String,
        cursor: Cursor,
        notifications: Notifications<'a, D>,
        mode: Mode,
        now: Timestamp,
    ) -> Result<Self, DecodeError> {
        let images = || notifications.images.iter();
        let sequences = images().filter_map(|image| image.version.map(Version::sequence));
        let announced = Announced {
            through: sequences.max().unwrap_or_default(),
            misplaced: images().find_map(misplaced),
        };
        Self::announced(aggregate, cursor, notifications, announced, mode, now)
    }

    fn announced(
        aggregate: String,
        cursor: Cursor,
        notifications: Notifications<'a, D>,
        announced: Announced,
        mode: Mode,
        now: Timestamp,
    ) -> Result<Self, DecodeError> {
        let begin = cursor.published_through;
        let context = isolated(|| cursor.context::<D>())
            .unwrap_or_else(|_| Err(DecodeError::whole("decoding the context panicked")))?;
        let context = match context {
            None if begin == Sequence::NONE || size_of::<D::Context>() == 0 => {
                Context::Complete(D::Context::default())
            }
            None => Context::Unknown,
            Some(context) => Context::Stored(context),
        };
        let source = match mode {
            Mode::Notified => Source::Notifications,
            Mode::Pending => Source::AllRows,
        };
        let phase = match &cursor.suspended {
            Some(Suspension::Blocked(block)) if block.is_cursor_ahead() => {
                Phase::Blocked(block.clone())
            }
            Some(Suspension::Blocked(block)) => match block.row.clone() {
                Some(row) => Phase::ExamineBlock {
                    block: block.clone(),
                    row,
                },
                None => Phase::Publish(Source::AllRows),
            },
            Some(Suspension::Parked(_)) | None => Phase::Publish(source),
        };
        let mut publication = Self {
            aggregate,
            first_position: notifications.first_position,
            trace_id: notifications.trace_id,
            stored: cursor,
            begin,
            phase,
            notifications: notifications.images.into(),
            highest_duplicate: None,
            announced,
            mode,
            next: begin.next(),
            last_row: begin.version(),
            context,
            ready_contexts: VecDeque::new(),
            queue: Queue::default(),
            counters: Counters::default(),
        };
        if matches!(&publication.stored.suspended, Some(Suspension::Blocked(block)) if !block.is_cursor_ahead())
        {
            publication.examine_misplaced(now);
        }
        let is_parked = publication.stored.parked().is_some();
        let announced = publication.announced.through;
        let pending = announced.get().saturating_sub(begin.get());
        if mode == Mode::Notified
            && (is_parked || (publication.stored.suspended.is_none() && pending > MAX_PENDING))
        {
            publication.park(now);
        }
        Ok(publication)
    }

    /// Reads a misplaced row of the notifications before anything else, instead of taking the notification:
    /// the rows after the cursor may not include it. The block that the cursor contains is found again,
    /// because its row does follow the cursor.
    fn examine_misplaced(&mut self, now: Timestamp) {
        let Some(Misplaced { row, reason, .. }) = self.misplaced() else {
            return;
        };
        let block = self.block_since(self.next, row, reason, now);
        self.phase = match block.row.clone() {
            Some(row) => Phase::ExamineBlock { block, row },
            None => Phase::Blocked(block),
        };
    }

    /// The misplaced row, unless reading the rows after the cursor will find it.
    fn misplaced(&self) -> Option<Misplaced> {
        let misplaced = self.announced.misplaced.clone()?;
        let is_found = misplaced
            .version
            .is_some_and(|version| self.is_beyond(version));
        (!is_found).then_some(misplaced)
    }

    /// Suspends publication, and announces the events of the notifications in the marker. The marker has no
    /// place for a misplaced row: it blocks the aggregate, so that it is not forgotten.
    fn park(&mut self, now: Timestamp) {
        if let Some(Misplaced { row, reason, .. }) = self.misplaced() {
            self.set_block(self.next, row, reason, now);
            return;
        }
        let ready = Sequence::new(self.next.get() - 1).unwrap_or_default();
        let through = self.announced.through.max(ready);
        let before = self.stored.parked();
        self.phase = Phase::Parked(Parked {
            through: before.map_or(through, |before| before.through.max(through)),
            since: before.map_or(now, |before| before.since),
        });
    }

    /// Parks the aggregate if as many events were made ready as one invocation publishes, and more remain.
    fn park_if_too_many(&mut self, now: Timestamp) {
        let may_have_more = match self.phase {
            Phase::Publish(Source::Notifications) => !self.notifications.is_empty(),
            Phase::Publish(Source::RowsBefore(_) | Source::AllRows) => true,
            _ => false,
        };
        let ready = self.next.get() - self.begin.next().get();
        if self.mode == Mode::Notified && may_have_more && ready >= MAX_PENDING {
            self.park(now);
        }
    }

    /// Ends a publication of all pending events that has not completed: the aggregate stays suspended, or is
    /// parked, so that it is continued.
    pub(crate) fn park_unfinished(&mut self, now: Timestamp) {
        if self.mode == Mode::Notified || self.is_completed() {
            return;
        }
        self.queue.clear();
        match self.stored.suspended.clone() {
            Some(Suspension::Blocked(block)) => self.phase = Phase::Blocked(block),
            Some(Suspension::Parked(parked)) => self.phase = Phase::Parked(parked),
            None => {
                self.next = self.queue.acknowledged().unwrap_or(self.begin).next();
                self.park(now);
            }
        }
    }

    /// The highest sequence that is published, according to the stored cursor.
    pub(crate) const fn published_through(&self) -> Sequence {
        self.stored.published_through
    }

    /// Whether the aggregate is parked.
    pub(crate) const fn is_parked(&self) -> bool {
        matches!(self.phase, Phase::Parked(_))
    }

    /// The same publication from a cursor that was loaded again, because another invocation has changed the
    /// stored one. The rows of its notifications are read from the events table, as all others after the
    /// cursor. The queue has to be empty.
    ///
    /// # Errors
    /// [`DecodeError`] if the cursor's context can't be read.
    pub(crate) fn restarted(&self, cursor: Cursor, now: Timestamp) -> Result<Self, DecodeError> {
        let notifications = Notifications {
            first_position: self.first_position,
            trace_id: self.trace_id,
            images: Vec::new(),
        };
        let mut restarted = Self::announced(
            self.aggregate.clone(),
            cursor,
            notifications,
            self.announced.clone(),
            self.mode,
            now,
        )?;
        if let Phase::Publish(source) = &mut restarted.phase {
            *source = Source::AllRows;
        }
        if !matches!(restarted.phase, Phase::Blocked(_) | Phase::Parked(_)) {
            restarted.examine_misplaced(now);
        }
        if self.announced.through > Sequence::NONE {
            restarted.highest_duplicate = Some(self.announced.through);
        }
        restarted.counters = self.counters();
        Ok(restarted)
    }

    /// The counters up to now.
    pub(crate) const fn counters(&self) -> Counters {
        let (acknowledged, retries) = self.queue.counters();
        let published = self.counters.published + acknowledged;
        Counters {
            published,
            retries: self.counters.retries + retries,
            longest_chain: published,
            ..self.counters
        }
    }

    /// The aggregate's id, as stored.
    pub(crate) fn aggregate(&self) -> &str {
        &self.aggregate
    }

    /// The position of the aggregate's first record in the batch.
    pub(crate) const fn first_position(&self) -> usize {
        self.first_position
    }

    /// The trace of the aggregate's first record in the batch, for the log.
    pub(crate) const fn trace_id(&self) -> Option<TraceId> {
        self.trace_id
    }

    /// The events that are ready to be published.
    pub(crate) const fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Whether every event of the batch's notifications is published, or publication is suspended.
    pub(crate) fn is_completed(&self) -> bool {
        let has_ended = matches!(
            self.phase,
            Phase::Completed | Phase::Blocked(_) | Phase::Parked(_)
        );
        self.queue.pending() == 0 && has_ended
    }

    /// The block, if publication is suspended.
    pub(crate) const fn block(&self) -> Option<&Block> {
        match &self.phase {
            Phase::Blocked(block) => Some(block),
            _ => None,
        }
    }

    /// The cursor as it is stored.
    pub(crate) const fn stored_cursor(&self) -> &Cursor {
        &self.stored
    }

    /// The cursor that has to be stored now; `None` if the stored cursor is already equal to it.
    ///
    /// Invariant: it never passes what Kinesis has acknowledged, and its context is that after its last
    /// event.
    pub(crate) fn unsaved_cursor(&self) -> Option<Cursor> {
        let acknowledged = self.queue.acknowledged();
        let context = self
            .ready_contexts
            .iter()
            .take_while(|(sequence, _)| Some(*sequence) <= acknowledged)
            .last()
            .map(|(_, columns)| columns.clone());
        // A previous marker stays until all events are published: the notifications that arrived since are
        // not delivered again, and only the marker causes the table to be read to its end.
        let suspended = match &self.phase {
            _ if !self.is_completed() => self.stored.suspended.clone(),
            Phase::Blocked(block) => Some(Suspension::Blocked(block.clone())),
            Phase::Parked(parked) => Some(Suspension::Parked(*parked)),
            _ => None,
        };
        let cursor = Cursor {
            published_through: acknowledged.unwrap_or(self.stored.published_through),
            context: context.or_else(|| self.stored.context.clone()),
            suspended,
        };
        (cursor != self.stored).then_some(cursor)
    }

    /// Notes that this cursor has been stored.
    pub(crate) fn cursor_saved(&mut self, cursor: Cursor) {
        let published_through = cursor.published_through;
        self.ready_contexts
            .retain(|(sequence, _)| *sequence > published_through);
        self.stored = cursor;
    }

    /// Makes pending events ready, up to the limits. After they are published, the next call continues. A
    /// call that finds the batch's limit reached may make none ready.
    ///
    /// # Errors
    /// [`ServiceError`] if the table could not be read before the budget was spent. Events that are ready
    /// stay ready, and no event is skipped.
    pub(crate) async fn prepare<R: EventRows, A: Ambient>(
        &mut self,
        sources: &Sources<'_, D, R, A>,
    ) -> Result<(), ServiceError> {
        let rows = sources.rows;
        while !self.is_full(&sources.ready) {
            self.park_if_too_many(sources.ambient.now());
            let aggregate = &self.aggregate;
            let step = self.next_step();
            let limit = match self.phase {
                Phase::RestoreContext(_) => MAX_PAGE_ROWS,
                _ => sources.ready.page_rows(),
            };
            let read = match &step {
                Step::ReadRow(version) => {
                    let row = sources.retry(|| rows.row(aggregate, version)).await;
                    row.map(Read::Row)
                }
                Step::ReadPage { after, before } => {
                    let read = || rows.page(aggregate, *after, *before, limit);
                    sources.retry(read).await.map(Read::Page)
                }
                Step::HandleNotification => Ok(Read::Nothing),
                Step::Stop => break,
            };
            let inputs = Inputs {
                domain: sources.domain,
                now: sources.ambient.now(),
                ready: &sources.ready,
            };
            match read? {
                Read::Row(row) => self.row_read(row, &inputs),
                Read::Page(page) => self.page_read(&page, &inputs),
                Read::Nothing => self.handle_notification(&inputs),
            }
        }
        Ok(())
    }

    /// Whether as many events are ready as may be.
    fn is_full(&self, ready: &ReadyBytes) -> bool {
        let (events, bytes) = (self.queue.pending(), self.queue.bytes());
        // One more event of the usual size would exceed the share.
        let has_its_share =
            events >= MAX_READY || (events > 0 && bytes + bytes / events > ready.share());
        has_its_share || ready.is_full()
    }

    /// Blocks at the event that the stream refused, if there is one.
    pub(crate) fn block_at_refused(&mut self, now: Timestamp) {
        if let Some(Refused { sequence, refusal }) = self.queue.take_refused() {
            let row = sequence.version().map(|version| version.to_string());
            self.set_block(sequence, row, refusal.to_string(), now);
        }
    }

    /// Blocks the aggregate because its rows can't be read or its cursor can't be saved, for a reason that
    /// is the aggregate's own.
    pub(crate) fn block_at_error(&mut self, problem: &str, error: &ServiceError, now: Timestamp) {
        let reason = format!("{problem}: {}", Chain(error));
        self.set_block(self.next, None, reason, now);
    }

    /// The next step of the current phase.
    fn next_step(&self) -> Step {
        match &self.phase {
            Phase::ExamineBlock { row, .. } | Phase::ReadNotifiedRow(row) => {
                Step::ReadRow(row.clone())
            }
            Phase::VerifyCursor(version) => Step::ReadRow(version.to_string()),
            Phase::RestoreContext(restoration) => Step::ReadPage {
                after: restoration.last_row,
                before: self.next.version(),
            },
            Phase::Publish(Source::Notifications) => Step::HandleNotification,
            Phase::Publish(Source::RowsBefore(before)) => Step::ReadPage {
                after: self.last_row,
                before: Some(*before),
            },
            Phase::Publish(Source::AllRows) => Step::ReadPage {
                after: self.last_row,
                before: None,
            },
            Phase::Completed | Phase::Blocked(_) | Phase::Parked(_) => Step::Stop,
        }
    }

    fn handle_notification(&mut self, inputs: &Inputs<'_, D>) {
        let Some(image) = self.notifications.pop_front() else {
            self.phase = self.phase_after_notifications();
            return;
        };
        match self.place(&image) {
            Place::Past => {
                self.count_notified(&image, true);
                let sequence = image.version.map(Version::sequence);
                self.highest_duplicate = self.highest_duplicate.max(sequence);
            }
            Place::Beyond(version) => {
                self.notifications.push_front(image);
                self.phase = Phase::Publish(Source::RowsBefore(version));
            }
            Place::Next => {
                if let (Err(_), Some(version)) = (&image.row, &image.stored_version) {
                    self.phase = Phase::ReadNotifiedRow(version.to_string());
                    self.notifications.push_front(image);
                } else {
                    self.take(&image, Source::Notifications, inputs);
                    self.finish_notification(image);
                }
            }
        }
    }

    /// Returns the phase after the last notification.
    ///
    /// If the batch contains only events before the cursor's, there are two cases. Either these events
    /// are duplicates, or the cursor is ahead of the events table, because the cursor is wrong or the
    /// table was restored to an earlier state. In the second case the row of the cursor's event is
    /// missing, and the events would be lost if they were treated as duplicates.
    fn phase_after_notifications(&self) -> Phase<D> {
        let is_unchanged = self.next == self.begin.next();
        match (self.highest_duplicate, self.begin.version()) {
            (Some(duplicate), Some(version)) if is_unchanged && duplicate < self.begin => {
                Phase::VerifyCursor(version)
            }
            _ => Phase::Completed,
        }
    }

    /// Counts a notification that was handled, or keeps it until the context is restored.
    fn finish_notification(&mut self, image: RowImage<'a, D>) {
        if matches!(self.phase, Phase::RestoreContext(_)) {
            self.notifications.push_front(image);
        } else {
            self.count_notified(&image, false);
        }
    }

    fn count_notified(&mut self, image: &RowImage<'_, D>, is_duplicate: bool) {
        let Ok(StoredRow::Event(event)) = &image.row else {
            return;
        };
        self.counters.notified += 1;
        if is_duplicate {
            self.counters.duplicates += 1;
        } else {
            let oldest = self.counters.oldest.unwrap_or(event.time);
            self.counters.oldest = Some(oldest.min(event.time));
        }
    }

    fn row_read(&mut self, row: Option<Attributes>, inputs: &Inputs<'_, D>) {
        let after = Phase::Publish(Source::Notifications);
        match mem::replace(&mut self.phase, after) {
            // The block ends if its row can be decoded, or is gone.
            Phase::ExamineBlock { block, .. } => {
                let is_undecodable =
                    row.is_some_and(|row| RowImage::stored(inputs.domain, &row).row.is_err());
                if is_undecodable {
                    self.phase = Phase::Blocked(block);
                } else {
                    if self.misplaced().is_some_and(|it| it.row == block.row) {
                        self.announced.misplaced = None;
                    }
                    self.phase = Phase::Publish(Source::AllRows);
                }
            }
            Phase::ReadNotifiedRow(_) => {
                let Some(image) = self.notifications.pop_front() else {
                    return;
                };
                if let Some(row) = row {
                    let current = RowImage::stored(inputs.domain, &row);
                    self.take(&current, Source::Notifications, inputs);
                } else if let Some(version) = image.version.filter(|version| !version.is_snapshot())
                {
                    // An event belongs there. A snapshot's row may be missing.
                    self.block_at_missing(self.next, version, inputs.now);
                }
                self.finish_notification(image);
                if !matches!(self.phase, Phase::Blocked(_)) {
                    self.announced.misplaced = self.notifications.iter().find_map(misplaced);
                }
            }
            Phase::VerifyCursor(_) => {
                self.phase = Phase::Completed;
                if row.is_none() {
                    let block = Block::cursor_ahead(self.begin, inputs.now);
                    self.phase = Phase::Blocked(block);
                }
            }
            // No other phase reads a row.
            phase => self.phase = phase,
        }
    }

    fn page_read(&mut self, page: &Page, inputs: &Inputs<'_, D>) {
        match mem::replace(&mut self.phase, Phase::Completed) {
            Phase::RestoreContext(restoration) => self.restore_context(restoration, page, inputs),
            Phase::Publish(source) => {
                self.phase = Phase::Publish(source);
                self.publish_page(source, page, inputs);
            }
            // No other phase reads a page.
            phase => self.phase = phase,
        }
    }

    fn publish_page(&mut self, source: Source, page: &Page, inputs: &Inputs<'_, D>) {
        for row in &page.rows {
            if self.is_full(inputs.ready) {
                return;
            }
            let image = RowImage::stored(inputs.domain, row);
            match self.place(&image) {
                Place::Beyond(version) => self.block_at_missing(self.next, version, inputs.now),
                Place::Past => self.last_row = self.last_row.max(image.version),
                Place::Next => self.take(&image, source, inputs),
            }
            if !matches!(self.phase, Phase::Publish(_)) {
                return;
            }
        }
        if page.more && !page.rows.is_empty() {
            return;
        }
        self.phase = Phase::Publish(Source::Notifications);
        if let Source::RowsBefore(version) = source
            && self.is_beyond(version)
        {
            self.block_at_missing(self.next, version, inputs.now);
        }
        // The rows are read to their end, and an announced event isn't among them. The block is at the first
        // missing one: if someone removed a row that was far ahead, the next event lifts it.
        let parked = self.stored.parked().map(|parked| parked.through);
        let missing = self
            .stored
            .blocked()
            .filter(|it| it.is_announced_row_missing());
        let notified = self.notifications.is_empty();
        let announced = parked
            .max(missing.map(|block| block.sequence))
            .max(notified.then_some(self.announced.through));
        if source == Source::AllRows
            && announced >= Some(self.next)
            && let Some(version) = self.next.version()
        {
            self.block_at_missing(self.next, version, inputs.now);
        }
    }

    fn restore_context(
        &mut self,
        mut restoration: Restoration<D>,
        page: &Page,
        inputs: &Inputs<'_, D>,
    ) {
        for row in &page.rows {
            let image = RowImage::stored(inputs.domain, row);
            match image.row {
                Ok(StoredRow::Event(event)) if event.sequence() == restoration.expected => {
                    // Its events were published before; only the context is used.
                    let folded =
                        isolated(|| D::publish(&mut restoration.context, &event.event).is_some());
                    if folded.is_err() {
                        self.block_at_panic(&event, restoration.expected, inputs.now);
                        return;
                    }
                    restoration.expected = restoration.expected.next();
                    restoration.last_row = Some(event.version);
                }
                Ok(StoredRow::Event(event)) => {
                    self.block_at_missing(restoration.expected, event.version, inputs.now);
                    return;
                }
                Ok(StoredRow::Snapshot(snapshot)) => restoration.last_row = Some(snapshot.version),
                Err(error) => {
                    self.block_at_row(image.stored_version.as_deref(), &error, inputs.now);
                    return;
                }
            }
        }
        if page.more && !page.rows.is_empty() {
            self.phase = Phase::RestoreContext(restoration);
        } else if restoration.expected == self.next {
            self.context = Context::Complete(restoration.context);
            self.phase = Phase::Publish(restoration.then);
        } else {
            let version = self.next.version().unwrap_or(Version::FIRST);
            self.block_at_missing(restoration.expected, version, inputs.now);
        }
    }

    /// Makes a row's event ready, or blocks at the row.
    fn take(&mut self, image: &RowImage<'_, D>, source: Source, inputs: &Inputs<'_, D>) {
        match &image.row {
            Ok(StoredRow::Event(event)) => self.make_ready(event, source, inputs),
            Ok(StoredRow::Snapshot(snapshot)) => {
                self.last_row = self.last_row.max(Some(snapshot.version));
            }
            Err(error) => self.block_at_row(image.stored_version.as_deref(), error, inputs.now),
        }
    }

    fn make_ready(&mut self, event: &NotifiedEvent<'_, D>, source: Source, inputs: &Inputs<'_, D>) {
        let is_kept = self.stored.context.is_some() || !self.ready_contexts.is_empty();
        let context = match &mut self.context {
            Context::Unknown => None,
            Context::Stored(context) | Context::Complete(context) => Some(context),
        };
        let encoded = isolated(|| encode::<D>(context?, event, is_kept));
        let encoded = match encoded {
            Ok(Some(encoded)) => encoded,
            Ok(None) => {
                self.context_lacks(event, source, inputs.now);
                return;
            }
            Err(Panicked) => {
                self.block_at_panic(event, self.next, inputs.now);
                return;
            }
        };
        match encoded {
            Ok((data, columns)) => {
                let partition_key = self.aggregate.clone();
                let record = Record {
                    partition_key,
                    data,
                    trace_id: event.metadata.trace_parent.map(TraceParent::trace_id),
                };
                inputs.ready.add(record.size());
                self.queue.push(self.next, record);
                self.ready_contexts
                    .extend(columns.map(|columns| (self.next, columns)));
                self.next = self.next.next();
                self.last_row = Some(event.version);
                self.counters.repaired += usize::from(source != Source::Notifications);
            }
            // A fault of the domain's types, which its conformance test finds.
            Err(error) => {
                let row = Some(event.version.to_string());
                let reason = format!("the event can't be encoded: {error}");
                self.set_block(self.next, row, reason, inputs.now);
            }
        }
    }

    /// Handles an event that repeats data that the context doesn't contain. The context is restored from
    /// the history; if that was done already, the event blocks the aggregate.
    fn context_lacks(&mut self, event: &NotifiedEvent<'_, D>, source: Source, now: Timestamp) {
        if let Context::Complete(_) = self.context {
            let row = Some(event.version.to_string());
            let reason = "the event repeats what no event before it contains".to_owned();
            self.set_block(self.next, row, reason, now);
        } else {
            self.phase = Phase::RestoreContext(Restoration {
                context: D::Context::default(),
                expected: Sequence::FIRST,
                last_row: None,
                then: source,
            });
        }
    }

    fn place(&self, image: &RowImage<'_, D>) -> Place {
        let Some(version) = image.version else {
            return Place::Next;
        };
        match &image.row {
            Ok(StoredRow::Snapshot(_)) => Place::Past,
            _ if self.is_beyond(version) => Place::Beyond(version),
            // An undecodable row at a snapshot's version was never published, so it is never past.
            Err(_) if version.is_snapshot() => Place::Next,
            _ if version.sequence() < self.next => Place::Past,
            Ok(StoredRow::Event(_)) | Err(_) => Place::Next,
        }
    }

    /// Whether events before this row are neither published nor ready.
    fn is_beyond(&self, version: Version) -> bool {
        let sequence = version.sequence();
        // A snapshot's sequence is that of the event before it.
        if version.is_snapshot() {
            sequence >= self.next
        } else {
            sequence > self.next
        }
    }

    /// Blocks at an event for which the domain's code panicked. The context may be half changed; a
    /// blocked publication doesn't use it.
    fn block_at_panic(&mut self, event: &NotifiedEvent<'_, D>, sequence: Sequence, now: Timestamp) {
        let row = Some(event.version.to_string());
        self.set_block(
            sequence,
            row,
            "publishing the event panicked".to_owned(),
            now,
        );
    }

    fn block_at_row(&mut self, row: Option<&str>, error: &DecodeError, now: Timestamp) {
        self.set_block(self.next, row.map(str::to_owned), error.to_string(), now);
    }

    fn block_at_missing(&mut self, missing: Sequence, found: Version, now: Timestamp) {
        let missing = missing.version().unwrap_or(Version::FIRST);
        let mut reason = missing_row(missing);
        if found != missing {
            reason = format!("{reason}, and row {found} is there");
        }
        self.set_block(self.next, None, reason, now);
    }

    /// A block that begins now, or, if the cursor contains the same one, as long ago as that.
    fn block_since(
        &self,
        sequence: Sequence,
        row: Option<String>,
        reason: String,
        now: Timestamp,
    ) -> Block {
        let block = Block {
            sequence,
            row,
            reason,
            since: now,
        };
        let same = self.stored.blocked().cloned().filter(|before| {
            (before.sequence, &before.row, &before.reason)
                == (block.sequence, &block.row, &block.reason)
        });
        same.unwrap_or(block)
    }

    /// Blocks at a misplaced row whose notification is not handled yet, or else at `sequence`. The misplaced
    /// row goes first, because its notification isn't delivered again; the other problem is after the cursor,
    /// so it is found again.
    fn set_block(
        &mut self,
        sequence: Sequence,
        mut row: Option<String>,
        mut reason: String,
        now: Timestamp,
    ) {
        if let Some(misplaced) = self.misplaced().filter(|misplaced| misplaced.row != row) {
            (row, reason) = (misplaced.row, misplaced.reason);
        }
        self.phase = Phase::Blocked(self.block_since(sequence, row, reason, now));
    }
}

fn misplaced<D: Domain>(image: &RowImage<'_, D>) -> Option<Misplaced> {
    let error = image.row.as_ref().err()?;
    image
        .version
        .is_none_or(Version::is_snapshot)
        .then(|| Misplaced {
            version: image.version,
            row: image.stored_version.as_deref().map(str::to_owned),
            reason: error.to_string(),
        })
}

/// An event's envelope, and the context's columns if they changed.
type EncodedEvent = (Vec<u8>, Option<Attributes>);

/// An event's envelope in bytes, and the context's columns if the cursor has to contain them. `None` if
/// the context lacks what the event repeats.
fn encode<D: Domain>(
    context: &mut D::Context,
    event: &NotifiedEvent<'_, D>,
    is_kept: bool,
) -> Option<Result<EncodedEvent, EncodeError>> {
    let before = context.clone();
    let envelope = Envelope::publish::<D>(context, event)?;
    let is_changed = !is_kept || *context != before;
    let columns = is_changed
        .then(|| context_columns::<D>(context))
        .transpose();
    Some(columns.and_then(|columns| Ok((envelope.to_bytes::<D>()?, columns))))
}

#[cfg(test)]
mod tests {
    use millrace_domain::Accounts;

    use super::*;

    /// An aggregate with this many events ready, whose records have this size together with their key.
    fn with_ready(events: usize, size: usize) -> Publication<'static, Accounts> {
        let notifications = Notifications {
            first_position: 0,
            trace_id: None,
            images: Vec::new(),
        };
        let now = Timestamp::from_unix_millis(0).expect("valid");
        let (id, cursor) = ("a".to_owned(), Cursor::default());
        let publication = Publication::new(id, cursor, notifications, Mode::Notified, now);
        let mut publication = publication.expect("a readable cursor");
        for _ in 0..events {
            let record = Record {
                partition_key: "a".to_owned(),
                data: vec![0; size - 1],
                trace_id: None,
            };
            publication.queue().push(Sequence::FIRST, record);
        }
        publication
    }

    #[test]
    fn an_aggregate_has_its_share_ready_and_one_event_at_least() {
        let ready = ReadyBytes::new(1024);
        assert_eq!(ready.share(), 32 * 1024);
        for (events, size, is_full) in [
            (0, 1024, false),
            (31, 1024, false),
            (32, 1024, true),
            (1, 16 * 1024, false),
            (1, 16 * 1024 + 1, true),
            (1, 64 * 1024, true),
        ] {
            let publication = with_ready(events, size);
            assert_eq!(publication.is_full(&ready), is_full, "{events} {size}");
        }
        let ready = ReadyBytes::new(1);
        assert!(!with_ready(MAX_READY - 1, 10).is_full(&ready));
        assert!(with_ready(MAX_READY, 10).is_full(&ready));
        ready.add(MAX_READY_BYTES);
        assert!(with_ready(0, 10).is_full(&ready));
    }

    #[test]
    fn an_aggregate_that_has_ended_leaves_its_share_to_the_others() {
        let ready = ReadyBytes::new(1_000);
        assert_eq!(ready.share(), MAX_READY_BYTES / 1_000);
        assert_eq!(ready.page_rows(), 32);
        for _ in 1..1_000 {
            ready.end_aggregate();
        }
        assert_eq!(ready.share(), MAX_READY_BYTES);
        assert_eq!(ready.page_rows(), MAX_PAGE_ROWS);
    }

    #[test]
    fn the_ready_bytes_are_full_at_their_limit_until_some_are_published() {
        let ready = ReadyBytes::new(2);
        ready.add(MAX_READY_BYTES - 1);
        assert!(!ready.is_full());
        ready.add(1);
        assert!(ready.is_full());
        ready.remove(1);
        assert!(!ready.is_full());
    }
}
