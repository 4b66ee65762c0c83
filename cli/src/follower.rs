//! Reads a Kinesis stream: all shards, also those that are created later.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::get_records::{GetRecordsError, GetRecordsOutput};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Shard, ShardIteratorType};
use futures_util::future::join_all;
use millrace_core::Timestamp;
use millrace_runtime::{Ambient as _, System};
use tokio::time::Instant;

/// The pause between two reads: two reads per second and shard. Kinesis allows five, over all consumers of
/// the shard (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>), and each event
/// source mapping needs one.
pub const PAUSE: Duration = Duration::from_millis(500);
/// The interval at which shards are listed again. Shards change rarely, and a new shard retains its records
/// until it is read.
const RELIST: Duration = Duration::from_secs(10);

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After the last record that is stored.
    Latest,
    /// At the first record that is stored.
    Beginning,
    /// At the first record that the stream received at this time or later.
    At(Timestamp),
}

/// A reader of a stream, with its position in each shard.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    stream: String,
    /// The position in each known shard; `None` once a closed shard has been read to its end.
    shards: HashMap<String, Option<Position>>,
    listed: Option<Instant>,
    start: Start,
    /// The ids of the shards that existed when reading began.
    first: Vec<String>,
}

/// The position in one shard.
#[derive(Debug)]
struct Position {
    iterator: String,
    /// The point from which reading continues if the iterator expires.
    from: Point,
}

#[derive(Debug, Clone)]
enum Point {
    Start(Start),
    /// After the record with this sequence number.
    Record(String),
}

type Answer = Result<GetRecordsOutput, SdkError<GetRecordsError>>;

impl Follower {
    /// A follower that starts at the first stored record.
    #[must_use]
    pub fn new(client: Client, stream: &str) -> Self {
        Self::starting(client, stream, Start::Beginning)
    }

    /// A follower that starts at `start`.
    #[must_use]
    pub fn starting(client: Client, stream: &str, start: Start) -> Self {
        Self {
            start,
            client,
            stream: stream.to_owned(),
            shards: HashMap::new(),
            listed: None,
            first: Vec::new(),
        }
    }

    /// Reads the records since the last call, in order within each shard. It doesn't wait for records: the
    /// caller waits for [`PAUSE`] between two calls. A throttled shard is read by the next call.
    ///
    /// # Errors
    /// If a request fails. No record is skipped: the next call reads the records of this call again.
    pub async fn read(&mut self) -> Result<Vec<Vec<u8>>> {
        if self.listed.is_none_or(|listed| listed.elapsed() > RELIST) {
            self.open_shards().await?;
            self.listed = Some(Instant::now());
        }
        let open = self
            .shards
            .iter()
            .filter_map(|(id, position)| Some((id.clone(), position.as_ref()?)));
        let reads = open.map(|(id, position)| {
            let request = self.client.get_records().shard_iterator(&position.iterator);
            async move { (id, request.send().await) }
        });
        let mut answers = Vec::new();
        for (id, answer) in join_all(reads).await {
            if let Some(answer) = self.accept(&id, answer).await? {
                answers.push((id, answer));
            }
        }
        let mut records = Vec::new();
        for (id, answer) in answers {
            let last = answer.records.last();
            let last = last.map(|record| Point::Record(record.sequence_number.clone()));
            let position = self.shards.remove(&id).flatten();
            let from = last.or(position.map(|position| position.from));
            let position = answer.next_shard_iterator.zip(from);
            if position.is_none() {
                // A closed shard has child shards, which may be read now.
                self.listed = None;
            }
            let position = position.map(|(iterator, from)| Position { iterator, from });
            self.shards.insert(id, position);
            let data = answer.records.into_iter().map(|record| record.data);
            records.extend(data.map(aws_sdk_kinesis::primitives::Blob::into_inner));
        }
        Ok(records)
    }

    /// The records of a shard; `None` if the shard must be read again by the next call.
    async fn accept(&mut self, id: &str, answer: Answer) -> Result<Option<GetRecordsOutput>> {
        let error = match answer {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(GetRecordsError::ProvisionedThroughputExceededException(_)) => Ok(None),
            // An iterator expires after five minutes without a read, usually because the machine was asleep.
            Some(GetRecordsError::ExpiredIteratorException(_)) => {
                let position = self.shards.get(id).and_then(Option::as_ref);
                let from =
                    position.map_or(Point::Start(self.start), |position| position.from.clone());
                let position = self.open(id, from).await?;
                self.shards.insert(id.to_owned(), position);
                Ok(None)
            }
            _ => Err(error).with_context(|| format!("could not read the stream {}", self.stream)),
        }
    }

    /// Opens new shards. A child shard is opened only after its parents have been read to their ends;
    /// otherwise an aggregate's later events would be read before its earlier ones.
    async fn open_shards(&mut self) -> Result<()> {
        let listed = self.list().await?;
        if self.listed.is_none() && self.shards.is_empty() {
            self.first = listed.iter().map(|it| it.shard_id.clone()).collect();
        }
        for shard in &listed {
            // A closed shard has no records after its last one.
            if self.start == Start::Latest && self.is_first(shard) && is_closed(shard) {
                self.shards.insert(shard.shard_id.clone(), None);
            }
        }
        let is_listed = |id: &str| listed.iter().any(|shard| shard.shard_id == id);
        for shard in &listed {
            let parents = [&shard.parent_shard_id, &shard.adjacent_parent_shard_id];
            // A parent is no longer listed after its records have reached the end of the retention period.
            let waits = parents.into_iter().flatten().any(|parent| {
                is_listed(parent) && self.shards.get(parent).is_none_or(Option::is_some)
            });
            if waits || self.shards.contains_key(&shard.shard_id) {
                continue;
            }
            // All records of a shard that was created later are new.
            let start = if self.is_first(shard) {
                self.start
            } else {
                Start::Beginning
            };
            let position = self.open(&shard.shard_id, Point::Start(start)).await?;
            self.shards.insert(shard.shard_id.clone(), position);
        }
        Ok(())
    }

    fn is_first(&self, shard: &Shard) -> bool {
        self.first.contains(&shard.shard_id)
    }

    async fn list(&self) -> Result<Vec<Shard>> {
        let mut listed = Vec::new();
        let mut next = None;
        loop {
            let request = self.client.list_shards();
            let request = match next {
                // The token identifies the stream. Kinesis refuses a request with both.
                Some(token) => request.next_token(token),
                None => request.stream_name(&self.stream),
            };
            let page = request
                .send()
                .await
                .with_context(|| format!("could not list the shards of {}", self.stream))?;
            listed.extend(page.shards.unwrap_or_default());
            next = page.next_token;
            if next.is_none() {
                return Ok(listed);
            }
        }
    }

    async fn open(&self, shard: &str, from: Point) -> Result<Option<Position>> {
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(&self.stream)
            .shard_id(shard);
        let request = match &from {
            Point::Start(Start::Latest) => request.shard_iterator_type(ShardIteratorType::Latest),
            Point::Start(Start::Beginning) => {
                request.shard_iterator_type(ShardIteratorType::TrimHorizon)
            }
            Point::Start(Start::At(time)) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(time.unix_millis())),
            Point::Record(number) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number),
        };
        let answer = request
            .send()
            .await
            .with_context(|| format!("could not open the shard {shard}"))?;
        let from = match from {
            // If an iterator at the end expires, the records since then must not be skipped.
            Point::Start(Start::Latest) => Point::Start(Start::At(System.now())),
            from => from,
        };
        let position = answer
            .shard_iterator
            .map(|iterator| Position { iterator, from });
        Ok(position)
    }
}

/// Whether a shard accepts no more records.
fn is_closed(shard: &Shard) -> bool {
    let range = shard.sequence_number_range.as_ref();
    range.is_some_and(|range| range.ending_sequence_number.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_sdk_kinesis::operation::get_shard_iterator::GetShardIteratorOutput;
    use aws_sdk_kinesis::operation::list_shards::ListShardsOutput;
    use aws_sdk_kinesis::primitives::Blob;
    use aws_sdk_kinesis::types::error::{
        ExpiredIteratorException, ProvisionedThroughputExceededException,
    };
    use aws_sdk_kinesis::types::{HashKeyRange, Record, SequenceNumberRange};
    use aws_smithy_mocks::{RuleMode, mock, mock_client};

    use super::*;

    /// A simulated stream. Its iterators have the form `shard|position`.
    #[derive(Debug, Default)]
    struct Stream {
        /// Each shard's id, its parent, and whether it is closed.
        shards: Vec<(&'static str, Option<&'static str>, bool)>,
        /// The records of each shard, in order.
        records: HashMap<&'static str, Vec<&'static str>>,
        /// The errors of the next reads, the last one first.
        failing: Vec<GetRecordsError>,
        opened: Vec<String>,
    }

    fn shard((id, parent, is_closed): (&str, Option<&str>, bool)) -> Shard {
        let keys = HashKeyRange::builder()
            .starting_hash_key("0")
            .ending_hash_key("1");
        let numbers = SequenceNumberRange::builder()
            .starting_sequence_number("0")
            .set_ending_sequence_number(is_closed.then(|| "9".to_owned()));
        Shard::builder()
            .shard_id(id)
            .set_parent_shard_id(parent.map(str::to_owned))
            .hash_key_range(keys.build().expect("valid"))
            .sequence_number_range(numbers.build().expect("valid"))
            .build()
            .expect("valid")
    }

    fn follower(stream: &Arc<Mutex<Stream>>, start: Start) -> Follower {
        let state = Arc::clone(stream);
        let list = mock!(Client::list_shards).then_compute_output(move |_| {
            let shards = state.lock().expect("unpoisoned").shards.clone();
            let shards = shards.into_iter().map(shard).collect();
            ListShardsOutput::builder().set_shards(Some(shards)).build()
        });
        let state = Arc::clone(stream);
        let open = mock!(Client::get_shard_iterator).then_compute_output(move |request| {
            let mut state = state.lock().expect("unpoisoned");
            let shard = request.shard_id().expect("named");
            let count = state.records.get(shard).map_or(0, Vec::len);
            let position = match request.shard_iterator_type().expect("given") {
                ShardIteratorType::Latest => count,
                ShardIteratorType::AfterSequenceNumber => {
                    let number = request.starting_sequence_number().expect("given");
                    number.parse::<usize>().expect("a position") + 1
                }
                _ => 0,
            };
            let of = request.shard_iterator_type().expect("given");
            state.opened.push(format!("{shard} {of}"));
            GetShardIteratorOutput::builder()
                .shard_iterator(format!("{shard}|{position}"))
                .build()
        });
        let state = Arc::clone(stream);
        let read = mock!(Client::get_records)
            .match_requests(move |_| state.lock().expect("unpoisoned").failing.is_empty());
        let state = Arc::clone(stream);
        let read = read.then_compute_output(move |request| {
            let state = state.lock().expect("unpoisoned");
            let (shard, position) = request
                .shard_iterator()
                .and_then(|iterator| iterator.split_once('|'))
                .expect("an iterator");
            let position: usize = position.parse().expect("a position");
            let all = state.records.get(shard).map_or(&[][..], Vec::as_slice);
            let records = all.iter().enumerate().skip(position).map(|(number, data)| {
                Record::builder()
                    .sequence_number(number.to_string())
                    .data(Blob::new(*data))
                    .partition_key("a")
                    .build()
                    .expect("valid")
            });
            let is_closed = state.shards.iter().any(|it| it.0 == shard && it.2);
            GetRecordsOutput::builder()
                .set_records(Some(records.collect()))
                .set_next_shard_iterator((!is_closed).then(|| format!("{shard}|{}", all.len())))
                .build()
                .expect("valid")
        });
        let state = Arc::clone(stream);
        let fail = mock!(Client::get_records).then_error(move || {
            let mut state = state.lock().expect("unpoisoned");
            state.failing.pop().expect("a failure")
        });
        let client = mock_client!(
            aws_sdk_kinesis,
            RuleMode::MatchAny,
            [&list, &open, &read, &fail],
            |config| config.retry_config(aws_sdk_kinesis::config::retry::RetryConfig::disabled())
        );
        Follower::starting(client, "events", start)
    }

    async fn texts(follower: &mut Follower) -> Vec<String> {
        let records = follower.read().await.expect("readable");
        let texts = records.into_iter().map(String::from_utf8);
        texts.map(|text| text.expect("text")).collect()
    }

    fn split() -> Stream {
        Stream {
            shards: vec![("parent", None, true), ("child", Some("parent"), false)],
            records: [("parent", vec!["1", "2"]), ("child", vec!["3"])].into(),
            ..Stream::default()
        }
    }

    #[tokio::test]
    async fn a_shard_is_read_once_its_parent_is_read_to_the_end() {
        let stream = Arc::new(Mutex::new(split()));
        let mut follower = follower(&stream, Start::Beginning);
        assert_eq!(texts(&mut follower).await, ["1", "2"]);
        assert_eq!(texts(&mut follower).await, ["3"]);
        assert!(texts(&mut follower).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_is_created_later_is_read_from_its_beginning() {
        let stream = Arc::new(Mutex::new(Stream {
            shards: vec![("parent", None, false)],
            records: [("parent", vec!["1"])].into(),
            ..Stream::default()
        }));
        let mut follower = follower(&stream, Start::Latest);
        assert!(texts(&mut follower).await.is_empty());
        *stream.lock().expect("unpoisoned") = split();
        assert_eq!(texts(&mut follower).await, ["2"]);
        assert_eq!(texts(&mut follower).await, ["3"]);
    }

    #[tokio::test]
    async fn latest_skips_all_stored_records_of_a_split_stream() {
        let stream = Arc::new(Mutex::new(split()));
        let mut follower = follower(&stream, Start::Latest);
        assert!(texts(&mut follower).await.is_empty());
        let records = HashMap::from([("child", vec!["3", "4"])]);
        stream.lock().expect("unpoisoned").records = records;
        assert_eq!(texts(&mut follower).await, ["4"]);
    }

    #[tokio::test]
    async fn a_start_time_applies_to_every_existing_shard() {
        let stream = Arc::new(Mutex::new(split()));
        let time = Timestamp::parse("2026-11-20T21:00:00Z").expect("valid");
        let mut follower = follower(&stream, Start::At(time));
        texts(&mut follower).await;
        texts(&mut follower).await;
        assert_eq!(
            stream.lock().expect("unpoisoned").opened,
            ["parent AT_TIMESTAMP", "child AT_TIMESTAMP"]
        );
    }

    #[tokio::test]
    async fn a_throttled_or_expired_shard_is_read_by_the_next_call() {
        let stream = Arc::new(Mutex::new(Stream {
            shards: vec![("only", None, false)],
            records: [("only", vec!["1"])].into(),
            ..Stream::default()
        }));
        let mut follower = follower(&stream, Start::Beginning);
        assert_eq!(texts(&mut follower).await, ["1"]);
        let throttled = ProvisionedThroughputExceededException::builder().build();
        let expired = ExpiredIteratorException::builder().build();
        {
            let mut stream = stream.lock().expect("unpoisoned");
            stream.records = [("only", vec!["1", "2"])].into();
            stream.failing = vec![
                GetRecordsError::ExpiredIteratorException(expired),
                GetRecordsError::ProvisionedThroughputExceededException(throttled),
            ];
        }
        assert!(texts(&mut follower).await.is_empty());
        assert!(texts(&mut follower).await.is_empty());
        assert_eq!(texts(&mut follower).await, ["2"]);
        assert_eq!(
            stream.lock().expect("unpoisoned").opened,
            ["only TRIM_HORIZON", "only AFTER_SEQUENCE_NUMBER"]
        );
    }
}
