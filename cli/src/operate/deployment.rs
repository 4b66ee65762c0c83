//! The deployment that an operator's command works on: a local stack, or one on AWS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::config::ProvideCredentials as _;
use millrace_core::Project;
use millrace_local_stack::Workspace;
use millrace_local_stack::stack::Local;
use millrace_projector::adapters::dynamodb::Tables;
use millrace_runtime::System;
use millrace_translator::adapters::dynamodb::{CursorTable, EventsTable};
use millrace_translator::adapters::kinesis::DomainStream;
use serde::Deserialize;
use serde_json::Value;

use super::publish::Publication;
use super::standing::Examiner;
use crate::application::{Application, Words};
use crate::clients::Clients;

/// The names of the deployment's parts, with the keys of `local.json` and those of the CDK's outputs.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Names {
    #[serde(alias = "EventsTable")]
    pub(crate) events_table: String,
    #[serde(alias = "CursorTable")]
    pub(crate) cursor_table: String,
    #[serde(alias = "ViewTable", alias = "AccountsTable", alias = "accountsTable")]
    pub(crate) view_table: String,
    #[serde(
        alias = "HistoryTable",
        alias = "TransactionsTable",
        alias = "transactionsTable"
    )]
    pub(crate) history_table: String,
    #[serde(alias = "StreamName")]
    pub(crate) stream_name: String,
    #[serde(alias = "GlueDatabase")]
    pub(crate) glue_database: String,
    #[serde(alias = "GlueTable")]
    pub(crate) glue_table: String,
    #[serde(alias = "AthenaWorkGroup")]
    pub(crate) athena_work_group: String,
    #[serde(flatten)]
    pub(crate) reconciler: ReconcilerNames,
}

/// The reconciler's names. A deployment of a version without a reconciler has none of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReconcilerNames {
    /// The table that contains the last report.
    #[serde(rename = "reconcilerTable", alias = "ReconcilerTable")]
    table: Option<String>,
    /// The name of the function.
    #[serde(rename = "reconcilerFunction", alias = "ReconcilerFunction")]
    function: Option<String>,
    /// Minutes between two runs, as a string, because outputs are strings.
    #[serde(rename = "reconcilerMinutes", alias = "ReconcilerMinutes")]
    minutes: Option<String>,
}

/// A deployment's reconciler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reconciler {
    /// The table that contains the last report.
    pub(crate) table: String,
    /// The name of the function.
    pub(crate) function: String,
    /// The time between two scheduled runs.
    pub(crate) interval: Duration,
}

impl ReconcilerNames {
    /// The reconciler; `None` if the deployment has none.
    ///
    /// # Errors
    /// If only some of the names are given, or the minutes aren't a number.
    pub(crate) fn reconciler(&self) -> Result<Option<Reconciler>> {
        let names = (&self.table, &self.function, &self.minutes);
        let (Some(table), Some(function), Some(minutes)) = names else {
            ensure!(
                names == (&None, &None, &None),
                "the deployment file names the reconciler incompletely: it must contain \
                 ReconcilerTable, ReconcilerFunction and ReconcilerMinutes"
            );
            return Ok(None);
        };
        let minutes: u32 = minutes
            .parse()
            .with_context(|| format!("ReconcilerMinutes is {minutes:?}, which isn't a number"))?;
        Ok(Some(Reconciler {
            table: table.clone(),
            function: function.clone(),
            interval: Duration::from_secs(60 * u64::from(minutes)),
        }))
    }
}

/// A deployment, with the clients and the domain that the commands need.
pub(crate) struct Deployment<D> {
    /// The deployment file.
    pub(crate) file: PathBuf,
    pub(crate) names: Names,
    pub(crate) clients: Clients,
    pub(crate) domain: D,
    /// The domain's words.
    pub(crate) words: Words,
    /// Whether it is a local stack. There, events reach the lake without the delay of a buffer.
    pub(crate) is_local: bool,
}

impl<D: Project + Clone> Deployment<D> {
    /// Opens the deployment that `file` describes: the `local.json` of a running local stack, or the file
    /// that `cdk deploy --outputs-file` wrote; for the latter, the environment provides region and
    /// credentials. Without a file, it opens the local stack of the checkout.
    ///
    /// # Errors
    /// If the file doesn't exist or isn't complete, or there are no credentials.
    pub(crate) async fn open<A: Application<Domain = D>>(file: Option<PathBuf>) -> Result<Self> {
        let path = match file {
            Some(path) => path,
            None => running_stack(A::COMMAND)?,
        };
        let content = std::fs::read(&path)
            .with_context(|| format!("could not read the deployment {}", path.display()))?;
        let not_a_deployment = || format!("{} doesn't describe a deployment", path.display());
        let described: Value = serde_json::from_slice(&content).with_context(not_a_deployment)?;
        let is_local = described.get("endpointUrl").is_some();
        let (parts, clients) = if is_local {
            let local: Local =
                serde_json::from_value(described.clone()).with_context(not_a_deployment)?;
            (described, Clients::of(&local))
        } else {
            let stacks = described.as_object().with_context(not_a_deployment)?;
            let stack = match stacks.values().collect::<Vec<_>>()[..] {
                [stack] => stack.clone(),
                _ => bail!(
                    "{} contains the outputs of {} stacks; it must contain those of one stack",
                    path.display(),
                    stacks.len()
                ),
            };
            (stack, of_the_environment().await?)
        };
        let names = Names::deserialize(&parts).with_context(not_a_deployment)?;
        let domain =
            A::domain(|variable| setting(&parts, variable)).with_context(not_a_deployment)?;
        Ok(Self {
            file: path,
            names,
            clients,
            domain,
            words: Words::of::<A>(),
            is_local,
        })
    }

    pub(crate) fn domain(&self) -> D {
        self.domain.clone()
    }

    pub(crate) fn events(&self) -> EventsTable {
        EventsTable::new(
            self.clients.dynamodb.clone(),
            self.names.events_table.clone(),
        )
    }

    pub(crate) fn read_models(&self) -> Tables {
        Tables::new(
            self.clients.dynamodb.clone(),
            self.names.view_table.clone(),
            self.names.history_table.clone(),
        )
    }

    pub(crate) fn examiner(&self) -> Examiner<D, EventsTable, CursorTable, Tables> {
        Examiner {
            domain: self.domain(),
            events: self.events(),
            cursors: self.cursors(),
            model: self.read_models(),
        }
    }

    pub(crate) fn cursors(&self) -> CursorTable {
        CursorTable::new(
            self.clients.dynamodb.clone(),
            self.names.cursor_table.clone(),
        )
    }

    /// The services with which `redrive` and `republish` publish, those of the translator.
    pub(crate) fn publication(
        &self,
    ) -> Publication<D, EventsTable, CursorTable, DomainStream, System> {
        Publication {
            domain: self.domain(),
            events: self.events(),
            cursors: self.cursors(),
            publisher: DomainStream::new(
                self.clients.kinesis.clone(),
                self.names.stream_name.clone(),
            ),
            ambient: System,
        }
    }
}

/// A setting of the domain. Its environment variable determines the name of the stack's output:
/// `DEFAULT_CURRENCY` is the output `DefaultCurrency`.
fn setting(outputs: &Value, variable: &str) -> Option<String> {
    let output: String = variable
        .split('_')
        .flat_map(|word| {
            let letters = word.chars().enumerate();
            letters.map(|(index, letter)| match index {
                0 => letter,
                _ => letter.to_ascii_lowercase(),
            })
        })
        .collect();
    let local = &outputs["settings"];
    let value = outputs.get(&output).or_else(|| local.get(&output))?;
    value.as_str().map(str::to_owned)
}

fn running_stack(command: &str) -> Result<PathBuf> {
    let path = Workspace::find()?.local_folder().join("local.json");
    if !Path::new(&path).exists() {
        bail!(
            "no local stack is running in this checkout: start one with `{command} up --detach`, or name a \
             deployment with --deployment FILE (what `cdk deploy --outputs-file FILE` wrote)"
        );
    }
    Ok(path)
}

/// The clients that the standard AWS variables and profiles configure.
async fn of_the_environment() -> Result<Clients> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    if config.region().is_none() {
        bail!("no AWS region is set: set AWS_REGION, or a profile that names one");
    }
    let credentials = config
        .credentials_provider()
        .ok_or_else(|| anyhow!("no AWS credentials are set"))?;
    credentials
        .provide_credentials()
        .await
        .context("no AWS credentials were found: set AWS_PROFILE, or log in")?;
    Ok(Clients::with(&config))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::application::TestApp;

    #[test]
    fn names_read_alike_from_a_local_stack_and_from_outputs() {
        let local = json!({
            "eventsTable": "e", "cursorTable": "c", "viewTable": "a", "historyTable": "t",
            "streamName": "s", "glueDatabase": "d", "glueTable": "g", "athenaWorkGroup": "w",
            "settings": {"DefaultCurrency": "EUR"},
        });
        let outputs = json!({
            "EventsTable": "e", "CursorTable": "c", "ViewTable": "a", "HistoryTable": "t",
            "StreamName": "s", "GlueDatabase": "d", "GlueTable": "g", "AthenaWorkGroup": "w",
            "DefaultCurrency": "EUR", "ApiUrl": "https://…",
        });
        let mut previous = outputs.clone();
        for (name, before) in [
            ("ViewTable", "AccountsTable"),
            ("HistoryTable", "TransactionsTable"),
        ] {
            let table = previous[name].take();
            previous.as_object_mut().expect("an object").remove(name);
            previous[before] = table;
        }
        for described in [local, outputs, previous] {
            let currency = setting(&described, "DEFAULT_CURRENCY");
            assert_eq!(currency.as_deref(), Some("EUR"));
            let names: Names = serde_json::from_value(described).expect("complete");
            assert_eq!(names.history_table, "t");
            assert_eq!(names.reconciler.reconciler().expect("none"), None);
        }
        let error = serde_json::from_value::<Names>(json!({})).expect_err("incomplete");
        assert!(error.to_string().contains("eventsTable"), "{error}");
    }

    #[test]
    fn the_reconciler_is_there_or_not_but_never_in_part() {
        let reconciler = |described: Value| {
            let names: ReconcilerNames = serde_json::from_value(described).expect("readable");
            names.reconciler().map_err(|error| format!("{error:#}"))
        };
        let expected = Reconciler {
            table: "r".to_owned(),
            function: "f".to_owned(),
            interval: Duration::from_mins(5),
        };
        for described in [
            json!({"reconcilerTable": "r", "reconcilerFunction": "f", "reconcilerMinutes": "5"}),
            json!({"ReconcilerTable": "r", "ReconcilerFunction": "f", "ReconcilerMinutes": "5"}),
        ] {
            assert_eq!(reconciler(described), Ok(Some(expected.clone())));
        }
        assert_eq!(reconciler(json!({})), Ok(None));
        let error = reconciler(json!({"ReconcilerTable": "r"})).expect_err("incomplete");
        assert!(error.contains("ReconcilerFunction"), "{error}");
        let error = reconciler(
            json!({"ReconcilerTable": "r", "ReconcilerFunction": "f", "ReconcilerMinutes": "x"}),
        );
        assert!(error.expect_err("no number").contains("\"x\""));
    }

    #[tokio::test]
    async fn a_file_that_describes_none_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("outputs.json");
        for content in ["", "[]", "{}", "{\"A\":{},\"B\":{}}"] {
            std::fs::write(&path, content).expect("written");
            let Err(error) = Deployment::open::<TestApp>(Some(path.clone())).await else {
                panic!("{content} was accepted");
            };
            assert!(error.to_string().contains("outputs.json"), "{error:#}");
        }
        let missing = Deployment::open::<TestApp>(Some(folder.path().join("none.json"))).await;
        let Err(error) = missing else {
            panic!("there is no file");
        };
        assert!(error.to_string().contains("none.json"), "{error:#}");
    }

    proptest! {
        #[test]
        fn no_invalid_file_panics_or_is_accepted(content in "\\PC{0,60}") {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("outputs.json");
            std::fs::write(&path, content).expect("written");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            prop_assert!(runtime.block_on(Deployment::open::<TestApp>(Some(path))).is_err());
        }
    }
}
