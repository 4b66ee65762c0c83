//! Publications whose cursor another invocation changes again and again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_core::{Attributes, Sequence, Timestamp};
use millrace_domain::money::Currency;
use millrace_domain::{Accounts, Event};
use millrace_runtime::testing::TestAmbient;
use millrace_runtime::{Budget, ServiceError};
use millrace_translator::cursor::{Block, Cursor, Suspension};
use millrace_translator::ports::{CursorStore, Loaded, Saved};
use millrace_translator::service::{PendingOutcome, Translator};
use millrace_translator::testing::{TestServices, notifications};

/// Cursors that another invocation blocks for another reason just before each of the first saves.
struct Contended<'a> {
    services: &'a TestServices<Accounts>,
    changes: usize,
    saves: AtomicUsize,
}

impl CursorStore for &Contended<'_> {
    async fn load(&self, aggregates: &[&str]) -> Result<Loaded, ServiceError> {
        self.services.load(aggregates).await
    }

    async fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        read: &Cursor,
    ) -> Result<Saved, ServiceError> {
        let saves = self.saves.fetch_add(1, Ordering::Relaxed);
        if saves < self.changes {
            let block = Block {
                sequence: Sequence::FIRST,
                row: None,
                reason: format!("change {saves}"),
                since: Timestamp::from_unix_millis(0).expect("valid"),
            };
            self.services.world().overtaken = Some(Cursor {
                suspended: Some(Suspension::Blocked(block)),
                ..Cursor::default()
            });
        }
        self.services.save(aggregate, cursor, read).await
    }

    async fn mark(&self, aggregate: &str, block: &Block) -> Result<(), ServiceError> {
        self.services.mark(aggregate, block).await
    }
}

/// An account with one event, which isn't published.
fn opened() -> (TestServices<Accounts>, Vec<Attributes>) {
    let accounts = Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency");
    let services = TestServices::new(accounts);
    let currency = Currency::stored("SEK").expect("valid");
    let rows = services.append("a", &[Event::AccountCreated { currency }]);
    (services, rows)
}

fn contended(services: &TestServices<Accounts>, changes: usize) -> Contended<'_> {
    Contended {
        services,
        changes,
        saves: AtomicUsize::new(0),
    }
}

fn translator<'a>(
    cursors: &'a Contended<'a>,
) -> Translator<
    Accounts,
    &'a TestServices<Accounts>,
    &'a Contended<'a>,
    &'a TestServices<Accounts>,
    TestAmbient,
> {
    Translator {
        domain: Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency"),
        rows: cursors.services,
        cursors,
        publisher: cursors.services,
        ambient: TestAmbient::default(),
    }
}

const TIME: Duration = Duration::from_secs(50);

#[tokio::test(start_paused = true)]
async fn a_notified_aggregate_is_incomplete_after_five_restarts() {
    for (changes, resume_at) in [(5, None), (6, Some(0))] {
        let (services, rows) = opened();
        let cursors = contended(&services, changes);
        let translator = translator(&cursors);
        let notifications = notifications(&translator.domain, &rows[..1]);
        let budget = Budget::lasting(TIME);
        let outcome = translator.translate(notifications, budget).await;
        assert_eq!(outcome.resume_at, resume_at, "{changes}");
        assert_eq!(cursors.saves.load(Ordering::Relaxed), 6);
        assert_eq!(outcome.counters.published, 6, "each time again");
    }
}

#[tokio::test(start_paused = true)]
async fn pending_events_are_published_however_often_the_cursor_changes() {
    let (services, _) = opened();
    let cursors = contended(&services, 20);
    let budget = Budget::lasting(TIME);
    let translator = translator(&cursors);
    let outcome = translator.publish_pending(vec!["a".to_owned()], budget);
    assert_eq!(
        outcome.await["a"],
        PendingOutcome::Published(Sequence::FIRST)
    );
    assert_eq!(services.cursor("a").suspended, None);
}
