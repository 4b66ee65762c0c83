//! The published events of an aggregate, from the events table or from the lake, for `millrace replay`.

use std::marker::PhantomData;
use std::time::Duration;

use millrace_core::{Domain, Envelope, Sequence};
use millrace_runtime::{Ambient, Backoff, Budget, Chain, ServiceError};
use millrace_translator::cursor::load_all;
use millrace_translator::ports::{CursorStore, EventRows};
use millrace_translator::published::{PublishedEvent, PublishedEvents, ReadError};
use serde_json::Value;

use super::records::{Lines, Spool};
use super::replayer::{History, Read};

/// How long a failing service is called again before the aggregate's outcome is incomplete.
const PATIENCE: Duration = Duration::from_mins(10);
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(5),
};
/// The most events that are read at once.
const MAX_EVENTS: usize = 500;
/// The bytes of events after which reading pauses.
const MAX_BYTES: usize = 1024 * 1024;

/// The events of an aggregate in the events table, up to its publication cursor. The cursor is read with the first
/// event, and again after the last one: events that were published meanwhile follow. Without them, a consumer that
/// also reads the domain stream could receive a new event before its predecessors, and would keep a gap.
#[derive(Debug)]
pub struct InTable<'a, D: Domain, L, C, A> {
    domain: &'a D,
    events: &'a L,
    cursors: &'a C,
    ambient: &'a A,
    aggregate: String,
    /// The events up to the cursor that was read last; `None` before it is read.
    published: Option<PublishedEvents<'a, D, L>>,
    /// What follows the events that were read.
    end: Option<Read>,
}

impl<'a, D: Domain, L: EventRows, C: CursorStore, A: Ambient> InTable<'a, D, L, C, A> {
    /// The history of this aggregate. Nothing is read yet.
    pub const fn new(
        domain: &'a D,
        events: &'a L,
        cursors: &'a C,
        ambient: &'a A,
        aggregate: String,
    ) -> Self {
        Self {
            domain,
            events,
            cursors,
            ambient,
            aggregate,
            published: None,
            end: None,
        }
    }

    /// Reads the cursor. The next events are those after `after`, up to the cursor; if there are none, this is the end.
    async fn read_cursor(&mut self, after: Sequence, budget: Budget) -> Result<(), ServiceError> {
        let id = &self.aggregate;
        let loaded = load_all(self.cursors, &[id], budget, self.ambient).await?;
        let through = match loaded.get(id) {
            None => Sequence::NONE,
            Some(Ok(cursor)) => cursor.published_through,
            Some(Err(error)) => {
                let reason = format!("the cursor can't be read: {error}");
                self.end = Some(Read::Unreadable(reason));
                return Ok(());
            }
        };
        if through <= after {
            self.end = Some(Read::End(through));
        } else if let Some(published) = &mut self.published {
            published.extend(through);
        } else {
            let published = PublishedEvents::new(self.domain, self.events, id, after, through);
            self.published = Some(published);
        }
        Ok(())
    }

    async fn next(
        &mut self,
        budget: Budget,
    ) -> Result<Result<Option<PublishedEvent>, ReadError>, ServiceError> {
        let Some(published) = &mut self.published else {
            return Ok(Ok(None));
        };
        let mut retry = 0;
        loop {
            let error = match published.next().await {
                Err(ReadError::Service(error)) => error,
                read => return Ok(read),
            };
            let wait = BACKOFF.delay(retry, self.ambient);
            if error.is_permanent() || !budget.allows(wait) {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            retry += 1;
        }
    }
}

impl<D: Domain, L: EventRows, C: CursorStore, A: Ambient> History for InTable<'_, D, L, C, A> {
    async fn read(&mut self, after: Sequence) -> Result<Read, ServiceError> {
        let budget = Budget::lasting(PATIENCE);
        loop {
            let (mut events, mut bytes) = (Vec::new(), 0);
            while self.end.is_none() && events.len() < MAX_EVENTS && bytes < MAX_BYTES {
                match self.next(budget).await? {
                    Ok(Some(event)) => {
                        bytes += event.data.len();
                        events.push(event);
                    }
                    Ok(None) => break,
                    Err(error) => self.end = Some(Read::Unreadable(Chain(&error).to_string())),
                }
            }
            if !events.is_empty() {
                return Ok(Read::Events(events));
            }
            if let Some(end) = &self.end {
                return Ok(end.clone());
            }
            self.read_cursor(after, budget).await?;
        }
    }
}

/// The events of an aggregate in the lake, up to the first one that the lake lacks or that isn't unambiguous.
/// Duplicates are skipped.
pub(crate) struct InLake<D> {
    lines: Lines<Box<Spool>>,
    /// The last event. It is kept until the next record isn't another one of the same event.
    last: Option<PublishedEvent>,
    /// The last event that was read, including `last`.
    reached: Sequence,
    end: Option<Read>,
    domain: PhantomData<fn() -> D>,
}

impl<D: Domain> InLake<D> {
    pub(crate) fn new(spool: Spool) -> Self {
        Self {
            lines: spool.into_lines(),
            last: None,
            reached: Sequence::NONE,
            end: None,
            domain: PhantomData,
        }
    }

    /// Reads the next record. Returns the event before it, which is then known to be unambiguous.
    fn next(&mut self) -> Result<Option<PublishedEvent>, ServiceError> {
        let Some(line) = self.lines.next()? else {
            self.end = Some(Read::End(self.reached));
            return Ok(self.last.take());
        };
        let record = Envelope::parse::<D>(&line);
        let sequence = record.as_ref().map_or_else(
            |_| {
                let record: Value = serde_json::from_slice(&line).unwrap_or_default();
                let sequence = record["data"]["sequence"].as_u64();
                sequence.and_then(Sequence::new).unwrap_or_default()
            },
            |envelope| envelope.sequence,
        );
        let event = record
            .map_err(|error| error.to_string())
            .and_then(|envelope| {
                let data = envelope
                    .to_bytes::<D>()
                    .map_err(|error| error.to_string())?;
                Ok(PublishedEvent {
                    sequence: envelope.sequence,
                    time: envelope.time,
                    data,
                })
            });
        if self
            .last
            .as_ref()
            .is_some_and(|last| last.sequence == sequence)
        {
            if self.last != event.ok() {
                self.last = None;
                let problem =
                    format!("event {sequence} has several records in the lake, which differ");
                self.end = Some(Read::Unreadable(problem));
            }
            return Ok(None);
        }
        let expected = self.reached.next();
        match event {
            Ok(event) if sequence == expected => {
                self.reached = sequence;
                Ok(self.last.replace(event))
            }
            event => {
                let problem = match event {
                    Err(error) if sequence == expected || sequence == Sequence::NONE => {
                        format!(
                            "event {expected} can't be read: its record in the lake can't be decoded: {error}"
                        )
                    }
                    _ => format!("event {expected} is missing in the lake"),
                };
                self.end = Some(Read::Unreadable(problem));
                Ok(self.last.take())
            }
        }
    }
}

impl<D: Domain> History for InLake<D> {
    async fn read(&mut self, after: Sequence) -> Result<Read, ServiceError> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while self.end.is_none() && events.len() < MAX_EVENTS && bytes < MAX_BYTES {
            let event = self.next()?;
            if let Some(event) = event.filter(|event| event.sequence > after) {
                bytes += event.data.len();
                events.push(event);
            }
        }
        match &self.end {
            Some(end) if events.is_empty() => Ok(end.clone()),
            _ => Ok(Read::Events(events)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use millrace_domain::Accounts;

    use super::super::memory::{AMBIENT, Memory, accounts, at};
    use super::super::ports::{LakeRecord, Pages};
    use super::super::records::Merged;
    use super::*;

    struct OnePage(Option<Vec<LakeRecord>>);

    impl Pages<LakeRecord> for OnePage {
        async fn page(&mut self) -> Result<Option<Vec<LakeRecord>>, ServiceError> {
            Ok(self.0.take())
        }
    }

    async fn read_all(mut history: impl History, after: u64) -> (Vec<PublishedEvent>, Read) {
        let mut found = Vec::new();
        let mut after = Sequence::new(after).expect("valid");
        loop {
            match history.read(after).await.expect("no service fails") {
                Read::Events(events) => {
                    after = events.last().expect("at least one").sequence;
                    found.extend(events);
                }
                end => return (found, end),
            }
        }
    }

    /// The events of an account with this number of events.
    async fn published(events: usize) -> Vec<PublishedEvent> {
        let (memory, domain) = (Memory::default(), accounts());
        memory.add("a", events, events as u64);
        let history = InTable::new(&domain, &memory, &memory, &*AMBIENT, "a".to_owned());
        let (found, end) = read_all(history, 0).await;
        assert_eq!(end, Read::End(found.last().expect("events").sequence));
        assert_eq!(found.len(), events);
        found
    }

    /// What is read of a lake with these records.
    async fn in_lake(records: &[(u64, String)], after: u64) -> (Vec<PublishedEvent>, Read) {
        let records = records.iter().map(|(sequence, json)| LakeRecord {
            subject: "a".to_owned(),
            sequence: *sequence,
            json: json.clone(),
        });
        let mut merged = Merged::new(vec![OnePage(Some(records.collect()))]);
        let next = merged.next().await.expect("read");
        let (id, spool) = next.expect("an aggregate");
        assert_eq!(id, "a");
        read_all(InLake::<Accounts>::new(spool), after).await
    }

    fn text(event: &PublishedEvent) -> String {
        String::from_utf8(event.data.clone()).expect("UTF-8")
    }

    #[tokio::test(start_paused = true)]
    async fn the_lakes_events_have_the_bytes_of_the_tables() {
        let events = published(1_200).await;
        let mut records = VecDeque::new();
        for event in &events {
            // The lake's JSON has the members in another order, and an event may be in it twice.
            let json: Value = serde_json::from_slice(&event.data).expect("JSON");
            for json in [json.to_string(), text(event)] {
                records.push_back((event.sequence.get(), json));
            }
        }
        let records: Vec<_> = records.into();
        for after in [0, 1, 700] {
            let (found, end) = in_lake(&records, after).await;
            let expected = &events[usize::try_from(after).expect("small")..];
            assert!(found == expected, "after {after}");
            assert_eq!(end, Read::End(events[1_199].sequence));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_are_published_while_a_history_is_read_follow() {
        let (memory, domain) = (Memory::default(), accounts());
        memory.add("a", 700, 600);
        let mut history = InTable::new(&domain, &memory, &memory, &*AMBIENT, "a".to_owned());
        let mut after = Sequence::NONE;
        let mut read = Vec::new();
        for published in [600, 600, 650, 700] {
            let cursor = Ok(at(published));
            memory.world().cursors.insert("a".to_owned(), cursor);
            let Read::Events(events) = history.read(after).await.expect("no service fails") else {
                panic!("{published} events are published, and {after} are read");
            };
            after = events.last().expect("at least one").sequence;
            read.extend(events.iter().map(|event| event.sequence.get()));
        }
        assert!(read.into_iter().eq(1..=700));
        let end = history.read(after).await.expect("no service fails");
        assert_eq!(end, Read::End(after));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_after_a_gap_or_a_wrong_record() {
        let events = published(9).await;
        let all = || -> Vec<(u64, String)> {
            let all = events.iter();
            all.map(|event| (event.sequence.get(), text(event)))
                .collect()
        };
        let (mut gap, mut wrong, mut differs) = (all(), all(), all());
        gap.remove(4);
        wrong[4].1 = wrong[4].1.replace("BalanceCredited", "BalanceLent");
        let other = differs[4].1.replace("\"amount\":5", "\"amount\":6");
        assert_ne!(other, differs[4].1);
        differs.insert(5, (5, other));
        let mut without_first = all();
        without_first.remove(0);
        for (records, read, problem) in [
            (gap, 4, "event 5 is missing"),
            (wrong, 4, "event 5 can't be read"),
            (differs, 4, "event 5 has several records"),
            (without_first, 0, "event 1 is missing"),
        ] {
            let (found, end) = in_lake(&records, 0).await;
            assert!(found == events[..read], "{problem}");
            let Read::Unreadable(reason) = end else {
                panic!("{end:?}");
            };
            assert!(reason.contains(problem), "{reason}");
        }
    }
}
