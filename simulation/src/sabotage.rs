//! Deliberate breaks, each at the interface between a function and a service. Each has the observable
//! effect of a defect in the function's code. They prove that the checks can fail.

/// A deliberate break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A record that Kinesis rejected is treated as stored.
    RejectedRecordsIgnored,
    /// A record is acknowledged before it is stored.
    AcknowledgedTooEarly,
    /// The cursor is saved one event ahead of the acknowledgement.
    CursorAhead,
    /// An undecodable row is treated as a failure of the service and retried until the retries are exhausted.
    PoisonTriedAgain,
    /// A block is left out of the cursor.
    BlockForgotten,
    /// The cursor is saved even if another invocation has set a block meanwhile.
    BlockWiped,
    /// A response that reports a failed record is treated as success.
    PartialFailuresIgnored,
    /// Every event is applied without comparing it with the view's sequence.
    GateForgotten,
    /// The view is saved if its sequence is the one that was read, even if its revision is another.
    RevisionIgnored,
    /// The view is saved without any condition.
    ViewConditionForgotten,
    /// A view whose statement failed, of several in a call, is treated as saved.
    FailedStatementsIgnored,
    /// A record that Firehose rejected is treated as accepted.
    RejectedDeliveriesIgnored,
    /// The writer's rows replace existing rows of their versions.
    RowConditionForgotten,
    /// The outcome of a command isn't stored for its duplicates.
    OutcomeForgotten,
    /// The writer's rows don't contain the trace of their request.
    TraceForgotten,
    /// The events don't contain the trace of their rows.
    TraceNotPublished,
    /// A command is refused without reading again the key's record, which a duplicate may have stored.
    RecordNotReadAgain,
    /// The writer doesn't recognise a command's own event when it reads the history again.
    OwnCommandIdIgnored,
    /// A key's record of the previous version isn't read.
    PreviousKeysIgnored,
    /// `redrive` resets a cursor that is ahead of the events table without `--reset-cursor`.
    CursorResetUnasked,
    /// The reconciler never runs.
    ReconcilerOff,
    /// A run of the reconciler begins although another one has the lease.
    LeaseIgnored,
    /// The reconciler treats discarded batches as resolved, and doesn't examine them.
    BatchResolvedUnseen,
    /// The marker of a parked aggregate contains the cursor's sequence instead of the highest announced one.
    ParkedWithoutAnnounced,
    /// A panic of the domain's code at one aggregate ends the whole invocation.
    PanicNotIsolated,
    /// `replay` sends the events of an aggregate in another order.
    ReplayOutOfOrder,
    /// A `replay` that is continued skips the first event that isn't sent yet.
    ReplaySkipsWhenContinued,
    /// After a replay, the consumer reads only the events that are published from then on.
    HandedOverAtTheEnd,
    /// After a replay, the consumer reads the events from the beginning of the replay on, and not from a little
    /// earlier. An event may then be on the stream although the replay found its cursor before it.
    HandedOverWithoutOverlap,
}

/// All breaks, each with the properties of which it must violate one ([list](crate)).
pub const SABOTAGES: [(Sabotage, &[&str]); 27] = [
    // A gap (1), or, if the record is the aggregate's last event, a missing event (4). O if `republish` puts the
    // record.
    (Sabotage::RejectedRecordsIgnored, &["1", "4", "O"]),
    (Sabotage::AcknowledgedTooEarly, &["1", "O"]),
    (Sabotage::CursorAhead, &["2"]),
    (Sabotage::GateForgotten, &["3"]),
    (Sabotage::ViewConditionForgotten, &["3"]),
    (Sabotage::RevisionIgnored, &["3"]),
    // The view lacks events, and no function reports it: at the end (4), or after further events (5).
    (Sabotage::FailedStatementsIgnored, &["4", "5"]),
    // 5 if the block is that of a damaged cursor, and rows of other aggregates are damaged.
    (Sabotage::BlockForgotten, &["4", "5"]),
    // The aggregate is never completed.
    (Sabotage::PartialFailuresIgnored, &["4", "5"]),
    (Sabotage::RejectedDeliveriesIgnored, &["4"]),
    // 4 if the mapping retries the row until the end, O if an operator can't repair the aggregate.
    (Sabotage::PoisonTriedAgain, &["4", "5", "O"]),
    // An event's row differs when it is read again. The first check that reads it fails.
    (Sabotage::RowConditionForgotten, &["1", "3", "W"]),
    (Sabotage::OutcomeForgotten, &["W"]),
    (Sabotage::TraceForgotten, &["W"]),
    (Sabotage::TraceNotPublished, &["1", "C"]),
    (Sabotage::RecordNotReadAgain, &["W"]),
    (Sabotage::OwnCommandIdIgnored, &["W"]),
    (Sabotage::PreviousKeysIgnored, &["W"]),
    (Sabotage::CursorResetUnasked, &["O"]),
    (Sabotage::ReconcilerOff, &["4"]),
    (Sabotage::LeaseIgnored, &["R"]),
    // Only a batch of the archiver; the pass finds the events of the other functions' batches.
    (Sabotage::BatchResolvedUnseen, &["4"]),
    (Sabotage::ParkedWithoutAnnounced, &["4"]),
    // The batch is discarded, or other aggregates of it are never completed.
    (Sabotage::PanicNotIsolated, &["4", "5"]),
    (Sabotage::ReplayOutOfOrder, &["C"]),
    (Sabotage::ReplaySkipsWhenContinued, &["C"]),
    (Sabotage::HandedOverAtTheEnd, &["C"]),
];

/// Breaks that restore defects which the simulation has found, with the violated property. Few histories show
/// them, so more seeds are run.
pub const REGRESSIONS: [(Sabotage, &str); 2] = [
    (Sabotage::BlockWiped, "4"),
    (Sabotage::HandedOverWithoutOverlap, "C"),
];
