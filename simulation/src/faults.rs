//! The faults that are injected, with their rates and their end.
//!
//! Each seed draws a rate for each kind of fault. Many rates are zero, so that some seeds have only one kind of
//! fault and others many. The plan has an end of the faults. After it, the functions must complete every
//! aggregate without intervention, or report it.

use std::collections::BTreeMap;

use fastrand::Rng;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A call fails and has no effect: it is throttled, or the request is lost.
    CallLost,
    /// A call fails after it took effect.
    AnswerLost,
    /// A call fails, and takes effect some seconds later.
    CallLate,
    /// A call takes many seconds.
    CallSlow,
    /// The SDK didn't receive the response and retried the call.
    CallRepeated,
    /// A transaction conflicts with another one on the same item.
    TransactionConflict,
    /// A put is stored, now or later, and the SDK's retry of it gets a transaction conflict.
    ConflictAfterAppend,
    /// A transaction is still being processed when the SDK's retry of it arrives.
    TransactionInProgress,
    /// The items of a transaction become visible one by one.
    TransactionSpread,
    /// `BatchWriteItem` or `BatchGetItem` leaves some of its items unprocessed, or statements of
    /// `BatchExecuteStatement` fail.
    BatchCutShort,
    /// `PutRecords` fails for some records.
    RecordRejected,
    /// `PutRecords` fails for all records of a shard.
    ShardThrottled,
    /// `PutRecordBatch` fails for some records.
    DeliveryRejected,
    /// A function is killed between two of its calls.
    Crash,
    /// A function's response is lost, and the function continues while its batch is delivered again.
    Zombie,
    /// A batch that was completed is delivered again.
    Redelivery,
    /// A change arrives on the table's stream after a newer change of another item.
    ChangeOvertaken,
    /// The domain's code panics in the translator, the projector or the reconciler.
    DomainPanics,
    /// A sparse index lacks an item with a marker, or lists an item whose marker was removed.
    IndexStale,
}

/// All kinds.
pub const FAULTS: [Fault; 19] = [
    Fault::CallLost,
    Fault::AnswerLost,
    Fault::CallLate,
    Fault::CallSlow,
    Fault::CallRepeated,
    Fault::TransactionConflict,
    Fault::ConflictAfterAppend,
    Fault::TransactionInProgress,
    Fault::TransactionSpread,
    Fault::BatchCutShort,
    Fault::RecordRejected,
    Fault::ShardThrottled,
    Fault::DeliveryRejected,
    Fault::Crash,
    Fault::Zombie,
    Fault::Redelivery,
    Fault::ChangeOvertaken,
    Fault::DomainPanics,
    Fault::IndexStale,
];

/// Counts of actions or faults, by name.
pub type Tally = BTreeMap<String, u64>;

/// A seed's plan.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    rates: BTreeMap<Fault, f64>,
    /// In milliseconds from the start.
    pub(crate) until: u64,
    /// The largest error of a machine's clock, in either direction, in milliseconds.
    pub(crate) drift: i64,
    /// Whether some machines' clocks are hours ahead.
    pub(crate) is_far_ahead: bool,
    /// The number of faults that may still be injected. Shrinking lowers it.
    left: u64,
    pub(crate) injected: BTreeMap<Fault, u64>,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng, most: u64) -> Self {
        // Most seeds have most faults at moderate rates. With high rates of all faults, few operations would
        // succeed, and few defects would show.
        let rates = FAULTS.map(|fault| {
            let rates = match fault {
                // Each event is decoded, published and projected.
                Fault::DomainPanics => [0.0, 0.0, 0.002, 0.02],
                // The reconciler runs rarely.
                Fault::IndexStale => [0.0, 0.05, 0.2, 0.5],
                _ => [0.0, 0.01, 0.05, 0.2],
            };
            (fault, rates[rng.usize(0..4)])
        });
        Self {
            rates: rates.into(),
            until: rng.u64(5_000..120_000),
            drift: [0, 0, 2_000, 300_000][rng.usize(0..4)],
            is_far_ahead: rng.u8(0..10) == 0,
            left: most,
            injected: BTreeMap::new(),
        }
    }

    /// Draws whether this fault is injected now.
    pub(crate) fn strikes(&mut self, fault: Fault, now: u64, rng: &mut Rng) -> bool {
        let happens = rng.f64() < self.rates.get(&fault).copied().unwrap_or_default();
        if !happens || now >= self.until || self.left == 0 {
            return false;
        }
        self.left -= 1;
        *self.injected.entry(fault).or_default() += 1;
        true
    }

    /// Draws the error of the clock of an invocation's machine, in milliseconds.
    pub(crate) fn draw_drift(&self, rng: &mut Rng) -> i64 {
        if self.is_far_ahead && rng.u8(0..20) == 0 {
            return rng.i64(3_600_000..6 * 3_600_000);
        }
        rng.i64(-self.drift..=self.drift)
    }

    /// Draws the error of the clock of an operator's machine, in milliseconds. AWS refuses the requests of a machine
    /// whose clock is further off
    /// ([requests](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html)).
    pub(crate) fn draw_skew(&self, rng: &mut Rng) -> i64 {
        rng.i64(-self.drift..=self.drift)
    }

    /// Moves the end of the faults by a time that has passed, in milliseconds.
    pub(crate) fn extend(&mut self, now: u64, passed: u64) {
        self.until = self.until.max(now - passed) + passed;
    }

    pub(crate) const fn is_over(&self, now: u64) -> bool {
        now >= self.until
    }
}
