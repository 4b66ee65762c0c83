//! The Lambda handler: API Gateway's HTTP API events (payload 2.0) in and out.

use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_runtime::LambdaEvent;
use millrace_core::{Domain, Resource};
use millrace_runtime::http::{HttpEvent, Request};
use millrace_runtime::metrics::Metric;
use millrace_runtime::{Ambient, Budget};
use tracing::{Instrument as _, field, info_span};

use crate::ports::EventStore;
use crate::service::{Races, Writer};

/// The part of the invocation's time that is reserved for the response.
const RESERVE: Duration = Duration::from_secs(1);

/// Handles one request. Every failure becomes a problem response. A returned error would reach the
/// client as API Gateway's generic error, without a reason.
pub async fn handle<D: Domain, S: EventStore, A: Ambient>(
    writer: &Writer<D, S, A>,
    event: LambdaEvent<HttpEvent>,
) -> ApiGatewayV2httpResponse {
    let LambdaEvent { payload, context } = event;
    let span = info_span!(
        "command",
        request_id = context.request_id,
        correlation_id = field::Empty,
        trace_id = field::Empty
    );
    let budget = Budget::of(&context, RESERVE, &writer.ambient);
    async {
        let (response, races) = match Request::read(payload, Resource::parse_command::<D>) {
            Ok(request) => writer.answer(&request, budget).await,
            Err(problem) => (problem.into_response(), Races::default()),
        };
        tracing::info!(
            status = response.status,
            races_lost = races.lost,
            "answered"
        );
        let lost = (Metric::RacesLost, Some(races.lost));
        writer.ambient.measure(&context.request_id, &[lost]);
        response.into_event()
    }
    .instrument(span)
    .await
}
