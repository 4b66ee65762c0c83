//! Deliberate breaks, each at a seam between a function and a service: what a mistake in the code
//! behind that seam would look like from outside. A simulation that doesn't catch them proves
//! nothing.

/// A break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A record that Kinesis did not store counts as stored.
    RejectedRecordsIgnored,
    /// A record counts as stored before it is.
    AcknowledgedTooEarly,
    /// The cursor is saved one event ahead of the acknowledgement.
    CursorAhead,
    /// A row that can't be read counts as a service's failure, which is tried again and again.
    PoisonTriedAgain,
    /// A block is left out of the cursor.
    BlockForgotten,
    /// The cursor is saved whatever block another invocation has set meanwhile.
    BlockWiped,
    /// The answer that names the record to go on from is taken for success.
    PartialFailuresIgnored,
    /// Every event is applied, whatever the view's sequence.
    GateForgotten,
    /// The view is saved where its sequence is the one that was read, whoever has replaced it.
    RevisionIgnored,
    /// The view is saved whoever has moved it meanwhile.
    ViewConditionForgotten,
    /// A record that Firehose did not take counts as taken.
    RejectedDeliveriesIgnored,
    /// The writer's rows replace whatever is there.
    RowConditionForgotten,
    /// The outcome of a command isn't kept for its repeats.
    OutcomeForgotten,
    /// A command is refused without a look at what its copies have come to meanwhile.
    RecordNotReadAgain,
    /// A command doesn't recognise its own event where it reads the history again.
    OwnCommandIdIgnored,
    /// What the previous version has recorded of a key isn't looked for.
    PreviousKeysIgnored,
    /// `redrive` resets a cursor that is ahead of the events though nobody asked for it.
    CursorResetUnasked,
    /// The reconciler never runs.
    ReconcilerOff,
    /// A run of the reconciler begins although another one has the lease.
    LeaseIgnored,
    /// The reconciler takes discarded batches for resolved, and doesn't look at them.
    BatchResolvedUnseen,
    /// The marker of a parked aggregate contains the cursor's sequence, and not the highest announced one.
    ParkedWithoutAnnounced,
    /// A panic of the domain's code at one aggregate ends the whole invocation.
    PanicNotIsolated,
}

/// All of them, each with what catches it: the property's number in the design, or `W` for the
/// writer's own promises.
pub const SABOTAGES: [(Sabotage, &[&str]); 21] = [
    // A hole; or, where it is the aggregate's last event, an end that never comes.
    (Sabotage::RejectedRecordsIgnored, &["1", "4"]),
    (Sabotage::AcknowledgedTooEarly, &["1"]),
    (Sabotage::CursorAhead, &["2"]),
    (Sabotage::GateForgotten, &["3"]),
    (Sabotage::ViewConditionForgotten, &["3"]),
    (Sabotage::RevisionIgnored, &["3"]),
    // Or 5 where it is a damaged cursor's block, in a history in which rows of other aggregates are
    // damaged.
    (Sabotage::BlockForgotten, &["4", "5"]),
    // An aggregate that is never taken up again is unfinished business, or one that has no end.
    (Sabotage::PartialFailuresIgnored, &["4", "5"]),
    (Sabotage::RejectedDeliveriesIgnored, &["4"]),
    // Or an operator can't repair the aggregate.
    (Sabotage::PoisonTriedAgain, &["5", "O"]),
    // An event is another one by the time that it is seen again, wherever that is first.
    (Sabotage::RowConditionForgotten, &["1", "3", "W"]),
    (Sabotage::OutcomeForgotten, &["W"]),
    (Sabotage::RecordNotReadAgain, &["W"]),
    (Sabotage::OwnCommandIdIgnored, &["W"]),
    (Sabotage::PreviousKeysIgnored, &["W"]),
    (Sabotage::CursorResetUnasked, &["O"]),
    (Sabotage::ReconcilerOff, &["4"]),
    (Sabotage::LeaseIgnored, &["R"]),
    // A batch of the archiver: the other functions' events are found by the pass.
    (Sabotage::BatchResolvedUnseen, &["4"]),
    (Sabotage::ParkedWithoutAnnounced, &["4"]),
    // The batch is discarded, or other aggregates of it are never completed.
    (Sabotage::PanicNotIsolated, &["4", "5"]),
];

/// What the simulation has found in the code, as a break that brings it back, with the property that
/// it breaks. Few histories show it, so more seeds are searched for one that does.
pub const REGRESSIONS: [(Sabotage, &str); 1] = [(Sabotage::BlockWiped, "4")];
