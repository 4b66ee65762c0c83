//! Retries of a service call within an invocation.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::ambient::Ambient;
use crate::backoff::Backoff;
use crate::budget::Budget;
use crate::error::{Chain, ServiceError};

/// Calls a service until the call succeeds, with backoff between two attempts. The operation is repeated
/// after a call that may have taken effect too, so it has to be safe to repeat.
///
/// # Errors
/// The [`ServiceError`] of the last attempt if it is [permanent](ServiceError::is_permanent), or if the
/// budget doesn't allow another one. An attempt in flight ends with the budget.
pub async fn retry<T, F: Future<Output = Result<T, ServiceError>>>(
    budget: Budget,
    ambient: &impl Ambient,
    backoff: Backoff,
    mut operation: impl FnMut() -> F,
) -> Result<T, ServiceError> {
    let mut retry = 0;
    loop {
        let error = match within(budget, operation()).await {
            Ok(value) => return Ok(value),
            Err(error) if error.is_permanent() => return Err(error),
            Err(error) => error,
        };
        let wait: Duration = backoff.delay(retry, ambient);
        if !budget.allows(wait) {
            return Err(error);
        }
        tracing::warn!(retry, error = %Chain(&error), "an attempt failed and will be repeated after a backoff");
        tokio::time::sleep(wait).await;
        retry = retry.saturating_add(1);
    }
}

/// A call that ends with the budget.
async fn within<T>(
    budget: Budget,
    call: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, ServiceError> {
    let in_time = tokio::time::timeout(budget.left(), call).await;
    in_time.unwrap_or_else(|_elapsed| {
        let problem = "it did not end within the time budget";
        Err(ServiceError::new("a service call", problem))
    })
}

/// Limits how many operations are in flight at the same time. One that waits for its retry isn't
/// counted, so failing operations don't delay the others.
#[derive(Debug)]
pub struct ConcurrentCalls(Semaphore);

impl ConcurrentCalls {
    /// At most this many at the same time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Semaphore::new(limit))
    }

    /// One attempt in its turn, which isn't repeated.
    ///
    /// # Errors
    /// The operation's [`ServiceError`], or one that says that it did not end within the budget.
    pub async fn attempt<T>(
        &self,
        budget: Budget,
        operation: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ServiceError> {
        within(budget, self.run(operation)).await
    }

    /// Runs an operation in its turn, without retries.
    pub async fn run<T>(&self, operation: impl Future<Output = T>) -> T {
        let _place = self.0.acquire().await.expect("it is never closed");
        operation.await
    }

    /// [`retry`], each attempt in its turn.
    ///
    /// # Errors
    /// Those of [`retry`].
    pub async fn retry<T, F: Future<Output = Result<T, ServiceError>>>(
        &self,
        budget: Budget,
        ambient: &impl Ambient,
        backoff: Backoff,
        mut operation: impl FnMut() -> F,
    ) -> Result<T, ServiceError> {
        let attempt = || self.run(operation());
        retry(budget, ambient, backoff, attempt).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::testing::{TestAmbient, in_virtual_time, lost_call};

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_millis(100),
        cap: Duration::from_secs(1),
    };

    /// The result of an operation, the number of its attempts, and how long it took in milliseconds.
    fn run(result: impl Fn(u32) -> Result<(), ServiceError>) -> (Result<(), String>, u32, u128) {
        let mut attempts = 0;
        let operation = || {
            attempts += 1;
            let result = result(attempts);
            async move { result }
        };
        let (result, took) = in_virtual_time(async {
            let begin = Instant::now();
            let budget = Budget::lasting(Duration::from_secs(10));
            let ambient = TestAmbient::with_fraction(1.0);
            let result = retry(budget, &ambient, BACKOFF, operation).await;
            (result, begin.elapsed().as_millis())
        });
        (result.map_err(|error| error.to_string()), attempts, took)
    }

    #[test]
    fn a_failed_call_is_retried_with_backoff_until_it_succeeds() {
        let third = run(|attempt| {
            if attempt < 3 {
                Err(lost_call())
            } else {
                Ok(())
            }
        });
        assert_eq!(third, (Ok(()), 3, 100 + 200));
    }

    #[test]
    fn retries_end_before_the_budget_does() {
        let (result, attempts, took) = run(|_| Err(lost_call()));
        assert_eq!(result, Err("a call failed".to_owned()));
        assert_eq!((attempts, took), (13, 100 + 200 + 400 + 800 + 8_000));
    }

    #[test]
    fn a_permanent_error_is_not_retried() {
        let permanent = || ServiceError::permanent("a call", "ValidationException");
        let (result, attempts, _) = run(|_| Err(permanent()));
        assert_eq!((result.is_err(), attempts), (true, 1));
    }

    #[test]
    fn a_retry_that_waits_occupies_no_place() {
        in_virtual_time(async {
            let calls = ConcurrentCalls::new(1);
            let ambient = TestAmbient::default();
            let budget = Budget::lasting(Duration::from_secs(10));
            let failing = calls.retry(
                budget,
                &ambient,
                BACKOFF,
                async || Err::<(), _>(lost_call()),
            );
            let begin = Instant::now();
            let other = async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let result = calls
                    .retry(budget, &ambient, BACKOFF, async || Ok(()))
                    .await;
                (result.is_ok(), begin.elapsed())
            };
            let (failed, other) = tokio::join!(failing, other);
            assert!(failed.is_err());
            assert_eq!(other, (true, Duration::from_millis(1)));
        });
    }

    #[test]
    fn no_more_calls_are_in_flight_than_the_limit() {
        in_virtual_time(async {
            let calls = ConcurrentCalls::new(2);
            let ambient = TestAmbient::default();
            let budget = Budget::lasting(Duration::from_mins(1));
            let call = || {
                calls.retry(budget, &ambient, BACKOFF, async || {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(())
                })
            };
            let begin = Instant::now();
            let ended = tokio::join!(call(), call(), call());
            assert!(ended.0.is_ok() && ended.1.is_ok() && ended.2.is_ok());
            assert_eq!(begin.elapsed(), Duration::from_secs(2));
        });
    }

    #[test]
    fn a_call_in_flight_ends_with_the_budget() {
        in_virtual_time(async {
            let begin = Instant::now();
            let budget = Budget::lasting(Duration::from_secs(10));
            let pending = std::future::pending::<Result<(), ServiceError>>;
            let result = retry(budget, &TestAmbient::default(), BACKOFF, pending).await;
            assert!(result.is_err());
            assert_eq!(begin.elapsed(), Duration::from_secs(10));
        });
    }
}
