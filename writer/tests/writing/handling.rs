//! API Gateway's requests and the responses to them.

use lambda_runtime::{Context, LambdaEvent};
use millrace_runtime::Ambient as _;
use millrace_runtime::http::HttpEvent;
use millrace_runtime::metrics::Metric;
use millrace_runtime::testing::logged;
use millrace_writer::handler::handle;
use millrace_writer::testing::Fault;
use serde_json::json;

use crate::fixtures::Setting;

fn credit() -> LambdaEvent<HttpEvent> {
    let payload = json!({
        "version": "2.0",
        "routeKey": "POST /accounts/{id}/credit",
        "rawPath": "/accounts/a/credit",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": "/accounts/a/credit"}},
        "body": "{\"amount\":1}",
        "isBase64Encoded": false,
    });
    let payload = serde_json::from_value(payload).expect("a request");
    LambdaEvent::new(payload, Context::default())
}

#[test]
fn log_lines_of_a_command_have_its_trace() {
    let setting = Setting::default();
    let now = setting.ambient.now().unix_millis();
    let lines_of = |traceparent: &str| {
        let mut event = credit();
        event.context.deadline = u64::try_from(now).expect("after 1970") + 10_000;
        let headers = &mut event.payload.headers;
        headers.insert("traceparent".to_owned(), traceparent.to_owned());
        let writer = setting.writer();
        let (answer, lines) = logged(handle(&writer, event));
        assert_eq!(answer.status_code, 404);
        lines
    };
    let lines = lines_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(lines[0]["span"]["trace_id"], trace_id, "{}", lines[0]);
    // What a client sent is in no log, unless it is a trace.
    let lines = lines_of("a secret");
    let trace_id = lines[0]["span"]["trace_id"].as_str().expect("a new trace");
    assert_eq!(trace_id.len(), 32, "{trace_id}");
    assert!(!lines[0].to_string().contains("secret"), "{}", lines[0]);
}

#[tokio::test(start_paused = true)]
async fn an_invocation_answers_and_measures_the_races_it_lost() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::Overtaken);
    let writer = setting.writer();
    let mut event = credit();
    let now = writer.ambient.now().unix_millis();
    event.context.deadline = u64::try_from(now).expect("after 1970") + 10_000;
    let answer = handle(&writer, event).await;
    assert_eq!(answer.status_code, 200);
    let measured = setting.ambient.measured();
    assert_eq!(measured, [(Metric::RacesLost, Some(1))]);
}
