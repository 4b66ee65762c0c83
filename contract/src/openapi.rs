//! The OpenAPI document of the HTTP API.

use millrace_core::answer::member_name;
use millrace_core::envelope::SEQUENCE;
use millrace_core::ids::MAX_ID_CHARS;
use millrace_core::layout::MAX_POSITION;
use millrace_core::{Domain, Project};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::problems::{self, Problem, Requests};
use crate::schema::{self, Object, Use};
use crate::{Contract, ContractError, events};

/// The problem's schema.
const PROBLEM: &str = "Problem";

/// The document.
pub(crate) fn document<D: Contract>() -> Result<Value, ContractError> {
    let mut received = schema::generator(Use::Received, true);
    let mut sent = schema::generator(Use::Sent, true);
    let commands = schema::variants::<D::Command>(&mut received)?;
    let mut schemas = answers::<D>(&mut sent)?;
    schema::add_definitions(&mut schemas, &mut sent)?;
    schema::add_definitions(&mut schemas, &mut received)?;
    schema::add(&mut schemas, PROBLEM.to_owned(), problem())?;

    let refusals = D::refusals();
    let command_problems = problems::of(Requests::Commands, &refusals);
    let query_problems = problems::of(Requests::Queries, &refusals);
    let mut paths = Map::new();
    for command in &commands {
        let opens = command.name == D::OPENS;
        let path = if opens {
            format!("/{}", D::COLLECTION)
        } else {
            format!("{}/{}", item_path::<D>(), command.name)
        };
        let operation = command_operation(command, opens, &command_problems);
        paths.insert(path, with_id::<D>(!opens, "post", &operation));
    }
    let mut query = |path: String, operation: Value| {
        paths.insert(path, with_id::<D>(true, "get", &operation));
    };
    query(item_path::<D>(), view_operation(&query_problems));
    query(
        format!("{}/{}", item_path::<D>(), D::HISTORY),
        history_operation::<D>(&query_problems),
    );
    if let Some(segment) = D::VIEW_AT {
        query(
            format!("{}/{segment}", item_path::<D>()),
            view_at_operation(&query_problems),
        );
    }
    Ok(json!({
        "openapi": "3.1.1",
        "info": {
            "title": format!("{}: HTTP API", D::TITLE),
            "version": D::VERSION,
            "description": "Commands change an aggregate, queries return its state. On AWS, requests are signed with \
                            SigV4 for `execute-api` unless the deployment doesn't authorize them.",
        },
        "servers": [{
            "url": "/",
            "description": "The API that returns this document: the output `ApiUrl` of the deployment",
        }],
        "security": [{ "sigv4": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": parameters::<D>(),
            "headers": headers(),
            "securitySchemes": {
                "sigv4": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "AWS Signature Version 4 for the service `execute-api`",
                    "x-amazon-apigateway-authtype": "awsSigv4",
                },
            },
        },
    }))
}

fn item_path<D: Domain>() -> String {
    format!("/{}/{{{}}}", D::COLLECTION, D::ID)
}

/// A path's operation, with the parameter of the aggregate's id.
fn with_id<D: Domain>(has_id: bool, method: &str, operation: &Value) -> Value {
    let mut item = json!({ method: operation });
    if has_id {
        item["parameters"] = json!([parameter(D::ID)]);
    }
    item
}

fn command_operation(command: &Object, opens: bool, problems: &[Problem]) -> Value {
    let status = if opens { "201" } else { "200" };
    let mut headers = json!({
        "ETag": header("ETag"),
        "X-Correlation-Id": header("X-Correlation-Id"),
        "Idempotent-Replayed": header("Idempotent-Replayed"),
    });
    if opens {
        headers["Location"] = header("Location");
    }
    let mut responses = responses(problems);
    responses.insert(
        status.to_owned(),
        json!({
            "description": "The command was executed once.",
            "headers": headers,
            "content": json_content(&schema::reference("Accepted")),
        }),
    );
    json!({
        "operationId": command.name,
        "summary": command.description,
        "parameters": named(&["Idempotency-Key", "If-Match", "X-Correlation-Id", "X-Causation-Id", "traceparent"]),
        "requestBody": {
            "required": !command.required.is_empty(),
            "content": json_content(&command.schema()),
        },
        "responses": responses,
    })
}

/// A query, without its id.
struct Query<'a> {
    operation_id: &'a str,
    summary: &'a str,
    /// Its own parameters, without those of every query.
    parameters: &'a [&'a str],
    /// The response's description, and the name of its schema.
    response: (&'a str, &'a str),
}

fn query_operation(query: &Query<'_>, problems: &[Problem]) -> Value {
    let mut responses = responses(problems);
    let (description, schema) = query.response;
    responses.insert(
        "200".to_owned(),
        json!({
            "description": description,
            "headers": { "X-Correlation-Id": header("X-Correlation-Id") },
            "content": json_content(&schema::reference(schema)),
        }),
    );
    let of_every_query = ["X-Correlation-Id", "traceparent"];
    json!({
        "operationId": query.operation_id,
        "summary": query.summary,
        "parameters": named(&[&["minSequence"], query.parameters, &of_every_query].concat()),
        "responses": responses,
    })
}

fn view_operation(problems: &[Problem]) -> Value {
    let query = Query {
        operation_id: "view",
        summary: "The current state, as far as the read model has it.",
        parameters: &["If-None-Match"],
        response: ("The current state.", "View"),
    };
    let mut operation = query_operation(&query, problems);
    let responses = &mut operation["responses"];
    responses["200"]["headers"]["ETag"] = header("ETag");
    responses["304"] = json!({ "description": "The state has the entity tag of `If-None-Match`." });
    operation
}

fn history_operation<D: Project>(problems: &[Problem]) -> Value {
    let query = Query {
        operation_id: D::HISTORY,
        summary: "The history, in pages.",
        parameters: &["limit", "before"],
        response: ("A page of the history, newest entry first.", "History"),
    };
    query_operation(&query, problems)
}

fn view_at_operation(problems: &[Problem]) -> Value {
    let query = Query {
        operation_id: "viewAt",
        summary: "The state at a time.",
        parameters: &["at"],
        response: ("The state at that time.", "ViewAt"),
    };
    query_operation(&query, problems)
}

/// A response for each status of these problems.
fn responses(problems: &[Problem]) -> Map<String, Value> {
    let mut responses = Map::new();
    for of_status in problems.chunk_by(|one, other| one.status == other.status) {
        let lines: Vec<String> = of_status
            .iter()
            .map(|problem| format!("* `{}`: {}", problem.code, problem.advice))
            .collect();
        let mut headers = json!({ "X-Correlation-Id": header("X-Correlation-Id") });
        match of_status[0].status {
            405 => headers["Allow"] = header("Allow"),
            409 | 503 => headers["Retry-After"] = header("Retry-After"),
            _ => {}
        }
        responses.insert(
            of_status[0].status.to_string(),
            json!({
                "description": lines.join("\n"),
                "headers": headers,
                "content": { "application/problem+json": { "schema": schema::reference(PROBLEM) } },
            }),
        );
    }
    responses
}

/// The schemas of the responses: core's members, and the domain's.
fn answers<D: Contract>(
    generator: &mut SchemaGenerator,
) -> Result<Map<String, Value>, ContractError> {
    let id = || {
        json!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ID_CHARS,
            "description": "The aggregate's id. It is opaque: don't parse it.",
        })
    };
    let accepted = schema::members::<D::Accepted>(generator)?;
    let view = schema::members::<D::View>(generator)?;
    let entry = schema::members::<D::Entry>(generator)?;
    let own = |object: Object| object.without_null().renamed(member_name);
    let accepted = own(accepted)
        .with(D::ID, id())
        .with(SEQUENCE, events::sequence());
    let current = own(view.clone())
        .with(D::ID, id())
        .with(SEQUENCE, events::sequence())
        .with("openedAt", events::time("The time of the first event."))
        .with(
            "updatedAt",
            events::time("The time of the last event that the state contains."),
        );
    let at = own(view)
        .with(D::ID, id())
        .with(SEQUENCE, events::sequence())
        .with("at", events::time("The time of the state."));
    let entry = own(entry)
        .with(SEQUENCE, events::sequence())
        .with(
            "type",
            json!({ "type": "string", "description": "The event's type." }),
        )
        .with("time", events::time("When it happened."))
        .with_optional(
            "correlationId",
            json!({ "type": "string", "description": "The event's correlation id." }),
        );
    let page = Object::new("History", Some("A page of the history."))
        .with(D::ID, id())
        .with(
            D::HISTORY,
            json!({ "type": "array", "items": schema::reference("Entry") }),
        )
        .with_optional(
            "next",
            json!({
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_POSITION,
                "description": "What to pass as `before` for the next page. Absent on the last page.",
            }),
        );
    let mut schemas = Map::new();
    for (name, object) in [
        ("Accepted", accepted),
        ("View", current),
        ("Entry", entry),
        ("History", page),
    ] {
        schemas.insert(name.to_owned(), object.schema());
    }
    if D::VIEW_AT.is_some() {
        schemas.insert("ViewAt".to_owned(), at.schema());
    }
    Ok(schemas)
}

/// The schema of a problem ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
fn problem() -> Value {
    json!({
        "type": "object",
        "description": "A problem of RFC 9457.",
        "properties": {
            "type": {
                "type": "string",
                "description": "`urn:millrace:problem:` and the problem's code, which never changes.",
                "pattern": "^urn:millrace:problem:[a-z0-9-]+$",
            },
            "title": { "type": "string", "description": "The code in words." },
            "status": { "type": "integer", "description": "The response's status." },
            "detail": { "type": "string", "description": "What is wrong, for people." },
            "errors": {
                "type": "array",
                "description": "The parts of the body that are wrong.",
                "items": {
                    "type": "object",
                    "properties": {
                        "pointer": { "type": "string", "description": "A JSON pointer as a URI fragment." },
                        "detail": { "type": "string" },
                    },
                    "required": ["detail", "pointer"],
                },
            },
        },
        "required": ["detail", "status", "title", "type"],
    })
}

fn json_content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

fn named(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| parameter(name)).collect()
}

fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

fn parameters<D: Domain>() -> Value {
    let in_header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    let in_query = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let text = |max: usize| json!({ "type": "string", "minLength": 1, "maxLength": max });
    let printable =
        |max: usize| json!({ "type": "string", "pattern": format!("^[ -~]{{1,{max}}}$") });
    json!({
        D::ID: {
            "name": D::ID,
            "in": "path",
            "required": true,
            "description": "The aggregate's id, percent-encoded. No path can name an id that contains `/` or `?`, \
                            or that is `.` or `..`.",
            "schema": { "type": "string", "pattern": "^[^/?\\u0000-\\u001f\\u007f-\\u009f]{1,256}$" },
        },
        "Idempotency-Key": in_header(
            "Idempotency-Key",
            "Preferably a UUID. The same key with the same request within 24 hours gets the first outcome.",
            printable(255),
        ),
        "If-Match": in_header(
            "If-Match",
            "Executes the command only if the aggregate is in that state: entity tags, or `*`.",
            text(1024),
        ),
        "If-None-Match": in_header(
            "If-None-Match",
            "Asks for the state only if it has another entity tag.",
            text(1024),
        ),
        "X-Correlation-Id": in_header(
            "X-Correlation-Id",
            "Generated if it is missing. It is published with the event as `correlationid`.",
            printable(256),
        ),
        "X-Causation-Id": in_header(
            "X-Causation-Id",
            "The id of the cause of the command. It is published with the event as `causationid`.",
            text(MAX_ID_CHARS),
        ),
        "traceparent": in_header(
            "traceparent",
            "The client's span, as in W3C Trace Context. An event of a command has a span of the writer in the same trace.",
            json!({ "type": "string" }),
        ),
        "minSequence": in_query(
            "minSequence",
            "Waits up to two seconds until the read model includes the event of this sequence.",
            json!({ "type": "integer", "minimum": 0, "maximum": MAX_POSITION }),
        ),
        "limit": in_query(
            "limit",
            "The most entries of the page.",
            json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 20 }),
        ),
        "before": in_query(
            "before",
            "Only entries of lower sequences.",
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_POSITION }),
        ),
        "at": in_query(
            "at",
            "An RFC 3339 time with any offset; now if it is missing.",
            json!({ "type": "string", "format": "date-time" }),
        ),
    })
}

fn headers() -> Value {
    let text =
        |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "Allow": text("The method that the path takes."),
        "ETag": text("The sequence of the aggregate's last event, in quotes."),
        "Idempotent-Replayed": text("`true` if this is the outcome of an earlier request with the same key."),
        "Location": text("The path of the new aggregate."),
        "Retry-After": {
            "description": "After how many seconds to try again.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "X-Correlation-Id": text("The request's correlation id, or a new one."),
    })
}
