//! Functions that read an invocation's bytes themselves.
//!
//! `lambda_runtime` parses the body into the handler's type, one value at a time through
//! `serde_path_to_error`. For a batch of a stream, this parse takes more time than the rest of the
//! invocation's work on the processor. So a layer around `lambda_runtime`'s services moves the body out
//! before the parse, which then reads `null`. Nothing is copied.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::tower::Layer;
use lambda_runtime::{Error, LambdaEvent, LambdaInvocation, Runtime, Service, service_fn};
use serde::Serialize;

use crate::start::StartError;

/// Runs a Lambda function that handles each invocation's bytes, until the environment is shut down.
/// Invocations are handled one after the other.
///
/// # Errors
/// [`StartError::Runtime`] if Lambda's runtime API fails.
///
/// # Panics
/// If a variable that Lambda sets in every environment is missing, such as `AWS_LAMBDA_RUNTIME_API`.
pub async fn run<R: Serialize>(
    handle: impl AsyncFn(LambdaEvent<Bytes>) -> Result<R, Error>,
) -> Result<(), StartError> {
    let body = TakenBody::default();
    let handler = service_fn(
        |LambdaEvent {
             payload: (),
             context,
         }: LambdaEvent<()>| {
            // Before the first `await`, so it is the body of this invocation.
            let body = body.take();
            let handle = &handle;
            async move {
                let body = body.ok_or("lambda_runtime called the handler without a body")?;
                handle(LambdaEvent::new(body, context)).await
            }
        },
    );
    Runtime::new(handler)
        .layer(TakeBody(body.clone()))
        .layer(TracingLayer::new())
        .run()
        .await
        .map_err(StartError::Runtime)
}

/// The body of the current invocation, until its handler takes it.
#[derive(Debug, Clone, Default)]
struct TakenBody(Arc<Mutex<Option<Bytes>>>);

impl TakenBody {
    fn put(&self, body: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    fn take(&self) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The layer that moves the body out.
struct TakeBody(TakenBody);

impl<S> Layer<S> for TakeBody {
    type Service = TakeBodyService<S>;

    fn layer(&self, inner: S) -> TakeBodyService<S> {
        TakeBodyService {
            inner,
            body: self.0.clone(),
        }
    }
}

struct TakeBodyService<S> {
    inner: S,
    body: TakenBody,
}

impl<S: Service<LambdaInvocation>> Service<LambdaInvocation> for TakeBodyService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut invocation: LambdaInvocation) -> S::Future {
        let null = Bytes::from_static(b"null");
        self.body.put(std::mem::replace(&mut invocation.body, null));
        self.inner.call(invocation)
    }
}
