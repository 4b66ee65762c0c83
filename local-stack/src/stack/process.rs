//! Signals and inspects processes and process groups.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// The time that a process has to end after SIGTERM. After it, the process is killed.
pub(super) const GRACE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// Sends a signal to all processes of a group.
pub(super) fn signal(group: Pid, signal: Signal) {
    // This fails only if no process of the group is left, so there is nothing to signal.
    kill_process_group(group, signal).ok();
}

/// Stops a child and the process group that it leads, and returns when the child has ended.
pub(super) fn stop(child: &mut Child) {
    let Some(group) = Pid::from_raw(child.id().cast_signed()) else {
        return;
    };
    signal(group, Signal::TERM);
    let deadline = Instant::now() + GRACE;
    // The child isn't reaped yet, so no other process can get its id, and it is safe to kill the group.
    while !has_ended(group) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    signal(group, Signal::KILL);
    // This fails only if the child was reaped before.
    drop(child.wait());
}

/// Whether a child has ended. It isn't reaped.
fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(child), options), Ok(None))
}

/// The command line of a process; empty if no process has this id, or it has ended and isn't reaped yet.
pub(super) fn command_line(pid: i32) -> String {
    let line = match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line,
        // macOS has no /proc.
        Err(_) if cfg!(target_os = "macos") => Command::new("ps")
            .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    String::from_utf8_lossy(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_group_that_ignores_sigterm_is_killed_with_its_children() {
        // The grandchild prints its own id, so that it has certainly started: during the start of a process,
        // its command line is empty for a moment.
        let grandchild = r#"sh -c "echo \$\$; while :; do sleep 1000; done""#;
        let mut child = Command::new("sh")
            .args(["-c", &format!("trap '' TERM; {grandchild} & wait; wait")])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped"))
            .read_line(&mut line)
            .expect("the child's id");
        let grandchild: i32 = line.trim().parse().expect("an id");
        assert!(command_line(grandchild).contains("sleep"));
        stop(&mut child);
        assert_eq!(command_line(child.id().cast_signed()), "");
        let deadline = Instant::now() + Duration::from_secs(10);
        while command_line(grandchild).contains("sleep") {
            assert!(Instant::now() < deadline, "the grandchild is still running");
            std::thread::sleep(POLL);
        }
    }
}
