//! The pieces of work that are measured, and the ways to do each.

use std::collections::BTreeMap;
use std::hint::black_box;

use bytes::Bytes;
use millrace_core::Sequence;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::batch::{Spread, invocation};
use crate::peer::{self, PlainRow, Row};
use crate::plan::Planner;
use crate::project::{self, Projection};
use crate::{attributes, decide, one_pass, published_by_aggregate, stream_event};

/// The way of this project, which the others are compared with.
pub const MILLRACE: &str = "Millrace";
/// The usual way, as a function that uses `lambda_runtime` runs it.
pub const PEER_AS_RUN: &str = "peer, parsed as `lambda_runtime` does";
/// The usual way, with the fastest parse that it has.
pub const PEER: &str = "peer";

/// A piece of work.
pub struct Work {
    /// What the work is.
    pub name: &'static str,
    /// The bytes that each way gets; empty if it gets rows.
    pub input: Vec<u8>,
    /// How many records, or commands, the input has.
    pub records: usize,
    /// The ways to do it.
    pub ways: Vec<Way>,
}

/// Does the work with an input.
pub type Run = Box<dyn Fn(&[u8])>;

/// A way to do a piece of work.
pub struct Way {
    /// The way's name, unique in its work.
    pub name: &'static str,
    /// Does the work once, and frees its result.
    pub run: Run,
}

impl Way {
    fn new<T>(name: &'static str, run: impl Fn(&[u8]) -> T + 'static) -> Self {
        Self {
            name,
            run: Box::new(move |input| drop(black_box(run(black_box(input))))),
        }
    }
}

/// What one batch allocates in one way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Allocations {
    /// The work's name.
    pub work: String,
    /// The way's name.
    pub way: String,
    /// How many allocations it makes.
    pub allocations: u64,
    /// The most bytes that it has allocated at a time.
    pub peak_bytes: u64,
}

/// All work on batches of so many records of so many accounts.
#[must_use]
pub fn works(records: usize, accounts: usize) -> Vec<Work> {
    let mut works = growing(records, accounts);
    works.insert(1, translate(records, accounts));
    works.push(decide_work());
    works
}

/// The work whose costs may grow with the batch.
///
/// # Panics
/// Never: the rows of the benchmark can be encoded.
#[must_use]
pub fn growing(records: usize, accounts: usize) -> Vec<Work> {
    let mut works = vec![decode(records, accounts)];
    // The translator parks an account that has more pending events.
    if (records / accounts) as u64 <= millrace_translator::MAX_PENDING {
        works.push(plan(records, accounts));
    }
    works.push(project(records, accounts));
    works
}

/// From the bytes to typed rows.
fn decode(records: usize, accounts: usize) -> Work {
    Work {
        name: "decode",
        input: stream_event(records, accounts).into_bytes(),
        records,
        ways: vec![
            Way::new(MILLRACE, |input| drop(black_box(one_pass::decode(input)))),
            Way::new(PEER_AS_RUN, |input| {
                peer::decode::<Row>(input, peer::parse_as_lambda_runtime)
            }),
            Way::new(PEER, |input| peer::decode::<Row>(input, peer::parse)),
            Way::new("peer, rows of unchecked strings and numbers", |input| {
                peer::decode::<PlainRow>(input, peer::parse)
            }),
            Way::new(
                "`serde_json` into `IgnoredAny`, which only checks the JSON",
                |input| {
                    let ignored = serde_json::from_slice::<IgnoredAny>(input);
                    ignored.expect("JSON")
                },
            ),
        ],
    }
}

/// From the bytes to the public events' bytes.
fn translate(records: usize, accounts: usize) -> Work {
    Work {
        name: "decode and encode",
        input: stream_event(records, accounts).into_bytes(),
        records,
        ways: vec![
            Way::new(MILLRACE, one_pass::translate),
            Way::new(PEER_AS_RUN, |input| {
                peer::translate(input, peer::parse_as_lambda_runtime)
            }),
            Way::new(PEER, |input| peer::translate(input, peer::parse)),
        ],
    }
}

/// The translator's handler, with services that answer at once.
fn plan(records: usize, accounts: usize) -> Work {
    let planner = Planner::new(false);
    let input = stream_of_rows(records, accounts);
    let body = Bytes::from(input.clone());
    Work {
        name: "decode, encode and plan",
        input,
        records,
        ways: vec![Way::new(MILLRACE, move |_| planner.handle(&body))],
    }
}

/// From the bytes of the domain stream's batch to the items of the read model.
fn project(records: usize, accounts: usize) -> Work {
    let projection = Projection::new(false);
    Work {
        name: "project",
        input: project::kinesis_event(&stream_of_rows(records, accounts)),
        records,
        ways: vec![
            Way::new(MILLRACE, move |input| projection.handle(input)),
            Way::new(PEER_AS_RUN, |input| {
                project::project(input, project::parse_as_lambda_runtime)
            }),
            Way::new(PEER, |input| project::project(input, project::parse)),
        ],
    }
}

/// Load, decide and encode, of one command.
fn decide_work() -> Work {
    let rows = decide::rows();
    let items = decide::items(&rows);
    Work {
        name: "load, decide and encode",
        input: Vec::new(),
        records: 1,
        ways: vec![
            Way::new(MILLRACE, move |_| decide::decide(&rows.clone())),
            Way::new(PEER, move |_| {
                decide::decide_with_serde_dynamo(items.clone())
            }),
        ],
    }
}

fn stream_of_rows(records: usize, accounts: usize) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).expect("a number of records");
    let spread = Spread::Even {
        accounts: number(accounts),
    };
    invocation("0d4f8a52", spread, number(records)).expect("rows that can be encoded")
}

/// Checks that all ways have the same result.
///
/// # Panics
/// If they don't.
pub fn check(records: usize, accounts: usize) {
    let json = stream_event(records, accounts);
    let events = one_pass::translate(json.as_bytes());
    assert_eq!(events.len(), records);
    for parse in [peer::parse, peer::parse_as_lambda_runtime] {
        assert_eq!(events, peer::translate(json.as_bytes(), parse));
    }

    let rows = stream_of_rows(records, accounts);
    let planner = Planner::new(true);
    planner.handle(&Bytes::from(rows.clone()));
    let expected = published_by_aggregate(&rows);
    let sequence = |events: &Vec<_>| Sequence::new(events.len() as u64).expect("a sequence");
    let cursors: BTreeMap<String, Sequence> = expected
        .iter()
        .map(|(account, events)| (account.clone(), sequence(events)))
        .collect();
    assert_eq!(planner.received(), (expected, cursors));

    let batch = project::kinesis_event(&rows);
    let projection = Projection::new(true);
    projection.handle(&batch);
    let items = projection.into_items();
    for parse in [project::parse, project::parse_as_lambda_runtime] {
        assert_eq!(items, project::items(project::project(&batch, parse)));
    }

    let rows = decide::rows();
    let item = decide::decide_with_serde_dynamo(decide::items(&rows));
    assert_eq!(decide::decide(&rows), attributes(item));
}
