//! The addresses and names of a running stack's parts, for programs: `local.json` in its state folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::files;

/// The stack's region.
pub(super) const REGION: &str = "us-east-1";

/// The addresses and names of a running stack's parts. `local.json` has the same content. The file exists
/// while the stack is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Local {
    /// The emulator's URL, the value for `AWS_ENDPOINT_URL`.
    pub endpoint_url: String,
    /// The region, the value for `AWS_REGION`.
    pub region: String,
    /// The URL of the HTTP API, without a slash at its end.
    pub api_url: String,
    /// The events table, the source of truth.
    pub events_table: String,
    /// The table of the outcomes of commands with an `Idempotency-Key`.
    pub idempotency_table: String,
    /// The table of the publication cursors.
    pub cursor_table: String,
    /// The table of the views, one item per aggregate.
    #[serde(alias = "accountsTable")]
    pub view_table: String,
    /// The table of the histories, one item per event.
    #[serde(alias = "transactionsTable")]
    pub history_table: String,
    /// The Kinesis stream of domain events.
    pub stream_name: String,
    /// The stream's ARN, with which a subscriber's stack refers to it. `None` for a stack of a version without the
    /// output.
    #[serde(default)]
    pub stream_arn: Option<String>,
    /// The Firehose stream that delivers the events to the lake.
    pub delivery_stream: String,
    /// The bucket of the lake.
    pub lake_bucket: String,
    /// The bucket of the discarded batches.
    pub failure_bucket: String,
    /// The table of the reconciler's state, with its last report. This and the next two are `None` for a
    /// stack of a version without a reconciler.
    #[serde(default)]
    pub reconciler_table: Option<String>,
    /// The name of the reconciler's function.
    #[serde(default)]
    pub reconciler_function: Option<String>,
    /// Minutes between two runs of the reconciler.
    #[serde(default)]
    pub reconciler_minutes: Option<String>,
    /// The Athena work group for queries of the lake.
    pub athena_work_group: String,
    /// The lake's database in the Glue catalogue.
    pub glue_database: String,
    /// The lake's table in the Glue catalogue.
    pub glue_table: String,
    /// The domain's settings: the outputs that the domain adds to the stack, such as `DefaultCurrency`.
    pub settings: BTreeMap<String, String>,
}

/// The outputs of the CDK app's stack.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outputs {
    api_id: String,
    events_table: String,
    idempotency_table: String,
    cursor_table: String,
    view_table: String,
    history_table: String,
    stream_name: String,
    stream_arn: String,
    delivery_stream: String,
    lake_bucket: String,
    failure_bucket: String,
    reconciler_table: String,
    reconciler_function: String,
    reconciler_minutes: String,
    glue_database: String,
    glue_table: String,
    athena_work_group: String,
    /// Not used here: the URL on AWS.
    #[serde(rename = "ApiUrl")]
    _api_url: String,
    #[serde(flatten)]
    settings: BTreeMap<String, String>,
}

/// The file that `cdk deploy` writes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OutputsFile {
    millrace: Outputs,
}

impl Local {
    /// Reads the outputs of a deployment to the emulator at `endpoint_url`.
    pub(super) fn from_outputs(outputs: &[u8], endpoint_url: &str) -> Result<Self> {
        let OutputsFile { millrace: outputs } = serde_json::from_slice(outputs)
            .context("the outputs of the CDK app have an unexpected form")?;
        Ok(Self {
            endpoint_url: endpoint_url.to_owned(),
            region: REGION.to_owned(),
            // With the id in the path: not every system resolves the names below `localhost` that the
            // emulator also accepts.
            api_url: format!("{endpoint_url}/_aws/execute-api/{}", outputs.api_id),
            events_table: outputs.events_table,
            idempotency_table: outputs.idempotency_table,
            cursor_table: outputs.cursor_table,
            view_table: outputs.view_table,
            history_table: outputs.history_table,
            stream_name: outputs.stream_name,
            stream_arn: Some(outputs.stream_arn),
            delivery_stream: outputs.delivery_stream,
            lake_bucket: outputs.lake_bucket,
            failure_bucket: outputs.failure_bucket,
            reconciler_table: Some(outputs.reconciler_table),
            reconciler_function: Some(outputs.reconciler_function),
            reconciler_minutes: Some(outputs.reconciler_minutes),
            athena_work_group: outputs.athena_work_group,
            glue_database: outputs.glue_database,
            glue_table: outputs.glue_table,
            settings: outputs.settings,
        })
    }

    pub(super) fn write(&self, state: &Path) -> Result<()> {
        files::write_atomically(&path(state), &serde_json::to_vec_pretty(self)?)
    }
}

/// Removes `local.json`, because the stack is no longer ready.
pub(super) fn remove(state: &Path) -> Result<()> {
    files::remove_if_there(&path(state))
}

fn path(state: &Path) -> PathBuf {
    state.join("local.json")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn outputs() -> Value {
        json!({ "Millrace": {
            "ApiId": "api", "ApiUrl": "https://elsewhere/", "EventsTable": "events",
            "IdempotencyTable": "idempotency", "CursorTable": "cursors",
            "ViewTable": "views", "HistoryTable": "history",
            "StreamName": "stream", "StreamArn": "stream-arn", "DeliveryStream": "delivery", "LakeBucket": "lake",
            "FailureBucket": "failures", "ReconcilerTable": "reconciler-state",
            "ReconcilerFunction": "reconciler", "ReconcilerMinutes": "1", "GlueDatabase": "database", "GlueTable": "table",
            "AthenaWorkGroup": "group", "DefaultCurrency": "EUR",
        }})
    }

    fn local(outputs: &Value) -> Result<Local> {
        Local::from_outputs(outputs.to_string().as_bytes(), "http://127.0.0.1:4566")
    }

    #[test]
    fn the_file_contains_the_names_that_programs_rely_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = local(&outputs()).expect("readable");
        local.write(folder.path()).expect("written");
        let written = std::fs::read(path(folder.path())).expect("there");
        assert_eq!(
            serde_json::from_slice::<Value>(&written).expect("JSON"),
            json!({
                "endpointUrl": "http://127.0.0.1:4566", "region": "us-east-1",
                "apiUrl": "http://127.0.0.1:4566/_aws/execute-api/api",
                "eventsTable": "events", "idempotencyTable": "idempotency",
                "cursorTable": "cursors", "viewTable": "views",
                "historyTable": "history", "streamName": "stream",
                "streamArn": "stream-arn",
                "deliveryStream": "delivery", "lakeBucket": "lake", "failureBucket": "failures",
                "reconcilerTable": "reconciler-state", "reconcilerFunction": "reconciler",
                "reconcilerMinutes": "1",
                "athenaWorkGroup": "group", "glueDatabase": "database", "glueTable": "table",
                "settings": {"DefaultCurrency": "EUR"},
            })
        );
        assert_eq!(
            serde_json::from_slice::<Local>(&written).expect("readable"),
            local
        );
        remove(folder.path()).expect("removed");
        assert!(!path(folder.path()).exists());
    }

    #[test]
    fn all_other_outputs_of_the_app_are_settings_of_the_domain() {
        let mut expected = crate::names::outputs();
        expected.push("DefaultCurrency".to_owned());
        expected.sort();
        let outputs = outputs();
        let outputs_read = outputs["Millrace"].as_object().expect("an object");
        let mut names: Vec<&String> = outputs_read.keys().collect();
        names.sort();
        assert_eq!(names, expected.iter().collect::<Vec<_>>());
        let settings = local(&outputs).expect("readable").settings;
        assert_eq!(
            settings.into_keys().collect::<Vec<_>>(),
            ["DefaultCurrency"]
        );
    }

    #[test]
    fn a_file_of_a_version_without_reconciler_is_read() {
        let mut previous =
            serde_json::to_value(local(&outputs()).expect("readable")).expect("JSON");
        let names = previous.as_object_mut().expect("an object");
        names.retain(|name, _| !name.starts_with("reconciler") && name != "streamArn");
        let read: Local = serde_json::from_value(previous).expect("readable");
        assert_eq!(read.reconciler_table, None);
        assert_eq!(read.stream_arn, None);
    }

    #[test]
    fn the_error_names_a_missing_output() {
        let mut outputs = outputs();
        outputs["Millrace"]
            .as_object_mut()
            .expect("an object")
            .remove("GlueTable");
        let error = local(&outputs).expect_err("incomplete");
        assert!(format!("{error:#}").contains("GlueTable"), "{error:#}");
    }
}
