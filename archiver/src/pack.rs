//! Packs many lake records into a Firehose record, and many Firehose records into a call. Firehose
//! rounds each record up to 5 KB for billing ([pricing](https://aws.amazon.com/firehose/pricing/)), and
//! an event has a few hundred bytes.

use crate::ports::Packed;

/// The most bytes of one record, before base64: 1,000 KiB
/// ([Record](https://docs.aws.amazon.com/firehose/latest/APIReference/API_Record.html)).
pub(crate) const MAX_RECORD: usize = 1_000 * 1024;
/// The most records of one call
/// ([PutRecordBatch](https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html)).
pub(crate) const MAX_RECORDS: usize = 500;
/// The most bytes of one call's records: 4 MiB
/// ([quota](https://docs.aws.amazon.com/firehose/latest/dev/limits.html)).
pub(crate) const MAX_CALL: usize = 4 * 1024 * 1024;

/// Packs lake records, each with the position of its stream record, in order. None is ever cut, and none
/// may be larger than [`MAX_RECORD`], which [`lines`](crate::line::lines) ensures.
pub(crate) fn pack(lines: impl IntoIterator<Item = (usize, Vec<u8>)>) -> Vec<Packed> {
    let mut records: Vec<Packed> = Vec::new();
    for (position, line) in lines {
        match records.last_mut() {
            Some(last) if last.data.len() + line.len() <= MAX_RECORD => last.data.extend(line),
            Some(_) | None => records.push(Packed {
                first: position,
                data: line,
            }),
        }
    }
    records
}

/// How many of the records, from the first, one call takes.
pub(crate) fn call_size(records: &[Packed]) -> usize {
    let mut bytes = 0;
    records
        .iter()
        .take(MAX_RECORDS)
        .take_while(|record| {
            bytes += record.data.len();
            bytes <= MAX_CALL
        })
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(bytes: usize) -> Packed {
        Packed {
            first: 0,
            data: vec![b'x'; bytes],
        }
    }

    #[test]
    fn a_record_is_filled_to_its_limit_and_no_further() {
        let line = |bytes: usize| vec![b'x'; bytes];
        let half = MAX_RECORD / 2;
        let exactly = pack([(0, line(half)), (1, line(half))]);
        assert_eq!(exactly, [record(MAX_RECORD)]);
        let packed = pack([(0, line(half)), (1, line(half + 1)), (2, line(3))]);
        let shape: Vec<_> = packed.iter().map(|it| (it.first, it.data.len())).collect();
        assert_eq!(shape, [(0, half), (1, half + 4)]);
    }

    #[test]
    fn a_call_keeps_both_limits() {
        assert_eq!(call_size(&vec![record(1); 501]), 500);
        assert_eq!(call_size(&vec![record(MAX_RECORD); 5]), 4);
        assert_eq!(call_size(&[record(MAX_RECORD)]), 1);
        assert_eq!(call_size(&[]), 0);
    }

    proptest! {
        // Each case moves megabytes.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn no_line_is_lost_or_cut(sizes in prop::collection::vec(1..MAX_RECORD, 0..6)) {
            let lines: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(position, size)| (position, vec![b'a' + u8::try_from(position).unwrap(); *size]))
                .collect();
            let packed = pack(lines.clone());
            let together: Vec<u8> = packed.iter().flat_map(|record| record.data.clone()).collect();
            let all: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line).collect();
            prop_assert!(together == all);
            for record in &packed {
                prop_assert!(record.data.len() <= MAX_RECORD);
                prop_assert_eq!(record.data[0], b'a' + u8::try_from(record.first).unwrap());
            }
        }
    }
}
