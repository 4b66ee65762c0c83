//! Compares the lake's records of one aggregate with the events table, and finds what the lake lacks.

use std::collections::BTreeMap;

use millrace_core::{Envelope, Project, Sequence, Timestamp};
use millrace_runtime::{Chain, ServiceError};
use serde::Serialize;
use serde_json::Value;
use strum::IntoStaticStr;

use super::fold::{Fold, Folded};
use super::ports::EventLog;
use super::records::Spool;
use crate::application::plural;

/// The maximum number of findings of one aggregate that are listed.
const MAX_LISTED: usize = 20;

/// What is wrong with records of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Kind {
    /// The lake lacks the event.
    Missing,
    /// The record can't be decoded.
    Undecodable,
    /// The lake contains different records of the event.
    Contradictory,
    /// The record differs from the event in the events table.
    Differs,
    /// The events table has earlier events of the aggregate, but not this one.
    NotInTable,
    /// The view includes events that neither the lake nor the events table has.
    ViewAhead,
}

/// One problem, of consecutive events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    /// The sequence of the first of the events.
    pub(crate) first: u64,
    /// The sequence of the last of the events.
    pub(crate) last: u64,
    /// Why the record can't be decoded.
    error: Option<String>,
}

impl Finding {
    /// The id of the first of the events.
    pub(crate) fn event(&self, aggregate: &str) -> String {
        format!("{aggregate}:{}", self.first)
    }

    /// The problem, with the sequences and the ids of the events.
    pub(crate) fn text(&self, aggregate: &str) -> String {
        let Self {
            kind,
            first,
            last,
            error,
        } = self;
        let (is, differs, has) = if first == last {
            ("is", "differs", "has")
        } else {
            ("are", "differ", "have")
        };
        let problem = match kind {
            Kind::Missing => format!("{is} missing in the lake"),
            Kind::Undecodable => {
                let error = error.as_deref().unwrap_or_default();
                format!("can't be decoded: {error}")
            }
            Kind::Contradictory => format!("{has} several records in the lake, which differ"),
            Kind::Differs => format!("{differs} from the events table"),
            Kind::NotInTable => format!("{is} in the lake, but not in the events table"),
            Kind::ViewAhead => {
                format!(
                    "{is} included in the view, but neither in the lake nor in the events table"
                )
            }
        };
        if first == last {
            format!("event {first} ({aggregate}:{first}) {problem}")
        } else {
            format!(
                "events {first} to {last} ({aggregate}:{first} to {aggregate}:{last}) {problem}"
            )
        }
    }
}

/// The findings of one aggregate. Consecutive events with the same problem are one finding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Findings {
    /// The first of them.
    pub(crate) listed: Vec<Finding>,
    /// The number of findings of each kind.
    pub(crate) count: BTreeMap<Kind, usize>,
    last: Option<Finding>,
}

impl Findings {
    pub(crate) fn is_empty(&self) -> bool {
        self.count.is_empty()
    }

    /// The number of findings that aren't listed.
    pub(crate) fn unlisted(&self) -> usize {
        self.count.values().sum::<usize>() - self.listed.len()
    }

    pub(crate) fn add(&mut self, kind: Kind, first: u64, last: u64) {
        self.push(Finding {
            kind,
            first,
            last,
            error: None,
        });
    }

    fn undecodable(&mut self, sequence: u64, error: String) {
        self.push(Finding {
            kind: Kind::Undecodable,
            first: sequence,
            last: sequence,
            error: Some(error),
        });
    }

    fn push(&mut self, finding: Finding) {
        if self.last.as_ref() == Some(&finding) {
            return;
        }
        let continues = self.last.as_ref().is_some_and(|before| {
            (before.kind, &before.error) == (finding.kind, &None)
                && before.last.checked_add(1) == Some(finding.first)
        });
        if continues {
            let is_listed = self.listed.last() == self.last.as_ref();
            let listed = self.listed.last_mut().filter(|_| is_listed);
            for before in self.last.as_mut().into_iter().chain(listed) {
                before.last = finding.last;
            }
            return;
        }
        *self.count.entry(finding.kind).or_default() += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(finding.clone());
        }
        self.last = Some(finding);
    }
}

/// What is known about the records of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Survey {
    /// The problems.
    pub(crate) findings: Findings,
    /// The last sequence up to which the lake has all events, and none has a problem.
    pub(crate) good: Sequence,
    /// The sequence of the last record.
    pub(crate) in_lake: u64,
    /// The sequence of the last event that could be compared with the events table.
    pub(crate) in_table: u64,
    /// The number of events in the events table that are too recent to be in the lake.
    pub(crate) not_yet: u64,
    /// Why records could not be compared with the events table.
    pub(crate) not_compared: Option<String>,
}

/// The events table's fold, as far as it was read.
struct Table<'a, D: Project, L: EventLog> {
    fold: Option<Fold<'a, D, L>>,
    not_compared: Option<String>,
}

impl<D: Project, L: EventLog> Table<'_, D, L> {
    /// The next event; `None` if there are no more, or if they can't be read.
    async fn next(&mut self) -> Option<Folded<D>> {
        let fold = self.fold.as_mut()?;
        match fold.next().await {
            Ok(Some(folded)) => Some(folded),
            Ok(None) => {
                if let Some(damage) = fold.damage() {
                    self.not_compared = Some(format!("{damage} in the events table"));
                    self.fold = None;
                }
                None
            }
            Err(error) => {
                self.not_compared = Some(Chain(&error).to_string());
                self.fold = None;
                None
            }
        }
    }

    /// Whether the table ends here: it was read to its end, and has events.
    fn ends(&self) -> bool {
        let fold = self.fold.as_ref();
        fold.is_some_and(|fold| fold.through() != Sequence::NONE)
    }
}

/// A record of the lake.
struct Read<D: Project> {
    sequence: u64,
    event: Result<Envelope<D::PublicEvent>, String>,
}

impl<D: Project> Read<D> {
    fn of(line: &[u8]) -> Self {
        let event = Envelope::parse::<D>(line).map_err(|error| error.to_string());
        let sequence = event.as_ref().map_or_else(
            |_| {
                let record: Value = serde_json::from_slice(line).unwrap_or_default();
                record["data"]["sequence"].as_u64().unwrap_or_default()
            },
            |event| event.sequence.get(),
        );
        Self { sequence, event }
    }
}

/// Reads all records of an aggregate in the lake, and all of its events in the events table. An event that
/// happened after `settled_before` may not have reached the lake yet. If `events` is `None`, nothing is
/// compared.
///
/// # Errors
/// [`ServiceError`]: the records can't be read. An error of the events table is
/// [`not_compared`](Survey::not_compared).
pub(crate) async fn survey<D: Project, L: EventLog>(
    domain: &D,
    events: Option<&L>,
    aggregate: &str,
    spool: &Spool,
    settled_before: Timestamp,
) -> Result<Survey, ServiceError> {
    let mut survey = Survey::default();
    let mut table = Table {
        fold: events.map(|events| Fold::new(domain, events, aggregate)),
        not_compared: None,
    };
    // The first sequence with a problem.
    let mut bad: Option<u64> = None;
    let mut lines = spool.lines();
    while let Some(line) = lines.next()? {
        let Read { sequence, event } = Read::<D>::of(&line);
        if sequence == survey.in_lake {
            survey.findings.add(Kind::Contradictory, sequence, sequence);
            bad = Some(bad.map_or(sequence, |bad| bad.min(sequence)));
            continue;
        }
        let expected = survey.in_lake + 1;
        if sequence > expected {
            bad.get_or_insert(expected);
            survey
                .gap(&mut table, expected, Some(sequence - 1), settled_before)
                .await;
        }
        survey.in_lake = sequence;
        let problem = match (table.next().await, event) {
            (_, Err(error)) => {
                survey.findings.undecodable(sequence, error);
                bad.get_or_insert(sequence);
                continue;
            }
            (Some(stored), Ok(event)) if stored.envelope != event => Kind::Differs,
            (Some(_), Ok(_)) => {
                survey.in_table = sequence;
                continue;
            }
            (None, Ok(_)) if table.ends() => Kind::NotInTable,
            (None, Ok(_)) => continue,
        };
        survey.findings.add(problem, sequence, sequence);
        bad.get_or_insert(sequence);
    }
    survey
        .gap(&mut table, survey.in_lake + 1, None, settled_before)
        .await;
    let is_empty = table.fold.is_some() && !table.ends();
    survey.not_compared = table.not_compared;
    if is_empty && survey.in_lake > 0 {
        survey.not_compared = Some("the events table has no events of it".to_owned());
    }
    let good = bad.map_or(survey.in_lake, |bad| bad - 1);
    survey.good = Sequence::new(good).unwrap_or_default();
    Ok(survey)
}

impl Survey {
    /// Examines the events from `first` to `last`, of which the lake has no records. Without `last`, they are
    /// the events up to the end of the events table.
    async fn gap<D: Project, L: EventLog>(
        &mut self,
        table: &mut Table<'_, D, L>,
        first: u64,
        last: Option<u64>,
        settled_before: Timestamp,
    ) {
        let mut sequence = first;
        while last.is_none_or(|last| sequence <= last) {
            let Some(stored) = table.next().await else {
                break;
            };
            self.in_table = sequence;
            if stored.envelope.time < settled_before {
                self.findings.add(Kind::Missing, sequence, sequence);
            } else {
                self.not_yet += 1;
            }
            sequence += 1;
        }
        if let Some(last) = last
            && sequence <= last
        {
            self.findings.add(Kind::Missing, sequence, last);
        }
    }

    /// The sequence of the last event that the lake or the events table has.
    pub(crate) fn known(&self) -> u64 {
        self.in_lake.max(self.in_table)
    }

    /// Adds what the view shows: it includes the events up to `viewed`. Events beyond the known ones are
    /// missing, unless the view's last event is recent. Nothing is added if the events table was read to its
    /// end: the events may have been appended since then.
    pub(crate) fn add_viewed(&mut self, viewed: u64, is_recent: bool) {
        let known = self.known();
        let was_compared = self.in_table > 0 && self.not_compared.is_none();
        if viewed <= known || was_compared {
            return;
        }
        if is_recent {
            self.not_yet += viewed - known;
        } else {
            self.findings.add(Kind::ViewAhead, known + 1, viewed);
        }
    }

    /// What was not found, for the line of an aggregate; `None` if there is nothing.
    pub(crate) fn not_yet(&self) -> Option<String> {
        let count = usize::try_from(self.not_yet).unwrap_or(usize::MAX);
        (count > 0).then(|| {
            let events = plural(count, "event is", "events are");
            format!("{events} not yet in the lake")
        })
    }
}
