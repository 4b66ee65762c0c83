//! The checked-in documents of the contract are those of the code, and no change of the code breaks a published one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use millrace_contract::{Documents, breaking_changes, documents};
use millrace_domain::Accounts;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn generated() -> Documents {
    documents::<Accounts>().expect("the contract")
}

/// The checked-in files of a folder and its subfolders, by their paths from the repository on.
fn files(folder: &str) -> Documents {
    let mut found = Documents::new();
    for entry in fs::read_dir(root().join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().display());
        if entry.path().is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path, fs::read_to_string(entry.path()).expect("a text"));
        }
    }
    found
}

fn frozen() -> Documents {
    files("contracts/published")
}

#[test]
fn the_documents_are_those_of_the_code() {
    let mut checked_in = files("contracts");
    checked_in.retain(|path, _| !path.starts_with("contracts/published/"));
    let guide = fs::read_to_string(root().join("docs/events.md")).expect("the page");
    checked_in.insert("docs/events.md".to_owned(), guide);
    for (path, text) in &generated() {
        let found = checked_in.remove(path);
        assert!(
            found.as_ref() == Some(text),
            "{path} differs from the code: run `cargo run -- contract`"
        );
    }
    let others: Vec<_> = checked_in.into_keys().collect();
    assert!(others.is_empty(), "no code has these documents: {others:?}");
}

#[test]
fn no_published_document_is_broken() {
    let frozen = frozen();
    assert!(frozen.len() >= 6, "the published contract is found");
    let breaking = breaking_changes(&frozen, &generated());
    let breaking: Vec<String> = breaking.iter().map(ToString::to_string).collect();
    assert!(breaking.is_empty(), "{breaking:#?}");
}

type Change = fn(&mut Value);

const CREDITED: &str = "contracts/schemas/BalanceCredited.1.json";
const ENVELOPE: &str = "contracts/schemas/envelope.json";
const API: &str = "contracts/openapi.json";
const LAKE: &str = "contracts/lake.json";

/// Checks that each change of a document, which would break someone, is found and named with its place.
fn assert_found(cases: &[(&str, &str, Change)]) {
    let (frozen, generated) = (frozen(), generated());
    for (document, expected, change) in cases {
        let mut changed = generated.clone();
        let text = changed.get_mut(*document).expect("a document");
        let mut value: Value = serde_json::from_str(text).expect("JSON");
        change(&mut value);
        *text = value.to_string();
        let found = breaking_changes(&frozen, &changed);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(
            found
                .iter()
                .any(|it| it.starts_with(document) && it.contains(expected)),
            "{document}: {expected}: {found:#?}"
        );
    }
}

#[test]
fn each_breaking_change_of_an_event_is_found() {
    assert_found(&[
        (CREDITED, "amount was removed", |it| {
            remove(it, "/properties", "amount");
        }),
        (CREDITED, "amount has another `type`", |it| {
            it["properties"]["amount"]["type"] = "string".into();
        }),
        (CREDITED, "amount has a wider `maximum`", |it| {
            it["properties"]["amount"]["maximum"] = 9_007_199_254_740_992_i64.into();
        }),
        (CREDITED, "amount has a wider `minimum`", |it| {
            remove(it, "/properties/amount", "minimum");
        }),
        (CREDITED, "currency has another `pattern`", |it| {
            it["properties"]["currency"]["pattern"] = "^[A-Z]+$".into();
        }),
        (CREDITED, "amount is no longer always present", |it| {
            it["required"] = serde_json::json!(["accountId", "currency", "sequence"]);
        }),
        (CREDITED, "reference is new and always present", |it| {
            it["properties"]["reference"] = serde_json::json!({ "type": "string" });
            it["required"]
                .as_array_mut()
                .expect("a list")
                .push("reference".into());
        }),
        (CREDITED, "currency has other values", |it| {
            it["properties"]["currency"]["enum"] = serde_json::json!(["EUR"]);
        }),
        (CREDITED, "amount has another `multipleOf`", |it| {
            it["properties"]["amount"]["multipleOf"] = 5.into();
        }),
        (CREDITED, "has another `additionalProperties`", |it| {
            it["additionalProperties"] = serde_json::json!({ "type": "string" });
        }),
        (CREDITED, "amount has other elements", |it| {
            it["properties"]["amount"]["items"] = serde_json::json!({ "type": "string" });
        }),
        (ENVELOPE, "type has no longer the value", |it| {
            it["properties"]["type"]["enum"]
                .as_array_mut()
                .expect("a list")
                .pop();
        }),
        (ENVELOPE, "correlationid is no longer optional", |it| {
            it["required"]
                .as_array_mut()
                .expect("a list")
                .push("correlationid".into());
        }),
        (ENVELOPE, "source has no longer the value", |it| {
            it["properties"]["source"]["const"] = "urn:millrace:other".into();
        }),
    ]);
}

#[test]
fn each_breaking_change_of_the_api_and_the_lake_is_found() {
    assert_found(&[
        (
            API,
            "POST /accounts/{accountId}/credit: was removed",
            |it| {
                remove(it, "/paths", "/accounts/{accountId}/credit");
            },
        ),
        (API, "body.reference is new and required", |it| {
            let body = body(it);
            body["properties"]["reference"] = serde_json::json!({ "type": "string" });
            body["required"] = serde_json::json!(["amount", "reference"]);
        }),
        (API, "body.amount was removed", |it| {
            remove(body(it), "/properties", "amount");
        }),
        (API, "200.balance was removed", |it| {
            remove(it, "/components/schemas/View/properties", "balance");
        }),
        (API, "parameter If-None-Match was removed", |it| {
            it["paths"]["/accounts/{accountId}"]["get"]["parameters"] = serde_json::json!([]);
        }),
        (API, "parameter limit has a narrower `maximum`", |it| {
            it["components"]["parameters"]["limit"]["schema"]["maximum"] = 50.into();
        }),
        (API, "parameter minSequence is no longer optional", |it| {
            it["components"]["parameters"]["minSequence"]["required"] = true.into();
        }),
        (API, "parameter tenant is new and required", |it| {
            let operation = &mut it["paths"]["/accounts/{accountId}"]["get"];
            let parameters = operation["parameters"].as_array_mut().expect("a list");
            parameters.push(serde_json::json!({
                "name": "tenant", "in": "query", "required": true, "schema": { "type": "string" },
            }));
        }),
        (API, "200.sequence is no longer always present", |it| {
            it["components"]["schemas"]["View"]["required"] = serde_json::json!(["accountId"]);
        }),
        (LAKE, "data: amount has another type", |it| {
            let fields = it["data"].as_array_mut().expect("a list");
            let amount = fields.iter_mut().find(|field| field["name"] == "amount");
            amount.expect("the field")["type"] = "string".into();
        }),
        (LAKE, "columns: time was removed", |it| {
            let columns = it["columns"].as_array_mut().expect("a list");
            columns.retain(|column| column["name"] != "time");
        }),
    ]);
}

/// What a consumer survives isn't reported.
#[test]
fn texts_optional_members_and_new_types_are_no_breaking_changes() {
    let (frozen, mut changed) = (frozen(), generated());
    let mut change = |document: &str, change: fn(&mut Value)| {
        let text = changed.get_mut(document).expect("a document");
        let mut value: Value = serde_json::from_str(text).expect("JSON");
        change(&mut value);
        *text = value.to_string();
    };
    change("contracts/schemas/BalanceCredited.1.json", |it| {
        it["properties"]["amount"]["description"] = "Another text.".into();
        it["properties"]["reference"] = serde_json::json!({ "type": "string" });
    });
    change("contracts/schemas/envelope.json", |it| {
        for (member, value) in [
            ("type", "AccountClosed"),
            ("dataschema", "urn:millrace:schema:AccountClosed:1"),
        ] {
            let values = it["properties"][member]["enum"].as_array_mut();
            values.expect("a list").push(value.into());
        }
    });
    change("contracts/openapi.json", |it| {
        it["paths"]["/accounts/{accountId}/close"] = serde_json::json!({ "post": {} });
        body(it)["properties"]["reference"] = serde_json::json!({ "type": "string" });
        let view = &mut it["components"]["schemas"]["View"];
        view["properties"]["owner"] = serde_json::json!({ "type": "string" });
        view["required"]
            .as_array_mut()
            .expect("a list")
            .push("owner".into());
    });
    change("contracts/lake.json", |it| {
        let fields = it["data"].as_array_mut().expect("a list");
        fields.push(serde_json::json!({ "name": "reference", "type": "string" }));
    });
    assert_eq!(breaking_changes(&frozen, &changed), []);
}

fn remove(document: &mut Value, pointer: &str, name: &str) {
    let object = document.pointer_mut(pointer).and_then(Value::as_object_mut);
    object.expect("an object").remove(name).expect("a member");
}

/// The schema of the body of a credit.
fn body(api: &mut Value) -> &mut Value {
    &mut api["paths"]["/accounts/{accountId}/credit"]["post"]["requestBody"]["content"]["application/json"]
        ["schema"]
}

/// The reader shows every document but the lake's columns, which only the deployment needs.
#[test]
fn the_reader_shows_the_documents() {
    let source = include_str!("../../app/src/bin/reader.rs");
    let generated = generated();
    let shown: BTreeSet<&str> = generated
        .keys()
        .filter_map(|path| path.strip_prefix("contracts/"))
        .filter(|name| *name != "lake.json")
        .collect();
    for name in &shown {
        let entry = format!("\"{name}\"");
        let file = format!("include_str!(\"../../../contracts/{name}\")");
        assert!(
            source.contains(&entry) && source.contains(&file),
            "app/src/bin/reader.rs lacks {name}"
        );
    }
    assert_eq!(source.matches("include_str!").count(), shown.len());
}

/// docs/api.md lists the same problems as the OpenAPI document.
#[test]
fn the_api_page_lists_the_problems_of_the_openapi_document() {
    let page = include_str!("../../docs/api.md");
    let listed: BTreeSet<(String, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"))
        .filter(|(status, _)| status.parse::<u16>().is_ok())
        .filter_map(|(status, rest)| Some((status.to_owned(), rest.split_once('`')?.0.to_owned())))
        .collect();
    let document: Value = serde_json::from_str(&generated()[API]).expect("JSON");
    let mut generated = BTreeSet::new();
    for item in document["paths"].as_object().expect("paths").values() {
        let operations = item.as_object().expect("operations").values();
        let responses = operations.filter_map(|operation| operation["responses"].as_object());
        for (status, response) in responses.flatten() {
            let text = response["description"].as_str().expect("a text");
            let codes = text.lines().filter_map(|line| line.strip_prefix("* `"));
            let codes = codes.filter_map(|line| Some(line.split_once('`')?.0.to_owned()));
            generated.extend(codes.map(|code| (status.clone(), code)));
        }
    }
    assert!(generated.len() > 10, "the problems are found");
    assert_eq!(listed, generated);
}

/// The golden events contain only members that the schemas describe, and all that are always present.
#[test]
fn the_golden_events_have_the_members_that_the_schemas_describe() {
    let generated = generated();
    let schema = |name: &str| -> Value {
        let text = &generated[&format!("contracts/schemas/{name}.json")];
        serde_json::from_str(text).expect("JSON")
    };
    let envelope = schema("envelope");
    let mut seen = 0;
    let cases = millrace_tests::corpus::read().expect("the corpus");
    for line in cases.iter().flat_map(|case| &case.events) {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert_members(&envelope, &event);
        let text = |name: &str| event[name].as_str().expect("a string").to_owned();
        let version = text("dataschema");
        let version = version.rsplit(':').next().expect("a version");
        let data = schema(&format!("{}.{version}", text("type")));
        assert_eq!(data["$id"], event["dataschema"]);
        assert_members(&data, &event["data"]);
        seen += 1;
    }
    assert!(seen > 5, "the corpus is found");
}

/// Every member has a schema, and no member that is always present is missing.
fn assert_members(schema: &Value, object: &Value) {
    let members = object.as_object().expect("an object");
    for name in members.keys() {
        assert!(schema["properties"].get(name).is_some(), "{name}: {object}");
    }
    for name in schema["required"].as_array().expect("a list") {
        let name = name.as_str().expect("a name");
        assert!(members.contains_key(name), "{name}: {object}");
    }
}
