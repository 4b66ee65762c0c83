//! Spreading aggregates over the keys of a sparse index.
//!
//! An index whose items all have one key writes to one partition, and throttles the table's own writes
//! when that partition is hot
//! ([write sharding](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-sharding.html)).

/// The number of values that a spread key has.
pub const PARTITIONS: u8 = 8;

/// The partition of an aggregate, from 0 up to but not including [`PARTITIONS`]: its id's FNV-1a hash of 64
/// bits modulo the number of partitions. Stored keys contain it, so it never changes.
#[must_use]
pub fn partition(id: &str) -> u8 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    u8::try_from(hash % u64::from(PARTITIONS)).expect("it is below 8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_partitions_never_change() {
        let pinned = ["", "a", "b", "account-1", "account-2", "0f8fad5b-d9cb"];
        assert_eq!(pinned.map(partition), [5, 4, 5, 6, 3, 0]);
    }

    #[test]
    fn ids_are_spread_over_all_partitions() {
        let mut counts = [0; PARTITIONS as usize];
        for number in 0..8_000 {
            counts[usize::from(partition(&format!("account-{number}")))] += 1;
        }
        assert!(
            counts.iter().all(|count| (600..1_400).contains(count)),
            "{counts:?}"
        );
    }
}
