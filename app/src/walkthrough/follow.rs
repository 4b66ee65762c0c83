//! One record's trip: a withdrawal, from the command to the answer of an Athena query.

use std::time::Instant;

use anyhow::{Result, anyhow};
use millrace_cli::clients::Clients;
use millrace_cli::output::Output;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::{self, Local};
use serde_json::json;

use super::account::Account;
use super::api::Api;
use super::record::{Found, Record};
use super::{commands, lake, stages};

const WITHDRAWN: i64 = 1250;

/// A hop of the trip.
struct Hop {
    name: &'static str,
    /// The hop that leads to it; `None` for the first.
    follows: Option<usize>,
    found: Result<Found>,
}

/// Withdraws, and shows every hop once all were reached or given up.
pub(super) async fn follow(
    api: &Api,
    local: &Local,
    clients: &Clients,
    account: Account,
    output: Output,
    progress: &Progress,
) -> Result<()> {
    let correlation_id = format!("demo-{}", account.id);
    let headers = vec![
        ("x-correlation-id", correlation_id.clone()),
        ("if-match", account.etag.clone()),
    ];
    let path = format!("/accounts/{}/withdraw", account.id);
    let sent = Instant::now();
    let exchange = api
        .post(&path, headers, &json!({ "amount": WITHDRAWN }))
        .await?;
    let account = commands::accepted(&exchange, account, -WITHDRAWN)?;
    let record = Record {
        account: account.id,
        currency: commands::CURRENCY.to_owned(),
        sequence: account.sequence,
        amount: WITHDRAWN,
        balance: account.balance,
        correlation_id,
    };

    let step = progress.start("Waiting for the record at every hop");
    let (row, event, view, line) = tokio::join!(
        stages::row(&clients.dynamodb, local, &record),
        stages::event(&clients.kinesis, local, &record),
        stages::view(api, &record),
        lake::line(&clients.s3, local, &record),
    );
    let line = line.and_then(|line| same_as(&event, line));
    // Asked once the line is there: each query reads the lake, and would hold up what is on its way.
    let answer = match &line {
        Ok(_) => lake::answer(&clients.athena, local, &record).await,
        Err(_) => Err(anyhow!(
            "not asked, because the lake does not hold the event"
        )),
    };
    step.done();

    output.result(
        format_args!("\nThe trip of one record\n  {exchange}\n"),
        &json!({ "step": "record", "id": record.event_id(), "exchange": exchange }),
    )?;
    let hop = |name, follows, found| Hop {
        name,
        follows,
        found,
    };
    let hops = [
        hop("row in the events table", None, row),
        hop("domain event on Kinesis", Some(0), event),
        hop("read model", Some(1), view),
        hop("line in S3", Some(1), line),
        hop("answer of Athena", Some(3), answer),
    ];
    show(&hops, sent, output)?;
    output.text(format_args!("\n{}", stack::ATHENA_LIMITS))?;
    match hops
        .into_iter()
        .find_map(|hop| Some((hop.name, hop.found.err()?)))
    {
        Some((name, error)) => {
            Err(error.context(format!("the hop \"{name}\" is wrong or missing")))
        }
        None => Ok(()),
    }
}

/// The lake must hold what was published.
fn same_as(event: &Result<Found>, line: Found) -> Result<Found> {
    match event {
        Ok(event) if event.data != line.data => Err(anyhow!(
            "{} holds {}, but {} was published",
            line.place,
            line.data,
            event.data
        )),
        _ => Ok(line),
    }
}

fn show(hops: &[Hop], sent: Instant, output: Output) -> Result<()> {
    for Hop {
        name,
        follows,
        found,
    } in hops
    {
        match found {
            Ok(Found { at, place, data }) => {
                let before = follows.and_then(|hop| hops[hop].found.as_ref().ok());
                let took = at.saturating_duration_since(before.map_or(sent, |found| found.at));
                let since = at.saturating_duration_since(sent);
                let (took, since) = (took.as_millis(), since.as_millis());
                output.result(
                    format_args!(
                        "  ✓ {name}: {took} ms ({since} ms after the command was sent)\n    \
                         {place}\n    {data}"
                    ),
                    &json!({
                        "step": "hop", "hop": name, "tookMs": took, "sinceSentMs": since,
                        "place": place, "data": data,
                    }),
                )?;
            }
            Err(error) => output.result(
                format_args!("  ✗ {name}"),
                &json!({ "step": "hop", "hop": name, "error": format!("{error:#}") }),
            )?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn found(data: Value) -> Found {
        Found {
            at: Instant::now(),
            place: "somewhere".to_owned(),
            data,
        }
    }

    #[test]
    fn the_lake_must_hold_what_was_published() {
        let event = || Ok(found(json!({ "id": "a:1" })));
        assert!(same_as(&event(), found(json!({ "id": "a:1" }))).is_ok());
        assert!(same_as(&event(), found(json!({ "id": "a:2" }))).is_err());
    }
}
