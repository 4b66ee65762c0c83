//! Examines and rebuilds read models in simulated services, while a projector writes to them.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Mutex;

use millrace_cli::application::Words;
use millrace_cli::args::Model;
use millrace_cli::operate::fold::{Damage, Fold};
use millrace_cli::operate::ports::{
    CursorRepair, EventLog, HistoryPage, ReadModelRepair, Reset, StoredCursor,
};
use millrace_cli::operate::rebuild::{Outcome, Rebuilder, Summary};
use millrace_cli::operate::standing::{Examiner, Kind, Standing};
use millrace_consumer::KinesisRecord;
use millrace_core::{
    Aggregate, AggregateId, Attribute, Attributes, DecodeError, Metadata, Project, Sequence,
    Timestamp, Version, row,
};
use millrace_domain::money::Amount;
use millrace_domain::{Accounts, Event};
use millrace_projector::ports::{MAX_HISTORY_ITEMS, REVISION, ReadModel, Saved, ViewSave, Views};
use millrace_projector::service::Projector;
use millrace_projector::testing::{Items, history_key};
use millrace_runtime::{Ambient, Budget, ServiceError};
use millrace_translator::cursor::{Block, Cursor, Parked, Suspension};
use millrace_translator::ports::{CursorStore, EventRows, Loaded, Page, Saved as SavedCursor};

/// The number of rows and of history items per page.
const PAGE: usize = 3;

type Row = (String, u64);
type Damaging = fn(&mut World);

#[derive(Default)]
struct World {
    rows: BTreeMap<Row, Attributes>,
    model: Items,
    /// The aggregates' cursors. Without one, the cursor is at the aggregate's last event.
    cursors: BTreeMap<String, Result<Cursor, DecodeError>>,
    ids: u64,
    /// Changes by other writers before the next calls: one per call, the last one first.
    others: Vec<Option<fn(&mut World)>>,
    /// The aggregate whose rows can't be read.
    down: Option<&'static str>,
    /// The number of reads of rows that fail before one succeeds.
    failing_reads: u32,
    /// The number of history items that each call has put.
    puts: Vec<usize>,
}

struct Services(Mutex<World>);

const WORDS: Words = Words {
    command: "millrace",
    noun: "aggregate",
    id: "id",
    collection: "views",
    history: "history",
    describe: |_| Vec::new(),
};

fn domain() -> Accounts {
    Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}

fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}

fn right(through: u64, changed: usize) -> Outcome {
    Outcome::Right {
        through: sequence(through),
        changed,
    }
}

impl World {
    /// Appends events until the aggregate has this many.
    fn grow(&mut self, id: &str, events: u64) {
        let mut aggregate = Aggregate::<Accounts>::new(AggregateId::new(id).expect("valid"));
        for event in 0..events {
            let event = if event == 0 {
                Event::AccountCreated {
                    currency: domain().default_currency,
                }
            } else {
                Event::BalanceCredited {
                    amount: Amount::new(5).expect("valid"),
                }
            };
            let at = Timestamp::from_unix_millis(0).expect("valid");
            let appended = aggregate.append(&[event], at, &Metadata::default());
            let (after, rows) = appended.expect("encodes");
            for (version, row) in rows {
                self.rows
                    .entry((id.to_owned(), version.get()))
                    .or_insert(row);
            }
            aggregate = after;
        }
    }

    fn row_of(&mut self, id: &str, of: u64) -> &mut Attributes {
        let version = sequence(of).version().expect("not 0").get();
        self.rows.get_mut(&(id.to_owned(), version)).expect("there")
    }

    fn view(&mut self, id: &str) -> &mut Attributes {
        self.model.views.get_mut(id).expect("there")
    }

    fn history_sequences(&self) -> Vec<i64> {
        self.model.history.keys().map(|(_, key)| *key).collect()
    }

    /// The number of pages of all rows.
    fn pages(&self) -> usize {
        self.rows.len().div_ceil(PAGE)
    }
}

impl Services {
    fn with(accounts: &[(&str, u64)]) -> Self {
        let mut world = World::default();
        for (id, events) in accounts {
            world.grow(id, *events);
        }
        Self(Mutex::new(world))
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().expect("unpoisoned")
    }

    /// Locks the services for a call, after the next change by another writer.
    fn call(&self) -> std::sync::MutexGuard<'_, World> {
        let mut world = self.world();
        if let Some(Some(other)) = world.others.pop() {
            other(&mut world);
        }
        world
    }

    async fn rebuild(&self, model: Model, id: &str) -> Outcome {
        let rebuilder = Rebuilder {
            domain: domain(),
            events: self,
            model: self,
            ambient: self,
        };
        rebuilder.rebuild(model, id).await
    }

    /// Builds both read models from the events.
    async fn build(&self, id: &str) {
        self.rebuild(Model::Views, id).await;
        self.rebuild(Model::History, id).await;
    }

    /// Whether both read models are correct through this event, so that a rebuild changes nothing.
    async fn is_right(&self, id: &str, through: u64) -> bool {
        self.rebuild(Model::Views, id).await == right(through, 0)
            && self.rebuild(Model::History, id).await == right(through, 0)
    }
}

impl Ambient for &Services {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000).expect("valid")
    }
    fn unique_id(&self) -> String {
        let mut world = self.world();
        world.ids += 1;
        format!("id-{}", world.ids)
    }
    fn fraction(&self) -> f64 {
        0.5
    }
    fn random_bits(&self) -> u64 {
        1
    }
}

fn down() -> ServiceError {
    ServiceError::new("a call", "it is down")
}

impl EventRows for &Services {
    async fn page(
        &self,
        aggregate: &str,
        after: Option<Version>,
        _: Option<Version>,
        _: usize,
    ) -> Result<Page, ServiceError> {
        let mut world = self.call();
        if let Some(left) = world.failing_reads.checked_sub(1) {
            world.failing_reads = left;
            return Err(down());
        }
        if world.down == Some(aggregate) {
            return Err(down());
        }
        let first = after.map_or(0, Version::get) + 1;
        let mut rows = world
            .rows
            .range((aggregate.to_owned(), first)..=(aggregate.to_owned(), u64::MAX))
            .map(|(_, row)| row.clone());
        Ok(Page {
            rows: rows.by_ref().take(PAGE).collect(),
            more: rows.next().is_some(),
        })
    }

    async fn row(&self, _: &str, _: &str) -> Result<Option<Attributes>, ServiceError> {
        unreachable!("rebuild reads pages")
    }
}

impl EventLog for &Services {
    async fn newest_event_row(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        let world = self.call();
        let mut rows = world.rows.iter().rev();
        let row = rows.find(|((id, _), row)| id == aggregate && !row::is_plainly_a_snapshot(row));
        Ok(row.map(|(_, row)| row.clone()))
    }
}

impl ReadModel for &Services {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        Ok(self.call().model.views.get(aggregate).cloned())
    }

    async fn read_views(&self, aggregates: &[&str]) -> Result<Views, ServiceError> {
        let world = self.call();
        let found = aggregates.iter().filter_map(|id| {
            let item = world.model.views.get(*id)?;
            Some(((*id).to_owned(), item.clone()))
        });
        Ok(Views {
            found: found.collect(),
            unprocessed: Vec::new(),
        })
    }

    async fn put_history(&self, items: Vec<Attributes>) -> Result<Vec<Attributes>, ServiceError> {
        let mut world = self.call();
        world.puts.push(items.len());
        world.model.put_history(items);
        Ok(Vec::new())
    }

    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        Ok(self.call().model.save_view(item, read))
    }

    async fn save_views(&self, saves: Vec<ViewSave>) -> Result<Vec<bool>, ServiceError> {
        let mut world = self.call();
        let saves = saves.into_iter();
        Ok(saves.map(|save| world.model.save_together(save)).collect())
    }

    async fn set_stale(
        &self,
        _: &str,
        _: Attributes,
        _: &Attributes,
    ) -> Result<Saved, ServiceError> {
        unreachable!("rebuild replaces")
    }
}

impl ReadModelRepair for &Services {
    async fn history_page(
        &self,
        aggregate: &str,
        after: Option<&Attributes>,
    ) -> Result<HistoryPage, ServiceError> {
        let world = self.call();
        let after = after.map(history_key);
        let mut items = world
            .model
            .history_of(aggregate)
            .filter(|item| Some(history_key(item)) > after)
            .cloned();
        let page: Vec<_> = items.by_ref().take(PAGE).collect();
        Ok(HistoryPage {
            last: items.next().and_then(|_| page.last().cloned()),
            items: page,
        })
    }

    async fn delete_view(&self, aggregate: &str, read: &Attributes) -> Result<Saved, ServiceError> {
        let mut world = self.call();
        if !world.model.is_unchanged(aggregate, Some(read)) {
            return Ok(Saved::Moved);
        }
        world.model.views.remove(aggregate);
        Ok(Saved::Stored)
    }

    async fn delete_history(
        &self,
        read: &Attributes,
        columns: &[&str],
    ) -> Result<Saved, ServiceError> {
        assert_eq!(columns, ["Amount", "Channel", "Balance", "Currency"]);
        let mut world = self.call();
        let key = history_key(read);
        if world.model.history.get(&key) != Some(read) {
            return Ok(Saved::Moved);
        }
        world.model.history.remove(&key);
        Ok(Saved::Stored)
    }
}

impl CursorStore for &Services {
    async fn load(&self, _: &[&str]) -> Result<Loaded, ServiceError> {
        unreachable!("examining reads what is stored")
    }
    async fn save(&self, _: &str, _: &Cursor, _: &Cursor) -> Result<SavedCursor, ServiceError> {
        unreachable!("examining writes nothing")
    }
    async fn mark(&self, _: &str, _: &Block) -> Result<(), ServiceError> {
        unreachable!("examining writes nothing")
    }
}

impl CursorRepair for &Services {
    type Item = ();

    async fn stored(&self, aggregate: &str) -> Result<Option<StoredCursor<()>>, ServiceError> {
        let world = self.call();
        let newest = world.rows.keys().rev().find(|(id, _)| id == aggregate);
        let published_through = newest.map_or(Sequence::NONE, |(_, version)| {
            Version::new(*version).expect("valid").sequence()
        });
        let at_the_end = Ok(Cursor {
            published_through,
            ..Cursor::default()
        });
        let cursor = world.cursors.get(aggregate).cloned().unwrap_or(at_the_end);
        Ok(Some(StoredCursor { item: (), cursor }))
    }

    async fn reset(&self, _: &str, (): &(), _: Option<&Block>) -> Result<Reset, ServiceError> {
        unreachable!("examining writes nothing")
    }
}

impl Services {
    async fn examine(&self, id: &str) -> Standing<<Accounts as Project>::View> {
        self.examine_at(id, (&self).now()).await
    }

    async fn examine_at(
        &self,
        id: &str,
        settled_before: Timestamp,
    ) -> Standing<<Accounts as Project>::View> {
        let examiner = Examiner {
            domain: domain(),
            events: self,
            cursors: self,
            model: self,
        };
        let standing = examiner.examine(id, None, settled_before).await;
        standing.expect("no service fails")
    }

    async fn kinds(&self, id: &str) -> Vec<Kind> {
        let standing = self.examine(id).await;
        standing
            .findings
            .iter()
            .map(|finding| finding.kind)
            .collect()
    }

    fn set_cursor(&self, id: &str, published: u64, blocked_at: Option<u64>) {
        let cursor = Cursor {
            published_through: sequence(published),
            suspended: blocked_at.map(|at| {
                Suspension::Blocked(Block {
                    sequence: sequence(at),
                    row: None,
                    reason: "why".to_owned(),
                    since: (&self).now(),
                })
            }),
            ..Cursor::default()
        };
        self.world().cursors.insert(id.to_owned(), Ok(cursor));
    }
}

/// Projects the events of "a" through `through`, as the live projector does: the history first, and then the
/// view.
fn project(world: &mut World, through: u64) {
    world.grow("a", through);
    // The projector's calls aren't those before which other writers change something.
    let others = std::mem::take(&mut world.others);
    let services = Services(Mutex::new(std::mem::take(world)));
    futures_util::future::FutureExt::now_or_never(services.build("a")).expect("nothing waits");
    *world = services.0.into_inner().expect("unpoisoned");
    world.others = others;
}

#[tokio::test(start_paused = true)]
async fn missing_items_are_written_and_correct_ones_are_unchanged() {
    let services = Services::with(&[("a", 25)]);
    let transactions = services.rebuild(Model::History, "a").await;
    assert_eq!(transactions, right(25, 25));
    let accounts = services.rebuild(Model::Views, "a").await;
    assert_eq!(accounts, right(25, 1));
    let view = services.world().model.views["a"].clone();
    assert_eq!(view["Balance"], Attribute::number(24 * 5));
    assert!(services.is_right("a", 25).await);
    assert_eq!(
        services.world().model.views["a"],
        view,
        "not even its revision"
    );
}

#[tokio::test(start_paused = true)]
async fn a_view_is_never_ahead_of_its_history() {
    let services = Services::with(&[("a", 3)]);
    services.build("a").await;
    services.world().grow("a", 5);
    assert_eq!(services.rebuild(Model::Views, "a").await, right(5, 1));
    // From now on, the projector skips events 4 and 5 as duplicates, so the rebuild must write their history.
    assert_eq!(services.world().history_sequences(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn the_history_is_unchanged_if_a_wrong_view_lacks_no_event() {
    let services = Services::with(&[("a", 5)]);
    services.build("a").await;
    services
        .world()
        .view("a")
        .insert("Balance".to_owned(), Attribute::number(1));
    services.world().model.history.remove(&("a".to_owned(), 3));
    assert_eq!(services.rebuild(Model::Views, "a").await, right(5, 1));
    assert_eq!(services.world().history_sequences(), [1, 2, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_fold_reads_no_page_after_the_last() {
    let services = Services::with(&[("a", 5)]);
    let pages = services.world().pages();
    services.world().others = vec![None; pages + 1];
    let (domain, events) = (domain(), &services);
    let mut fold = Fold::new(&domain, &events, "a");
    fold.finish(|_| ()).await.expect("no service fails");
    assert_eq!(fold.through(), sequence(5));
    assert_eq!(services.world().others.len(), 1, "one call was not made");
}

#[tokio::test(start_paused = true)]
async fn a_long_history_is_put_in_full_calls_and_counted() {
    let services = Services::with(&[("a", 250)]);
    let outcome = services.rebuild(Model::History, "a").await;
    assert_eq!(outcome, right(250, 250));
    assert_eq!(services.world().puts, [MAX_HISTORY_ITEMS; 10]);
}

#[tokio::test(start_paused = true)]
async fn a_view_that_differs_is_replaced_for_every_kind_of_damage() {
    for damage in [
        |view: &mut Attributes| _ = view.insert("Balance".to_owned(), Attribute::number(1)),
        |view: &mut Attributes| _ = view.insert("Balance".to_owned(), Attribute::text("x")),
        |view: &mut Attributes| _ = view.insert("Sequence".to_owned(), Attribute::number(999)),
        |view: &mut Attributes| _ = view.insert("Sequence".to_owned(), Attribute::number(3)),
        |view: &mut Attributes| _ = view.remove("Sequence"),
        |view: &mut Attributes| _ = view.insert("Sequence".to_owned(), Attribute::Other("BOOL")),
    ] {
        let services = Services::with(&[("a", 5)]);
        services.build("a").await;
        damage(services.world().view("a"));
        assert_eq!(services.rebuild(Model::Views, "a").await, right(5, 1));
        assert!(services.is_right("a", 5).await);
    }
}

/// No later event of the account exists, so the projector doesn't read the view again.
#[tokio::test(start_paused = true)]
async fn a_stale_mark_without_a_missing_event_is_removed() {
    let services = Services::with(&[("a", 5)]);
    services.build("a").await;
    let foreign = KinesisRecord {
        position: 0,
        stream_id: "s".into(),
        partition_key: "a".into(),
        arrival: None,
        data: b"{".to_vec(),
    };
    let projector = Projector {
        domain: PhantomData::<Accounts>,
        model: &services,
        ambient: &services,
    };
    let budget = Budget::lasting(std::time::Duration::from_mins(1));
    assert_eq!(projector.project(vec![foreign], budget).await.stale, 1);
    assert!(services.world().view("a").contains_key("StaleSequence"));
    assert_eq!(services.rebuild(Model::Views, "a").await, right(5, 1));
    assert!(!services.world().view("a").contains_key("StaleSequence"));
}

#[tokio::test(start_paused = true)]
async fn a_service_error_is_retried_four_times() {
    for (failures, is_right) in [(1, true), (4, true), (5, false)] {
        for model in [Model::Views, Model::History] {
            let services = Services::with(&[("a", 5)]);
            services.world().failing_reads = failures;
            let outcome = services.rebuild(model, "a").await;
            let is_incomplete = matches!(outcome, Outcome::Incomplete(_));
            assert_eq!(is_incomplete, !is_right, "{failures}: {outcome:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_and_a_stray_history_item_are_repaired_although_the_view_is_right() {
    let services = Services::with(&[("a", 12)]);
    services.build("a").await;
    {
        let mut world = services.world();
        let item = world
            .model
            .history
            .remove(&("a".to_owned(), 7))
            .expect("there");
        for stray in [-4, 0, 13, 99] {
            let mut item = item.clone();
            item.insert("Sequence".to_owned(), Attribute::number(stray));
            world.model.history.insert(("a".to_owned(), stray), item);
        }
        let other = world
            .model
            .history
            .get_mut(&("a".to_owned(), 2))
            .expect("there");
        other.insert("Balance".to_owned(), Attribute::number(1));
    }
    let outcome = services.rebuild(Model::History, "a").await;
    assert_eq!(outcome, right(12, 6));
    assert_eq!(services.world().model.history.len(), 12);
    assert!(services.is_right("a", 12).await);
}

#[tokio::test(start_paused = true)]
async fn read_models_of_no_events_are_removed() {
    let services = Services::with(&[("a", 3)]);
    services.build("a").await;
    services.world().rows.clear();
    assert_eq!(
        services.rebuild(Model::Views, "a").await,
        Outcome::Removed(1)
    );
    assert_eq!(
        services.rebuild(Model::History, "a").await,
        Outcome::Removed(3)
    );
    let world = services.world();
    assert!(world.model.views.is_empty() && world.model.history.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_read_model_is_not_removed_if_its_account_is_opened_during_the_rebuild() {
    for calls in 0..6 {
        for model in [Model::Views, Model::History] {
            let services = Services::with(&[("a", 2)]);
            services.build("a").await;
            services.world().rows.clear();
            let mut others = vec![None; calls];
            others.insert(
                0,
                Some((|world: &mut World| project(world, 2)) as fn(&mut World)),
            );
            services.world().others = others;
            services.rebuild(model, "a").await;
            if !services.world().rows.is_empty() {
                services.world().others.clear();
                assert!(services.is_right("a", 2).await, "{model:?} after {calls}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_row_is_reported_and_parity_only_before_it() {
    for model in [Model::Views, Model::History] {
        let services = Services::with(&[("a", 9)]);
        services
            .world()
            .row_of("a", 4)
            .insert("Amount".to_owned(), Attribute::text("x"));
        let outcome = services.rebuild(model, "a").await;
        let Outcome::Damaged { through, damage } = &outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(*through, sequence(3));
        assert!(damage.to_string().contains("row 5") && damage.to_string().contains("Amount"));

        let services = Services::with(&[("a", 9)]);
        let version = sequence(4).version().expect("not 0").get();
        services.world().rows.remove(&("a".to_owned(), version));
        let outcome = services.rebuild(model, "a").await;
        let missing = Outcome::Damaged {
            through: sequence(3),
            damage: Damage::Missing(sequence(4)),
        };
        assert_eq!(outcome, missing);
        let world = services.world();
        let view = world
            .model
            .views
            .get("a")
            .map(|view| view["Sequence"].clone());
        assert_eq!(view.is_some(), matches!(model, Model::Views));
        assert!(view.is_none_or(|sequence| sequence == Attribute::number(3)));
    }
}

#[tokio::test(start_paused = true)]
async fn items_that_were_projected_before_a_row_became_undecodable_are_unchanged() {
    let services = Services::with(&[("a", 9)]);
    services.build("a").await;
    let views = services.world().model.views.clone();
    let history = services.world().model.history.clone();
    let version = sequence(4).version().expect("not 0").get();
    services.world().rows.remove(&("a".to_owned(), version));
    services.build("a").await;
    let world = services.world();
    assert_eq!(
        (&world.model.views, &world.model.history),
        (&views, &history)
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_one_account_does_not_affect_others() {
    let services = Services::with(&[("a", 3), ("b", 3), ("c", 3)]);
    services.world().down = Some("b");
    let rebuilder = Rebuilder {
        domain: domain(),
        events: &services,
        model: &services,
        ambient: &services,
    };
    let ids: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    for model in [Model::History, Model::Views] {
        let mut incomplete = Vec::new();
        let report = |id: &str, outcome: &Outcome| {
            if matches!(outcome, Outcome::Incomplete(_)) {
                incomplete.push(id.to_owned());
            }
            Ok(())
        };
        let summary = rebuilder.rebuild_all(model, &ids, report).await;
        let summary = summary.expect("reported");
        let expected = Summary {
            aggregates: 3,
            right: 2,
            changed: 2,
            removed: 0,
        };
        assert_eq!((summary, summary.is_complete()), (expected, false));
        assert_eq!(incomplete, ["b"]);
    }
}

/// The row of event 4 is missing. A stale mark until event 3 or earlier is obsolete when the view is at event
/// 3.
#[tokio::test(start_paused = true)]
async fn a_stale_mark_is_kept_if_events_after_the_damage_may_be_its_reason() {
    for (until, is_kept) in [(2, false), (3, false), (4, true)] {
        for is_wrong in [false, true] {
            let services = Services::with(&[("a", 9)]);
            let version = sequence(4).version().expect("not 0").get();
            services.world().rows.remove(&("a".to_owned(), version));
            services.build("a").await;
            let right = services.world().view("a")["Balance"].clone();
            {
                let mut world = services.world();
                let view = world.view("a");
                view.insert("StaleSequence".to_owned(), Attribute::number(until));
                if is_wrong {
                    view.insert("Balance".to_owned(), Attribute::number(1));
                }
            }
            services.rebuild(Model::Views, "a").await;
            let view = services.world().view("a").clone();
            assert_eq!(view["Balance"], right);
            assert_eq!(view.contains_key("StaleSequence"), is_kept, "until {until}");
        }
    }
}

/// After the first pass, one more event is appended, and the last item is lost again.
#[tokio::test(start_paused = true)]
async fn each_pass_over_the_history_ends_at_the_last_event_of_the_first() {
    fn lose_and_grow(world: &mut World) {
        let version = sequence(6).version().expect("not 0").get();
        let has_grown = world.rows.contains_key(&("a".to_owned(), version));
        if world.model.history.len() == 5 && !has_grown {
            world.model.history.remove(&("a".to_owned(), 5));
            world.grow("a", 6);
        }
    }
    let services = Services::with(&[("a", 5)]);
    services.world().others = vec![Some(lose_and_grow as fn(&mut World)); 40];
    assert_eq!(services.rebuild(Model::History, "a").await, right(5, 6));
    assert_eq!(services.world().history_sequences(), [1, 2, 3, 4, 5]);
}

/// Before each read of a page, one more event is appended, and the projector applies it.
#[tokio::test(start_paused = true)]
async fn a_long_account_is_rebuilt_while_events_are_appended_and_projected() {
    for model in [Model::Views, Model::History] {
        let services = Services::with(&[("a", 60)]);
        services.build("a").await;
        {
            let mut world = services.world();
            world
                .view("a")
                .insert("Balance".to_owned(), Attribute::number(1));
            let item = world
                .model
                .history
                .get_mut(&("a".to_owned(), 8))
                .expect("there");
            item.insert("Balance".to_owned(), Attribute::number(1));
            let grow = |world: &mut World| {
                let events = world.rows.keys().map(|(_, version)| *version).max();
                let events = Version::new(events.expect("some"))
                    .expect("valid")
                    .sequence();
                world.grow("a", events.get() + 1);
            };
            world.others = vec![Some(grow as fn(&mut World)); 400];
        }
        let outcome = services.rebuild(model, "a").await;
        let Outcome::Right { through, changed } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(through >= sequence(60) && changed > 0);
    }
}

/// At any point of the rebuild, the projector saves the view at event 6, computed from the damaged view at
/// event 5 or from the repaired one.
#[tokio::test(start_paused = true)]
async fn a_view_that_changes_during_the_rebuild_is_compared_again() {
    fn damaged_again(world: &mut World) {
        world.grow("a", 6);
        let view = world.view("a");
        if view["Balance"] == Attribute::number(1) {
            view.insert("Sequence".to_owned(), Attribute::number(6));
            view.insert(REVISION.to_owned(), Attribute::text("the projector's"));
        }
    }
    for other in [damaged_again, |world: &mut World| project(world, 6)] {
        for calls in 0..8 {
            let services = Services::with(&[("a", 5)]);
            services.build("a").await;
            {
                let mut world = services.world();
                let view = world.view("a");
                view.insert("Balance".to_owned(), Attribute::number(1));
                world.others = vec![None; calls];
                world.others.insert(0, Some(other));
            }
            let outcome = services.rebuild(Model::Views, "a").await;
            let Outcome::Right { through, .. } = outcome else {
                panic!("{outcome:?}");
            };
            let view = services.world().model.views["a"].clone();
            let balance = Attribute::number((through.get() - 1) * 5);
            assert_eq!(view["Balance"], balance, "after {calls} calls");
        }
    }
}

/// The projector corrects the view just before the rebuild replaces it, and then one more event is appended.
#[tokio::test(start_paused = true)]
async fn a_view_that_was_corrected_during_the_rebuild_is_not_replaced() {
    let services = Services::with(&[("a", 5)]);
    services.build("a").await;
    {
        let mut world = services.world();
        world
            .view("a")
            .insert("Balance".to_owned(), Attribute::number(1));
        let correct = |world: &mut World| {
            project(world, 6);
            world.grow("a", 7);
        };
        // The calls before the one that saves the view: those that read the view and the pages of rows.
        world.others = vec![None; 1 + world.pages()];
        world.others.insert(0, Some(correct as fn(&mut World)));
    }
    assert_eq!(services.rebuild(Model::Views, "a").await, right(6, 0));
}

#[tokio::test(start_paused = true)]
async fn consistent_data_has_no_findings() {
    let services = Services::with(&[("a", 25)]);
    services.build("a").await;
    let standing = services.examine("a").await;
    assert_eq!(standing.findings, []);
    assert_eq!(
        (standing.through, standing.settled),
        (sequence(25), sequence(25))
    );
    assert_eq!(standing.view.expect("readable"), standing.expected);
}

/// Each kind of damage to a read model is one finding, and the finding's command repairs it.
#[tokio::test(start_paused = true)]
async fn each_finding_of_a_read_model_is_repaired_by_its_command() {
    let damages: [(Kind, Damaging); 9] = [
        (Kind::ViewDiffers, |world| {
            let view = world.view("a");
            view.insert("Balance".to_owned(), Attribute::number(1));
        }),
        (Kind::ViewDiffers, |world| {
            let view = world.view("a");
            view.insert("Sequence".to_owned(), Attribute::number(99));
        }),
        (Kind::ViewDiffers, |world| {
            world.view("a").remove("Balance");
        }),
        (Kind::ViewStale, |world| {
            let view = world.view("a");
            view.insert("StaleSequence".to_owned(), Attribute::number(13));
        }),
        (Kind::ViewStale, |world| {
            let view = world.view("a");
            view.insert("StaleSequence".to_owned(), Attribute::text("x"));
        }),
        (Kind::HistoryMissing, |world| {
            world.model.history.remove(&("a".to_owned(), 12));
        }),
        (Kind::HistoryMissing, |world| {
            world.model.history.remove(&("a".to_owned(), 1));
        }),
        (Kind::HistoryDiffers, |world| {
            let item = world.model.history.get_mut(&("a".to_owned(), 5));
            item.expect("there").remove("Balance");
        }),
        (Kind::HistoryStray, |world| {
            let mut item = world.model.history[&("a".to_owned(), 12)].clone();
            item.insert("Sequence".to_owned(), Attribute::number(13));
            world.model.history.insert(("a".to_owned(), 13), item);
        }),
    ];
    for (kind, damage) in damages {
        let services = Services::with(&[("a", 12)]);
        services.build("a").await;
        damage(&mut services.world());
        assert_eq!(services.kinds("a").await, [kind]);
        let model = match kind.command(WORDS).as_str() {
            "millrace rebuild views --aggregate ID" => Model::Views,
            "millrace rebuild history --aggregate ID" => Model::History,
            other => panic!("{other}"),
        };
        services.rebuild(model, "a").await;
        assert_eq!(services.kinds("a").await, [], "{kind:?}");
    }
}

/// All events have the time 0.
#[tokio::test(start_paused = true)]
async fn published_events_before_the_time_are_settled() {
    let services = Services::with(&[("a", 5)]);
    services.set_cursor("a", 3, None);
    for (before, settled) in [(0, 0), (1, 3)] {
        let before = Timestamp::from_unix_millis(before).expect("valid");
        let standing = services.examine_at("a", before).await;
        assert_eq!(standing.settled, sequence(settled), "{before}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_finding_of_the_history_counts_its_items_and_names_the_first() {
    let services = Services::with(&[("a", 12)]);
    services.build("a").await;
    {
        let mut world = services.world();
        let history = &mut world.model.history;
        for differing in [7, 8] {
            let item = history.get_mut(&("a".to_owned(), differing));
            item.expect("there").remove("Balance");
        }
        for (lost, stray) in [(3, 0), (5, 13)] {
            let mut item = history.remove(&("a".to_owned(), lost)).expect("there");
            item.insert("Sequence".to_owned(), Attribute::number(stray));
            history.insert(("a".to_owned(), stray), item);
        }
    }
    let findings = services.examine("a").await.findings;
    let details: Vec<&str> = findings.iter().map(|it| it.detail.as_str()).collect();
    let expected = [
        "2 items are missing, the first at sequence 3",
        "2 items differ from the events, the first at sequence 7",
        "2 items belong to no event, the first at 0",
    ];
    assert_eq!(details, expected);
}

#[tokio::test(start_paused = true)]
async fn read_models_without_events_are_found() {
    let services = Services::with(&[("a", 2)]);
    services.build("a").await;
    services.world().rows.clear();
    let both = [Kind::ViewWithoutEvents, Kind::HistoryStray];
    assert_eq!(services.kinds("a").await, both);
    services.build("a").await;
    assert_eq!(services.kinds("a").await, []);
}

#[tokio::test(start_paused = true)]
async fn each_cause_is_one_finding() {
    let services = Services::with(&[("a", 3)]);
    services.build("a").await;
    services.world().grow("a", 9);

    services.set_cursor("a", 3, None);
    assert_eq!(services.kinds("a").await, [Kind::Unpublished]);
    assert!(services.examine("a").await.is_lagging);
    services.set_cursor("a", 3, Some(4));
    assert_eq!(services.kinds("a").await, [Kind::Blocked]);
    assert!(!services.examine("a").await.is_lagging);
    // A parked aggregate stays parked until the marker is removed, also if it has no pending events.
    for published in [3, 9] {
        services.set_cursor("a", published, None);
        if let Some(Ok(cursor)) = services.world().cursors.get_mut("a") {
            cursor.suspended = Some(Suspension::Parked(Parked {
                through: sequence(9),
                since: (&services).now(),
            }));
        }
        assert_eq!(services.kinds("a").await[0], Kind::Parked);
        assert!(services.examine("a").await.is_lagging);
    }
    services.set_cursor("a", 9, None);
    assert_eq!(services.kinds("a").await, [Kind::ViewLagging]);
    assert!(services.examine("a").await.is_lagging);
    let mark = Attribute::number(5);
    services
        .world()
        .view("a")
        .insert("StaleSequence".to_owned(), mark);
    assert_eq!(services.kinds("a").await, [Kind::ViewLagging]);
    assert!(!services.examine("a").await.is_lagging);

    services.build("a").await;
    services.set_cursor("a", 10, None);
    assert_eq!(services.kinds("a").await, [Kind::CursorAhead]);
    // The cursor was ahead when the translator used it. Since then, new events have reached its sequence.
    services.set_cursor("a", 9, Some(0));
    if let Some(Ok(cursor)) = services.world().cursors.get_mut("a")
        && let Some(Suspension::Blocked(block)) = &mut cursor.suspended
    {
        block.row = Some("10".to_owned());
    }
    assert_eq!(services.kinds("a").await, [Kind::CursorAhead]);
    let unreadable = Err(DecodeError::new("PublishedThrough", "is missing"));
    services.world().cursors.insert("a".to_owned(), unreadable);
    assert_eq!(services.kinds("a").await, [Kind::CursorUnreadable]);

    services.world().cursors.clear();
    let version = sequence(9).version().expect("not 0").get();
    let row = services.world().rows.remove(&("a".to_owned(), version - 1));
    assert!(row.is_some());
    assert_eq!(services.kinds("a").await, [Kind::Row]);
    assert!(!services.examine("a").await.is_lagging);
    // If the cursor is before the missing row, the translator may block the aggregate soon.
    services.set_cursor("a", 7, None);
    assert_eq!(services.kinds("a").await[0], Kind::Row);
    assert!(services.examine("a").await.is_lagging);
    services.set_cursor("a", 7, Some(8));
    assert_eq!(services.kinds("a").await, [Kind::Blocked]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_not_the_state_is_found() {
    let services = Services::with(&[("a", 12)]);
    services.build("a").await;
    {
        let mut world = services.world();
        let snapshot = world.rows.get_mut(&("a".to_owned(), 12)).expect("there");
        snapshot.insert("Balance".to_owned(), Attribute::number(1));
    }
    assert_eq!(services.kinds("a").await, [Kind::Snapshot]);
}

/// Before each read, one more event is appended, and the projector applies it.
#[tokio::test(start_paused = true)]
async fn live_events_are_no_differences() {
    fn more(world: &mut World) {
        let newest = world.rows.keys().map(|(_, version)| *version).max();
        let newest = Version::new(newest.expect("some"))
            .expect("valid")
            .sequence();
        project(world, newest.get() + 1);
    }
    let services = Services::with(&[("a", 30)]);
    services.build("a").await;
    for every in 1..5 {
        let mut others = vec![None; 60];
        for other in others.iter_mut().step_by(every) {
            *other = Some(more as fn(&mut World));
        }
        services.world().others = others;
        let standing = services.examine("a").await;
        services.world().others.clear();
        let definite = |kind| !matches!(kind, Kind::Unpublished | Kind::ViewLagging);
        let found = standing.findings;
        assert!(
            !found.iter().any(|finding| definite(finding.kind)),
            "{found:?}"
        );
        assert!(found.is_empty() || standing.is_lagging);
    }
}
