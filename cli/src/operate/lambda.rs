//! [`ConsumerFunction`] with AWS Lambda.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::error::ProvideErrorMetadata as _;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use millrace_runtime::ServiceError;
use serde_json::Value;

use super::ports::{ConsumerFunction, Invoked};

/// The time of one attempt: the longest timeout of a function, 15 minutes
/// ([quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)), and a minute for its start.
const ATTEMPT: Duration = Duration::from_mins(16);
/// The most characters of a function's error that are shown.
const MAX_ERROR: usize = 500;

/// The errors of a call that would be refused again
/// ([errors](https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors)).
const PERMANENT: [&str; 8] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "InvalidParameterValueException",
    "InvalidRequestContentException",
    "KMSAccessDeniedException",
    "RequestTooLargeException",
    "ResourceNotFoundException",
    "UnrecognizedClientException",
];

/// A function of any consumer, by name or ARN.
#[derive(Debug, Clone)]
pub(crate) struct LambdaFunction {
    client: Client,
    name: String,
}

impl LambdaFunction {
    /// The function of this name. It isn't invoked, but Lambda checks whether it could be.
    ///
    /// # Errors
    /// If there is no such function, or it may not be invoked.
    pub(crate) async fn checked(client: Client, name: &str) -> Result<Self> {
        let checked = client
            .invoke()
            .function_name(name)
            .invocation_type(InvocationType::DryRun)
            .send();
        checked
            .await
            .with_context(|| format!("the function {name} can't be invoked"))?;
        Ok(Self {
            client,
            name: name.to_owned(),
        })
    }
}

impl ConsumerFunction for LambdaFunction {
    async fn invoke(&self, payload: String) -> Result<Invoked, ServiceError> {
        const ACTION: &str = "Invoke";
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(ATTEMPT)
            .build();
        // The SDK doesn't repeat a call: the function may still run.
        let once = aws_sdk_lambda::Config::builder()
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled());
        let invoked = self
            .client
            .invoke()
            .function_name(&self.name)
            .payload(Blob::new(payload))
            .customize()
            .config_override(once)
            .send()
            .await
            .map_err(|error| match error.code() {
                Some(code) if PERMANENT.contains(&code) => {
                    let problem = error.message().unwrap_or_default();
                    ServiceError::permanent(ACTION, format!("{code}: {problem}"))
                }
                _ => ServiceError::new(ACTION, error),
            })?;
        let payload = invoked.payload.map(Blob::into_inner).unwrap_or_default();
        if let Some(kind) = invoked.function_error {
            let text = String::from_utf8_lossy(&payload);
            let shown: String = text.chars().take(MAX_ERROR).collect();
            return Ok(Invoked::Failed(format!(
                "the function failed ({kind}): {shown}"
            )));
        }
        // A response that isn't JSON has no list of failures.
        let response = serde_json::from_slice(&payload).unwrap_or(Value::Null);
        Ok(Invoked::Responded(response))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_lambda::error::ErrorMetadata;
    use aws_sdk_lambda::operation::invoke::{InvokeError, InvokeOutput};
    use aws_sdk_lambda::types::error::{ResourceNotFoundException, TooManyRequestsException};
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use serde_json::json;

    use super::*;

    fn function(rules: &[&Rule]) -> LambdaFunction {
        LambdaFunction {
            client: mock_client!(aws_sdk_lambda, RuleMode::Sequential, rules),
            name: "f".to_owned(),
        }
    }

    fn output(payload: &'static str, error: Option<&'static str>) -> Rule {
        mock!(Client::invoke)
            .match_requests(|request| {
                request.function_name() == Some("f")
                    && request.payload().map(AsRef::as_ref) == Some(&b"{}"[..])
            })
            .then_output(move || {
                InvokeOutput::builder()
                    .payload(Blob::new(payload))
                    .set_function_error(error.map(str::to_owned))
                    .build()
            })
    }

    #[tokio::test]
    async fn a_response_and_an_error_of_the_function_are_distinguished() {
        let (responded, empty) = (output("{\"batchItemFailures\":[]}", None), output("", None));
        let failed = output("{\"errorMessage\":\"why\"}", Some("Unhandled"));
        let function = function(&[&responded, &empty, &failed]);
        let invoke = async || function.invoke("{}".to_owned()).await.expect("invoked");
        let expected = json!({"batchItemFailures": []});
        assert_eq!(invoke().await, Invoked::Responded(expected));
        assert_eq!(invoke().await, Invoked::Responded(Value::Null));
        let Invoked::Failed(reason) = invoke().await else {
            panic!("it failed");
        };
        assert!(
            reason.contains("Unhandled") && reason.contains("why"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn a_missing_function_is_permanent_and_throttling_is_not() {
        let throttled = mock!(Client::invoke).then_error(|| {
            let error = TooManyRequestsException::builder().build();
            InvokeError::TooManyRequestsException(error)
        });
        let missing = mock!(Client::invoke).then_error(|| {
            let metadata = ErrorMetadata::builder().code("ResourceNotFoundException");
            let error = ResourceNotFoundException::builder().meta(metadata.build());
            InvokeError::ResourceNotFoundException(error.build())
        });
        let function = function(&[&throttled, &missing]);
        let invoke = async || function.invoke("{}".to_owned()).await.expect_err("refused");
        assert!(!invoke().await.is_permanent());
        assert!(invoke().await.is_permanent());
    }

    #[tokio::test]
    async fn a_function_that_cannot_be_invoked_is_named() {
        let refused = mock!(Client::invoke)
            .match_requests(|request| request.invocation_type() == Some(&InvocationType::DryRun))
            .then_error(|| {
                let error = ResourceNotFoundException::builder().build();
                InvokeError::ResourceNotFoundException(error)
            });
        let client = mock_client!(aws_sdk_lambda, RuleMode::MatchAny, [&refused]);
        let error = LambdaFunction::checked(client, "loyalty").await;
        assert!(error.expect_err("refused").to_string().contains("loyalty"));
    }
}
