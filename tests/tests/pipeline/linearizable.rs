//! The writer under contention: the responses to 32 concurrent clients of one account must be linearizable,
//! that is, consistent with one order of the commands that respects real time.
//!
//! The response to an accepted command contains its sequence, which is its position in that order. The checker
//! therefore doesn't have to search for an order. It checks that the sequences have no gap, that each balance
//! follows from the previous one, and that a command whose response arrived before another command was sent has
//! the lower sequence. For a command that was refused because of insufficient funds, a state that refuses it
//! must have existed between its request and its response.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;
use serde_json::json;

use crate::pipeline::Pipeline;
use crate::verify;

const CLIENTS: usize = 32;
const COMMANDS: usize = 2_000;

/// A command and its response, with the times at which the client sent and received them.
#[derive(Debug, Clone)]
struct Call {
    sent: Instant,
    answered: Instant,
    /// The change of the balance, in minor units; negative for a withdrawal.
    moves: i64,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepted {
        sequence: u64,
        balance: i64,
    },
    Refused,
    /// Every attempt ended in a version conflict.
    Conflict,
}

pub(crate) async fn responses_to_concurrent_clients_are_linearizable(
    pipeline: &Pipeline,
) -> Result<()> {
    let id = pipeline.open().await?;
    let calls: Vec<Call> = stream::iter(0..COMMANDS)
        .map(async |number| command(pipeline, &id, number).await)
        .buffer_unordered(CLIENTS)
        .try_collect()
        .await?;
    let accepted = check(&calls)?;
    let refused = calls
        .iter()
        .filter(|it| it.answer == Answer::Refused)
        .count();
    ensure!(
        accepted > 100 && refused > 10,
        "{accepted} accepted, {refused} refused"
    );
    verify::has_exactly(pipeline, &id, accepted + 1).await
}

async fn command(pipeline: &Pipeline, id: &str, number: usize) -> Result<Call> {
    let amount = 1 + i64::try_from(number % 7)?;
    let (name, moves) = if number.is_multiple_of(2) {
        ("credit", amount)
    } else {
        ("withdraw", -amount)
    };
    let path = format!("/accounts/{id}/{name}");
    let sent = Instant::now();
    let answer = pipeline
        .post(&path, &[], &json!({ "amount": amount }))
        .await?;
    let answered = Instant::now();
    let answer = match answer.status {
        StatusCode::OK => Answer::Accepted {
            sequence: answer.body["sequence"].as_u64().context("a sequence")?,
            balance: answer.body["balance"].as_i64().context("a balance")?,
        },
        StatusCode::UNPROCESSABLE_ENTITY => Answer::Refused,
        StatusCode::CONFLICT => Answer::Conflict,
        _ => anyhow::bail!("unexpected: {answer:?}"),
    };
    Ok(Call {
        sent,
        answered,
        moves,
        answer,
    })
}

/// Checks that the calls are linearizable, and returns the number of accepted ones.
fn check(calls: &[Call]) -> Result<usize> {
    let mut order: BTreeMap<u64, (&Call, i64)> = BTreeMap::new();
    for call in calls {
        if let Answer::Accepted { sequence, balance } = call.answer {
            let other = order.insert(sequence, (call, balance));
            ensure!(other.is_none(), "sequence {sequence} was given twice");
        }
    }
    let mut before = 0;
    for (expected, (sequence, (call, balance))) in (2..).zip(&order) {
        ensure!(*sequence == expected, "no command has sequence {expected}");
        ensure!(
            before + call.moves == *balance && *balance >= 0,
            "sequence {sequence} moves {} from {before} to {balance}",
            call.moves
        );
        before = *balance;
    }
    // A command whose response arrived before another was sent has the lower sequence.
    let mut last_sent: Option<Instant> = None;
    for (sequence, (call, _)) in &order {
        ensure!(
            last_sent.is_none_or(|sent| sent <= call.answered),
            "sequence {sequence} was answered before a command of a lower sequence was sent"
        );
        last_sent = last_sent.max(Some(call.sent));
    }
    for call in calls.iter().filter(|call| call.answer == Answer::Refused) {
        // The states that the writer may have read: none before a command that was answered before this
        // one was sent, and none after a command that was sent after this one was answered.
        let from = order
            .iter()
            .filter(|(_, (other, _))| other.answered < call.sent)
            .map(|(sequence, _)| *sequence)
            .max()
            .unwrap_or(1);
        let until = order
            .iter()
            .filter(|(_, (other, _))| other.sent > call.answered)
            .map(|(sequence, _)| *sequence)
            .min()
            .unwrap_or(u64::MAX);
        let states = (from == 1)
            .then_some(0)
            .into_iter()
            .chain(order.range(from..until).map(|(_, (_, balance))| *balance));
        ensure!(
            states.into_iter().any(|balance| balance + call.moves < 0),
            "{call:?} was refused, but no state between {from} and {until} refuses it"
        );
    }
    Ok(order.len())
}

/// Runs the checker on a linearizable history and on histories that aren't.
pub(crate) fn the_checker_refuses_wrong_histories() -> Result<()> {
    let start = Instant::now();
    let at = |millis: u64| start + std::time::Duration::from_millis(millis);
    let call = |sent, answered, moves, answer| Call {
        sent: at(sent),
        answered: at(answered),
        moves,
        answer,
    };
    let accepted = |sequence, balance| Answer::Accepted { sequence, balance };
    let right = vec![
        call(0, 10, 5, accepted(2, 5)),
        call(5, 30, -3, accepted(4, 7)),
        call(6, 20, 5, accepted(3, 10)),
        call(1, 9, -1, Answer::Refused),
        call(12, 40, -8, Answer::Refused),
        call(0, 99, 4, Answer::Conflict),
    ];
    ensure!(check(&right)? == 3);
    let wrong = |change: &dyn Fn(&mut Vec<Call>)| {
        let mut calls = right.clone();
        change(&mut calls);
        check(&calls).is_err()
    };
    // A duplicate sequence, a missing sequence, a wrong balance, an order against real time, and a refusal
    // that no state explains.
    ensure!(wrong(&|calls| calls[2].answer = accepted(2, 10)));
    ensure!(wrong(&|calls| calls[1].answer = accepted(5, 7)));
    ensure!(wrong(&|calls| calls[1].answer = accepted(4, 8)));
    ensure!(wrong(&|calls| calls[0].sent = at(31)));
    ensure!(wrong(&|calls| calls.push(call(
        50,
        60,
        -7,
        Answer::Refused
    ))));
    Ok(())
}
