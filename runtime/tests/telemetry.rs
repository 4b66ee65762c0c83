//! What a function writes to its standard output, seen from outside its process.

use std::process::Command;

use millrace_runtime::metrics::Metric;
use millrace_runtime::{Ambient as _, System, telemetry};
use serde_json::Value;

const IS_THE_FUNCTION: &str = "MILLRACE_TEST_IS_THE_FUNCTION";

/// The function: runs in the process that the test below starts.
#[test]
fn the_function() {
    if std::env::var_os(IS_THE_FUNCTION).is_none() {
        return;
    }
    System.measure("before", &[(Metric::RacesLost, Some(1))]);
    telemetry::start();
    tracing::info!(target: "millrace_writer::execute", count = 3, "answered");
    tracing::info!(target: "aws_smithy_runtime", "a payload");
    System.measure("r", &[(Metric::RacesLost, Some(2))]);
}

#[test]
fn a_started_function_logs_and_measures_in_json() {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "the_function", "--nocapture"])
        .env(IS_THE_FUNCTION, "1")
        .env("AWS_LAMBDA_FUNCTION_NAME", "writer")
        .env_remove("AWS_LAMBDA_LOG_LEVEL")
        .output()
        .expect("started");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let [logged, measured] = lines.as_slice() else {
        panic!("one line each: {text}");
    };
    assert_eq!(logged["message"], "answered");
    assert_eq!(
        (&logged["level"], &logged["count"]),
        (&"INFO".into(), &3.into())
    );
    assert_eq!(measured["FunctionName"], "writer");
    assert_eq!(measured["RequestId"], "r");
    assert_eq!(measured["RacesLost"], 2);
}
