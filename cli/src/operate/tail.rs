//! `millrace tail`: prints the domain events of all shards as they are published, also those of new shards.

use std::process::ExitCode;

use anyhow::Result;
use millrace_core::Project;
use serde_json::Value;

use super::deployment::Deployment;
use crate::args::Tail;
use crate::event_line;
use crate::follower::{self, Follower};
use crate::output::{self, Output};
use crate::signals::StopSignal;

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    tail: &Tail,
    output: Output,
) -> Result<ExitCode> {
    let stream = &deployment.names.stream_name;
    let mut follower = Follower::starting(deployment.clients.kinesis.clone(), stream, tail.from);
    let mut stop_signal = StopSignal::listen()?;
    let follow = async {
        loop {
            for record in follower.read().await? {
                if matches(tail, &record) {
                    let line = event_line::format(&record, output);
                    if output::line_to_reader(&line)?.is_break() {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
            tokio::time::sleep(follower::PAUSE).await;
        }
    };
    tokio::select! {
        ended = follow => ended,
        () = stop_signal.received() => Ok(ExitCode::SUCCESS),
    }
}

fn matches(tail: &Tail, record: &[u8]) -> bool {
    if tail.id.is_none() && tail.event_type.is_none() {
        return true;
    }
    let event: Value = serde_json::from_slice(record).unwrap_or_default();
    let is = |member: &str, wanted: Option<&str>| {
        wanted.is_none_or(|wanted| event[member].as_str() == Some(wanted))
    };
    is(
        "subject",
        tail.id.as_ref().map(millrace_core::AggregateId::as_str),
    ) && is("type", tail.event_type.as_deref())
}
