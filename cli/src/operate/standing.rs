//! How one aggregate stands: what its rows say, and what cursor and read models make of them.

use std::time::Duration;

use anyhow::Result;
use millrace_domain::envelope::Context;
use millrace_domain::row::{self, StoredRow};
use millrace_domain::{
    Attributes, Envelope, HistoryEntry, RecordedEvent, RowError, Sequence, Settings, State, View,
    evolve,
};
use millrace_projector::stale::Stale;
use millrace_runtime::{Budget, System};
use millrace_translator::cursor::{Cursor, load_all};
use serde::Serialize;

use super::aggregates;
use super::deployment::Deployment;

/// How long a cursor may be left unprocessed by DynamoDB.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an aggregate's rows tell, from the first one on.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Its events, in order.
    pub(crate) events: Vec<Envelope>,
    /// The view after the last of them.
    pub(crate) view: Option<View>,
    /// The history.
    pub(crate) lines: Vec<HistoryEntry>,
    /// Why they end there, if there are more rows.
    pub(crate) broken: Option<String>,
    /// What is wrong with a snapshot.
    pub(crate) snapshot: Option<String>,
}

/// What each place says of an aggregate.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) id: String,
    pub(crate) told: Told,
    pub(crate) cursor: Result<Cursor, RowError>,
    pub(crate) view: Result<Option<View>, RowError>,
    pub(crate) stale: Option<Stale>,
    pub(crate) lines: Result<Vec<HistoryEntry>, RowError>,
}

/// Something that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What kind of trouble.
    pub(crate) kind: Kind,
    /// What was found.
    pub(crate) detail: String,
}

/// The kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The cursor says that the aggregate stands still.
    Blocked,
    /// The projector says that the view is behind.
    Stale,
    /// A row can't be read, or is missing.
    Broken,
    /// A snapshot isn't the fold of the events before it.
    Snapshot,
    /// The cursor is behind the events.
    Unpublished,
    /// The cursor is beyond the events, or can't be read.
    Cursor,
    /// The view is behind the events, or isn't there.
    Missing,
    /// The view or the history says something else than the events.
    Differing,
    /// A read model or a cursor of an aggregate that has no events.
    Orphan,
    /// Events are missing in the lake.
    Lake,
}

impl Told {
    /// Folds rows, oldest first, as far as they can be read.
    pub(crate) fn of(rows: &[Attributes], settings: Settings) -> Self {
        let mut told = Self::default();
        let (mut context, mut state) = (None, State::Unopened);
        let mut expected = Sequence::NONE.next();
        for row in rows {
            let event = match StoredRow::read(row, &settings) {
                Ok(StoredRow::Event(event)) => event,
                Ok(StoredRow::Snapshot(snapshot)) => {
                    if snapshot.state() != state && snapshot.version.sequence().next() == expected {
                        told.snapshot =
                            Some(format!("row {} is not the balance", snapshot.version));
                    }
                    continue;
                }
                Err(error) => {
                    let version = row::version(row).map_or(0, millrace_domain::Version::get);
                    told.broken = Some(format!("row {version} can't be read: {error}"));
                    break;
                }
            };
            if event.sequence() != expected {
                told.broken = Some(format!("event {expected} is missing"));
                break;
            }
            state = evolve(state, &event.event);
            context = Context::after(context, &event);
            let Some(context) = context else {
                told.broken = Some("the first row is no opening".to_owned());
                break;
            };
            told.add(&event, context);
            expected = expected.next();
        }
        told
    }

    fn add(&mut self, event: &RecordedEvent, context: Context) {
        let envelope = Envelope::of(event, context);
        let (view, line) = View::apply(self.view.as_ref(), &envelope);
        self.view = Some(view);
        self.lines.push(line);
        self.events.push(envelope);
    }

    /// The sequence of the last event that can be read.
    pub(crate) fn through(&self) -> Sequence {
        self.view
            .as_ref()
            .map_or(Sequence::NONE, |view| view.sequence)
    }
}

impl Standing {
    /// Reads all places, the rows first: whatever is behind them then is behind.
    pub(crate) async fn read(deployment: &Deployment, id: &str) -> Result<Self> {
        let (client, table) = (&deployment.clients.dynamodb, &deployment.names.events_table);
        let rows = aggregates::items(client, table, id).await?;
        Self::beside(deployment, id, &rows).await
    }

    /// Reads the other places, beside rows that were read.
    pub(crate) async fn beside(
        deployment: &Deployment,
        id: &str,
        rows: &[Attributes],
    ) -> Result<Self> {
        let client = &deployment.clients.dynamodb;
        let names = &deployment.names;
        let budget = Budget::lasting(PATIENCE);
        let mut cursors = load_all(&deployment.cursors(), &[id], budget, &System).await?;
        let view = aggregates::item(client, &names.accounts_table, id).await?;
        let lines = aggregates::items(client, &names.transactions_table, id).await?;
        Ok(Self {
            id: id.to_owned(),
            told: Told::of(rows, deployment.settings),
            cursor: cursors.remove(id).unwrap_or_else(|| Ok(Cursor::default())),
            stale: view.as_ref().and_then(Stale::read),
            view: view.as_ref().map_or(Ok(None), View::read),
            lines: lines.iter().map(HistoryEntry::read).collect(),
        })
    }

    /// What isn't as it should be.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |kind, detail: String| findings.push(Finding { kind, detail });
        let through = self.told.through();
        if let Some(broken) = &self.told.broken {
            find(Kind::Broken, broken.clone());
        } else if through == Sequence::NONE {
            find(Kind::Orphan, "it has no events".to_owned());
        }
        if let Some(snapshot) = &self.told.snapshot {
            find(Kind::Snapshot, snapshot.clone());
        }
        match &self.cursor {
            Err(error) => find(Kind::Cursor, format!("the cursor can't be read: {error}")),
            Ok(cursor) => {
                if let Some(block) = &cursor.blocked {
                    let (sequence, since) = (block.sequence, block.since);
                    let reason = &block.reason;
                    find(
                        Kind::Blocked,
                        format!("at event {sequence} since {since}: {reason}"),
                    );
                }
                let published = cursor.published_through;
                match published.cmp(&through) {
                    std::cmp::Ordering::Less => find(
                        Kind::Unpublished,
                        format!("published through {published}, but there are {through} events"),
                    ),
                    std::cmp::Ordering::Greater => find(
                        Kind::Cursor,
                        format!("published through {published}, but only {through} can be read"),
                    ),
                    std::cmp::Ordering::Equal => {}
                }
            }
        }
        if let Some(stale) = &self.stale {
            let (since, reason) = (stale.since, &stale.reason);
            find(Kind::Stale, format!("since {since}: {reason}"));
        }
        findings.extend(self.view_findings());
        findings.extend(self.history_finding());
        findings
    }

    fn view_findings(&self) -> Option<Finding> {
        let through = self.told.through();
        let (kind, detail) = match &self.view {
            Err(error) => (Kind::Differing, format!("the view can't be read: {error}")),
            Ok(None) if through == Sequence::NONE => return None,
            Ok(None) => (Kind::Missing, "there is no view".to_owned()),
            Ok(Some(view)) if view.sequence < through => (
                Kind::Missing,
                format!("the view is at {}, not {through}", view.sequence),
            ),
            Ok(Some(view)) if Some(view) != self.told.view.as_ref() => (
                Kind::Differing,
                format!(
                    "the view at {} is not the fold of the events",
                    view.sequence
                ),
            ),
            Ok(Some(_)) => return None,
        };
        Some(Finding { kind, detail })
    }

    fn history_finding(&self) -> Option<Finding> {
        let lines = match &self.lines {
            Ok(lines) => lines,
            Err(error) => {
                return Some(Finding {
                    kind: Kind::Differing,
                    detail: format!("the history can't be read: {error}"),
                });
            }
        };
        if *lines == self.told.lines {
            return None;
        }
        let first = lines
            .iter()
            .zip(&self.told.lines)
            .take_while(|(line, told)| line == told)
            .count();
        let (there, due) = (lines.len(), self.told.lines.len());
        Some(if there < due && first == there {
            Finding {
                kind: Kind::Missing,
                detail: format!("the history has {there} of {due} lines"),
            }
        } else {
            Finding {
                kind: Kind::Differing,
                detail: format!("the history differs from line {} on", first + 1),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use millrace_domain::{AggregateId, Attribute, Event, History, Timestamp, Trace};

    use super::*;

    fn settings() -> Settings {
        Settings::read(|_| Some("EUR".to_owned())).expect("listed")
    }

    fn rows(events: u64) -> Vec<Attributes> {
        let mut history = History::begin(AggregateId::new("a").expect("valid"));
        let mut rows = Vec::new();
        for event in 0..events {
            let event = if event == 0 {
                Event::AccountCreated {
                    currency: settings().default_currency,
                }
            } else {
                Event::BalanceCredited {
                    amount: millrace_domain::money::Amount::new(5).expect("valid"),
                }
            };
            let at = Timestamp::from_unix_millis(0).expect("valid");
            let (after, new) = history.append(&[event], at, &Trace::default());
            rows.extend(new.into_iter().map(|(_, row)| row));
            history = after;
        }
        rows
    }

    fn standing(events: u64) -> Standing {
        let told = Told::of(&rows(events), settings());
        Standing {
            id: "a".to_owned(),
            cursor: Ok(Cursor {
                published_through: told.through(),
                ..Cursor::default()
            }),
            view: Ok(told.view.clone()),
            stale: None,
            lines: Ok(told.lines.clone()),
            told,
        }
    }

    fn kinds(standing: &Standing) -> Vec<Kind> {
        standing.findings().iter().map(|it| it.kind).collect()
    }

    #[test]
    fn where_all_places_agree_nothing_is_found() {
        assert_eq!(kinds(&standing(25)), []);
    }

    #[test]
    fn each_kind_of_trouble_is_found() {
        let mut behind = standing(5);
        behind.cursor = Ok(Cursor::default());
        assert_eq!(kinds(&behind), [Kind::Unpublished]);

        let mut ahead = standing(5);
        ahead.cursor.as_mut().expect("read").published_through = Sequence::new(6).expect("valid");
        assert_eq!(kinds(&ahead), [Kind::Cursor]);

        let mut no_view = standing(5);
        no_view.view = Ok(None);
        no_view.lines = Ok(Vec::new());
        assert_eq!(kinds(&no_view), [Kind::Missing, Kind::Missing]);

        let mut other = standing(5);
        other.view = standing(4).view;
        other.lines.as_mut().expect("read").swap(0, 1);
        assert_eq!(kinds(&other), [Kind::Missing, Kind::Differing]);

        let mut nothing = standing(0);
        assert_eq!(kinds(&nothing), [Kind::Orphan]);
        nothing.view = standing(1).view;
        assert_eq!(kinds(&nothing), [Kind::Orphan, Kind::Differing]);

        let mut stale = standing(2);
        stale.stale = Some(Stale {
            until: Sequence::new(4).expect("valid"),
            reason: "why".to_owned(),
            since: Timestamp::from_unix_millis(0).expect("valid"),
        });
        assert_eq!(kinds(&stale), [Kind::Stale]);
    }

    #[test]
    fn rows_are_read_up_to_the_first_that_cannot_be() {
        let mut damaged = rows(5);
        damaged[3].insert("Amount".to_owned(), Attribute::text("x"));
        let told = Told::of(&damaged, settings());
        assert_eq!(told.through().get(), 2);
        let broken = told.broken.expect("broken");
        assert!(
            broken.contains("row 4") && broken.contains("Amount"),
            "{broken}"
        );

        let mut missing = rows(5);
        missing.remove(3);
        let told = Told::of(&missing, settings());
        assert_eq!(told.broken.as_deref(), Some("event 3 is missing"));

        let mut snapshot = rows(12);
        snapshot[11].insert("Balance".to_owned(), Attribute::number(1));
        let told = Told::of(&snapshot, settings());
        assert_eq!(told.snapshot.as_deref(), Some("row 12 is not the balance"));
    }
}
