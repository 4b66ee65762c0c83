//! The Lambda handler: API Gateway's HTTP API events (payload 2.0) in and out.

use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_runtime::LambdaEvent;
use millrace_core::{Project, Resource};
use millrace_runtime::http::{HttpEvent, Request};
use millrace_runtime::{Ambient, Budget};
use tracing::{Instrument as _, field, info_span};

use crate::ports::ReadModel;
use crate::service::Reader;

/// The part of the invocation's time that is reserved for the response.
const RESERVE: Duration = Duration::from_millis(300);

/// Handles one request. Every failure becomes a problem response. A returned error would reach the
/// client as API Gateway's generic error, without a reason.
pub async fn handle<D: Project, M: ReadModel, A: Ambient>(
    reader: &Reader<D, M, A>,
    event: LambdaEvent<HttpEvent>,
) -> ApiGatewayV2httpResponse {
    let LambdaEvent { payload, context } = event;
    let span = info_span!(
        "query",
        request_id = context.request_id,
        correlation_id = field::Empty,
        trace_id = field::Empty
    );
    let budget = Budget::of(&context, RESERVE, &reader.ambient);
    let answering = async {
        match Request::read(payload, Resource::parse::<D>) {
            Ok(request) => reader.answer(&request, budget).await,
            Err(problem) => problem.into_response(),
        }
    };
    answering.instrument(span).await.into_event()
}
