use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// API Gateway's event for a request
/// ([payload 2.0](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html)),
/// as far as the functions use it.
///
/// The values of headers are strings here. `aws_lambda_events` makes `HeaderValue`s of them and so refuses the whole
/// event if one of them isn't ASCII, which a client may send
/// ([RFC 9110, section 5.5](https://www.rfc-editor.org/rfc/rfc9110#section-5.5)).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpEvent {
    /// The path as the client sent it, percent-encoded.
    #[serde(deserialize_with = "nullable")]
    pub raw_path: String,
    /// The headers. The values of a repeated header are joined by commas.
    #[serde(deserialize_with = "nullable")]
    pub headers: BTreeMap<String, String>,
    /// The query parameters, decoded. The values of a repeated one are joined by commas.
    #[serde(deserialize_with = "nullable")]
    pub query_string_parameters: BTreeMap<String, String>,
    /// The parts of the path that the route has names for.
    #[serde(deserialize_with = "nullable")]
    pub path_parameters: BTreeMap<String, String>,
    /// What API Gateway knows about the request.
    #[serde(deserialize_with = "nullable")]
    pub request_context: RequestContext,
    /// The body.
    #[serde(deserialize_with = "nullable")]
    pub body: String,
    /// Whether the body is base64.
    pub is_base64_encoded: bool,
}

/// What API Gateway knows about a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RequestContext {
    /// The method and the path.
    pub http: HttpContext,
    /// The caller; `None` if the API doesn't authenticate callers.
    pub authorizer: Option<Authorizer>,
}

/// The method and the path of a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HttpContext {
    /// The method, in capitals.
    #[serde(deserialize_with = "nullable")]
    pub method: String,
    /// The path, with the stage.
    pub path: Option<String>,
}

/// What the authorizer of an API returned.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Authorizer {
    /// The caller that IAM authenticated.
    pub iam: Option<IamCaller>,
    /// The caller that a JWT names.
    pub jwt: Option<Jwt>,
    /// The context that a Lambda authorizer returned.
    #[serde(deserialize_with = "nullable")]
    pub lambda: Map<String, Value>,
}

/// A caller that IAM authenticated.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IamCaller {
    /// The ARN of the user or of the role session.
    pub user_arn: Option<String>,
}

/// A JWT that API Gateway verified.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Jwt {
    /// Its claims.
    #[serde(deserialize_with = "nullable")]
    pub claims: Map<String, Value>,
}

/// A member that may be `null`, which is the same as none.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
