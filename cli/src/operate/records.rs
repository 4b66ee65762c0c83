//! The lake's records of one aggregate after the other, in bounded memory.
//!
//! Each slice of days is a result of its own, ordered by subject and sequence. [`Merged`] reads the results in
//! parallel, one page of each at a time. The records of the current aggregates are in [`Spool`]s, because a
//! fold is repeated: small ones are in memory, large ones in a temporary file.

use std::collections::VecDeque;
use std::io::{Read as _, Result as IoResult, Seek as _, SeekFrom, Write as _};
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use millrace_core::{Envelope, Project, Sequence, Version};
use millrace_runtime::ServiceError;
use tempfile::SpooledTempFile;

use super::fold::{EventsOf, Readable, Source};
use super::ports::{LakeRecord, Pages};

/// The bytes of an aggregate's records that are kept in memory. More than these are in a temporary file.
const IN_MEMORY: usize = 1024 * 1024;
/// The bytes of one read of a temporary file.
const CHUNK: u64 = 64 * 1024;

/// The records of several results in the order of their subjects and sequences.
pub(crate) struct Merged<P> {
    results: Vec<Ordered<P>>,
    /// The first record of the next aggregate.
    next: Option<LakeRecord>,
}

/// One result, with the records that were read and not taken yet.
struct Ordered<P> {
    pages: P,
    page: VecDeque<LakeRecord>,
    /// The last record's key, to check the order.
    last: Option<(String, u64)>,
    is_over: bool,
}

impl<P: Pages<LakeRecord>> Merged<P> {
    pub(crate) fn new(results: Vec<P>) -> Self {
        let results = results.into_iter().map(|pages| Ordered {
            pages,
            page: VecDeque::new(),
            last: None,
            is_over: false,
        });
        Self {
            results: results.collect(),
            next: None,
        }
    }

    /// Reads all records of the next aggregate; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<(String, Spool)>, ServiceError> {
        let first = match self.next.take() {
            Some(first) => first,
            None => match self.record().await? {
                Some(first) => first,
                None => return Ok(None),
            },
        };
        let subject = first.subject.clone();
        let mut spool = Spool::new();
        let mut record = first;
        loop {
            spool.add(&record.json).map_err(not_spooled)?;
            // A record may be in several slices, because an event may be delivered twice.
            let following = loop {
                match self.record().await? {
                    Some(following) if following == record => {}
                    other => break other,
                }
            };
            match following {
                Some(following) if following.subject == subject => record = following,
                other => {
                    self.next = other;
                    return Ok(Some((subject, spool)));
                }
            }
        }
    }

    async fn record(&mut self) -> Result<Option<LakeRecord>, ServiceError> {
        let mut least: Option<usize> = None;
        for index in 0..self.results.len() {
            let Some(record) = self.results[index].peek().await?.cloned() else {
                continue;
            };
            let is_less = least.is_none_or(|least| {
                let other = self.results[least].page.front();
                other.is_some_and(|other| record < *other)
            });
            if is_less {
                least = Some(index);
            }
        }
        Ok(least.and_then(|index| self.results[index].page.pop_front()))
    }
}

impl<P: Pages<LakeRecord>> Ordered<P> {
    async fn peek(&mut self) -> Result<Option<&LakeRecord>, ServiceError> {
        while self.page.is_empty() && !self.is_over {
            match self.pages.page().await? {
                Some(page) => {
                    for record in &page {
                        let key = (record.subject.clone(), record.sequence);
                        if self.last.as_ref().is_some_and(|last| *last > key) {
                            let problem = "Athena returned the records in another order";
                            return Err(ServiceError::new("a query of the lake", problem));
                        }
                        self.last = Some(key);
                    }
                    self.page = page.into();
                }
                None => self.is_over = true,
            }
        }
        Ok(self.page.front())
    }
}

fn not_spooled(error: std::io::Error) -> ServiceError {
    ServiceError::new("a temporary file", error)
}

/// The records of one aggregate, each a line.
pub(crate) struct Spool(Mutex<SpooledTempFile>);

impl Spool {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(SpooledTempFile::new(IN_MEMORY)))
    }

    fn add(&mut self, json: &str) -> IoResult<()> {
        let file = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{json}")
    }

    /// Reads the records from the first one on.
    pub(crate) const fn lines(&self) -> Lines<&Self> {
        Lines {
            spool: self,
            offset: 0,
            read: VecDeque::new(),
        }
    }

    /// Reads the records once.
    pub(crate) fn into_lines(self) -> Lines<Box<Self>> {
        Lines {
            spool: Box::new(self),
            offset: 0,
            read: VecDeque::new(),
        }
    }
}

/// Reads the lines of a [`Spool`].
pub(crate) struct Lines<S> {
    spool: S,
    /// The offset of the next read.
    offset: u64,
    read: VecDeque<u8>,
}

impl<S: Deref<Target = Spool>> Lines<S> {
    /// The next record, as JSON; `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, ServiceError> {
        let mut searched = 0;
        loop {
            let unsearched = self.read.iter().skip(searched);
            let end = unsearched.take_while(|byte| **byte != b'\n').count() + searched;
            if end < self.read.len() {
                let mut line: Vec<u8> = self.read.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            searched = end;
            if self.read_more().map_err(not_spooled)? == 0 {
                return Ok(None);
            }
        }
    }

    fn read_more(&mut self) -> IoResult<usize> {
        let file = self.spool.0.lock();
        let mut file = file.unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.offset))?;
        let mut chunk = Vec::new();
        let bytes = (&mut *file).take(CHUNK).read_to_end(&mut chunk)?;
        self.offset += u64::try_from(bytes).unwrap_or_default();
        self.read.extend(chunk);
        Ok(bytes)
    }
}

/// The events of one aggregate in the lake up to a sequence, as a [`Source`]. These events were read once, and
/// can be decoded.
#[derive(Clone, Copy)]
pub(crate) struct InLake<'s> {
    pub(crate) spool: &'s Spool,
    pub(crate) upto: Sequence,
}

impl<D: Project> Source<D> for InLake<'_> {
    /// Later events may not be in the lake yet.
    const HAS_ALL: bool = false;

    type Events<'a>
        = EventsInLake<'a>
    where
        Self: 'a;

    fn events<'a>(&'a self, _: &'a D, _: &'a str) -> EventsInLake<'a> {
        EventsInLake {
            lines: self.spool.lines(),
            upto: self.upto,
        }
    }
}

/// The events of an [`InLake`].
pub(crate) struct EventsInLake<'a> {
    lines: Lines<&'a Spool>,
    upto: Sequence,
}

impl<D: Project> EventsOf<D> for EventsInLake<'_> {
    async fn next(&mut self, expected: Sequence) -> Result<Option<Readable<D>>, ServiceError> {
        if expected > self.upto {
            return Ok(None);
        }
        let Some(line) = self.lines.next()? else {
            return Ok(None);
        };
        let event = Envelope::parse::<D>(&line);
        let event = event.ok().filter(|event| event.sequence == expected);
        let changed = || ServiceError::new("a temporary file", "its content has changed");
        Ok(Some(Ok(event.ok_or_else(changed)?)))
    }

    fn look_again(&mut self) {}

    fn wrong_snapshot(&self) -> Option<Version> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of two records.
    struct Fixed(VecDeque<Vec<LakeRecord>>);

    impl Pages<LakeRecord> for Fixed {
        async fn page(&mut self) -> Result<Option<Vec<LakeRecord>>, ServiceError> {
            Ok(self.0.pop_front())
        }
    }

    fn result(records: &[(&str, u64, &str)]) -> Fixed {
        let records: Vec<LakeRecord> = records
            .iter()
            .map(|(subject, sequence, json)| LakeRecord {
                subject: (*subject).to_owned(),
                sequence: *sequence,
                json: (*json).to_owned(),
            })
            .collect();
        let pages = records.chunks(2).map(<[LakeRecord]>::to_vec);
        // A page may be empty.
        Fixed(pages.chain([Vec::new()]).collect())
    }

    fn lines(spool: &Spool) -> Vec<String> {
        let mut lines = spool.lines();
        let mut read = Vec::new();
        while let Some(line) = lines.next().expect("read") {
            read.push(String::from_utf8(line).expect("UTF-8"));
        }
        read
    }

    #[tokio::test]
    async fn the_records_of_several_slices_are_in_order_and_once() {
        let mut merged = Merged::new(vec![
            result(&[
                ("a", 1, "a1"),
                ("a", 2, "a2"),
                ("b", 3, "b3"),
                ("é", 1, "é1"),
            ]),
            result(&[
                ("a", 2, "a2"),
                ("a", 3, "a3"),
                ("b", 1, "b1"),
                ("b", 1, "other"),
            ]),
            result(&[]),
        ]);
        let mut found = Vec::new();
        while let Some((subject, spool)) = merged.next().await.expect("read") {
            found.push(format!("{subject}: {}", lines(&spool).join(" ")));
        }
        assert_eq!(found, ["a: a1 a2 a3", "b: b1 other b3", "é: é1"]);
    }

    #[tokio::test]
    async fn another_order_is_an_error() {
        let mut merged = Merged::new(vec![result(&[("b", 1, "b1"), ("a", 1, "a1")])]);
        let Err(error) = merged.next().await else {
            panic!("the order is wrong");
        };
        assert!(format!("{error:?}").contains("another order"), "{error:?}");
    }

    #[test]
    fn a_spool_of_any_size_is_read_several_times() {
        let mut spool = Spool::new();
        let long = "x".repeat(100_000);
        let mut expected = Vec::new();
        for number in 0..30 {
            let line = format!("{number} {}", &long[..number * 3_000]);
            spool.add(&line).expect("written");
            expected.push(line);
        }
        assert_eq!(lines(&spool), expected);
        let (mut one, mut other) = (spool.lines(), spool.lines());
        for line in &expected {
            for lines in [&mut one, &mut other] {
                let read = lines.next().expect("read").expect("a line");
                assert_eq!(read, line.as_bytes());
            }
        }
        assert!(lines(&Spool::new()).is_empty());
    }
}
