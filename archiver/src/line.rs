//! Converts a stream record to lake records, each one line of JSON.
//!
//! The bytes of an event are a lake record as they are. Other bytes would make every query fail, or
//! Firehose's conversion of all lines that are packed with them, and must not be lost: they become an
//! event of type `UnreadableRecord` that contains them in `data_base64`.
//! An event that is larger than a Firehose record becomes several of these, each with one part. So
//! nothing is lost and no later event waits, but queries don't show it as an event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_consumer::KinesisRecord;
use millrace_core::{Domain, envelope, lake};
use millrace_runtime::isolated;
use serde_json::json;
use tracing::field;

use crate::pack::MAX_RECORD;

/// The `type` of a lake record that contains other bytes than an event.
pub const UNREADABLE: &str = "UnreadableRecord";
/// The `source` of such a lake record.
const SOURCE: &str = "urn:millrace:archiver";
/// The most bytes of a stream record in one such lake record. Base64 encodes three bytes as four, and
/// a lake record has to fit into a Firehose record. A stream record has at most 10 MiB
/// ([large records](https://docs.aws.amazon.com/streams/latest/dev/large-records.html)).
const PART: usize = 600 * 1024;

/// The lake records of a stream record, each with its line break, and none larger than a Firehose
/// record: 1,000 KiB. A stream record for which the check panics is unreadable.
#[must_use]
pub fn lines<D: Domain>(record: &KinesisRecord<'_>) -> Vec<Vec<u8>> {
    lines_if(record, lake::is_row::<D>)
}

fn lines_if(record: &KinesisRecord<'_>, is_event: impl FnOnce(&[u8]) -> bool) -> Vec<Vec<u8>> {
    if isolated(|| is_event(&record.data)).unwrap_or(false) {
        let bytes = record.data.len() + 1;
        if bytes <= MAX_RECORD {
            let mut line = Vec::with_capacity(bytes);
            line.extend_from_slice(&record.data);
            line.push(b'\n');
            return vec![line];
        }
        tracing::error!(
            stream_id = &*record.stream_id,
            trace_id = envelope::trace_id(&record.data).map(field::display),
            bytes,
            limit = MAX_RECORD,
            "an event is larger than a Firehose record; it goes into the lake as an UnreadableRecord"
        );
    }
    let mut parts: Vec<&[u8]> = record.data.chunks(PART).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let count = parts.len();
    parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| unreadable(record, part, index + 1, count))
        .collect()
}

fn unreadable(record: &KinesisRecord<'_>, part: &[u8], number: usize, count: usize) -> Vec<u8> {
    let stream_id = &record.stream_id;
    let mut line = json!({
        "specversion": "1.0",
        "id": if count == 1 { stream_id.to_string() } else { format!("{stream_id}:{number}/{count}") },
        "source": SOURCE,
        "type": UNREADABLE,
        "subject": record.partition_key,
        "datacontenttype": "application/octet-stream",
        "data_base64": STANDARD.encode(part),
    });
    if let Some(arrival) = record.arrival {
        line["time"] = arrival.to_string().into();
    }
    format!("{line}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use millrace_core::Timestamp;
    use millrace_domain::Accounts;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn record(data: &[u8]) -> KinesisRecord<'static> {
        KinesisRecord {
            position: 0,
            stream_id: "shardId-000000000000:495".into(),
            partition_key: "a".into(),
            arrival: Timestamp::from_unix_millis(0),
            data: data.to_vec(),
        }
    }

    #[test]
    fn an_event_goes_in_as_it_is() {
        let event = br#"{"type":"T", "id":"a:1"}"#;
        assert_eq!(
            lines::<Accounts>(&record(event)),
            [[&event[..], b"\n"].concat()]
        );
    }

    #[test]
    fn what_is_no_event_is_kept_in_one() {
        let line = lines::<Accounts>(&record(b"\x00\n")).concat();
        assert_eq!(
            serde_json::from_slice::<Value>(&line).expect("JSON"),
            json!({
                "specversion": "1.0", "id": "shardId-000000000000:495",
                "source": "urn:millrace:archiver", "type": "UnreadableRecord", "subject": "a",
                "time": "1970-01-01T00:00:00.000Z", "datacontenttype": "application/octet-stream",
                "data_base64": "AAo=",
            })
        );
    }

    #[test]
    fn a_record_whose_check_panics_is_kept_in_an_event_as_an_unreadable_one() {
        let event = br#"{"type":"T", "id":"a:1"}"#;
        let line = lines_if(&record(event), |_| panic!("it quotes the record")).concat();
        let line: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(line["type"], UNREADABLE);
        assert_eq!(line["data_base64"], STANDARD.encode(event));
    }

    #[test]
    fn names_that_athena_takes_for_one_make_no_event() {
        let twice = br#"{"id":"a:1","type":"T","ID":"b"}"#;
        let line = lines::<Accounts>(&record(twice)).concat();
        let line: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(line["type"], UNREADABLE);
        assert_eq!(line["data_base64"], STANDARD.encode(twice));
    }

    #[test]
    fn what_is_too_large_comes_in_parts_that_add_up() {
        let data = vec![b'{'; 2 * PART + 1];
        let lines = lines::<Accounts>(&record(&data));
        assert_eq!(lines.len(), 3);
        let mut joined = Vec::new();
        let mut ids = Vec::new();
        for line in &lines {
            assert!(line.len() <= 1_000 * 1024);
            let line: Value = serde_json::from_slice(line).expect("JSON");
            ids.push(line["id"].as_str().expect("an id").to_owned());
            let part = line["data_base64"].as_str().expect("a part");
            joined.extend(STANDARD.decode(part).expect("base64"));
        }
        assert_eq!(joined, data);
        assert!(ids[2].ends_with(":3/3"), "{ids:?}");
    }

    proptest! {
        #[test]
        fn every_record_is_lines_of_the_lake(data in prop::collection::vec(any::<u8>(), 0..200)) {
            for line in lines::<Accounts>(&record(&data)) {
                let (last, line) = line.split_last().expect("not empty");
                prop_assert_eq!(*last, b'\n');
                prop_assert!(lake::is_row::<Accounts>(line));
            }
        }
    }
}
