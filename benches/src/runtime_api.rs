//! A mock of [Lambda's runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html): a
//! function asks for the next invocation and posts its response.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout};

use crate::http::{Request, Response};

/// How long an invocation may take.
const TIMEOUT: Duration = Duration::from_mins(5);

/// The runtime API of one function.
#[derive(Debug)]
pub struct RuntimeApi {
    next: Mutex<mpsc::Receiver<Vec<u8>>>,
    invoke: mpsc::Sender<Vec<u8>>,
    /// What the function does: its requests for an invocation, and its responses.
    steps: mpsc::UnboundedSender<Step>,
    observed: Mutex<mpsc::UnboundedReceiver<Step>>,
}

/// What a function does.
#[derive(Debug)]
enum Step {
    /// It has asked for the next invocation.
    Next(Instant),
    /// It has posted the response to an invocation.
    Responded(Instant, Vec<u8>),
    /// It has posted an error.
    Failed(String),
}

impl Default for RuntimeApi {
    fn default() -> Self {
        let (invoke, next) = mpsc::channel(1);
        let (steps, observed) = mpsc::unbounded_channel();
        Self {
            next: Mutex::new(next),
            invoke,
            steps,
            observed: Mutex::new(observed),
        }
    }
}

impl RuntimeApi {
    /// Answers the function's request. A request for the next invocation waits until there is one.
    pub async fn answer(&self, request: &Request) -> Response {
        let accepted = Response {
            status: 202,
            headers: Vec::new(),
            body: Vec::new(),
        };
        let step = if request.path.ends_with("/invocation/next") {
            self.observe(Step::Next(Instant::now()));
            let Some(event) = self.next.lock().await.recv().await else {
                return accepted;
            };
            let deadline = SystemTime::now() + TIMEOUT;
            let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
            let header = |name, value: &str| (name, value.to_owned());
            return Response {
                status: 200,
                headers: vec![
                    header(
                        "lambda-runtime-aws-request-id",
                        "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                    ),
                    header(
                        "lambda-runtime-deadline-ms",
                        &deadline.as_millis().to_string(),
                    ),
                    header(
                        "lambda-runtime-invoked-function-arn",
                        "arn:aws:lambda:eu-west-1:1:function:f",
                    ),
                    header("content-type", "application/json"),
                ],
                body: event,
            };
        } else if request.path.ends_with("/response") {
            Step::Responded(Instant::now(), request.body.clone())
        } else {
            let error = String::from_utf8_lossy(&request.body);
            Step::Failed(format!("{}: {error}", request.path))
        };
        self.observe(step);
        accepted
    }

    fn observe(&self, step: Step) {
        // The receiver lives as long as this sender.
        self.steps.send(step).ok();
    }

    async fn step(&self) -> Result<Step> {
        let mut observed = self.observed.lock().await;
        let step = timeout(TIMEOUT, observed.recv()).await;
        match step.context("the function did nothing for five minutes")? {
            Some(Step::Failed(error)) => bail!("the function failed: {error}"),
            Some(step) => Ok(step),
            None => bail!("the runtime API has ended"),
        }
    }

    /// Waits until the function asks for an invocation, and returns when that was.
    ///
    /// # Errors
    /// If the function fails.
    pub async fn ready(&self) -> Result<Instant> {
        loop {
            if let Step::Next(at) = self.step().await? {
                return Ok(at);
            }
        }
    }

    /// Invokes a function that is [`ready`](Self::ready). Returns the response and how long it took.
    ///
    /// # Errors
    /// If the function fails.
    pub async fn invoke(&self, event: Vec<u8>) -> Result<(Vec<u8>, Duration)> {
        let started = Instant::now();
        self.invoke.send(event).await?;
        loop {
            if let Step::Responded(at, response) = self.step().await? {
                return Ok((response, at.duration_since(started)));
            }
        }
    }
}
