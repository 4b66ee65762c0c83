//! API Gateway's requests and the responses to them.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_runtime::{Context, LambdaEvent};
use millrace_runtime::Ambient as _;
use millrace_runtime::metrics::Metric;
use millrace_writer::handler::handle;
use millrace_writer::testing::Fault;
use serde_json::json;

use crate::fixtures::Setting;

fn credit() -> LambdaEvent<ApiGatewayV2httpRequest> {
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
