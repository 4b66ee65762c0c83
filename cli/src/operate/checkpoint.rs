//! Stores the progress of a run of `republish` or `replay` in a file, so that a later run can continue a killed
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context as _, Result, bail};
use millrace_core::{Sequence, Timestamp};
use millrace_runtime::ServiceError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ports::RunProgress;

/// What a run does. Only a run with the same scope continues a checkpoint.
pub trait RunScope: Serialize + DeserializeOwned + PartialEq + fmt::Display {
    /// The name of the file. Runs that may be unfinished at the same time have different names.
    fn file_name(&self) -> String;
}

/// What a run of `republish` publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// The events table's ARN.
    pub events_table: String,
    /// The id that DynamoDB assigned to the table when it was created. Another table of the same name has
    /// another id.
    pub table_id: Option<String>,
    /// The domain stream's name.
    pub stream: String,
    /// The first sequence to be published again.
    pub from: u64,
    /// The only aggregate to be published; `None` for all.
    pub aggregate: Option<String>,
}

/// What to do with the checkpoint of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Fail if there is one.
    Refuse,
    /// Continue it.
    Resume,
    /// Discard it and start over.
    Discard,
}

/// The first line of the file: when the run was started, and its scope.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header<S> {
    since: String,
    #[serde(flatten)]
    scope: S,
}

/// Every other line but [`END_OF_PASS`]: the run has processed the aggregate through this sequence, or, without one,
/// completed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    aggregate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<u64>,
}

/// The last line of a run that has completed all aggregates, and is to be continued with later events.
const END_OF_PASS: &str = r#"{"endOfPass":true}"#;

/// The progress of one run. Lines are appended to the file. If a kill has truncated the last line, the line
/// is ignored, so at most the events after the previous line are processed once more.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    began: Timestamp,
    earlier_pass: Option<Timestamp>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    reached: BTreeMap<String, Sequence>,
    completed: BTreeSet<String>,
}

impl Checkpoint {
    /// Starts a run with this scope in `folder`, or continues the earlier one.
    ///
    /// # Errors
    /// * There is an unfinished run, and `earlier` is [`Earlier::Refuse`].
    /// * `earlier` is [`Earlier::Resume`], and there is no unfinished run, or it has another scope.
    /// * The file can't be read or written.
    pub fn open<S: RunScope>(
        folder: &Path,
        scope: &S,
        earlier: Earlier,
        now: Timestamp,
    ) -> Result<Self> {
        let path = folder.join(scope.file_name());
        if earlier == Earlier::Discard {
            millrace_local_stack::files::remove_if_there(&path)?;
        }
        let content = millrace_local_stack::files::read_if_there(&path)?.unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        let mut lines = content
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let Some(first) = lines.next() else {
            if earlier == Earlier::Resume {
                bail!("there is no unfinished run to resume ({})", path.display());
            }
            return Self::start(path, scope, now, BTreeMap::new());
        };
        let undecodable = || {
            format!(
                "{} can't be decoded; start over with --restart",
                path.display()
            )
        };
        let header: Header<S> = serde_json::from_str(first).with_context(undecodable)?;
        let began = Timestamp::parse(&header.since).with_context(undecodable)?;
        let (mut reached, mut completed) = (BTreeMap::new(), BTreeSet::new());
        let mut is_end_of_pass = false;
        for line in lines {
            is_end_of_pass = line.trim_end() == END_OF_PASS;
            let Ok(Line { aggregate, through }) = serde_json::from_str(line) else {
                continue;
            };
            if let Some(sequence) = through {
                let sequence = Sequence::new(sequence).unwrap_or(Sequence::NONE);
                reached.insert(aggregate, sequence);
            } else {
                completed.insert(aggregate);
            }
        }
        if earlier == Earlier::Refuse {
            let started = reached.keys().filter(|id| !completed.contains(*id));
            bail!(
                "an earlier run, started at {}, is unfinished: {} aggregates are completed and {} more are \
                 started. It was {}. Continue it with --resume, or start over with --restart ({})",
                header.since,
                completed.len(),
                started.count(),
                header.scope,
                path.display()
            );
        }
        if header.scope != *scope {
            bail!(
                "the unfinished run that was started at {} has another scope: {}, not {}. Start over \
                 with --restart ({})",
                header.since,
                header.scope,
                scope,
                path.display()
            );
        }
        if is_end_of_pass {
            return Ok(Self {
                earlier_pass: Some(began),
                ..Self::start(path, scope, now, reached)?
            });
        }
        let mut file = Self::append_to(&path)?;
        if !content.ends_with('\n') {
            writeln!(file).with_context(|| format!("could not write {}", path.display()))?;
        }
        Ok(Self {
            path,
            began,
            earlier_pass: None,
            state: Mutex::new(State {
                file,
                reached,
                completed,
            }),
        })
    }

    fn start<S: RunScope>(
        path: PathBuf,
        scope: &S,
        now: Timestamp,
        reached: BTreeMap<String, Sequence>,
    ) -> Result<Self> {
        let header = Header {
            since: now.to_string(),
            scope,
        };
        let mut content = format!("{}\n", serde_json::to_string(&header)?);
        for (aggregate, sequence) in &reached {
            let line = serde_json::to_string(&Line {
                aggregate: aggregate.clone(),
                through: Some(sequence.get()),
            })?;
            content.push_str(&line);
            content.push('\n');
        }
        millrace_local_stack::files::write_atomically(&path, content.as_bytes())?;
        Ok(Self {
            state: Mutex::new(State {
                file: Self::append_to(&path)?,
                reached,
                completed: BTreeSet::new(),
            }),
            began: now,
            earlier_pass: None,
            path,
        })
    }

    fn append_to(path: &Path) -> Result<File> {
        let opened = OpenOptions::new().append(true).open(path);
        opened.with_context(|| format!("could not open {}", path.display()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the lock isn't poisoned")
    }

    /// When the run, or its last pass, was started. A run that continues it keeps this time.
    #[must_use]
    pub const fn began(&self) -> Timestamp {
        self.began
    }

    /// When the pass before was started, if a further one begins now.
    #[must_use]
    pub const fn earlier_pass(&self) -> Option<Timestamp> {
        self.earlier_pass
    }

    /// How many aggregates are completed.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.state().completed.len()
    }

    /// Ends a pass: the run that continues this one begins a further pass, with its own start time. It sends each
    /// aggregate's events after those that were sent.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn end_pass(self) -> Result<()> {
        let written = writeln!(self.state().file, "{END_OF_PASS}");
        written.with_context(|| format!("could not write {}", self.path.display()))
    }

    /// Removes the file, because the run is finished. The next run starts from the beginning.
    ///
    /// # Errors
    /// If the file can't be removed.
    pub fn finish(self) -> Result<()> {
        millrace_local_stack::files::remove_if_there(&self.path)
    }
}

impl State {
    fn append(&mut self, aggregate: &str, through: Option<u64>) -> Result<(), ServiceError> {
        const ACTION: &str = "writing the checkpoint";
        let aggregate = aggregate.to_owned();
        let line = serde_json::to_string(&Line { aggregate, through })
            .map_err(|error| ServiceError::new(ACTION, error))?;
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|error| ServiceError::new(ACTION, error))
    }
}

impl RunProgress for Checkpoint {
    fn reached(&self, aggregate: &str) -> Option<Sequence> {
        self.state().reached.get(aggregate).copied()
    }

    fn is_completed(&self, aggregate: &str) -> bool {
        self.state().completed.contains(aggregate)
    }

    fn record(&self, aggregate: &str, reached: Sequence) -> Result<(), ServiceError> {
        let mut state = self.state();
        state.append(aggregate, Some(reached.get()))?;
        state.reached.insert(aggregate.to_owned(), reached);
        Ok(())
    }

    fn complete(&self, aggregate: &str) -> Result<(), ServiceError> {
        let mut state = self.state();
        state.append(aggregate, None)?;
        state.completed.insert(aggregate.to_owned());
        Ok(())
    }
}

impl RunScope for Scope {
    /// It depends on the table and on the one aggregate, but not on `from`, so that a run with another `--from`
    /// finds the unfinished run.
    fn file_name(&self) -> String {
        let table = name_in(&self.events_table);
        match &self.aggregate {
            None => format!("republish-{table}.jsonl"),
            Some(aggregate) => format!("republish-{table}-{}.jsonl", hash(aggregate)),
        }
    }
}

/// The table's name in its ARN, or the name itself.
pub(super) fn name_in(table: &str) -> &str {
    table.rsplit('/').next().unwrap_or_default()
}

/// Eight hexadecimal digits that identify a text of any length and form in the name of a file.
pub(super) fn hash(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events_table,
            table_id,
            stream,
            from,
            aggregate,
        } = self;
        write!(f, "{events_table}")?;
        if let Some(id) = table_id {
            write!(f, " ({id})")?;
        }
        write!(f, " to {stream} from event {from} on")?;
        match aggregate {
            Some(aggregate) => write!(f, ", {aggregate} alone"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(from: u64, aggregate: Option<&str>) -> Scope {
        Scope {
            events_table: "arn:aws:dynamodb:eu-north-1:1:table/events".to_owned(),
            table_id: Some("id".to_owned()),
            stream: "stream".to_owned(),
            from,
            aggregate: aggregate.map(str::to_owned),
        }
    }

    fn open(folder: &tempfile::TempDir, scope: &Scope, earlier: Earlier) -> Result<Checkpoint> {
        let now = match earlier {
            Earlier::Resume => "2026-11-21T08:00:00Z",
            Earlier::Refuse | Earlier::Discard => "2026-11-20T21:03:05Z",
        };
        let now = Timestamp::parse(now).expect("valid");
        Checkpoint::open(folder.path(), scope, earlier, now)
    }

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    #[test]
    fn a_further_pass_begins_after_the_events_of_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = scope(1, None);
        let run = open(&folder, &all, Earlier::Refuse).expect("new");
        run.record("a", sequence(7)).expect("recorded");
        run.complete("a").expect("recorded");
        run.complete("without-events").expect("recorded");
        run.end_pass().expect("recorded");
        open(&folder, &all, Earlier::Refuse).expect_err("it has to be continued");

        let pass = open(&folder, &all, Earlier::Resume).expect("a further pass");
        assert_eq!(pass.began().to_string(), "2026-11-21T08:00:00.000Z");
        let earlier = pass.earlier_pass().expect("there was one");
        assert_eq!(earlier.to_string(), "2026-11-20T21:03:05.000Z");
        assert_eq!(pass.completed(), 0);
        assert_eq!(pass.reached("a"), Some(sequence(7)));
        assert_eq!(pass.reached("without-events"), None);
        pass.record("b", sequence(2)).expect("recorded");
        pass.complete("a").expect("recorded");
        drop(pass);

        // A pass that was killed is continued, with its own start time.
        let later = Timestamp::parse("2026-11-22T08:00:00Z").expect("valid");
        let resumed =
            Checkpoint::open(folder.path(), &all, Earlier::Resume, later).expect("the same pass");
        assert_eq!(resumed.began().to_string(), "2026-11-21T08:00:00.000Z");
        assert_eq!(resumed.earlier_pass(), None);
        assert!(resumed.is_completed("a") && !resumed.is_completed("b"));
        assert_eq!(resumed.reached("b"), Some(sequence(2)));
    }

    #[test]
    fn an_unfinished_run_is_continued_or_discarded_only_on_request() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = scope(1, None);
        let first = open(&folder, &all, Earlier::Refuse).expect("there is none");
        first.complete("a").expect("written");
        first.record("b", sequence(7)).expect("written");
        drop(first);

        let refused = open(&folder, &all, Earlier::Refuse).expect_err("unfinished");
        let message = refused.to_string();
        for part in [
            "2026-11-20T21:03:05",
            "1 aggregates are completed and 1 more",
            "--resume",
            "--restart",
        ] {
            assert!(message.contains(part), "{message}");
        }
        let resumed = open(&folder, &all, Earlier::Resume).expect("it is the same");
        assert!(resumed.is_completed("a") && !resumed.is_completed("b"));
        assert_eq!(resumed.reached("b"), Some(sequence(7)));
        assert_eq!(resumed.completed(), 1);
        assert_eq!(resumed.began().to_string(), "2026-11-20T21:03:05.000Z");
        assert_eq!(resumed.earlier_pass(), None);
        drop(resumed);

        let restarted = open(&folder, &all, Earlier::Discard).expect("started over");
        assert_eq!((restarted.completed(), restarted.reached("b")), (0, None));
        restarted.finish().expect("removed");
        let none = open(&folder, &all, Earlier::Resume).expect_err("there is none");
        assert!(none.to_string().contains("no unfinished run"), "{none}");
        open(&folder, &all, Earlier::Refuse).expect("it was finished");
    }

    #[test]
    fn a_run_of_another_scope_is_not_continued() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(&folder, &scope(1, None), Earlier::Refuse).expect("there is none"));
        let mut other_table = scope(1, None);
        other_table.table_id = Some("another".to_owned());
        for other in [scope(5, None), other_table] {
            let error = open(&folder, &other, Earlier::Resume).expect_err("another scope");
            let message = error.to_string();
            for part in [
                "table/events (id)",
                "to stream from event 1 on",
                &other.to_string(),
            ] {
                assert!(message.contains(part), "{message}");
            }
            open(&folder, &other, Earlier::Refuse).expect_err("unfinished");
        }
        // The run of one account has a checkpoint of its own.
        for id in ["a", "b"] {
            open(&folder, &scope(1, Some(id)), Earlier::Refuse).expect("there is none");
        }
        open(&folder, &scope(1, None), Earlier::Resume).expect("it is untouched");
    }

    #[test]
    fn a_truncated_line_is_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = scope(1, None);
        let first = open(&folder, &all, Earlier::Refuse).expect("there is none");
        first.record("a", sequence(3)).expect("written");
        first.complete("b\n\"").expect("written");
        let path = folder.path().join("republish-events.jsonl");
        let whole = std::fs::read_to_string(&path).expect("readable");
        std::fs::write(&path, format!("{whole}{{\"aggregate\":\"a\",\"thro")).expect("written");
        let second = open(&folder, &all, Earlier::Resume).expect("readable");
        assert_eq!(second.reached("a"), Some(sequence(3)));
        assert!(second.is_completed("b\n\""));
        second.record("a", sequence(4)).expect("written");
        let third = open(&folder, &all, Earlier::Resume).expect("readable");
        assert_eq!(third.reached("a"), Some(sequence(4)));

        std::fs::write(&path, "no header\n").expect("written");
        let error = open(&folder, &all, Earlier::Resume).expect_err("unreadable");
        assert!(error.to_string().contains("--restart"), "{error}");
        // A kill before the header was written may leave an empty file.
        std::fs::write(&path, "").expect("written");
        open(&folder, &all, Earlier::Refuse).expect("nothing was begun");
    }
}
