//! The rules of putting records on the stream: which records one call may contain, and which none may.

use std::sync::Mutex;
use std::time::Duration;

use millrace_core::Sequence;
use millrace_runtime::Budget;
use millrace_runtime::batch_put::{RecordOutcome, Rejected};
use millrace_runtime::testing::TestAmbient;
use millrace_translator::ports::{
    MAX_PUT_BYTES, MAX_RECORD_BYTES, MAX_RECORDS, Publisher, PutError, Record,
};
use millrace_translator::publishing::{Progress, Queue, Refusal, Refused, publish};
use proptest::prelude::*;

/// A stream that stores records and checks that every call is within the service's limits.
#[derive(Debug, Default)]
struct Stream {
    /// The key and the first byte of each record, which identifies the event.
    stored: Mutex<Vec<(String, u8)>>,
    /// How many records each call contained.
    calls: Mutex<Vec<usize>>,
    /// Every n-th record is rejected; none if this is 0.
    rejects: usize,
}

impl Publisher for Stream {
    async fn put(&self, records: &[Record]) -> Result<Vec<RecordOutcome>, PutError> {
        let size = |record: &Record| record.data.len() + record.partition_key.len();
        let bytes: usize = records.iter().map(size).sum();
        assert!(records.len() <= 500, "{} records", records.len());
        assert!(bytes <= 10_485_760, "{bytes} bytes in a call");
        assert!(records.iter().all(|record| size(record) <= 1_048_576));
        let mut keys: Vec<&str> = records.iter().map(|it| &*it.partition_key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), records.len(), "a put carries two events of one");

        self.calls.lock().expect("unpoisoned").push(records.len());
        let mut stored = self.stored.lock().expect("unpoisoned");
        Ok(records
            .iter()
            .enumerate()
            .map(|(index, record)| {
                if self.rejects > 0 && index % self.rejects == self.rejects - 1 && index > 0 {
                    return Err(Rejected {
                        code: "ProvisionedThroughputExceededException".to_owned(),
                    });
                }
                stored.push((record.partition_key.clone(), record.data[0]));
                Ok(())
            })
            .collect())
    }
}

fn sequence(sequence: usize) -> Sequence {
    Sequence::new(sequence.try_into().expect("small")).expect("valid")
}

fn key(queue: usize) -> String {
    format!("account-{queue:03}")
}

/// A queue for each list of sizes; a size is that of the record with its key.
fn queues(sizes: &[Vec<usize>]) -> Vec<Queue> {
    sizes
        .iter()
        .enumerate()
        .map(|(number, sizes)| {
            let mut queue = Queue::default();
            for (index, size) in sizes.iter().enumerate() {
                let partition_key = key(number);
                let mut data = vec![0; size - partition_key.len()];
                data[0] = u8::try_from(index + 1).expect("few");
                let record = Record {
                    partition_key,
                    data,
                    trace_id: None,
                };
                queue.push(sequence(index + 1), record);
            }
            queue
        })
        .collect()
}

async fn publish_all(stream: &Stream, queues: &mut [Queue]) -> Progress {
    let mut queues: Vec<&mut Queue> = queues.iter_mut().collect();
    publish(
        stream,
        &mut queues,
        Budget::lasting(Duration::from_mins(10)),
        &TestAmbient::default(),
    )
    .await
}

fn calls(stream: &Stream) -> Vec<usize> {
    stream.calls.lock().expect("unpoisoned").clone()
}

#[tokio::test(start_paused = true)]
async fn a_record_at_the_streams_limit_is_put_and_a_byte_more_is_not() {
    let stream = Stream::default();
    let sizes = [
        vec![100, MAX_RECORD_BYTES, 100],
        vec![100, MAX_RECORD_BYTES + 1, 100],
    ];
    let mut queues = queues(&sizes);
    assert_eq!(publish_all(&stream, &mut queues).await, Progress::Done);
    assert_eq!(queues[0].acknowledged(), Some(sequence(3)));
    assert_eq!(queues[0].take_refused(), None);
    // The event before it is published; it and what comes after it are not.
    assert_eq!(queues[1].acknowledged(), Some(sequence(1)));
    assert_eq!(queues[1].pending(), 0);
    let refused = queues[1].take_refused().expect("refused");
    let bytes = MAX_RECORD_BYTES + 1;
    assert_eq!(refused.sequence, sequence(2));
    assert_eq!(refused.refusal, Refusal::TooLarge { bytes });
    assert_eq!(
        refused.refusal.to_string(),
        "the event's record has 1048577 bytes, and the domain stream's limit is 1048576"
    );
}

#[tokio::test(start_paused = true)]
async fn a_put_is_filled_to_its_limit_in_bytes_and_no_further() {
    let full = MAX_PUT_BYTES / MAX_RECORD_BYTES;
    let stream = Stream::default();
    publish_all(&stream, &mut queues(&vec![vec![MAX_RECORD_BYTES]; full])).await;
    assert_eq!(calls(&stream), [full]);
    // 10 MiB and a byte: the last record's key and data make the difference.
    let stream = Stream::default();
    let mut sizes = vec![vec![MAX_RECORD_BYTES]; full - 1];
    sizes.extend([vec![MAX_RECORD_BYTES - 99], vec![100]]);
    publish_all(&stream, &mut queues(&sizes)).await;
    assert_eq!(calls(&stream), [full, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_put_carries_five_hundred_records_at_most() {
    let stream = Stream::default();
    let sizes = vec![vec![100]; MAX_RECORDS + 1];
    publish_all(&stream, &mut queues(&sizes)).await;
    assert_eq!(calls(&stream), [MAX_RECORDS, 1]);
}

#[tokio::test(start_paused = true)]
async fn queues_beyond_what_one_put_takes_have_their_turn() {
    let stream = Stream::default();
    let mut queues = queues(&vec![vec![100; 3]; 2 * MAX_RECORDS + 1]);
    publish_all(&stream, &mut queues).await;
    let stored = stream.stored.lock().expect("unpoisoned");
    let first_round = &stored[..queues.len()];
    assert!(first_round.iter().all(|(_, event)| *event == 1));
    // At the end, no queue has an event left when another one has two.
    let rest = &stored[stored.len() - queues.len()..];
    assert!(rest.iter().all(|(_, event)| *event >= 2));
}

#[tokio::test(start_paused = true)]
async fn a_queue_has_the_bytes_of_its_pending_events() {
    let stream = Stream::default();
    let mut queues = queues(&[vec![100], vec![100, MAX_RECORD_BYTES + 1, 100]]);
    assert_eq!(queues[0].bytes(), 100);
    assert_eq!(queues[1].bytes(), 200 + MAX_RECORD_BYTES + 1);
    publish_all(&stream, &mut queues).await;
    assert_eq!((queues[0].bytes(), queues[1].bytes()), (0, 0));
}

/// The second record is rejected once; its retry is due after the budget.
#[tokio::test(start_paused = true)]
async fn a_retry_that_is_due_after_the_budget_is_not_waited_for() {
    let stream = Stream {
        rejects: 2,
        ..Stream::default()
    };
    let mut queues = queues(&[vec![100], vec![100]]);
    let mut queues: Vec<&mut Queue> = queues.iter_mut().collect();
    let started = tokio::time::Instant::now();
    let budget = Budget::lasting(Duration::from_micros(10));
    let progress = publish(&stream, &mut queues, budget, &TestAmbient::default()).await;
    assert_eq!(progress, Progress::OutOfTime);
    assert!(started.elapsed().is_zero(), "{:?}", started.elapsed());
    assert_eq!((queues[0].pending(), queues[1].pending()), (0, 1));
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 12..2_000_usize,
        2 => MAX_RECORD_BYTES - 2..=MAX_RECORD_BYTES,
        2 => MAX_RECORD_BYTES / 2 - 1..=MAX_RECORD_BYTES / 2 + 1,
        1 => MAX_RECORD_BYTES + 1..=MAX_RECORD_BYTES + 3,
    ]
}

proptest! {
    // Each case moves tens of megabytes.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// For any sizes and any rejections: no call is over a limit, each account's events
    /// are stored in order up to the first that is too large, and that one alone is refused.
    #[test]
    fn calls_that_are_split_by_bytes_lose_and_reorder_nothing(
        sizes in prop::collection::vec(prop::collection::vec(size(), 1..4), 1..40),
        rejects in 0_usize..4,
    ) {
        let stream = Stream { rejects, ..Stream::default() };
        let mut queues = queues(&sizes);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let progress = runtime.block_on(publish_all(&stream, &mut queues));
        prop_assert_eq!(progress, Progress::Done);
        let stored = stream.stored.lock().expect("unpoisoned");
        for (number, (sizes, queue)) in sizes.iter().zip(&mut queues).enumerate() {
            let too_large = sizes.iter().position(|size| *size > MAX_RECORD_BYTES);
            let fit = too_large.unwrap_or(sizes.len());
            let own: Vec<usize> = stored
                .iter()
                .filter(|(of, _)| *of == key(number))
                .map(|(_, event)| usize::from(*event))
                .collect();
            prop_assert_eq!(own, (1..=fit).collect::<Vec<_>>());
            prop_assert_eq!(queue.acknowledged(), (fit > 0).then(|| sequence(fit)));
            prop_assert_eq!(queue.pending(), 0);
            let refused = too_large.map(|index| Refused {
                sequence: sequence(index + 1),
                refusal: Refusal::TooLarge { bytes: sizes[index] },
            });
            prop_assert_eq!(queue.take_refused(), refused);
        }
    }
}
