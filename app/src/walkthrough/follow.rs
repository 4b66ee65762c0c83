//! The second part of the walkthrough: follows one withdrawal through every stage of the pipeline, from the
//! command to the result of an Athena query.

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

/// One stage of the pipeline, and the record as it was found there.
struct Stage {
    name: &'static str,
    /// The index of the previous stage; `None` for the first.
    follows: Option<usize>,
    found: Result<Found>,
}

/// Sends a withdrawal, waits until every stage has the record or its deadline has passed, and then shows the
/// stages.
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

    let step = progress.start("Waiting for the record at every stage");
    let (row, event, view, line) = tokio::join!(
        stages::row(&clients.dynamodb, local, &record),
        stages::event(&clients.kinesis, local, &record),
        stages::view(api, &record),
        lake::line(&clients.s3, local, &record),
    );
    let line = line.and_then(|line| same_as(&event, line));
    // Athena is queried only after the record is in the lake. Each query reads the lake, and would slow
    // down the other stages.
    let answer = match &line {
        Ok(_) => lake::answer(&clients.athena, local, &record).await,
        Err(_) => Err(anyhow!(
            "not queried, because the lake does not contain the event"
        )),
    };
    step.done();

    output.result(
        format_args!("\nOne record at every stage\n  {exchange}\n"),
        &json!({ "step": "record", "id": record.event_id(), "exchange": exchange }),
    )?;
    let stage = |name, follows, found| Stage {
        name,
        follows,
        found,
    };
    let stages = [
        stage("row in the events table", None, row),
        stage("domain event on Kinesis", Some(0), event),
        stage("read model", Some(1), view),
        stage("lake record in S3", Some(1), line),
        stage("result of an Athena query", Some(3), answer),
    ];
    show(&stages, sent, output)?;
    output.text(format_args!("\n{}", stack::ATHENA_LIMITS))?;
    match stages
        .into_iter()
        .find_map(|stage| Some((stage.name, stage.found.err()?)))
    {
        Some((name, error)) => Err(error.context(format!(
            "the record at the stage \"{name}\" is wrong or missing"
        ))),
        None => Ok(()),
    }
}

/// Checks that the lake record is the published event.
fn same_as(event: &Result<Found>, line: Found) -> Result<Found> {
    match event {
        Ok(event) if event.data != line.data => Err(anyhow!(
            "{} contains {}, but {} was published",
            line.place,
            line.data,
            event.data
        )),
        _ => Ok(line),
    }
}

fn show(stages: &[Stage], sent: Instant, output: Output) -> Result<()> {
    for Stage {
        name,
        follows,
        found,
    } in stages
    {
        match found {
            Ok(Found { at, place, data }) => {
                let before = follows.and_then(|previous| stages[previous].found.as_ref().ok());
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
    fn the_lake_must_contain_the_published_event() {
        let event = || Ok(found(json!({ "id": "a:1" })));
        assert!(same_as(&event(), found(json!({ "id": "a:1" }))).is_ok());
        assert!(same_as(&event(), found(json!({ "id": "a:2" }))).is_err());
    }
}
