//! `cargo bench -p millrace-benches`; docs/performance.md has the figures.

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use millrace_benches::peer::{PlainRow, Row};
use millrace_benches::{one_pass, owned, peer, stream_event};
use serde::de::IgnoredAny;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// Records of one event.
const RECORDS: [usize; 4] = [1, 100, 1_000, 10_000];

fn main() {
    let json = stream_event(1_000);
    let events = one_pass::translate(json.as_bytes());
    assert_eq!(events, owned::translate(json.as_bytes()));
    for parse in [peer::parse, peer::parse_as_lambda_runtime] {
        assert_eq!(events, peer::translate(json.as_bytes(), parse));
    }
    divan::main();
}

/// Measures work on the bytes of an event, including the time to free what it returns.
fn measure(bencher: Bencher<'_, '_>, records: usize, work: impl Fn(&[u8]) + Sync) {
    let json = stream_event(records);
    bencher
        .counter(ItemsCount::new(records))
        .counter(BytesCount::of_str(&json))
        .bench(|| work(black_box(json.as_bytes())));
}

/// From the bytes to typed rows.
mod decode {
    use super::{
        Bencher, IgnoredAny, PlainRow, RECORDS, Row, black_box, measure, one_pass, owned, peer,
    };

    /// What any parser has to do at least: the JSON is checked and skipped.
    #[divan::bench(args = RECORDS)]
    fn ignored_any(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            let ignored = serde_json::from_slice::<IgnoredAny>(json);
            ignored.expect("JSON");
        });
    }

    #[divan::bench(args = RECORDS)]
    fn one_pass(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(one_pass::decode(json)));
        });
    }

    #[divan::bench(args = RECORDS)]
    fn owned_as_before(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(owned::decode(json)));
        });
    }

    #[divan::bench(args = RECORDS)]
    fn peer(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(peer::decode::<Row>(json, peer::parse)));
        });
    }

    #[divan::bench(args = RECORDS)]
    fn peer_with_plain_rows(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(peer::decode::<PlainRow>(json, peer::parse)));
        });
    }

    #[divan::bench(args = RECORDS)]
    fn peer_as_lambda_runtime(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(peer::decode::<Row>(
                json,
                peer::parse_as_lambda_runtime,
            )));
        });
    }
}

/// From the bytes to the public events' bytes.
mod translate {
    use super::{Bencher, RECORDS, black_box, measure, one_pass, owned, peer};

    #[divan::bench(args = RECORDS)]
    fn one_pass(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(one_pass::translate(json)));
        });
    }

    #[divan::bench(args = RECORDS)]
    fn owned_as_before(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(owned::translate(json)));
        });
    }

    #[divan::bench(args = RECORDS)]
    fn peer(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(peer::translate(json, peer::parse)));
        });
    }

    #[divan::bench(args = RECORDS)]
    fn peer_as_lambda_runtime(bencher: Bencher<'_, '_>, records: usize) {
        measure(bencher, records, |json| {
            drop(black_box(peer::translate(
                json,
                peer::parse_as_lambda_runtime,
            )));
        });
    }
}
