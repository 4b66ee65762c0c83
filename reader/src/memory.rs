//! A read model in memory, and histories to fill it with, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use millrace_domain::money::{Amount, Currency};
use millrace_domain::{
    AggregateId, Attribute, Attributes, Envelope, Event, HistoryEntry, Sequence, Timestamp, View,
    view,
};
use millrace_runtime::{Ambient, ServiceError};

use crate::store::{ReadError, ReadModel};

/// What the tables hold, as items, so that a damaged one can be put there.
#[derive(Debug, Default)]
struct Tables {
    view: Option<Attributes>,
    lines: BTreeMap<u64, Attributes>,
    views_read: usize,
    lines_read: usize,
    failing: bool,
}

/// The read model of the one aggregate [`id`].
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Tables>);

impl Memory {
    /// What the projector leaves behind after these events.
    pub(crate) fn of(events: &[(View, HistoryEntry)]) -> Self {
        let model = Self::default();
        model.apply(events);
        model
    }

    /// An item of sequence 0, as of an aggregate of which nothing could be applied.
    pub(crate) fn stub() -> Self {
        let model = Self::default();
        let item = [
            (view::ID.to_owned(), Attribute::text(id())),
            (view::SEQUENCE.to_owned(), Attribute::number(0)),
        ];
        model.put_view(item.into());
        model
    }

    pub(crate) fn apply(&self, events: &[(View, HistoryEntry)]) {
        self.write_lines(events);
        if let Some((view, _)) = events.last() {
            self.put_view(view.to_attributes());
        }
    }

    /// The first half of the projector's work.
    pub(crate) fn write_lines(&self, events: &[(View, HistoryEntry)]) {
        let lines = events
            .iter()
            .map(|(_, line)| (line.sequence.get(), line.to_attributes()));
        self.tables().lines.extend(lines);
    }

    pub(crate) fn put_view(&self, item: Attributes) {
        self.tables().view = Some(item);
    }

    pub(crate) fn put_line(&self, sequence: u64, item: Attributes) {
        self.tables().lines.insert(sequence, item);
    }

    pub(crate) fn lose_line(&self, sequence: u64) {
        self.tables().lines.remove(&sequence);
    }

    /// From now on every read fails.
    pub(crate) fn fail(&self) {
        self.tables().failing = true;
    }

    pub(crate) fn views_read(&self) -> usize {
        self.tables().views_read
    }

    pub(crate) fn lines_read(&self) -> usize {
        self.tables().lines_read
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("no test panics while it holds it")
    }

    fn reading(&self) -> Result<MutexGuard<'_, Tables>, ReadError> {
        let tables = self.tables();
        if tables.failing {
            return Err(ServiceError::new("a read", "throttled").into());
        }
        Ok(tables)
    }
}

impl ReadModel for Memory {
    async fn view(&self, of: &AggregateId) -> Result<Option<View>, ReadError> {
        let mut tables = self.reading()?;
        tables.views_read += 1;
        match &tables.view {
            Some(item) if *of == id() => Ok(View::read(item)?),
            Some(_) | None => Ok(None),
        }
    }

    async fn history(
        &self,
        _: &AggregateId,
        newest: Sequence,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, ReadError> {
        let lines = &self.reading()?.lines;
        let newest_first = lines.range(..=newest.get()).rev().take(limit);
        Ok(newest_first
            .map(|(_, item)| HistoryEntry::read(item))
            .collect::<Result<_, _>>()?)
    }

    async fn entry(
        &self,
        _: &AggregateId,
        sequence: Sequence,
    ) -> Result<Option<HistoryEntry>, ReadError> {
        let mut tables = self.reading()?;
        tables.lines_read += 1;
        let item = tables.lines.get(&sequence.get());
        Ok(item.map(HistoryEntry::read).transpose()?)
    }
}

/// The aggregate that histories are of.
pub(crate) fn id() -> AggregateId {
    AggregateId::new("a").expect("valid")
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).expect("valid")
}

/// One event at each of these times, in order: the view and the line after it. No two leave the
/// same balance.
pub(crate) fn history(times: &[i64]) -> Vec<(View, HistoryEntry)> {
    let currency = Currency::stored("EUR").expect("valid");
    let mut events: Vec<(View, HistoryEntry)> = Vec::new();
    for (sequence, &time) in (1..).zip(times) {
        let event = if sequence == 1 {
            Event::AccountCreated { currency }
        } else {
            Event::BalanceCredited {
                amount: Amount::new(100).expect("valid"),
            }
        };
        let envelope = Envelope {
            subject: id(),
            sequence: Sequence::new(sequence).expect("valid"),
            time: at(time),
            correlation_id: None,
            causation_id: None,
            currency,
            event,
        };
        let next = View::apply(events.last().map(|(view, _)| view), &envelope);
        events.push(next);
    }
    events
}

/// Time stands at one second past the epoch; the fraction is always this one.
pub(crate) struct Always(pub(crate) f64);

impl Ambient for Always {
    fn now(&self) -> Timestamp {
        at(1000)
    }

    fn unique_id(&self) -> String {
        "made".to_owned()
    }

    fn fraction(&self) -> f64 {
        self.0
    }
}

/// Runs a property's async body, in a time that stands still while something is done and jumps
/// while all wait.
pub(crate) fn blocking(body: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(body);
}
