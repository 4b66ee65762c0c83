//! Decodes a request into a query.
//!
//! Parameters are read strictly: an unknown one, a repeated one, or a value that can't be read is
//! refused and named. If such a parameter were ignored, the response would be a `200` to another query
//! than the client's.

use std::collections::BTreeMap;

use millrace_core::layout::MAX_POSITION;
use millrace_core::{AggregateId, Project, Resource, Sequence, Timestamp};
use millrace_runtime::http::{Problem, Request};

use crate::page::preceding;

/// The number of history entries of a page if the client names none.
const DEFAULT_LIMIT: usize = 20;
/// The most history entries of a page.
const MAX_LIMIT: usize = 100;
/// How many characters of an unknown parameter's name the response quotes.
const QUOTED_CHARS: usize = 64;

/// A decoded query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// The aggregate's id.
    pub(crate) id: AggregateId,
    /// What the query asks of the aggregate.
    pub(crate) question: Question,
    /// The response has to include the event of this sequence.
    pub(crate) at_least: Sequence,
}

/// What can be asked of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// The current view.
    View,
    /// A page of the history.
    History {
        /// The most entries of the page.
        limit: usize,
        /// Only entries of lower sequences; `None`: from the newest entry.
        before: Option<Sequence>,
    },
    /// The view at this time; `None`: the current one.
    ViewAt(Option<Timestamp>),
}

impl Query {
    /// Reads a request.
    ///
    /// # Errors
    /// A [`Problem`]: 404 where there is nothing at the path, 405 where the path takes another
    /// method, 400 where a parameter is unknown or can't be read.
    pub(crate) fn read<D: Project>(request: &Request) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(request);
        let mut at_least = parameters.min_sequence()?.unwrap_or(Sequence::NONE);
        let (id, question) = match request.resource(Resource::parse::<D>)? {
            Resource::Item(id) => (id, Question::View),
            Resource::History(id) => {
                let limit = parameters.limit()?.unwrap_or(DEFAULT_LIMIT);
                let before = parameters.before()?;
                // A client that asks for the entries before an event has seen a view with that event. A
                // page of an older view would begin at a lower sequence and so leave entries out.
                at_least = at_least.max(before.map_or(Sequence::NONE, preceding));
                (id, Question::History { limit, before })
            }
            Resource::ViewAt(id) => (id, Question::ViewAt(parameters.at()?)),
            Resource::Collection | Resource::Command(..) => {
                return Err(Problem::new(
                    404,
                    "not-found",
                    "there is no query at this path",
                ));
            }
        };
        parameters.end()?;
        Ok(Self {
            id,
            question,
            at_least,
        })
    }
}

/// The parameters that aren't read yet. Those that are left at the end are unknown.
struct Parameters<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Parameters<'a> {
    fn of(request: &'a Request) -> Self {
        Self(
            request
                .query
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        )
    }

    fn min_sequence(&mut self) -> Result<Option<Sequence>, Problem> {
        self.take(
            "minSequence",
            || format!("a whole number from 0 to {MAX_POSITION}"),
            |text| whole_number(text).and_then(Sequence::new),
        )
    }

    fn limit(&mut self) -> Result<Option<usize>, Problem> {
        self.take(
            "limit",
            || format!("a whole number from 1 to {MAX_LIMIT}"),
            |text| {
                whole_number(text)
                    .and_then(|limit| usize::try_from(limit).ok())
                    .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            },
        )
    }

    fn before(&mut self) -> Result<Option<Sequence>, Problem> {
        self.take(
            "before",
            || format!("a whole number from 1 to {MAX_POSITION}"),
            |text| {
                let sequence = whole_number(text).and_then(Sequence::new);
                sequence.filter(|sequence| *sequence != Sequence::NONE)
            },
        )
    }

    fn at(&mut self) -> Result<Option<Timestamp>, Problem> {
        self.take(
            "at",
            || "an RFC 3339 time such as 2026-11-20T21:03:05.123Z".to_owned(),
            |text| Timestamp::parse(text).ok(),
        )
    }

    fn take<T>(
        &mut self,
        name: &str,
        expected: impl FnOnce() -> String,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.remove(name) else {
            return Ok(None);
        };
        match read(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::malformed(format!(
                "the parameter {name} is not {}",
                expected()
            ))),
        }
    }

    fn end(self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(QUOTED_CHARS).collect();
                Err(Problem::malformed(format!(
                    "this path takes no parameter {name:?}"
                )))
            }
        }
    }
}

/// Digits alone; `parse` would take a sign too.
fn whole_number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use millrace_domain::Accounts;
    use proptest::prelude::*;

    use super::*;

    fn request(path: &str, query: &[(&str, &str)]) -> Request {
        Request {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Request::default()
        }
    }

    fn read(path: &str, query: &[(&str, &str)]) -> Result<Query, Problem> {
        Query::read::<Accounts>(&request(path, query))
    }

    fn query(question: Question, at_least: u64) -> Query {
        Query {
            id: AggregateId::new("a").expect("valid"),
            question,
            at_least: sequence(at_least),
        }
    }

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    #[track_caller]
    fn assert_refused(path: &str, parameters: &[(&str, &str)], named: &str) {
        let problem = read(path, parameters).expect_err("refused");
        assert_eq!(
            (problem.status(), problem.code()),
            (400, "malformed-request")
        );
        let body = problem.into_response().body;
        assert!(body.contains(named), "{body}");
    }

    #[test]
    fn a_request_is_read_with_defaults_for_what_it_leaves_out() {
        let history = Question::History {
            limit: DEFAULT_LIMIT,
            before: None,
        };
        assert_eq!(read("/accounts/a", &[]), Ok(query(Question::View, 0)));
        assert_eq!(read("/accounts/a/transactions", &[]), Ok(query(history, 0)));
        assert_eq!(
            read("/accounts/a/balance", &[]),
            Ok(query(Question::ViewAt(None), 0))
        );
    }

    #[test]
    fn every_parameter_is_read() {
        let history = |limit, before| Question::History { limit, before };
        assert_eq!(
            read("/accounts/a", &[("minSequence", "9007199254740991")]),
            Ok(query(Question::View, MAX_POSITION))
        );
        assert_eq!(
            read(
                "/accounts/a/transactions",
                &[("limit", "100"), ("minSequence", "3")]
            ),
            Ok(query(history(100, None), 3))
        );
        let at = Timestamp::parse("2026-11-20T21:03:05Z").expect("valid");
        assert_eq!(
            read(
                "/accounts/a/balance",
                &[("at", "2026-11-20T22:03:05+01:00")]
            ),
            Ok(query(Question::ViewAt(Some(at)), 0))
        );
        assert_eq!(
            read(
                "/accounts/a/transactions",
                &[("before", "7"), ("limit", "1")]
            ),
            Ok(query(history(1, Some(sequence(7))), 6))
        );
    }

    #[test]
    fn what_is_before_an_event_is_asked_of_a_view_that_has_all_of_it() {
        for (least, at_least) in [("5", 6), ("8", 8)] {
            let parameters = [("before", "7"), ("minSequence", least)];
            let query = read("/accounts/a/transactions", &parameters).expect("reads");
            assert_eq!(query.at_least, sequence(at_least));
        }
    }

    #[test]
    fn a_value_that_cannot_be_read_is_refused_and_its_parameter_named() {
        let numbers = [
            "",
            "-1",
            "+1",
            " 1",
            "1.0",
            "1e3",
            "0x1",
            "one",
            "1,1",
            "１",
            "99999999999999999999",
        ];
        for path in [
            "/accounts/a",
            "/accounts/a/transactions",
            "/accounts/a/balance",
        ] {
            for text in numbers.into_iter().chain(["9007199254740992"]) {
                assert_refused(path, &[("minSequence", text)], "minSequence");
            }
        }
        for text in numbers.into_iter().chain(["0", "101"]) {
            assert_refused("/accounts/a/transactions", &[("limit", text)], "limit");
        }
        for text in [
            "",
            "now",
            "2026-11-20",
            "2026-11-20T21:03:05",
            "1763672585",
            "2026-11-20T21:03:05Z,2026-11-20T21:03:05Z",
        ] {
            assert_refused("/accounts/a/balance", &[("at", text)], "at");
        }
        for text in numbers.into_iter().chain(["0", "9007199254740992", "7,7"]) {
            assert_refused("/accounts/a/transactions", &[("before", text)], "before");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_and_named() {
        for (path, name) in [
            ("/accounts/a", "limit"),
            ("/accounts/a", "at"),
            ("/accounts/a/transactions", "at"),
            ("/accounts/a/balance", "before"),
            ("/accounts/a/transactions", "cursor"),
            ("/accounts/a/balance", "At"),
            ("/accounts/a", "minsequence"),
            ("/accounts/a", ""),
        ] {
            assert_refused(path, &[(name, "1")], &format!(r#"parameter \"{name}\""#));
        }
        let endless = "x".repeat(10_000);
        let problem = read("/accounts/a", &[(&endless, "1")]).expect_err("refused");
        assert!(problem.into_response().body.len() < 300);
    }

    #[test]
    fn what_is_no_query_is_refused() {
        let mut post = request("/accounts/a", &[]);
        post.method = "POST".to_owned();
        let status =
            |request| Query::read::<Accounts>(&request).map_err(|problem| problem.status());
        assert_eq!(status(post), Err(405));
        assert_eq!(status(request("/accounts", &[])), Err(405));
        assert_eq!(status(request("/accounts/a/credit", &[])), Err(405));
        assert_eq!(status(request("/orders/a", &[])), Err(404));
        let mut command = request("/accounts/a/credit", &[]);
        command.method = "POST".to_owned();
        assert_eq!(status(command), Err(404));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(name in "minSequence|limit|before|at|\\PC{0,9}", value in "\\PC{0,40}") {
            for path in ["/accounts/a", "/accounts/a/transactions", "/accounts/a/balance"] {
                if let Err(problem) = read(path, &[(&name, &value)]) {
                    prop_assert_eq!(problem.status(), 400);
                }
            }
        }
    }
}
