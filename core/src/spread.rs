//! The key of a sparse index that lists marked items.
//!
//! An index with one key for all items would have one hot partition, which throttles the base table
//! ([global secondary indexes](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html)).
//! So the key has one of [`PARTITIONS`] values for each marker.

/// How many values the key has for a marker.
pub const PARTITIONS: u8 = 8;

/// The partition of an aggregate's id, below [`PARTITIONS`]: its FNV-1a hash. It is stored, so it never
/// changes.
#[must_use]
pub fn partition(id: &str) -> u8 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u8::try_from(hash % u64::from(PARTITIONS)).expect("below PARTITIONS")
}

/// The index's key of a marker in a partition, such as `blocked/3`.
#[must_use]
pub fn index_key(marker: &str, partition: u8) -> String {
    format!("{marker}/{partition}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_never_changes() {
        // FNV-1a's published test vectors, modulo 8.
        for (id, hash) in [
            ("", 0xcbf2_9ce4_8422_2325_u64),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(u64::from(partition(id)), hash % 8, "{id}");
        }
    }

    #[test]
    fn ids_spread_over_all_partitions() {
        let mut counts = [0_u32; PARTITIONS as usize];
        for id in 0..8_000 {
            counts[usize::from(partition(&format!("aggregate-{id}")))] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1_100).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_key_names_marker_and_partition() {
        assert_eq!(index_key("blocked", 3), "blocked/3");
    }
}
