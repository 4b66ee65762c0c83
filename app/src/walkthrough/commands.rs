//! The first part of the walkthrough: commands that are accepted, and commands that are refused.

use anyhow::{Context as _, Result, ensure};
use millrace_cli::output::Output;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::account::Account;
use super::api::{Api, Exchange};

const PROBLEM_TYPE: &str = "urn:millrace:problem:";
const CREDITED: i64 = 5000;
/// The currency of the account that the second part of the walkthrough uses.
pub(super) const CURRENCY: &str = "CHF";

/// Sends and shows the commands. Returns the account that the second part of the walkthrough uses.
pub(super) async fn show_commands(api: &Api, output: Output) -> Result<Account> {
    output.text("\nCommands")?;
    let none = Vec::new;
    let exchange = api.post("/accounts", none(), &json!({})).await?;
    let other = opening(&exchange)?;
    show(output, "open an account in the default currency", &exchange)?;

    let exchange = api
        .post("/accounts", none(), &json!({ "currency": CURRENCY }))
        .await?;
    let account = opening(&exchange)?;
    show(output, "open one in another currency", &exchange)?;

    let path = format!("/accounts/{}/credit", other.id);
    let exchange = api.post(&path, none(), &json!({ "amount": 300 })).await?;
    let other = accepted(&exchange, other, 300)?;
    show(output, "credit the first", &exchange)?;

    let path = format!("/accounts/{}/withdraw", other.id);
    let exchange = api.post(&path, none(), &json!({ "amount": 120 })).await?;
    accepted(&exchange, other, -120)?;
    show(output, "withdraw from it", &exchange)?;

    let key = || vec![("idempotency-key", key(&account))];
    let path = format!("/accounts/{}/credit", account.id);
    let amount = json!({ "amount": CREDITED });
    let credited = api.post(&path, key(), &amount).await?;
    let account = accepted(&credited, account.clone(), CREDITED)?;
    show(
        output,
        "credit the second, with an idempotency key, so that a retry is safe",
        &credited,
    )?;

    let repeated = api.post(&path, key(), &amount).await?;
    ensure!(
        (repeated.status, &repeated.body, &repeated.etag)
            == (credited.status, &credited.body, &credited.etag),
        "the same command with the same key got another response: {repeated}"
    );
    show(
        output,
        "the same command again: the same response, and no event is appended",
        &repeated,
    )?;

    // No refused command appends an event. The check of the next accepted command proves it: its sequence
    // must be the one after the credit's.
    refusals(api, &account, output).await?;
    Ok(account)
}

fn key(account: &Account) -> String {
    format!("demo-{}", account.id)
}

struct Refused {
    what: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Value,
    status: StatusCode,
}

async fn refusals(api: &Api, account: &Account, output: Output) -> Result<()> {
    output.text("\nRefusals")?;
    let withdraw = format!("/accounts/{}/withdraw", account.id);
    let stale = format!("\"{}\"", account.sequence - 1);
    let more_than_the_balance = json!({ "amount": account.balance + 1 });
    let refused = |what, body, status| Refused {
        what,
        path: withdraw.clone(),
        headers: Vec::new(),
        body,
        status,
    };
    let refusals = [
        refused(
            "more than the balance",
            more_than_the_balance,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        Refused {
            path: "/accounts/unknown/withdraw".to_owned(),
            ..refused(
                "an unknown account",
                json!({ "amount": 1 }),
                StatusCode::NOT_FOUND,
            )
        },
        refused(
            "a fractional amount",
            json!({ "amount": 12.5 }),
            StatusCode::BAD_REQUEST,
        ),
        refused(
            "an unknown field",
            json!({ "amount": 1, "note": "rent" }),
            StatusCode::BAD_REQUEST,
        ),
        Refused {
            headers: vec![("if-match", stale)],
            ..refused(
                "an outdated state",
                json!({ "amount": 1 }),
                StatusCode::PRECONDITION_FAILED,
            )
        },
        Refused {
            headers: vec![("idempotency-key", key(account))],
            ..refused(
                "a key that another command has used",
                json!({ "amount": 1 }),
                StatusCode::UNPROCESSABLE_ENTITY,
            )
        },
    ];
    for Refused {
        what,
        path,
        headers,
        body,
        status,
    } in refusals
    {
        let exchange = api.post(&path, headers, &body).await?;
        refusal(&exchange, status)?;
        show(output, what, &exchange)?;
    }
    Ok(())
}

fn refusal(exchange: &Exchange, status: StatusCode) -> Result<()> {
    exchange.expect_status(status)?;
    exchange.expect("status", status.as_u16())?;
    let problem_type = exchange.body["type"].as_str().unwrap_or_default();
    ensure!(
        exchange.content_type == "application/problem+json"
            && problem_type.starts_with(PROBLEM_TYPE),
        "expected a problem, but {exchange}"
    );
    Ok(())
}

fn opening(exchange: &Exchange) -> Result<Account> {
    exchange.expect_status(StatusCode::CREATED)?;
    exchange.expect("sequence", 1)?;
    exchange.expect("balance", 0)?;
    let id = exchange.body["accountId"]
        .as_str()
        .with_context(|| format!("no accountId: {exchange}"))?;
    let location = exchange.location.as_deref().unwrap_or_default();
    ensure!(
        location.ends_with(&format!("/accounts/{id}")),
        "Location isn't the account's path: {exchange}"
    );
    Ok(Account {
        id: id.to_owned(),
        sequence: 1,
        balance: 0,
        etag: etag(exchange)?,
    })
}

/// Checks the response to an accepted command that changed the balance by `moved`, and returns the account
/// after it.
pub(super) fn accepted(exchange: &Exchange, account: Account, moved: i64) -> Result<Account> {
    let after = Account {
        sequence: account.sequence + 1,
        balance: account.balance + moved,
        etag: etag(exchange)?,
        id: account.id,
    };
    exchange.expect_status(StatusCode::OK)?;
    exchange.expect("accountId", after.id.as_str())?;
    exchange.expect("sequence", after.sequence)?;
    exchange.expect("balance", after.balance)?;
    Ok(after)
}

fn etag(exchange: &Exchange) -> Result<String> {
    let etag = exchange.etag.clone();
    etag.with_context(|| format!("no ETag: {exchange}"))
}

fn show(output: Output, what: &str, exchange: &Exchange) -> Result<()> {
    let mut object = serde_json::to_value(exchange)?;
    object["step"] = "command".into();
    object["what"] = what.into();
    output.result(format_args!("  {what}\n    {exchange}"), &object)
}
