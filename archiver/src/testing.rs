//! A test double of the delivery stream (feature `testing`).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use millrace_runtime::ServiceError;
use millrace_runtime::batch_put::{RecordOutcome, Rejected};
use millrace_runtime::testing::lost_call;

use crate::ports::{Delivery, Packed};

/// A delivery stream in memory. It accepts every record unless a response was set.
#[derive(Debug, Default)]
pub struct MemoryDeliveryStream {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    responses: VecDeque<Response>,
    calls: Vec<usize>,
}

/// How the double responds to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Whether each of the call's records is accepted. The response has no entry for further records.
    Entries(Vec<bool>),
    /// The call fails and has no effect.
    Lost,
}

impl MemoryDeliveryStream {
    /// Sets the response to a later call: the first one to the next call, and so on.
    pub fn respond(&self, response: Response) {
        self.state().responses.push_back(response);
    }

    /// The lines of all accepted records, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    /// How many records each call so far contained.
    #[must_use]
    pub fn calls(&self) -> Vec<usize> {
        self.state().calls.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery for &MemoryDeliveryStream {
    /// # Panics
    /// If the call is over one of Firehose's limits, or a record's data is not UTF-8.
    async fn put(&self, records: &[Packed]) -> Result<Vec<RecordOutcome>, ServiceError> {
        let bytes = |record: &Packed| record.data.len();
        assert!(records.len() <= 500, "a call has too many records");
        assert!(records.iter().all(|record| bytes(record) <= 1_024_000));
        assert!(records.iter().map(bytes).sum::<usize>() <= 4_194_304);
        let mut state = self.state();
        state.calls.push(records.len());
        let entries = match state.responses.pop_front() {
            None => vec![true; records.len()],
            Some(Response::Entries(entries)) => entries,
            Some(Response::Lost) => return Err(lost_call()),
        };
        let mut response = Vec::new();
        for (record, is_accepted) in records.iter().zip(entries) {
            response.push(if is_accepted {
                let data = str::from_utf8(&record.data).expect("lines are text");
                state.lines.extend(data.lines().map(str::to_owned));
                Ok(())
            } else {
                Err(Rejected {
                    code: "ServiceUnavailableException".to_owned(),
                })
            });
        }
        Ok(response)
    }
}
