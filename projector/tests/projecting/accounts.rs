//! Accounts' events as records of the domain stream, and their read models.

use std::marker::PhantomData;
use std::sync::LazyLock;

use millrace_consumer::KinesisRecord;
use millrace_consumer::testing::kinesis_records;
use millrace_core::view::{HistoryEntryOf, ViewOf, apply};
use millrace_core::{Attribute, HistoryEntry, Sequence, View};
use millrace_domain::Accounts;
use millrace_domain::testing::{Envelope, events, records};
use millrace_projector::ports::REVISION;
use millrace_projector::service::Projector;
use millrace_projector::testing::{Items, MemoryReadModel};
use millrace_runtime::testing::TestAmbient;

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

/// A batch of records, in this order.
pub(crate) fn batch(events: &[Envelope]) -> Vec<KinesisRecord<'static>> {
    kinesis_records(&records(events))
}

pub(crate) fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}
