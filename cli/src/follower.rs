//! Reading a Kinesis stream, all shards of it, also those that come later.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use futures_util::future::try_join_all;
use millrace_domain::Timestamp;
use tokio::time::Instant;

/// Kinesis allows five reads a second of a shard, by all of its consumers together
/// (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>).
pub const PAUSE: Duration = Duration::from_millis(250);
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
    shards: HashMap<String, Option<String>>,
    listed: Option<Instant>,
    start: Start,
}

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
        }
    }

    /// What came since the last time, in order within each shard. It doesn't wait: leave
    /// [`PAUSE`] between two calls.
    ///
    /// # Errors
    /// When a service doesn't answer; what was read before stays read.
    pub async fn read(&mut self) -> Result<Vec<Vec<u8>>> {
        if self.listed.is_none_or(|listed| listed.elapsed() > RELIST) {
            self.open_shards().await?;
            self.listed = Some(Instant::now());
        }
        let open = self
            .shards
            .iter()
            .filter_map(|(id, place)| Some((id, place.as_ref()?)));
        let reads = open.map(|(id, place)| {
            let request = self.client.get_records().shard_iterator(place);
            async move { request.send().await.map(|answer| (id.clone(), answer)) }
        });
        let answers = try_join_all(reads)
            .await
            .with_context(|| format!("could not read the stream {}", self.stream))?;
        let mut records = Vec::new();
        for (id, answer) in answers {
            if answer.next_shard_iterator.is_none() {
                // A shard that was closed has successors, and now they may be read.
                self.listed = None;
            }
            self.shards.insert(id, answer.next_shard_iterator);
            records.extend(
                answer
                    .records
                    .into_iter()
                    .map(|record| record.data.into_inner()),
            );
        }
        Ok(records)
    }

    /// Opens the shards that are new. One that came out of another waits until that one was read
    /// to its end, else an account's later events would be seen before its earlier ones.
    async fn open_shards(&mut self) -> Result<()> {
        let mut pages = self
            .client
            .list_shards()
            .stream_name(&self.stream)
            .send()
            .await
            .with_context(|| format!("could not list the shards of {}", self.stream))?;
        let mut listed = Vec::new();
        loop {
            listed.extend(pages.shards.unwrap_or_default());
            let Some(next) = pages.next_token else { break };
            pages = self
                .client
                .list_shards()
                .next_token(next)
                .send()
                .await
                .with_context(|| format!("could not list the shards of {}", self.stream))?;
        }
        let first = self.shards.is_empty();
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
            // A shard that comes later begins behind what was read: all of it is new.
            let start = if first { self.start } else { Start::Beginning };
            let (iterator_type, timestamp) = match start {
                Start::Latest => (ShardIteratorType::Latest, None),
                Start::Beginning => (ShardIteratorType::TrimHorizon, None),
                Start::At(time) => (
                    ShardIteratorType::AtTimestamp,
                    Some(DateTime::from_millis(time.unix_millis())),
                ),
            };
            let place = self
                .client
                .get_shard_iterator()
                .stream_name(&self.stream)
                .shard_id(&shard.shard_id)
                .shard_iterator_type(iterator_type)
                .set_timestamp(timestamp)
                .send()
                .await
                .with_context(|| format!("could not open the shard {}", shard.shard_id))?;
            self.shards
                .insert(shard.shard_id.clone(), place.shard_iterator);
        }
        Ok(())
    }
}
