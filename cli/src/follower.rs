//! Reading a Kinesis stream, all shards of it, also those that come later.

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

/// Kinesis allows five reads a second of a shard, by all of its consumers together
/// (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>). Two leave room
/// for the event source mappings, which read once a second each.
pub const PAUSE: Duration = Duration::from_millis(500);
/// Shards change rarely; a new one keeps its records until we come.
const RELIST: Duration = Duration::from_secs(10);

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Behind all that is there.
    Latest,
    /// Before the first record that is kept.
    Beginning,
    /// With what came at this time.
    At(Timestamp),
}

/// How far a stream was read.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    stream: String,
    /// Each known shard's place; `None` once a closed shard was read to its end.
    shards: HashMap<String, Option<Place>>,
    listed: Option<Instant>,
    start: Start,
    /// The shards that were there when reading began.
    first: Vec<String>,
}

/// How far a shard was read.
#[derive(Debug)]
struct Place {
    iterator: String,
    /// Where reading goes on, should the iterator expire.
    from: Point,
}

#[derive(Debug, Clone)]
enum Point {
    Start(Start),
    /// Behind this record.
    Record(String),
}

type Answer = Result<GetRecordsOutput, SdkError<GetRecordsError>>;

impl Follower {
    /// Begins before the first record.
    #[must_use]
    pub fn new(client: Client, stream: &str) -> Self {
        Self::starting(client, stream, Start::Beginning)
    }

    /// Begins there.
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

    /// What came since the last time, in order within each shard. It doesn't wait: leave
    /// [`PAUSE`] between two calls. A shard that is throttled is read the next time.
    ///
    /// # Errors
    /// When a service doesn't answer. Nothing is passed over: what this call has read, the next one
    /// reads again.
    pub async fn read(&mut self) -> Result<Vec<Vec<u8>>> {
        if self.listed.is_none_or(|listed| listed.elapsed() > RELIST) {
            self.open_shards().await?;
            self.listed = Some(Instant::now());
        }
        let open = self
            .shards
            .iter()
            .filter_map(|(id, place)| Some((id.clone(), place.as_ref()?)));
        let reads = open.map(|(id, place)| {
            let request = self.client.get_records().shard_iterator(&place.iterator);
            async move { (id, request.send().await) }
        });
        let mut answers = Vec::new();
        for (id, answer) in join_all(reads).await {
            if let Some(answer) = self.taken(&id, answer).await? {
                answers.push((id, answer));
            }
        }
        let mut records = Vec::new();
        for (id, answer) in answers {
            let last = answer.records.last();
            let last = last.map(|record| Point::Record(record.sequence_number.clone()));
            let place = self.shards.remove(&id).flatten();
            let from = last.or(place.map(|place| place.from));
            let place = answer.next_shard_iterator.zip(from);
            if place.is_none() {
                // A shard that was closed has successors, and now they may be read.
                self.listed = None;
            }
            let place = place.map(|(iterator, from)| Place { iterator, from });
            self.shards.insert(id, place);
            let data = answer.records.into_iter().map(|record| record.data);
            records.extend(data.map(aws_sdk_kinesis::primitives::Blob::into_inner));
        }
        Ok(records)
    }

    /// A shard's answer; `None` where it is to be asked again.
    async fn taken(&mut self, id: &str, answer: Answer) -> Result<Option<GetRecordsOutput>> {
        let error = match answer {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(GetRecordsError::ProvisionedThroughputExceededException(_)) => Ok(None),
            // Nobody has read for five minutes; a machine that slept, as a rule.
            Some(GetRecordsError::ExpiredIteratorException(_)) => {
                let place = self.shards.get(id).and_then(Option::as_ref);
                let from = place.map_or(Point::Start(self.start), |place| place.from.clone());
                let place = self.open(id, from).await?;
                self.shards.insert(id.to_owned(), place);
                Ok(None)
            }
            _ => Err(error).with_context(|| format!("could not read the stream {}", self.stream)),
        }
    }

    /// Opens the shards that are new. One that came out of another waits until that one was read
    /// to its end, else an aggregate's later events would be seen before its earlier ones.
    async fn open_shards(&mut self) -> Result<()> {
        let listed = self.list().await?;
        if self.listed.is_none() && self.shards.is_empty() {
            self.first = listed.iter().map(|it| it.shard_id.clone()).collect();
        }
        for shard in &listed {
            // Behind all that is there, a closed shard has nothing.
            if self.start == Start::Latest && self.is_first(shard) && is_closed(shard) {
                self.shards.insert(shard.shard_id.clone(), None);
            }
        }
        let is_listed = |id: &str| listed.iter().any(|shard| shard.shard_id == id);
        for shard in &listed {
            let parents = [&shard.parent_shard_id, &shard.adjacent_parent_shard_id];
            // A parent that is listed no longer has lost its records to the retention period.
            let waits = parents.into_iter().flatten().any(|parent| {
                is_listed(parent) && self.shards.get(parent).is_none_or(Option::is_some)
            });
            if waits || self.shards.contains_key(&shard.shard_id) {
                continue;
            }
            // A shard that came later begins behind what was read: all of it is new.
            let start = if self.is_first(shard) {
                self.start
            } else {
                Start::Beginning
            };
            let place = self.open(&shard.shard_id, Point::Start(start)).await?;
            self.shards.insert(shard.shard_id.clone(), place);
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
                // The token stands for the stream; both together are refused.
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

    async fn open(&self, shard: &str, from: Point) -> Result<Option<Place>> {
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
            // An iterator at the end that expires must not pass over what came meanwhile.
            Point::Start(Start::Latest) => Point::Start(Start::At(System.now())),
            from => from,
        };
        let place = answer
            .shard_iterator
            .map(|iterator| Place { iterator, from });
        Ok(place)
    }
}

/// Whether a shard takes no more records.
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

    /// What the stream has; iterators are `shard|place`.
    #[derive(Debug, Default)]
    struct Stream {
        /// Each with its parent, and whether it is closed.
        shards: Vec<(&'static str, Option<&'static str>, bool)>,
        /// Of each shard in order.
        records: HashMap<&'static str, Vec<&'static str>>,
        /// How the next reads fail.
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
        let world = Arc::clone(stream);
        let list = mock!(Client::list_shards).then_compute_output(move |_| {
            let shards = world.lock().expect("unpoisoned").shards.clone();
            let shards = shards.into_iter().map(shard).collect();
            ListShardsOutput::builder().set_shards(Some(shards)).build()
        });
        let world = Arc::clone(stream);
        let open = mock!(Client::get_shard_iterator).then_compute_output(move |request| {
            let mut world = world.lock().expect("unpoisoned");
            let shard = request.shard_id().expect("named");
            let count = world.records.get(shard).map_or(0, Vec::len);
            let place = match request.shard_iterator_type().expect("told") {
                ShardIteratorType::Latest => count,
                ShardIteratorType::AfterSequenceNumber => {
                    let number = request.starting_sequence_number().expect("told");
                    number.parse::<usize>().expect("a place") + 1
                }
                _ => 0,
            };
            let of = request.shard_iterator_type().expect("told");
            world.opened.push(format!("{shard} {of}"));
            GetShardIteratorOutput::builder()
                .shard_iterator(format!("{shard}|{place}"))
                .build()
        });
        let world = Arc::clone(stream);
        let read = mock!(Client::get_records)
            .match_requests(move |_| world.lock().expect("unpoisoned").failing.is_empty());
        let world = Arc::clone(stream);
        let read = read.then_compute_output(move |request| {
            let world = world.lock().expect("unpoisoned");
            let (shard, place) = request
                .shard_iterator()
                .and_then(|iterator| iterator.split_once('|'))
                .expect("an iterator");
            let place: usize = place.parse().expect("a place");
            let all = world.records.get(shard).map_or(&[][..], Vec::as_slice);
            let records = all.iter().enumerate().skip(place).map(|(number, data)| {
                Record::builder()
                    .sequence_number(number.to_string())
                    .data(Blob::new(*data))
                    .partition_key("a")
                    .build()
                    .expect("valid")
            });
            let is_closed = world.shards.iter().any(|it| it.0 == shard && it.2);
            GetRecordsOutput::builder()
                .set_records(Some(records.collect()))
                .set_next_shard_iterator((!is_closed).then(|| format!("{shard}|{}", all.len())))
                .build()
                .expect("valid")
        });
        let world = Arc::clone(stream);
        let fail = mock!(Client::get_records).then_error(move || {
            let mut world = world.lock().expect("unpoisoned");
            world.failing.pop().expect("a failure")
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
    async fn a_shard_that_comes_later_is_read_from_its_beginning() {
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
    async fn the_latest_of_a_stream_that_was_split_before_is_none_of_it() {
        let stream = Arc::new(Mutex::new(split()));
        let mut follower = follower(&stream, Start::Latest);
        assert!(texts(&mut follower).await.is_empty());
        let records = HashMap::from([("child", vec!["3", "4"])]);
        stream.lock().expect("unpoisoned").records = records;
        assert_eq!(texts(&mut follower).await, ["4"]);
    }

    #[tokio::test]
    async fn a_time_counts_for_every_shard_that_was_there() {
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
    async fn what_is_throttled_or_has_expired_is_read_the_next_time() {
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
