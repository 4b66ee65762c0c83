//! All records of the domain stream, in the order in which they were read.

use anyhow::{Context as _, Result, bail};
use millrace_cli::clients::Clients;
use millrace_cli::follower::{self, Follower};
use millrace_local_stack::stack::Local;
use serde_json::Value;
use tokio::sync::watch;

use crate::pipeline::DEADLINE;

/// A record of the domain stream.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) bytes: Vec<u8>,
    pub(crate) subject: String,
    pub(crate) id: String,
}

#[derive(Default)]
struct Read {
    records: Vec<Record>,
    failure: Option<String>,
}

/// The records that were read so far. A background task adds to them.
pub(crate) struct Journal {
    read: watch::Receiver<Read>,
}

impl Journal {
    /// Starts a background task that reads the stream from its start, until the journal is dropped.
    pub(crate) fn follow(clients: &Clients, local: &Local) -> Self {
        let (sender, read) = watch::channel(Read::default());
        let mut follower = Follower::new(clients.kinesis.clone(), &local.stream_name);
        tokio::spawn(async move {
            while !sender.is_closed() {
                match follower.read().await {
                    Ok(records) if records.is_empty() => {}
                    Ok(records) => sender.send_modify(|read| {
                        read.records.extend(records.into_iter().map(Record::of));
                    }),
                    Err(error) => {
                        let failure = format!("{error:#}");
                        sender.send_modify(|read| read.failure = Some(failure));
                        return;
                    }
                }
                tokio::time::sleep(follower::PAUSE).await;
            }
        });
        Self { read }
    }

    /// Waits until the stream has this number of an account's events, and returns the account's records,
    /// including duplicates.
    pub(crate) async fn records_of(&self, subject: &str, events: usize) -> Result<Vec<Record>> {
        let of = |read: &Read| -> Vec<Record> {
            let records = read.records.iter();
            records
                .filter(|record| record.subject == subject)
                .cloned()
                .collect()
        };
        let mut receiver = self.read.clone();
        let enough = receiver.wait_for(|read| {
            read.failure.is_some() || first_occurrences(&of(read)).len() >= events
        });
        let Ok(read) = tokio::time::timeout(DEADLINE, enough).await else {
            let there = first_occurrences(&of(&self.read.borrow())).len();
            bail!("only {there} of {events} events are in the stream");
        };
        let read = read.context("the task that reads the stream has ended")?;
        if let Some(failure) = &read.failure {
            bail!("the stream could not be read: {failure}");
        }
        Ok(of(&read))
    }
}

impl Record {
    fn of(bytes: Vec<u8>) -> Self {
        let event: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        Self {
            subject: text("subject"),
            id: text("id"),
            bytes,
        }
    }
}

/// The records without duplicates, which have the id of an earlier record.
pub(crate) fn first_occurrences(records: &[Record]) -> Vec<&Record> {
    let mut seen = std::collections::HashSet::new();
    records
        .iter()
        .filter(|record| seen.insert(&record.id))
        .collect()
}
