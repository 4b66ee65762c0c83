//! Accounts' events as records of the domain stream, and their read models.

use std::marker::PhantomData;
use std::sync::LazyLock;

use millrace_core::view::{HistoryEntryOf, ViewOf, apply};
use millrace_core::{AggregateId, Attribute, HistoryEntry, Sequence, Timestamp, View};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, PublicEvent};
use millrace_projector::ports::REVISION;
use millrace_projector::service::Projector;
use millrace_projector::testing::{Items, MemoryReadModel};
use millrace_runtime::kinesis::KinesisRecord;
use millrace_runtime::testing::{TestAmbient, kinesis_record};

/// An account's event.
pub(crate) type Envelope = millrace_core::Envelope<PublicEvent>;

/// One for all invocations, so that ids are unique across them.
pub(crate) static AMBIENT: LazyLock<TestAmbient> = LazyLock::new(TestAmbient::default);

/// The projector of accounts.
pub(crate) fn projector<'a>(
    model: &'a MemoryReadModel,
    ambient: &'a TestAmbient,
) -> Projector<Accounts, &'a MemoryReadModel, &'a TestAmbient> {
    Projector {
        domain: PhantomData,
        model,
        ambient,
    }
}

/// An account's view; `None` if there is none.
pub(crate) fn view_of(model: &MemoryReadModel, id: &str) -> Option<ViewOf<Accounts>> {
    View::read(model.items().views.get(id)?).expect("readable")
}

/// An account's history.
pub(crate) fn history_of(model: &MemoryReadModel, id: &str) -> Vec<HistoryEntryOf<Accounts>> {
    let items = model.items();
    let entries = items.history_of(id).map(HistoryEntry::read);
    entries.collect::<Result<_, _>>().expect("readable")
}

/// Replaces an account's view by the fold of its events up to `through`, as another writer does.
pub(crate) fn replace_view(items: &mut Items, id: &str, through: u64) {
    let view = fold(&events(id, 1..=through)).expect("some");
    let mut item = view.to_item().expect("encodes");
    item.insert(REVISION.to_owned(), Attribute::text("another writer's"));
    items.views.insert(id.to_owned(), item);
}

/// The view after these events.
pub(crate) fn fold(events: &[Envelope]) -> Option<ViewOf<Accounts>> {
    events.iter().fold(None, |view, event| {
        Some(apply::<Accounts>(view.as_ref(), event).expect("encodes").0)
    })
}

/// An event's bytes.
pub(crate) fn bytes(event: &Envelope) -> Vec<u8> {
    event.to_bytes::<Accounts>().expect("encodes")
}

/// An account's events: an opening, then credits of 10.
pub(crate) fn events(id: &str, sequences: std::ops::RangeInclusive<u64>) -> Vec<Envelope> {
    let currency = Currency::stored("EUR").expect("a code");
    let amount = Amount::new(10).expect("positive");
    let first = Timestamp::parse("2026-11-20T21:03:05Z").expect("a time");
    let time = |sequence: u64| {
        let millis = first.unix_millis() + sequence.cast_signed();
        Timestamp::from_unix_millis(millis).expect("a time")
    };
    sequences
        .map(|sequence| Envelope {
            subject: AggregateId::new(id).expect("an id"),
            sequence: Sequence::new(sequence).expect("a sequence"),
            time: time(sequence),
            correlation_id: None,
            causation_id: None,
            event: match sequence {
                1 => PublicEvent::AccountCreated { currency },
                _ => PublicEvent::BalanceCredited { amount, currency },
            },
        })
        .collect()
}

/// A batch of records, in this order.
pub(crate) fn batch(events: &[Envelope]) -> Vec<KinesisRecord> {
    events
        .iter()
        .enumerate()
        .map(|(position, event)| kinesis_record(position, event.subject.as_str(), &bytes(event)))
        .collect()
}

pub(crate) fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}
