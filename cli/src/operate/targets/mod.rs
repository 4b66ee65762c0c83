//! The consumers to which `millrace replay` sends events: a Lambda function, a Kinesis stream, or lines of a file
//! or of stdout.

pub mod function;
pub mod lines;
pub mod stream;

use std::sync::atomic::{AtomicU64, Ordering};

use millrace_core::Timestamp;
use millrace_runtime::kinesis_event::{Delivered, EventRecord};
use millrace_translator::published::PublishedEvent;

use super::replayer::Capacity;

/// Makes records in the shape in which Lambda delivers them from the domain stream.
#[derive(Debug)]
pub struct Records {
    /// The ARN of the domain stream.
    stream: String,
    began: Timestamp,
    next: AtomicU64,
}

impl Records {
    /// The sequence numbers of the records begin with the start time of the process. So they also increase from one run
    /// to the run that continues it, as in Kinesis.
    #[must_use]
    pub const fn new(stream: String, began: Timestamp) -> Self {
        Self {
            stream,
            began,
            next: AtomicU64::new(0),
        }
    }

    fn record<'a>(
        &'a self,
        aggregate: &'a str,
        event: &'a PublishedEvent,
        at: Timestamp,
    ) -> (String, EventRecord<'a>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sequence_number = format!("{}{number:012}", self.began.unix_millis());
        let record = EventRecord::new(Delivered {
            by: "replay",
            stream: &self.stream,
            aggregate,
            sequence_number: sequence_number.clone(),
            data: &event.data,
            at,
        });
        (sequence_number, record)
    }
}

/// The limits of one invocation. Several invocations run at the same time, as with a mapping of several
/// shards.
const INVOCATION: Capacity = Capacity {
    aggregates: 200,
    events_of_one: millrace_runtime::kinesis_event::MAX_EVENTS,
    events: millrace_runtime::kinesis_event::MAX_EVENTS,
    bytes: millrace_runtime::kinesis_event::MAX_EVENT_BYTES,
    calls: 4,
};
