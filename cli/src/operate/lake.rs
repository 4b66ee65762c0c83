//! Queries the lake in slices by day, and compares it with the events.
//!
//! The work group ends a query that reads more than its limit. So a query that is too large is repeated as two
//! queries, each of half of its days.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use anyhow::{Result, bail};
use millrace_core::Sequence;

use super::days::Days;
use super::ports::{Lake, Pages as _, QueryError};

/// Asks for all days, in as few slices as the limit of the work group allows. Returns the answers in the order
/// of the days.
///
/// # Errors
/// If a query fails, or that of a single day is too large. The error then names the day and the limit.
pub(crate) async fn in_slices<L: Lake, T>(
    lake: &L,
    days: Days,
    mut ask: impl AsyncFnMut(Days) -> Result<T, QueryError>,
) -> Result<Vec<T>> {
    let (mut slices, mut answers) = (vec![days], Vec::new());
    while let Some(slice) = slices.pop() {
        match ask(slice).await {
            Ok(answer) => answers.push(answer),
            Err(QueryError::TooLarge(reason)) => {
                let Some((earlier, later)) = slice.halves() else {
                    bail!(
                        "the lake's records of one day, {slice}, are more than a query may read ({reason}). \
                         The limit is {}",
                        lake.limit().await
                    );
                };
                slices.extend([later, earlier]);
            }
            Err(QueryError::Service(error)) => return Err(error.into()),
        }
    }
    Ok(answers)
}

/// The aggregates of which the lake lacks events, each with a text that says how many events it has. `due`
/// maps an aggregate to the last sequence that must be in the lake. `asks` is called before each query.
///
/// An event may be in several slices, so the numbers of events in slices can't be added. Each slice returns
/// the runs of consecutive sequences, whose union is exact. It is small: usually, an aggregate has one run.
pub(crate) async fn lacking<L: Lake, S: BuildHasher>(
    lake: &L,
    days: Days,
    aggregate: Option<&str>,
    due: &HashMap<String, Sequence, S>,
    asks: impl Fn(Days),
) -> Result<Vec<(String, String)>> {
    // Nothing can be lacking, and the query would read the whole lake.
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: HashMap<&str, Sequences> = due
        .keys()
        .map(|id| (id.as_str(), Sequences::default()))
        .collect();
    in_slices(lake, days, async |slice| {
        asks(slice);
        let mut runs = lake.runs(slice, aggregate).await?;
        while let Some(page) = runs.page().await? {
            for run in page {
                if let Some(sequences) = found.get_mut(run.subject.as_str()) {
                    sequences.add(run.first, run.last);
                }
            }
        }
        Ok(())
    })
    .await?;
    let mut lacking = Vec::new();
    for (id, due) in due {
        let due = due.get();
        let Some(sequences) = found.get(id.as_str()) else {
            continue;
        };
        if let Some(first) = sequences.first_missing(due) {
            let there = sequences.count(due);
            let text =
                format!("the lake has {there} of {due} events; event {first} is the first missing");
            lacking.push((id.clone(), text));
        }
    }
    lacking.sort();
    Ok(lacking)
}

/// A set of sequences, as the first and the last sequence of each run.
#[derive(Debug, Default)]
struct Sequences(BTreeMap<u64, u64>);

impl Sequences {
    fn add(&mut self, mut first: u64, mut last: u64) {
        while let Some((begin, end)) = self.0.range(..=last.saturating_add(1)).next_back() {
            let (begin, end) = (*begin, *end);
            if end.saturating_add(1) < first {
                break;
            }
            (first, last) = (first.min(begin), last.max(end));
            self.0.remove(&begin);
        }
        self.0.insert(first, last);
    }

    /// The number of sequences from 1 to `due`.
    fn count(&self, due: u64) -> u64 {
        let runs = self.0.range(..=due);
        runs.map(|(first, last)| (*last).min(due) - first + 1).sum()
    }

    /// The first sequence from 1 to `due` that the set lacks.
    fn first_missing(&self, due: u64) -> Option<u64> {
        let first = self.0.get(&1).map_or(1, |last| last.saturating_add(1));
        (first <= due).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use futures_util::future::FutureExt as _;
    use proptest::prelude::*;

    use super::super::days::Day;
    use super::super::memory::{LakeInMemory, day};
    use super::*;

    fn due(due: &[(&str, u64)]) -> HashMap<String, Sequence> {
        let due = due.iter();
        due.map(|(id, due)| ((*id).to_owned(), Sequence::new(*due).expect("valid")))
            .collect()
    }

    fn all() -> Days {
        Days {
            first: day(0),
            last: day(15),
        }
    }

    /// What the lake lacks, and the slices that were asked for.
    fn ask(
        lake: &LakeInMemory,
        expected: &[(&str, u64)],
    ) -> (Result<Vec<String>, String>, Vec<Days>) {
        let asked = RefCell::new(Vec::new());
        let due = due(expected);
        let lacking = lacking(lake, all(), None, &due, |days| {
            asked.borrow_mut().push(days);
        });
        let found = lacking.now_or_never().expect("nothing waits");
        let texts = found
            .map(|found| {
                let found = found.into_iter();
                found.map(|(id, text)| format!("{id}: {text}")).collect()
            })
            .map_err(|error| format!("{error:#}"));
        (texts, asked.into_inner())
    }

    #[test]
    fn without_a_limit_there_is_one_query() {
        let mut lake = LakeInMemory::default();
        lake.add("a", &[(0, 1), (3, 2), (9, 3)]);
        lake.add("b", &[(0, 1)]);
        let (lacking, asked) = ask(&lake, &[("a", 3), ("b", 1)]);
        assert_eq!(lacking, Ok(Vec::new()));
        assert_eq!(asked, [all()]);
    }

    #[test]
    fn a_query_that_is_too_large_is_split() {
        let mut lake = LakeInMemory::default();
        lake.add("a", &[(0, 1), (0, 2), (9, 3), (15, 4)]);
        lake.limit = Some(2);
        let (lacking, asked) = ask(&lake, &[("a", 4)]);
        assert_eq!(lacking, Ok(Vec::new()));
        let asked: Vec<String> = asked.iter().map(Days::to_string).collect();
        assert_eq!(
            asked,
            [
                "2026-01-01 to 2026-01-16",
                "2026-01-01 to 2026-01-08",
                "2026-01-09 to 2026-01-16",
            ]
        );
    }

    #[test]
    fn a_duplicate_on_another_day_counts_once() {
        let mut lake = LakeInMemory::default();
        lake.add("a", &[(0, 1), (0, 2), (9, 2), (15, 2), (15, 4)]);
        for limit in [None, Some(2), Some(3)] {
            lake.limit = limit;
            let (lacking, _) = ask(&lake, &[("a", 4)]);
            let text = "a: the lake has 3 of 4 events; event 3 is the first missing";
            assert_eq!(lacking, Ok(vec![text.to_owned()]));
        }
    }

    #[test]
    fn later_events_do_not_count_for_missing_ones() {
        let mut lake = LakeInMemory::default();
        lake.add("a", &[(0, 1), (0, 3), (0, 4), (0, 5)]);
        lake.add("b", &[(0, 2)]);
        let (lacking, _) = ask(&lake, &[("a", 3), ("b", 1), ("c", 2), ("d", 0)]);
        let expected = [
            "a: the lake has 2 of 3 events; event 2 is the first missing",
            "b: the lake has 0 of 1 events; event 1 is the first missing",
            "c: the lake has 0 of 2 events; event 1 is the first missing",
        ];
        assert_eq!(lacking, Ok(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_day_above_the_limit_is_named_with_the_limit() {
        let mut lake = LakeInMemory::default();
        lake.add("a", &[(0, 1), (7, 2), (7, 3)]);
        lake.limit = Some(1);
        let (lacking, asked) = ask(&lake, &[("a", 3)]);
        let error = lacking.expect_err("the day is too large");
        assert!(
            error.contains("2026-01-08") && error.contains("1 records"),
            "{error}"
        );
        assert_eq!(asked.last().map(|days| days.first), Some(day(7)));
    }

    #[test]
    fn another_failure_ends_the_comparison() {
        let lake = LakeInMemory {
            is_down: true,
            ..LakeInMemory::default()
        };
        let (lacking, asked) = ask(&lake, &[("a", 1)]);
        assert!(lacking.expect_err("it is down").contains("it is down"));
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(ask(&lake, &[]).0, Ok(Vec::new()), "nothing is due");
    }

    #[test]
    fn only_one_aggregate_is_asked_for() {
        let mut lake = LakeInMemory::default();
        lake.add("a", &[(0, 1)]);
        lake.add("b", &[(0, 1)]);
        let due = due(&[("a", 1), ("b", 1)]);
        let lacking = lacking(&lake, all(), Some("a"), &due, |_| ());
        let lacking = lacking.now_or_never().expect("nothing waits");
        let ids: Vec<String> = lacking.expect("asked").into_iter().map(|it| it.0).collect();
        assert_eq!(ids, ["b"]);
    }

    proptest! {
        /// The union of the slices is what a count of all records at once is, whatever the limit.
        #[test]
        fn slices_find_what_a_direct_count_finds(
            records in prop::collection::vec((0..3_usize, 0..16_i64, 1..12_u64), 0..60),
            due_of in prop::array::uniform3(0..12_u64),
            limit in prop::option::of(6..40_usize),
        ) {
            const IDS: [&str; 3] = ["a", "b", "c"];
            let mut lake = LakeInMemory { limit, ..LakeInMemory::default() };
            let mut direct: HashMap<&str, BTreeSet<u64>> = HashMap::new();
            for (id, on, sequence) in records {
                lake.add(IDS[id], &[(on, sequence)]);
                direct.entry(IDS[id]).or_default().insert(sequence);
            }
            let too_large = limit.is_some_and(|limit| lake.busiest_day() > limit);
            let expected: Vec<(&str, u64)> = IDS.into_iter().zip(due_of).collect();
            let (lacking, asked) = ask(&lake, &expected);
            if too_large {
                prop_assert!(lacking.is_err());
                return Ok(());
            }
            let mut texts = Vec::new();
            for (id, due) in expected {
                let has = direct.remove(id).unwrap_or_default();
                let count = has.range(..=due).count();
                if let Some(first) = (1..=due).find(|sequence| !has.contains(sequence)) {
                    texts.push(format!(
                        "{id}: the lake has {count} of {due} events; event {first} is the first missing"
                    ));
                }
            }
            prop_assert_eq!(lacking, Ok(texts));
            // The last queries, those that succeeded, have read each day once.
            prop_assert!(asked.len() <= 31, "{:?}", asked);
            prop_assert!(asked.iter().all(|days| days.first >= Day::FIRST));
        }
    }
}
