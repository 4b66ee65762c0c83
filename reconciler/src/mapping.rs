//! Determines which event source mappings are unhealthy: missing, not enabled, or failing.

use std::collections::BTreeSet;

use crate::ports::{Mapping, Source};

/// A mapping that doesn't deliver records, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhealthy {
    /// The mapping.
    pub mapping: Mapping,
    /// Why it doesn't deliver.
    pub reason: String,
}

/// The states in which a mapping delivers, or is about to: Lambda changes it itself
/// ([states](https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html)).
const DELIVERING: [&str; 4] = ["Enabled", "Enabling", "Creating", "Updating"];

/// How the last processing results begin that are no error. Lambda documents no list of them.
const RESULTS_WITHOUT_ERROR: [&str; 2] = ["OK", "No records processed"];

/// Whether a mapping's last processing result says that something failed.
fn has_failed(mapping: &Mapping) -> bool {
    let is_error = |result: &str| {
        let mut without_error = RESULTS_WITHOUT_ERROR.iter();
        !without_error.any(|known| result.starts_with(known))
    };
    mapping.last_result.as_deref().is_some_and(is_error)
}

/// Whether Lambda delivers, or is about to deliver, what the mapping reads.
#[must_use]
pub fn is_delivering(mapping: &Mapping) -> bool {
    DELIVERING.contains(&mapping.state.as_str())
}

/// The mappings whose last result was an error. One result alone is a hint, because each invocation
/// replaces it, so it counts if the run before saw an error too.
#[must_use]
pub fn failing(mappings: &[Mapping]) -> BTreeSet<String> {
    let failing = mappings.iter().filter(|mapping| has_failed(mapping));
    failing.map(|mapping| mapping.id.clone()).collect()
}

/// The mappings that don't deliver, and those that `failed_before` and fail again. A function that has no
/// mapping on its source at all is reported as one.
#[must_use]
pub fn unhealthy(
    mappings: &[Mapping],
    failed_before: &BTreeSet<String>,
    expected: &[(&str, Source)],
) -> Vec<Unhealthy> {
    let mut found: Vec<Unhealthy> = mappings
        .iter()
        .filter_map(|mapping| {
            let reason = if !is_delivering(mapping) {
                format!("its state is {}", mapping.state)
            } else if has_failed(mapping) && failed_before.contains(&mapping.id) {
                let result = mapping.last_result.as_deref().unwrap_or_default();
                format!("its last result is \"{result}\"; the previous run found an error too")
            } else {
                return None;
            };
            let mapping = mapping.clone();
            Some(Unhealthy { mapping, reason })
        })
        .collect();
    for (function, source) in expected {
        let reads = |mapping: &&Mapping| mapping.function == *function && mapping.source == *source;
        if !mappings.iter().any(|mapping| reads(&mapping)) {
            found.push(Unhealthy {
                mapping: Mapping {
                    id: String::new(),
                    function: (*function).to_owned(),
                    source: *source,
                    state: "Missing".to_owned(),
                    last_result: None,
                },
                reason: "this function has no mapping on its stream".to_owned(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(id: &str, state: &str, last_result: Option<&str>) -> Mapping {
        Mapping {
            id: id.to_owned(),
            function: format!("function-of-{id}"),
            source: Source::Domain,
            state: state.to_owned(),
            last_result: last_result.map(str::to_owned),
        }
    }

    fn reasons(mappings: &[Mapping], failed_before: &[&str]) -> Vec<(String, String)> {
        let before = failed_before.iter().map(|&id| id.to_owned()).collect();
        let unhealthy = unhealthy(mappings, &before, &[]);
        let named = |it: Unhealthy| (it.mapping.id, it.reason);
        unhealthy.into_iter().map(named).collect()
    }

    #[test]
    fn a_mapping_that_is_not_enabled_is_unhealthy_whatever_its_last_result() {
        for state in ["Enabled", "Enabling", "Creating", "Updating"] {
            assert_eq!(reasons(&[mapping("a", state, Some("OK"))], &["a"]), []);
            assert_eq!(reasons(&[mapping("a", state, None)], &["a"]), []);
        }
        for state in ["Disabled", "Disabling", "Deleting", ""] {
            let found = reasons(&[mapping("a", state, Some("OK"))], &[]);
            assert_eq!(found, [("a".to_owned(), format!("its state is {state}"))]);
        }
    }

    #[test]
    fn an_error_counts_when_two_runs_find_one() {
        let problem = "PROBLEM: Function call failed";
        let mappings = [
            mapping("a", "Enabled", Some(problem)),
            mapping("b", "Enabled", Some(problem)),
            mapping("c", "Enabled", Some("OK - 5 records")),
            mapping("d", "Enabled", Some("No records processed")),
        ];
        let failing = failing(&mappings);
        assert_eq!(failing, ["a".to_owned(), "b".to_owned()].into());
        let found = reasons(&mappings, &["b", "c", "d"]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "b");
        assert!(found[0].1.contains(problem), "{found:?}");
    }

    #[test]
    fn a_function_without_a_mapping_is_unhealthy() {
        let mappings = [mapping("a", "Enabled", None)];
        let before = BTreeSet::new();
        let here = ("function-of-a", Source::Domain);
        assert_eq!(unhealthy(&mappings, &before, &[here]), []);
        let elsewhere = ("function-of-a", Source::Events);
        let found = unhealthy(&mappings, &before, &[here, elsewhere]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].mapping.source, Source::Events);
    }
}
