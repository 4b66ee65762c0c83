//! The programs that must be installed before the set-up can run, and how to install them.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Result, bail};
use serde::Serialize;
use tokio::process::Command;

use crate::version::Version;

/// The interpreters that are tried, in this order.
const PYTHONS: [&str; 5] = [
    "python3",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
];

/// Prints the interpreter's version and path. It exits with 0 only if the interpreter can create
/// environments.
const PYTHON_PROBE: &str = "import sys
print('%d.%d.%d' % sys.version_info[:3])
print(sys.executable)
import venv, ensurepip";

const GET_RUST: &str = "any system: https://rustup.rs";
const GET_CC: &str = "Debian/Ubuntu: apt install build-essential; Fedora: dnf install gcc; macOS: xcode-select --install";
const GET_NODE: &str =
    "any system: https://nodejs.org (npm comes with it); macOS: brew install node";
const GET_PYTHON: &str = "Debian/Ubuntu: apt install python3 python3-venv; \
     Fedora: dnf install python3; macOS: brew install python3";

/// A program that must be installed.
#[derive(Debug, Clone, Serialize)]
pub struct Prerequisite {
    /// The program's name.
    pub name: &'static str,
    /// The required version or features, as text for users.
    pub needed: String,
    /// Whether the program was found, and its version.
    #[serde(flatten)]
    pub finding: Finding,
    /// How to install it, per system.
    pub get: &'static str,
}

/// The result of the search for one prerequisite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Finding {
    /// A suitable version is installed.
    Found {
        /// Its version.
        version: String,
    },
    /// It is installed, but isn't suitable.
    Unfit {
        /// Its version, or `unknown`.
        version: String,
        /// Why it isn't suitable.
        reason: String,
    },
    /// It isn't installed.
    Missing,
}

/// The results of the search for all prerequisites.
#[derive(Debug)]
pub struct Checked {
    /// All prerequisites, found or not.
    pub prerequisites: Vec<Prerequisite>,
    python: Option<PathBuf>,
}

/// The tools that the set-up runs.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    /// The path of a Python interpreter that can create environments.
    pub(crate) python: PathBuf,
}

/// Runs each prerequisite to learn its version.
pub async fn check() -> Checked {
    let rust = Version::find(env!("CARGO_PKG_RUST_VERSION")).unwrap_or(Version::new(1, 0));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let (cargo, rustc, cc, node, npm, (python, found_python)) = tokio::join!(
        find(&cargo, rust),
        find(&rustc, rust),
        find("cc", Version::new(0, 0)),
        find("node", Version::new(20, 0)),
        find("npm", Version::new(0, 0)),
        find_python(Version::new(3, 10)),
    );
    let prerequisite = |name, needed: &str, finding, get| Prerequisite {
        name,
        needed: needed.to_owned(),
        finding,
        get,
    };
    let rust = format!("{rust} or newer");
    Checked {
        prerequisites: vec![
            prerequisite("cargo", &rust, cargo, GET_RUST),
            prerequisite("rustc", &rust, rustc, GET_RUST),
            prerequisite("cc", "a C compiler and linker", cc, GET_CC),
            prerequisite("node", "20 or newer", node, GET_NODE),
            prerequisite("npm", "any", npm, GET_NODE),
            prerequisite(
                "python3",
                "3.10 or newer, with venv and ensurepip",
                python,
                GET_PYTHON,
            ),
        ],
        python: found_python,
    }
}

impl Checked {
    /// Whether every prerequisite is met.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.prerequisites.iter().all(Prerequisite::is_met)
    }

    /// The tools, if every prerequisite is met.
    ///
    /// # Errors
    /// If a prerequisite isn't met. The error lists all that aren't, and how to install them.
    pub(crate) fn into_tools(self) -> Result<Tools> {
        match self.python {
            Some(python) if self.prerequisites.iter().all(Prerequisite::is_met) => {
                Ok(Tools { python })
            }
            _ => bail!(
                "some prerequisites are missing or unsuitable (the command `doctor` lists all):\n{}",
                self.prerequisites
                    .iter()
                    .filter(|it| !it.is_met())
                    .map(Prerequisite::to_string)
                    .collect::<Vec<_>>()
                    .join("\n")
            ),
        }
    }
}

impl Prerequisite {
    /// Whether a suitable version is installed.
    #[must_use]
    pub const fn is_met(&self) -> bool {
        matches!(self.finding, Finding::Found { .. })
    }
}

impl std::fmt::Display for Prerequisite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            needed,
            finding,
            get,
        } = self;
        match finding {
            Finding::Found { version } => write!(f, "✓ {name:<8} {version:<9} needed: {needed}"),
            Finding::Unfit { version, reason } => {
                write!(
                    f,
                    "✗ {name:<8} {version:<9} needed: {needed}; {reason}\n  {get}"
                )
            }
            Finding::Missing => write!(f, "✗ {name:<8} missing   needed: {needed}\n  {get}"),
        }
    }
}

async fn find(program: &str, needed: Version) -> Finding {
    match run(program, &["--version"]).await {
        Some(answer) if answer.succeeded => fitness(&answer.stdout, needed),
        _ => Finding::Missing,
    }
}

fn fitness(printed: &str, needed: Version) -> Finding {
    let Some(found) = Version::find(printed) else {
        return Finding::Unfit {
            version: "unknown".to_owned(),
            reason: format!("it printed no version: {}", printed.trim()),
        };
    };
    let version = found.to_string();
    if found < needed {
        let reason = "this version is too old".to_owned();
        return Finding::Unfit { version, reason };
    }
    Finding::Found { version }
}

/// The first suitable interpreter; if there is none, why the first installed one isn't suitable.
async fn find_python(needed: Version) -> (Finding, Option<PathBuf>) {
    let mut first_unfit = Finding::Missing;
    for program in PYTHONS {
        let Some(answer) = run(program, &["-c", PYTHON_PROBE]).await else {
            continue;
        };
        let mut lines = answer.stdout.lines();
        let (Some(version), Some(executable)) = (lines.next(), lines.next()) else {
            continue;
        };
        let finding = match fitness(version, needed) {
            Finding::Found { version } if !answer.succeeded => Finding::Unfit {
                version,
                reason: "it lacks venv or ensurepip".to_owned(),
            },
            finding => finding,
        };
        if let Finding::Found { .. } = finding {
            return (finding, Some(executable.into()));
        }
        if first_unfit == Finding::Missing {
            first_unfit = finding;
        }
    }
    (first_unfit, None)
}

struct Answer {
    succeeded: bool,
    stdout: String,
}

/// Runs a program to its end; `None` if it can't be started.
async fn run(program: &str, arguments: &[&str]) -> Option<Answer> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .ok()?;
    Some(Answer {
        succeeded: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prerequisite(finding: Finding) -> Prerequisite {
        Prerequisite {
            name: "node",
            needed: "20 or newer".to_owned(),
            finding,
            get: GET_NODE,
        }
    }

    #[test]
    fn a_tool_is_suitable_from_the_needed_version_on() {
        let needed = Version::new(20, 0);
        let version = |text: &str| text.to_owned();
        assert_eq!(
            fitness("v20.20.2\n", needed),
            Finding::Found {
                version: version("20.20.2")
            }
        );
        assert!(
            matches!(fitness("v18.19.0", needed), Finding::Unfit { version, .. } if version == "18.19.0")
        );
        assert!(matches!(
            fitness("no version", needed),
            Finding::Unfit { .. }
        ));
    }

    #[test]
    fn reports_unmet_prerequisites_and_how_to_install_them() {
        let found = Finding::Found {
            version: "20.1.0".to_owned(),
        };
        let incomplete = |finding| Checked {
            prerequisites: vec![prerequisite(found.clone()), prerequisite(finding)],
            python: Some("python3".into()),
        };
        assert!(incomplete(found.clone()).is_complete());
        assert!(incomplete(found.clone()).into_tools().is_ok());
        let missing = incomplete(Finding::Missing);
        assert!(!missing.is_complete());
        let error = missing.into_tools().expect_err("incomplete").to_string();
        assert!(
            error.contains("node") && error.contains(GET_NODE),
            "{error}"
        );
        assert!(!error.contains("20.1.0"), "{error}");
    }

    #[test]
    fn json_contains_the_finding_as_a_status() {
        let unfit = Finding::Unfit {
            version: "18.0.0".to_owned(),
            reason: "old".to_owned(),
        };
        assert_eq!(
            serde_json::to_value(prerequisite(unfit)).expect("serialises"),
            serde_json::json!({
                "name": "node", "needed": "20 or newer", "status": "unfit",
                "version": "18.0.0", "reason": "old", "get": GET_NODE,
            })
        );
    }

    #[tokio::test]
    async fn a_program_that_is_not_installed_is_missing() {
        let finding = find("no-such-program", Version::new(1, 0)).await;
        assert_eq!(finding, Finding::Missing);
    }
}
