//! The Lambda handler: API Gateway's HTTP API events (payload 2.0) in and out.

use std::time::Duration;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_runtime::LambdaEvent;
use millrace_runtime::http::{Problem, Request};
use millrace_runtime::{Ambient, Budget};
use tracing::{Instrument as _, info_span};

use crate::execute::Writer;
use crate::store::EventStore;

/// What is kept back of the invocation's time for the answer.
const RESERVE: Duration = Duration::from_secs(1);

/// Answers one request. Whatever goes wrong has an answer that tells it: an error would reach the
/// client as API Gateway's own, which tells nothing.
pub async fn handle<S: EventStore, A: Ambient>(
    writer: &Writer<S, A>,
    event: LambdaEvent<ApiGatewayV2httpRequest>,
) -> ApiGatewayV2httpResponse {
    let LambdaEvent { payload, context } = event;
    let span = info_span!("command", request_id = context.request_id);
    let budget = Budget::of(&context, RESERVE, &writer.ambient);
    async {
        let response = match Request::read(payload) {
            Ok(request) => writer.answer(&request, budget).await,
            Err(problem) => Problem::into_response(problem),
        };
        tracing::info!(status = response.status, "answered");
        response.into_event()
    }
    .instrument(span)
    .await
}
