//! Runs the tests of the consumer packages for Python and Node.js. Those of the Rust crate are in `consumer/tests`. All
//! three read `consumers/cases.json`.

use std::process::Command;

use anyhow::{Result, ensure};
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::setup::python::{self, Environment};
use millrace_tests::outside::{install_locked, root, run};

#[tokio::test]
async fn the_package_for_python_passes_its_tests() -> Result<()> {
    let root = root()?;
    // With boto3, so that the requests are compared with the model of the API.
    let workspace = Workspace::at(&root);
    let programs = python::set_up(&workspace, Environment::Stack, &Progress::Silent).await?;
    let shown = run(Command::new(programs.join("python"))
        .args(["-m", "unittest", "discover", "--start-directory", "tests"])
        .current_dir(root.join("consumers/python")))?;
    ensure!(
        shown.contains("\nOK") && !shown.contains("skipped"),
        "{shown}"
    );
    Ok(())
}

#[test]
fn the_package_for_node_passes_its_tests() -> Result<()> {
    let package = root()?.join("consumers/node");
    install_locked(&package)?;
    let shown = run(Command::new("npm").arg("test").current_dir(&package))?;
    ensure!(
        shown.contains("# fail 0") && shown.contains("# skipped 0"),
        "{shown}"
    );
    Ok(())
}
