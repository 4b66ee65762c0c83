//! API Gateway's requests and the responses to them.

use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lambda_events::encodings::Body;
use lambda_runtime::{Context, LambdaEvent};
use millrace_core::Resource;
use millrace_domain::Accounts;
use millrace_reader::handler::handle;
use millrace_reader::testing::InMemoryReadModel;
use millrace_runtime::http::{HttpEvent, Request};
use millrace_runtime::testing::logged;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixtures::{history, model, reader};

fn event(path: &str, query: &Value, millis_left: u64) -> LambdaEvent<HttpEvent> {
    let payload = serde_json::from_value(json!({
        "version": "2.0",
        "routeKey": "GET /{proxy+}",
        "rawPath": path,
        "headers": {"x-correlation-id": "mine"},
        "queryStringParameters": query,
        "requestContext": {"http": {"method": "GET", "path": path}},
        "isBase64Encoded": false,
    }))
    .expect("an event");
    let mut context = Context::default();
    context.deadline = 1000 + millis_left;
    LambdaEvent::new(payload, context)
}

async fn handled(
    model: &InMemoryReadModel,
    event: LambdaEvent<HttpEvent>,
) -> ApiGatewayV2httpResponse {
    handle(&reader(model), event).await
}

#[tokio::test(start_paused = true)]
async fn an_event_is_answered() {
    let model = model(&history(&[0, 1]));
    let response = handled(&model, event("/accounts/a", &json!({}), 10_000)).await;
    assert_eq!(response.status_code, 200);
    assert_eq!(response.headers["etag"], "\"2\"");
    assert_eq!(response.headers["x-correlation-id"], "mine");
    assert!(matches!(response.body, Some(Body::Text(body)) if body.contains("\"balance\":100")));
}

/// A client may send any bytes in a header, so API Gateway may pass any characters on.
#[tokio::test(start_paused = true)]
async fn a_header_that_is_not_ascii_gets_a_response() {
    let model = model(&history(&[0, 1]));
    let mut event = event("/accounts/a", &json!({}), 10_000);
    let headers = &mut event.payload.headers;
    headers.insert("user-agent".to_owned(), "Zürich/1.0".to_owned());
    let response = handled(&model, event.clone()).await;
    assert_eq!(response.status_code, 200);
    let headers = &mut event.payload.headers;
    headers.insert("x-correlation-id".to_owned(), "Zürich".to_owned());
    let response = handled(&model, event).await;
    assert_eq!(response.status_code, 400);
    let body = match response.body {
        Some(Body::Text(body)) => body,
        other => panic!("{other:?}"),
    };
    assert!(body.contains("X-Correlation-Id"), "{body}");
}

/// The forms that API Gateway gives to what a request may lack.
#[test]
fn an_event_may_lack_what_a_request_lacks() {
    let event = json!({
        "rawPath": "/accounts/a",
        "headers": {"X-Correlation-Id": "mine", "accept": "naïve"},
        "queryStringParameters": null,
        "requestContext": {"http": {"method": "GET"}, "authorizer": null},
        "body": null,
    });
    let event = serde_json::from_value(event).expect("an event");
    let request = Request::read(event, Resource::parse::<Accounts>).expect("a request");
    assert_eq!(request.header("x-correlation-id"), Some("mine"));
    assert_eq!(request.header("accept"), Some("naïve"));
    assert_eq!((request.body.len(), request.query.len()), (0, 0));
    assert_eq!(request.caller, None);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_parameter_is_refused() {
    let model = model(&history(&[0, 1]));
    let twice = json!({"limit": "1,1"});
    let response = handled(&model, event("/accounts/a/transactions", &twice, 10_000)).await;
    assert_eq!(response.status_code, 400);
}

#[test]
fn a_separator_inside_an_id_is_refused_where_any_form_of_the_path_shows_it() {
    let read = |raw: &str, context: Option<&str>, proxy: Option<&str>| {
        let event = serde_json::from_value(json!({
            "rawPath": raw,
            "pathParameters": proxy.map(|proxy| json!({"proxy": proxy})),
            "requestContext": {"http": {"method": "GET", "path": context}},
        }));
        let parse = Resource::parse::<Accounts>;
        Request::read(event.expect("an event"), parse)?.resource(parse)
    };
    let decoded = "/accounts/x/transactions";
    let encoded = "/accounts/x%2Ftransactions";
    for (raw, context, proxy, is_refused) in [
        (decoded, None, None, false),
        (
            decoded,
            Some(decoded),
            Some("accounts/x/transactions"),
            false,
        ),
        (decoded, Some(encoded), None, true),
        (decoded, None, Some("accounts/x%2Ftransactions"), true),
        (encoded, Some(encoded), None, true),
        (encoded, None, None, true),
        ("/accounts/x", None, Some("accounts/x?y"), true),
        ("/accounts/x", None, Some("accounts/x%3Fy"), true),
        ("/accounts/x y", Some("/accounts/x%20y"), None, false),
    ] {
        let status = read(raw, context, proxy).map_err(|problem| problem.status());
        assert_eq!(status.is_err(), is_refused, "{raw} {context:?} {proxy:?}");
        assert!(status.is_ok() || status == Err(400));
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_before_the_invocation_does() {
    let started = Instant::now();
    let ahead = json!({"minSequence": "9"});
    let response = handled(
        &InMemoryReadModel::default(),
        event("/accounts/a", &ahead, 900),
    )
    .await;
    assert_eq!(response.status_code, 503);
    assert_eq!(response.headers["retry-after"], "1");
    assert!(started.elapsed() <= Duration::from_millis(600));
}

#[test]
fn log_lines_of_a_query_have_its_trace() {
    const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
    let span_of = |traceparent: &str| {
        let model = model(&history(&[0, 1]));
        model.fail();
        let mut event = event("/accounts/a", &json!({}), 10_000);
        let headers = &mut event.payload.headers;
        headers.insert("traceparent".to_owned(), traceparent.to_owned());
        let (response, lines) = logged(handled(&model, event));
        assert_eq!(response.status_code, 503);
        assert_eq!(response.headers.get("traceparent"), None);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0]["span"].clone()
    };
    let span = span_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(span["trace_id"], TRACE_ID, "{span}");
    let span = span_of("0af7651916cd43dd8448eb211c80319c");
    assert!(span.get("trace_id").is_none(), "{span}");
}
