//! The behaviour of a command whose output was closed by the reader, as in `millrace … | head -1`.

use std::io::pipe;
use std::process::{Command, Stdio};

/// The writing end of a pipe whose reading end is closed.
fn closed() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    Stdio::from(writer)
}

fn doctor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("doctor").stdin(Stdio::null());
    command
}

#[test]
fn a_closed_output_changes_neither_the_exit_status_nor_the_errors() {
    for arguments in [&[][..], &["--json"]] {
        let read = doctor().args(arguments).output().expect("started");
        let unread = doctor().args(arguments).stdout(closed()).output();
        let unread = unread.expect("started");
        assert_eq!(unread.status, read.status);
        assert_eq!(String::from_utf8_lossy(&unread.stderr), "");
    }
}

#[test]
fn a_failed_command_with_closed_outputs_exits_with_1() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["verify", "--deployment", "/nowhere/outputs.json"]);
    let status = command.stdout(closed()).stderr(closed()).status();
    assert_eq!(status.expect("started").code(), Some(1));
}
