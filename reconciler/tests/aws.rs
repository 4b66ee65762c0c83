//! What the adapter sends to AWS, and how it reads the responses.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::{
    ConditionalCheckFailedException, ProvisionedThroughputExceededException,
};
use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_sdk_lambda::operation::list_event_source_mappings::{
    ListEventSourceMappingsError, ListEventSourceMappingsOutput,
};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::EventSourceMappingConfiguration;
use aws_sdk_lambda::types::error::ServiceException;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::Object;
use aws_sdk_s3::types::error::NoSuchKey;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use millrace_core::{Attribute, Attributes, Timestamp};
use millrace_reconciler::adapters::aws::AwsServices;
use millrace_reconciler::config::Config;
use millrace_reconciler::ports::{
    FailureBucket as _, Functions as _, Mapping, Marker, Source, Store as _, Tables as _,
};
use serde_json::json;

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: &str) -> AttributeValue {
    AttributeValue::N(number.to_owned())
}

fn item(attributes: &[(&str, AttributeValue)]) -> HashMap<String, AttributeValue> {
    attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).expect("valid")
}

/// The services, whose calls get the responses of these rules in order. A table's name is its variable's
/// in lower case.
fn services(rules: &[&Rule]) -> AwsServices {
    let config = Config::read(|name| Some(name.to_lowercase())).expect("complete");
    AwsServices::new(
        mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules),
        mock_client!(aws_sdk_lambda, RuleMode::Sequential, rules),
        mock_client!(aws_sdk_s3, RuleMode::Sequential, rules),
        &config,
    )
}

#[tokio::test]
async fn the_markers_of_one_partition_come_from_the_index_page_by_page() {
    for (marker, table, index, key, value) in [
        (
            Marker::Blocked,
            "cursor_table",
            "Suspended",
            "SuspendedIn",
            "blocked/3",
        ),
        (
            Marker::Parked,
            "cursor_table",
            "Suspended",
            "SuspendedIn",
            "parked/3",
        ),
        (Marker::Stale, "view_table", "Stale", "StaleIn", "stale/3"),
    ] {
        let rule = mock!(aws_sdk_dynamodb::Client::query)
            .match_requests(move |request| {
                let names = request.expression_attribute_names().expect("names");
                let values = request.expression_attribute_values().expect("values");
                request.table_name() == Some(table)
                    && request.index_name() == Some(index)
                    && request.key_condition_expression() == Some("#key = :key")
                    && names["#key"] == key
                    && values[":key"] == s(value)
                    && request.exclusive_start_key() == Some(&item(&[("Id", s("z"))]))
            })
            .then_output(|| {
                QueryOutput::builder()
                    .items(item(&[("Id", s("a"))]))
                    .items(item(&[("Id", s("b"))]))
                    .last_evaluated_key("Id", s("b"))
                    .build()
            });
        let after = Attributes::from([("Id".to_owned(), Attribute::text("z"))]);
        let page = services(&[&rule]).marked(marker, 3, Some(&after)).await;
        let page = page.expect("read");
        assert_eq!(page.ids, ["a", "b"]);
        let after = page.after.expect("more follows");
        assert_eq!(after["Id"], Attribute::text("b"));
    }
    let empty = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|request| request.exclusive_start_key().is_none())
        .then_output(|| QueryOutput::builder().build());
    let page = services(&[&empty]).marked(Marker::Stale, 0, None).await;
    let page = page.expect("read");
    assert_eq!((page.ids.len(), page.after), (0, None));
}

/// The scan starts after the highest version that a row can have, so it skips the rest of an aggregate.
#[tokio::test]
async fn the_next_aggregate_is_found_after_all_rows_of_the_one_before() {
    let empty_page = mock!(aws_sdk_dynamodb::Client::scan)
        .match_requests(|request| {
            let names = request.expression_attribute_names().expect("names");
            let after = item(&[("Id", s("a")), ("Version", n("9007199254740991"))]);
            request.table_name() == Some("events_table")
                && request.limit() == Some(1)
                && (request.segment(), request.total_segments()) == (Some(3), Some(4))
                && request.projection_expression() == Some("#id")
                && names["#id"] == "Id"
                && request.exclusive_start_key() == Some(&after)
        })
        .then_output(|| {
            ScanOutput::builder()
                .last_evaluated_key("Id", s("b"))
                .build()
        });
    let found = mock!(aws_sdk_dynamodb::Client::scan)
        .match_requests(|request| request.exclusive_start_key() == Some(&item(&[("Id", s("b"))])))
        .then_output(|| {
            ScanOutput::builder()
                .items(item(&[("Id", s("c"))]))
                .last_evaluated_key("Id", s("c"))
                .build()
        });
    let services = services(&[&empty_page, &found]);
    let next = services.next_id(3, Some("a")).await.expect("read");
    assert_eq!(next.as_deref(), Some("c"));
}

#[tokio::test]
async fn the_end_of_a_segment_has_no_next_aggregate() {
    let end = mock!(aws_sdk_dynamodb::Client::scan)
        .match_requests(|request| request.exclusive_start_key().is_none())
        .then_output(|| ScanOutput::builder().build());
    assert_eq!(
        services(&[&end]).next_id(0, None).await.expect("read"),
        None
    );
}

#[tokio::test]
async fn the_newest_row_is_read_consistently_from_the_end() {
    let rule = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|request| {
            let values = request.expression_attribute_values().expect("values");
            request.table_name() == Some("events_table")
                && request.consistent_read() == Some(true)
                && request.scan_index_forward() == Some(false)
                && request.limit() == Some(1)
                && request.key_condition_expression() == Some("#id = :id")
                && values[":id"] == s("a")
        })
        .then_output(|| {
            QueryOutput::builder()
                .items(item(&[("Id", s("a")), ("Version", n("7"))]))
                .build()
        });
    let none =
        mock!(aws_sdk_dynamodb::Client::query).then_output(|| QueryOutput::builder().build());
    let services = services(&[&rule, &none]);
    let row = services
        .newest_row("a")
        .await
        .expect("read")
        .expect("a row");
    assert_eq!(row["Version"], Attribute::Number("7".to_owned()));
    assert_eq!(services.newest_row("a").await.expect("read"), None);
}

#[tokio::test]
async fn the_mappings_of_a_stream_are_read_to_the_last_page() {
    fn mapping(id: &str, function: &str) -> EventSourceMappingConfiguration {
        EventSourceMappingConfiguration::builder()
            .uuid(id)
            .function_arn(format!("arn:aws:lambda:eu-west-1:1:function:{function}"))
            .state("Enabled")
            .last_processing_result("OK")
            .build()
    }
    let first = mock!(aws_sdk_lambda::Client::list_event_source_mappings)
        .match_requests(|request| {
            request.event_source_arn() == Some("stream_arn") && request.marker().is_none()
        })
        .then_output(|| {
            ListEventSourceMappingsOutput::builder()
                .event_source_mappings(mapping("1", "projector"))
                .next_marker("more")
                .build()
        });
    let second = mock!(aws_sdk_lambda::Client::list_event_source_mappings)
        .match_requests(|request| request.marker() == Some("more"))
        .then_output(|| {
            // What Lambda leaves out, and a version of a function.
            let bare = EventSourceMappingConfiguration::builder();
            ListEventSourceMappingsOutput::builder()
                .event_source_mappings(mapping("2", "subscriber:live"))
                .event_source_mappings(bare.build())
                .build()
        });
    // The list of the stream's consumer repeats a mapping.
    let third = mock!(aws_sdk_lambda::Client::list_event_source_mappings)
        .match_requests(|request| request.event_source_arn() == Some("stream_consumer_arn"))
        .then_output(|| {
            ListEventSourceMappingsOutput::builder()
                .event_source_mappings(mapping("1", "projector"))
                .event_source_mappings(mapping("3", "projector"))
                .build()
        });
    let services = services(&[&first, &second, &third]);
    let mappings = services.mappings(Source::Domain).await.expect("read");
    let named = |id: &str, function: &str| Mapping {
        id: id.to_owned(),
        function: function.to_owned(),
        source: Source::Domain,
        state: "Enabled".to_owned(),
        last_result: Some("OK".to_owned()),
    };
    assert_eq!((&*mappings[0].state, &mappings[0].last_result), ("", &None));
    let functions = [("1", "projector"), ("2", "subscriber"), ("3", "projector")];
    assert_eq!(
        mappings[1..],
        functions.map(|(id, function)| named(id, function))
    );
}

/// With some of the mappings unknown, one that is disabled may be among them.
#[tokio::test]
async fn mappings_of_which_a_page_is_missing_are_unknown() {
    let first = mock!(aws_sdk_lambda::Client::list_event_source_mappings)
        .match_requests(|request| request.event_source_arn() == Some("events_stream_arn"))
        .then_output(|| {
            ListEventSourceMappingsOutput::builder()
                .next_marker("more")
                .build()
        });
    let failed = mock!(aws_sdk_lambda::Client::list_event_source_mappings).then_error(|| {
        let error = ServiceException::builder().message("later").build();
        ListEventSourceMappingsError::ServiceException(error)
    });
    let error = services(&[&first, &failed]).mappings(Source::Events).await;
    let error = error.expect_err("a page is missing").to_string();
    assert!(error.contains("ListEventSourceMappings"), "{error}");
}

#[tokio::test]
async fn a_functions_response_is_returned() {
    let rule = mock!(aws_sdk_lambda::Client::invoke)
        .match_requests(|request| {
            let payload = request.payload().expect("a payload");
            request.function_name() == Some("projector")
                && payload.as_ref() == br#"{"Records":[]}"#
                && request.invocation_type().is_none()
        })
        .then_output(|| {
            InvokeOutput::builder()
                .payload(Blob::new(r#"{"batchItemFailures":[]}"#))
                .build()
        });
    let response = services(&[&rule])
        .invoke("projector", &json!({"Records": []}))
        .await;
    assert_eq!(
        response.expect("returned"),
        json!({"batchItemFailures": []})
    );
}

#[tokio::test]
async fn a_function_that_failed_or_answered_no_json_has_no_response_and_its_text_is_not_shown() {
    let failed = || {
        InvokeOutput::builder()
            .function_error("Unhandled")
            .payload(Blob::new(r#"{"errorMessage":"secret"}"#))
            .build()
    };
    let no_json = || InvokeOutput::builder().payload(Blob::new("secret")).build();
    let empty = || InvokeOutput::builder().build();
    for output in [failed as fn() -> InvokeOutput, no_json, empty] {
        let rule = mock!(aws_sdk_lambda::Client::invoke).then_output(output);
        let error = services(&[&rule]).invoke("projector", &json!({})).await;
        let error = error.expect_err("no response");
        let shown = millrace_runtime::Chain(&error).to_string();
        assert!(
            shown.contains("Invoke") && !shown.contains("secret"),
            "{shown}"
        );
    }
}

/// The first invocation may still run.
#[tokio::test(start_paused = true)]
async fn an_invocation_is_not_repeated() {
    let unavailable = mock!(aws_sdk_lambda::Client::invoke)
        .sequence()
        .http_status(503, None)
        .output(|| InvokeOutput::builder().payload(Blob::new("{}")).build())
        .build();
    let error = services(&[&unavailable])
        .invoke("projector", &json!({}))
        .await;
    error.expect_err("unavailable");
    assert_eq!(unavailable.num_calls(), 1);
}

#[tokio::test]
async fn the_objects_of_discarded_batches_are_listed_in_pages() {
    let object = |key: &str| {
        Object::builder()
            .key(key)
            .last_modified(DateTime::from_millis(1_500))
            .build()
    };
    let rule = mock!(aws_sdk_s3::Client::list_objects_v2)
        .match_requests(|request| {
            request.bucket() == Some("failure_bucket")
                && request.prefix() == Some("aws/lambda/")
                && request.start_after() == Some("aws/lambda/0")
        })
        .then_output(move || {
            ListObjectsV2Output::builder()
                .contents(object("aws/lambda/1"))
                .contents(object("aws/lambda/2"))
                .is_truncated(true)
                .build()
        });
    let last = mock!(aws_sdk_s3::Client::list_objects_v2)
        .match_requests(|request| request.start_after().is_none())
        .then_output(move || {
            ListObjectsV2Output::builder()
                .contents(object("aws/lambda/1"))
                .is_truncated(false)
                .build()
        });
    let services = services(&[&rule, &last]);
    let page = services.objects(Some("aws/lambda/0")).await.expect("read");
    let listed: Vec<_> = page
        .objects
        .iter()
        .map(|it| (&*it.key, it.written))
        .collect();
    assert_eq!(
        listed,
        [("aws/lambda/1", at(1_500)), ("aws/lambda/2", at(1_500))]
    );
    assert_eq!(page.after.as_deref(), Some("aws/lambda/2"));
    let page = services.objects(None).await.expect("read");
    assert_eq!((page.objects.len(), page.after), (1, None));
}

#[tokio::test]
async fn an_object_is_its_content_none_if_it_is_gone_and_an_error_if_that_is_unknown() {
    let there = mock!(aws_sdk_s3::Client::get_object)
        .match_requests(|request| {
            (request.bucket(), request.key()) == (Some("failure_bucket"), Some("aws/lambda/1"))
        })
        .then_output(|| {
            GetObjectOutput::builder()
                .body(ByteStream::from_static(b"content"))
                .build()
        });
    let gone = mock!(aws_sdk_s3::Client::get_object)
        .then_error(|| GetObjectError::NoSuchKey(NoSuchKey::builder().build()));
    let denied = mock!(aws_sdk_s3::Client::get_object).then_error(|| {
        let error = aws_sdk_s3::error::ErrorMetadata::builder().code("AccessDenied");
        GetObjectError::generic(error.build())
    });
    let services = services(&[&there, &gone, &denied]);
    let content = services.object("aws/lambda/1").await.expect("read");
    assert_eq!(content.as_deref(), Some(&b"content"[..]));
    assert_eq!(services.object("aws/lambda/2").await.expect("known"), None);
    services.object("aws/lambda/3").await.expect_err("denied");
}

#[tokio::test]
async fn the_lease_is_put_if_it_is_free_expired_or_the_owners() {
    let put = mock!(aws_sdk_dynamodb::Client::put_item)
        .match_requests(|request| {
            let lease = item(&[
                ("Kind", s("lease")),
                ("Name", s("last")),
                ("Owner", s("run")),
                ("Until", n("9000")),
            ]);
            let values = request.expression_attribute_values().expect("values");
            request.table_name() == Some("reconciler_table")
                && request.item() == Some(&lease)
                && request.condition_expression()
                    == Some("attribute_not_exists(#until) OR #until <= :now OR #owner = :owner")
                && (&values[":now"], &values[":owner"]) == (&n("5000"), &s("run"))
        })
        .then_output(|| PutItemOutput::builder().build());
    let held = mock!(aws_sdk_dynamodb::Client::put_item).then_error(|| {
        let error = ConditionalCheckFailedException::builder().build();
        PutItemError::ConditionalCheckFailedException(error)
    });
    let unknown = mock!(aws_sdk_dynamodb::Client::put_item).then_error(|| {
        let error = aws_sdk_dynamodb::error::ErrorMetadata::builder().code("AccessDeniedException");
        PutItemError::generic(error.build())
    });
    let services = services(&[&put, &held, &unknown]);
    let (now, until) = (at(5_000), at(9_000));
    assert!(services.acquire("run", now, until).await.expect("known"));
    assert!(!services.acquire("run", now, until).await.expect("known"));
    services
        .acquire("run", now, until)
        .await
        .expect_err("unknown");
}

#[tokio::test]
async fn a_lease_that_is_another_runs_is_not_released_and_that_is_no_error() {
    let others = mock!(aws_sdk_dynamodb::Client::delete_item)
        .match_requests(|request| {
            let values = request.expression_attribute_values().expect("values");
            request.key() == Some(&item(&[("Kind", s("lease")), ("Name", s("last"))]))
                && request.condition_expression() == Some("#owner = :owner")
                && values[":owner"] == s("run")
        })
        .then_error(|| {
            let error = ConditionalCheckFailedException::builder().build();
            DeleteItemError::ConditionalCheckFailedException(error)
        });
    services(&[&others]).release("run").await.expect("released");
}

#[tokio::test]
async fn stored_items_are_read_consistently_by_kind_page_by_page() {
    let get = mock!(aws_sdk_dynamodb::Client::get_item)
        .match_requests(|request| {
            request.table_name() == Some("reconciler_table")
                && request.consistent_read() == Some(true)
                && request.key() == Some(&item(&[("Kind", s("batch")), ("Name", s("a"))]))
        })
        .then_output(|| GetItemOutput::builder().build());
    let query = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|request| {
            let values = request.expression_attribute_values().expect("values");
            let after = item(&[("Kind", s("batch")), ("Name", s("a"))]);
            request.consistent_read() == Some(true)
                && request.key_condition_expression() == Some("#kind = :kind")
                && values[":kind"] == s("batch")
                && request.exclusive_start_key() == Some(&after)
        })
        .then_output(|| {
            QueryOutput::builder()
                .items(item(&[
                    ("Kind", s("batch")),
                    ("Name", s("b")),
                    ("State", s("open")),
                ]))
                .last_evaluated_key("Name", s("b"))
                .build()
        });
    let services = services(&[&get, &query]);
    assert_eq!(services.item("batch", "a").await.expect("read"), None);
    let page = services.items("batch", Some("a")).await.expect("read");
    assert!(page.more);
    let (name, stored) = &page.items[0];
    assert_eq!((&**name, &stored["State"]), ("b", &Attribute::text("open")));
}

#[tokio::test]
async fn an_error_names_its_call() {
    let throttled = mock!(aws_sdk_dynamodb::Client::get_item).then_error(|| {
        let error = ProvisionedThroughputExceededException::builder().build();
        GetItemError::ProvisionedThroughputExceededException(error)
    });
    let error = services(&[&throttled]).item("batch", "a").await;
    let error = error.expect_err("throttled").to_string();
    assert!(error.contains("GetItem on the reconciler table"), "{error}");
}
