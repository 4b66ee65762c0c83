//! A sharded log, which simulates DynamoDB streams and Kinesis streams. Records are ordered within a shard. Shards
//! are split and merged, and a child's records come after those of its parents.

use fastrand::Rng;

/// A shard.
#[derive(Debug)]
pub(crate) struct Shard<R> {
    /// The range of hashes whose records go to the shard, including both ends.
    range: (u32, u32),
    /// The parent shards. A reader that keeps the order reads them to their end first.
    pub(crate) parents: Vec<usize>,
    pub(crate) is_open: bool,
    /// The number of the shard's first records that were trimmed.
    pub(crate) trimmed: usize,
    pub(crate) records: Vec<Stored<R>>,
}

/// A record with its sequence number, which increases throughout the log.
#[derive(Debug, Clone)]
pub(crate) struct Stored<R> {
    pub(crate) number: u64,
    /// The time of its arrival, in milliseconds from the start.
    pub(crate) at: u64,
    pub(crate) record: R,
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log<R> {
    pub(crate) shards: Vec<Shard<R>>,
    next_number: u64,
}

impl<R> Log<R> {
    pub(crate) fn new(shards: u32) -> Self {
        let width = u32::MAX / shards;
        let shards = (0..shards)
            .map(|n| Shard {
                range: (
                    n * width,
                    if n + 1 == shards {
                        u32::MAX
                    } else {
                        (n + 1) * width - 1
                    },
                ),
                parents: Vec::new(),
                is_open: true,
                trimmed: 0,
                records: Vec::new(),
            })
            .collect();
        Self {
            shards,
            next_number: 1,
        }
    }

    /// The open shard whose range contains this key's hash.
    pub(crate) fn shard_of(&self, key: &str) -> usize {
        let hash = hash(key);
        self.shards
            .iter()
            .position(|shard| shard.is_open && shard.range.0 <= hash && hash <= shard.range.1)
            .expect("open shards cover every hash")
    }

    pub(crate) fn append(&mut self, key: &str, at: u64, record: R) {
        let shard = self.shard_of(key);
        let number = self.next_number;
        self.next_number += 1;
        self.shards[shard]
            .records
            .push(Stored { number, at, record });
    }

    /// All records in the order of their arrival.
    pub(crate) fn in_order(&self) -> Vec<&Stored<R>> {
        let mut all: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| &shard.records)
            .collect();
        all.sort_by_key(|stored| stored.number);
        all
    }

    /// The sequence number of the next record.
    pub(crate) const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Trims the records that arrived before `oldest`.
    pub(crate) fn trim(&mut self, oldest: u64) {
        for shard in &mut self.shards {
            shard.trimmed = shard.records.partition_point(|stored| stored.at < oldest);
        }
    }

    /// Splits a shard: closes it and opens two new ones for its range.
    pub(crate) fn split(&mut self, rng: &mut Rng) {
        let open = self.open();
        let parent = open[rng.usize(0..open.len())];
        let (from, to) = self.shards[parent].range;
        let middle = from + (to - from) / 2;
        if middle < to {
            self.replace(&[parent], &[(from, middle), (middle + 1, to)]);
        }
    }

    /// Merges two neighbours: closes them and opens a new one for their range.
    pub(crate) fn merge(&mut self, rng: &mut Rng) {
        let mut open = self.open();
        open.sort_by_key(|index| self.shards[*index].range);
        if open.len() > 1 {
            let first = rng.usize(0..open.len() - 1);
            let parents = [open[first], open[first + 1]];
            let range = (
                self.shards[parents[0]].range.0,
                self.shards[parents[1]].range.1,
            );
            self.replace(&parents, &[range]);
        }
    }

    fn open(&self) -> Vec<usize> {
        (0..self.shards.len())
            .filter(|index| self.shards[*index].is_open)
            .collect()
    }

    fn replace(&mut self, parents: &[usize], ranges: &[(u32, u32)]) {
        for parent in parents {
            self.shards[*parent].is_open = false;
        }
        self.shards.extend(ranges.iter().map(|range| Shard {
            range: *range,
            parents: parents.to_vec(),
            is_open: true,
            trimmed: 0,
            records: Vec::new(),
        }));
    }
}

/// An FNV-1a hash whose bits are mixed, so that short keys are spread over the whole range.
pub(crate) fn hash(key: &str) -> u32 {
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d) ^ (hash << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_open_shard_after_splits_and_merges() {
        let mut rng = Rng::with_seed(1);
        let mut log = Log::new(3);
        for n in 0..200 {
            if rng.bool() {
                log.split(&mut rng);
            } else {
                log.merge(&mut rng);
            }
            log.append(&format!("key-{n}"), 0, n);
            let of_key = |log: &Log<_>| {
                let hash = hash("x");
                let takes = |shard: &&Shard<_>| {
                    shard.is_open && shard.range.0 <= hash && hash <= shard.range.1
                };
                log.shards.iter().filter(takes).count()
            };
            assert_eq!(of_key(&log), 1);
        }
        let order: Vec<_> = log.in_order().iter().map(|stored| stored.record).collect();
        assert_eq!(order, (0..200).collect::<Vec<_>>());
    }
}
