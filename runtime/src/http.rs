//! The HTTP that the writer and the reader share: API Gateway's HTTP API requests (payload 2.0) as
//! plain values, problem bodies (RFC 9457), correlation ids, traces, and which resource a request names. What
//! resources there are, each of them says itself ([`ParsePath`]).

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_core::ids::is_printable;
use millrace_core::{PathError, Resource, TraceParent};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ambient::Ambient;

mod event;

pub use event::{Authorizer, HttpContext, HttpEvent, IamCaller, Jwt, RequestContext};

/// The header of the correlation id, in requests and responses.
pub const CORRELATION_ID: &str = "x-correlation-id";
/// The header of the caller's span, in requests only. Responses don't have it
/// ([W3C Trace Context](https://www.w3.org/TR/trace-context/#traceparent-header)).
const TRACE_PARENT: &str = "traceparent";
const JSON: &str = "application/json";
/// RFC 9457, section 3.
const PROBLEM_JSON: &str = "application/problem+json";
/// What every problem's `type` begins with.
const PROBLEM_TYPE: &str = "urn:millrace:problem:";

/// Parses a path as the function understands it, such as [`Resource::parse_command`].
pub type ParsePath = fn(&str) -> Result<Resource, PathError>;

/// A request as a handler sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The path as it came, percent-encoded.
    pub path: String,
    /// The query parameters, decoded; a repeated one's values are joined by commas.
    pub query: BTreeMap<String, String>,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// Who sent it; `None` if the API doesn't authenticate callers.
    pub caller: Option<Caller>,
}

/// The caller that API Gateway authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(String);

impl Caller {
    /// The caller of this name; `None` where it is empty.
    #[must_use]
    pub fn new(name: String) -> Option<Self> {
        (!name.is_empty()).then_some(Self(name))
    }

    /// The caller in API Gateway's event: with IAM, the ARN of the user or role session; with a JWT,
    /// `<issuer>#<subject>`, which is unambiguous because an issuer has no fragment
    /// ([OpenID Connect Core, section 2](https://openid.net/specs/openid-connect-core-1_0.html#IDToken));
    /// with a Lambda authorizer, the `principalId` of its context.
    fn read(authorizer: &Authorizer) -> Option<Self> {
        let of_iam = authorizer.iam.as_ref().and_then(|iam| iam.user_arn.clone());
        let of_jwt = authorizer.jwt.as_ref().and_then(|jwt| {
            let claim = |name: &str| jwt.claims.get(name)?.as_str();
            Some(format!("{}#{}", claim("iss")?, claim("sub")?))
        });
        let principal = authorizer.lambda.get("principalId");
        let of_lambda = || principal.and_then(Value::as_str).map(str::to_owned);
        of_iam.or(of_jwt).or_else(of_lambda).and_then(Self::new)
    }

    /// The caller without the name of the session: a client that assumes its role again, with
    /// another session, is the same caller.
    #[must_use]
    pub fn without_session(&self) -> String {
        const ASSUMED: &str = ":assumed-role/";
        let role = self.0.find(ASSUMED).map(|at| at + ASSUMED.len());
        let end = role.and_then(|role| Some(role + self.0[role..].find('/')?));
        self.0[..end.unwrap_or(self.0.len())].to_owned()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An HTTP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: Vec<(&'static str, String)>,
    /// The body: JSON.
    pub body: String,
}

/// A problem of RFC 9457: an error's status, type, title and detail.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: u16,
    code: &'static str,
    detail: String,
    pointer: Option<String>,
    headers: Vec<(&'static str, String)>,
}

impl Request {
    /// Reads API Gateway's event.
    ///
    /// # Errors
    /// A [`Problem`] of status 400 if the body claims to be base64 and isn't, or if one form of the
    /// path shows an id that no path can name.
    pub fn read(event: HttpEvent, parse: ParsePath) -> Result<Self, Problem> {
        let body = if event.is_base64_encoded {
            STANDARD
                .decode(event.body)
                .map_err(|_| Problem::malformed("the body is not base64"))?
        } else {
            event.body.into_bytes()
        };
        // The names of headers are case-insensitive (RFC 9110, section 5.1).
        let headers = event.headers.into_iter();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value));
        let path = event.raw_path;
        let HttpContext {
            method,
            path: in_context,
        } = event.request_context.http;
        let in_parameters = event.path_parameters.get("proxy");
        let others = in_context
            .into_iter()
            .chain(in_parameters.map(|path| format!("/{path}")));
        if others
            .into_iter()
            .any(|other| hides_a_separator(&path, &other, parse))
        {
            return Err(Problem::malformed(PathError::NotAddressable.to_string()));
        }
        let authorizer = event.request_context.authorizer.as_ref();
        Ok(Self {
            caller: authorizer.and_then(Caller::read),
            method,
            path,
            query: event.query_string_parameters,
            headers: headers.collect(),
            body,
        })
    }

    /// A header's value, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The resource that the path names and that takes the method.
    ///
    /// # Errors
    /// A [`Problem`]: 404 where there is nothing, 400 where the path contains an id that no path can
    /// name, 405 with `Allow` where the method is another.
    pub fn resource(&self, parse: ParsePath) -> Result<Resource, Problem> {
        let resource = parse(&self.path).map_err(|error| match error {
            PathError::Unknown => Problem::new(404, "not-found", error.to_string()),
            PathError::NotAddressable => Problem::malformed(error.to_string()),
        })?;
        if self.method == resource.method() {
            Ok(resource)
        } else {
            Err(
                Problem::new(405, "method-not-allowed", "this path takes another method")
                    .with_header("allow", resource.method()),
            )
        }
    }

    /// The request's correlation id, or a new one where it brings none.
    ///
    /// # Errors
    /// A [`Problem`] of status 400 if the header can't be an id.
    pub fn correlation_id(&self, ambient: &impl Ambient) -> Result<String, Problem> {
        match self.header(CORRELATION_ID) {
            None => Ok(ambient.unique_id()),
            // The response's header repeats it, and a header's value is ASCII.
            Some(id) if is_printable(id) && id.is_ascii() => Ok(id.to_owned()),
            Some(_) => Err(Problem::malformed(
                "X-Correlation-Id is not 1 to 256 printable ASCII characters",
            )),
        }
    }

    /// The caller's span. `None` if the header `traceparent` is missing or malformed, which is no reason to
    /// refuse a request
    /// ([W3C Trace Context, section 4.2](https://www.w3.org/TR/trace-context/#a-traceparent-is-received)).
    /// API Gateway joins repeated headers with a comma, so repeated ones are malformed too
    /// ([payload 2.0](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html)).
    #[must_use]
    pub fn trace_parent(&self) -> Option<TraceParent> {
        TraceParent::parse(self.header(TRACE_PARENT)?).ok()
    }

    /// A span of the function's own: in the caller's trace, or in a new one where the request belongs to
    /// none.
    pub fn own_span(&self, ambient: &impl Ambient) -> TraceParent {
        let random = || NonZeroU64::new(ambient.random_bits()).unwrap_or(NonZeroU64::MAX);
        if let Some(parent) = self.trace_parent() {
            return parent.child(random());
        }
        let trace_id = NonZeroU128::from(random()) | (u128::from(random().get()) << 64);
        TraceParent::start(trace_id, random())
    }
}

/// Whether another form of the path shows that the path contains a separator of an id: it is split
/// in another way, or names an id that no path can name. The event contains the path up to three
/// times, and not always decoded alike.
fn hides_a_separator(path: &str, other: &str, parse: ParsePath) -> bool {
    let separators = |path: &str| path.matches('/').count();
    separators(path) != separators(other) || parse(other) == Err(PathError::NotAddressable)
}

impl Response {
    /// A JSON response.
    ///
    /// # Panics
    /// If `body` can't be serialised. Those of the handlers always can.
    #[must_use]
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("answers always serialise");
        Self::stored(status, body)
    }

    /// A response that was stored earlier: JSON, or a problem if its status is an error's.
    #[must_use]
    pub fn stored(status: u16, body: String) -> Self {
        let content_type = if status < 400 { JSON } else { PROBLEM_JSON };
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body,
        }
    }

    /// The response with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The response as API Gateway expects it (payload 2.0).
    #[must_use]
    pub fn into_event(self) -> ApiGatewayV2httpResponse {
        let headers: HeaderMap = self
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).ok()?,
                ))
            })
            .collect();
        let mut response = ApiGatewayV2httpResponse::default();
        response.status_code = i64::from(self.status);
        response.headers = headers;
        response.body = Some(Body::Text(self.body));
        response
    }
}

impl Problem {
    /// A problem. `code` is its name in the public API, which never changes; it is the last part of
    /// `type`, and `title` says it in words.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            pointer: None,
            headers: Vec::new(),
        }
    }

    /// 400: the request can't be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed-request", detail)
    }

    /// 503: a call to a service that the function needs has failed. The client may retry after so many
    /// seconds.
    pub fn unavailable(detail: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(503, "unavailable", detail)
            .with_header("retry-after", retry_after_seconds.to_string())
    }

    /// The problem, pointing (RFC 6901) at the part of the body that is wrong.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// The problem with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Its status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Its name in the public API.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The response whose body is the problem.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut title = self.code.replace('-', " ");
        title[..1].make_ascii_uppercase();
        let mut body = json!({
            "type": format!("{PROBLEM_TYPE}{}", self.code),
            "title": title,
            "status": self.status,
            "detail": self.detail,
        });
        if let Some(pointer) = self.pointer {
            body["errors"] = Value::from(vec![json!({
                "pointer": format!("#{pointer}"),
                "detail": self.detail,
            })]);
        }
        let mut response = Response::stored(self.status, body.to_string());
        response.headers.extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use millrace_core::{AggregateId, Timestamp};

    use super::*;
    use crate::ambient::System;
    use crate::testing::TestAmbient;

    /// A shelf, which is shown, and can't be named by every path.
    fn parse(path: &str) -> Result<Resource, PathError> {
        match path {
            "/shelves" => Ok(Resource::Collection),
            "/shelves/a" => Ok(Resource::Item(AggregateId::new("a").expect("printable"))),
            "/shelves/.." => Err(PathError::NotAddressable),
            _ => Err(PathError::Unknown),
        }
    }

    fn request(method: &str, path: &str) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            ..Request::default()
        }
    }

    #[test]
    fn an_answer_that_was_kept_has_the_content_type_of_its_status() {
        for (status, expected) in [(399, JSON), (400, PROBLEM_JSON)] {
            let response = Response::stored(status, "{}".to_owned());
            let content_type = ("content-type", expected.to_owned());
            assert_eq!(response.headers, [content_type]);
        }
    }

    #[test]
    fn reads_an_http_api_event() {
        let event = serde_json::from_value(json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/shelves/a%20b/take",
            "rawQueryString": "x=1",
            "headers": {"Content-Type": "application/json", "X-Correlation-Id": "c"},
            "queryStringParameters": {"x": "1"},
            "requestContext": {"http": {"method": "POST", "path": "/shelves/a%20b/take"}},
            "body": "eyJhcnRpY2xlcyI6MX0=",
            "isBase64Encoded": true,
        }))
        .expect("an event");
        let request = Request::read(event, parse).expect("reads");
        assert_eq!(request.method, "POST");
        assert_eq!(request.path, "/shelves/a%20b/take");
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.query.get("x").map(String::as_str), Some("1"));
        assert_eq!(request.body, br#"{"articles":1}"#);
        assert_eq!(request.correlation_id(&System), Ok("c".into()));
    }

    #[test]
    fn the_caller_is_the_one_that_api_gateway_authenticated() {
        let role = "arn:aws:sts::123456789012:assumed-role/Teller/monday";
        let user = "arn:aws:iam::123456789012:user/ops/ann";
        let issuer = "https://id.example";
        for (authorizer, caller, without_session) in [
            (json!(null), None, None),
            (json!({}), None, None),
            (json!({"iam": {"userArn": ""}}), None, None),
            (
                json!({"iam": {"userArn": role}}),
                Some(role),
                Some("arn:aws:sts::123456789012:assumed-role/Teller"),
            ),
            (json!({"iam": {"userArn": user}}), Some(user), Some(user)),
            (
                json!({"jwt": {"claims": {"iss": issuer, "sub": "ann"}, "scopes": null}}),
                Some("https://id.example#ann"),
                Some("https://id.example#ann"),
            ),
            (json!({"jwt": {"claims": {"sub": "ann"}}}), None, None),
            (
                json!({"lambda": {"principalId": "ann"}}),
                Some("ann"),
                Some("ann"),
            ),
            (json!({"lambda": {"principalId": 7}}), None, None),
            (json!({"lambda": null}), None, None),
        ] {
            let event = serde_json::from_value(json!({
                "requestContext": {"http": {"method": "POST"}, "authorizer": authorizer},
            }))
            .expect("an event");
            let read = Request::read(event, parse).expect("reads").caller;
            let text = read.as_ref().map(Caller::to_string);
            assert_eq!(text.as_deref(), caller, "{authorizer}");
            let text = read.as_ref().map(Caller::without_session);
            assert_eq!(text.as_deref(), without_session, "{authorizer}");
        }
    }

    #[test]
    fn an_id_that_another_form_of_the_path_shows_as_unaddressable_is_refused() {
        for (raw, context, proxy, is_refused) in [
            ("/shelves/a", None, None, false),
            ("/shelves/a", Some("/shelves/a"), Some("shelves/a"), false),
            ("/shelves/a", Some("/shelves/.."), None, true),
            ("/shelves/a", None, Some("shelves/.."), true),
            // A separator is decoded in one form and encoded in the other.
            ("/shelves/a/b", Some("/shelves/a%2Fb"), None, true),
            ("/shelves/a/b", None, Some("shelves/a%2Fb"), true),
        ] {
            let event = serde_json::from_value(json!({
                "rawPath": raw,
                "pathParameters": proxy.map(|proxy| json!({"proxy": proxy})),
                "requestContext": {"http": {"method": "GET", "path": context}},
            }));
            let read = Request::read(event.expect("an event"), parse);
            let status = read.err().map(|problem| problem.status());
            assert_eq!(
                status,
                is_refused.then_some(400),
                "{raw} {context:?} {proxy:?}"
            );
        }
    }

    #[test]
    fn a_repeated_parameter_keeps_all_its_values() {
        let event = serde_json::from_value(json!({
            "queryStringParameters": {"limit": "1,2,1", "at": ""},
            "requestContext": {"http": {"method": "GET"}},
        }))
        .expect("an event");
        let query = Request::read(event, parse).expect("reads").query;
        let expected = [("limit", "1,2,1"), ("at", "")];
        assert_eq!(
            query,
            expected
                .map(|(name, value)| (name.into(), value.into()))
                .into()
        );
    }

    #[test]
    fn a_body_that_is_not_the_base64_it_claims_to_be_is_malformed() {
        let event = serde_json::from_value(json!({
            "requestContext": {"http": {"method": "POST"}}, "body": "*", "isBase64Encoded": true,
        }))
        .expect("an event");
        assert_eq!(
            Request::read(event, parse).map_err(|problem| problem.status()),
            Err(400)
        );
    }

    #[test]
    fn an_unknown_path_is_404_and_another_method_405_with_allow() {
        let resource = |method, path| request(method, path).resource(parse);
        assert_eq!(resource("POST", "/shelves"), Ok(Resource::Collection));
        let status = |path| resource("POST", path).map_err(|problem| problem.status());
        assert_eq!(status("/orders"), Err(404));
        assert_eq!(status("/shelves/.."), Err(400));
        let response = resource("DELETE", "/shelves/a")
            .expect_err("refused")
            .into_response();
        assert_eq!(response.status, 405);
        assert!(response.headers.contains(&("allow", "GET".to_owned())));
    }

    #[test]
    fn a_correlation_id_is_made_where_none_comes_and_refused_where_it_is_none() {
        assert!(request("GET", "/").correlation_id(&System).is_ok());
        for wrong in [
            String::new(),
            "x".repeat(257),
            "a\u{7}".to_owned(),
            "\u{e9}".to_owned(),
        ] {
            let mut request = request("GET", "/");
            request.headers.insert(CORRELATION_ID.to_owned(), wrong);
            assert_eq!(
                request.correlation_id(&System).map_err(|p| p.status()),
                Err(400)
            );
        }
    }

    /// A source of randomness of which every bit is 0.
    struct Zeros;

    impl Ambient for Zeros {
        fn now(&self) -> Timestamp {
            System.now()
        }

        fn unique_id(&self) -> String {
            System.unique_id()
        }

        fn fraction(&self) -> f64 {
            0.0
        }

        fn random_bits(&self) -> u64 {
            0
        }
    }

    #[test]
    fn a_request_continues_its_callers_trace_or_begins_one() {
        const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let with = |value: &str| {
            let mut request = request("GET", "/");
            let header = (TRACE_PARENT.to_owned(), value.to_owned());
            request.headers.extend([header]);
            request
        };
        let ambient = TestAmbient::default();
        let written = |request: &Request| request.own_span(&ambient).to_string();
        assert_eq!(
            written(&with(CALLER)),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01"
        );
        assert_eq!(
            written(&request("GET", "/")),
            "00-00000000000000030000000000000002-0000000000000004-00"
        );
        for malformed in ["", "00-1", &format!("{CALLER},{CALLER}")] {
            let request = with(malformed);
            assert_eq!(request.trace_parent(), None, "{malformed}");
            assert!(written(&request).ends_with("-00"), "{malformed}");
        }
        assert_ne!(written(&with("")), written(&with("")));
        let spans = [CALLER, ""].map(|value| with(value).own_span(&Zeros).to_string());
        assert!(spans.iter().all(|it| TraceParent::parse(it).is_ok()));
    }

    #[test]
    fn a_problem_is_written_as_rfc_9457_has_it() {
        let problem = Problem::new(422, "insufficient-funds", "the balance is 3")
            .at("/amount")
            .with_header("retry-after", "1");
        assert_eq!(
            (problem.status(), problem.code()),
            (422, "insufficient-funds")
        );
        let response = problem.into_response();
        assert_eq!(response.status, 422);
        assert_eq!(
            response.headers,
            [
                ("content-type", "application/problem+json".to_owned()),
                ("retry-after", "1".to_owned())
            ]
        );
        let body: Value = serde_json::from_str(&response.body).expect("JSON");
        assert_eq!(
            body,
            json!({
                "type": "urn:millrace:problem:insufficient-funds",
                "title": "Insufficient funds",
                "status": 422,
                "detail": "the balance is 3",
                "errors": [{"pointer": "#/amount", "detail": "the balance is 3"}],
            })
        );
    }

    #[test]
    fn an_answer_takes_api_gateways_form() {
        let event = Response::json(200, &json!({"a": 1}))
            .with_header("etag", "\"1\"")
            .into_event();
        assert_eq!(event.status_code, 200);
        assert_eq!(event.headers["etag"], "\"1\"");
        assert_eq!(event.headers["content-type"], "application/json");
        assert_eq!(event.body, Some(Body::Text(r#"{"a":1}"#.into())));
    }
}
