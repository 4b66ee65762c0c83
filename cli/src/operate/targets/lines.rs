//! Writes events as JSON lines: one record in the shape in which Lambda delivers it from Kinesis per line.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};
use millrace_runtime::{Ambient, ServiceError};

use super::{INVOCATION, Records};
use crate::operate::checkpoint::Earlier;
use crate::operate::replayer::{Capacity, Delivery, Portion, Target};

/// Where lines are written.
pub trait Sink: Send {
    /// Writes whole lines. When it returns, a kill of this process doesn't lose them.
    ///
    /// # Errors
    /// [`io::Error`]: some of the lines may be written, and the last one truncated.
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// Stdout.
#[derive(Debug)]
pub struct Stdout;

impl Sink for Stdout {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(lines)?;
        stdout.flush()
    }
}

impl Sink for File {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_all(lines)?;
        match self.sync_data() {
            // A pipe or a device can't be synchronized.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

/// Opens the file of a run. A new run doesn't overwrite a file with content, unless an earlier run is discarded.
/// A run that is continued appends to the file; a line that a kill has truncated is removed.
///
/// # Errors
/// If the file can't be opened or written, contains something else, or is gone. The error names the path.
pub fn open_file(path: &Path, earlier: Earlier) -> Result<File> {
    let shown = path.display();
    let mut options = OpenOptions::new();
    // Appending, so that a kill between two writes never leaves a hole.
    options.append(true).create(earlier != Earlier::Resume);
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        metadata => Some(metadata.with_context(|| format!("could not read {shown}"))?),
    };
    let is_regular = metadata.as_ref().is_some_and(std::fs::Metadata::is_file);
    let has_content = metadata.is_some_and(|metadata| metadata.len() > 0);
    if earlier == Earlier::Refuse && is_regular && has_content {
        bail!("{shown} exists and has content: name another file, or discard it with --restart");
    }
    let file = options.read(is_regular).open(path);
    let mut file = file.with_context(|| match earlier {
        Earlier::Resume => {
            format!("could not open {shown}, to which the unfinished run has written")
        }
        Earlier::Refuse | Earlier::Discard => format!("could not write {shown}"),
    })?;
    if is_regular {
        let truncate = |file: &mut File| match earlier {
            Earlier::Discard => file.set_len(0),
            Earlier::Refuse => Ok(()),
            Earlier::Resume => {
                let end = end_of_the_last_line(file)?;
                file.set_len(end)
            }
        };
        truncate(&mut file).with_context(|| format!("could not write {shown}"))?;
    }
    Ok(file)
}

/// The length of the file without its last line, if that has no end.
fn end_of_the_last_line(file: &mut File) -> io::Result<u64> {
    const CHUNK: u64 = 64 * 1024;
    let mut end = file.seek(SeekFrom::End(0))?;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(begin))?;
        let mut chunk = Vec::new();
        file.take(end - begin).read_to_end(&mut chunk)?;
        if let Some(last) = chunk.iter().rposition(|byte| *byte == b'\n') {
            let last = u64::try_from(last).unwrap_or_default();
            return Ok(begin + last + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// A file or stdout.
#[derive(Debug)]
pub struct LinesTarget<S, A> {
    sink: Mutex<S>,
    ambient: A,
    records: Records,
}

impl<S: Sink, A: Ambient> LinesTarget<S, A> {
    /// The sink as a target.
    pub const fn new(sink: S, ambient: A, records: Records) -> Self {
        Self {
            sink: Mutex::new(sink),
            ambient,
            records,
        }
    }
}

impl<S: Sink, A: Ambient> Target for LinesTarget<S, A> {
    fn capacity(&self) -> Capacity {
        Capacity {
            calls: 1,
            ..INVOCATION
        }
    }

    async fn send(&self, portions: &[Portion]) -> Result<Vec<Delivery>, ServiceError> {
        const ACTION: &str = "writing the lines";
        let (now, mut lines) = (self.ambient.now(), Vec::new());
        for portion in portions {
            for event in &portion.events {
                let (_, record) = self.records.record(&portion.aggregate, event, now);
                serde_json::to_writer(&mut lines, &record)
                    .map_err(|error| ServiceError::new(ACTION, error))?;
                lines.push(b'\n');
            }
        }
        let mut sink = self.sink.lock().expect("the lock isn't poisoned");
        sink.write_lines(&lines)
            .map_err(|error| ServiceError::new(ACTION, error))?;
        let deliveries = portions.iter().map(|portion| Delivery {
            sent: portion.events.len(),
            refused: None,
        });
        Ok(deliveries.collect())
    }
}

#[cfg(test)]
mod tests {
    use millrace_core::Sequence;
    use millrace_runtime::testing::{TestAmbient, in_virtual_time};
    use millrace_translator::published::PublishedEvent;
    use serde_json::Value;

    use super::*;

    fn portion(aggregate: &str, events: u64) -> Portion {
        let now = TestAmbient::default().now();
        let events = (1..=events).map(|sequence| PublishedEvent {
            sequence: Sequence::new(sequence).expect("valid"),
            time: now,
            data: format!("{aggregate}\n{sequence}").into_bytes(),
        });
        Portion {
            aggregate: aggregate.to_owned(),
            events: events.collect(),
        }
    }

    fn write(file: File, portions: &[Portion]) {
        let records = Records::new("arn".to_owned(), TestAmbient::default().now());
        let target = LinesTarget::new(file, TestAmbient::default(), records);
        in_virtual_time(target.send(portions)).expect("written");
    }

    #[test]
    fn each_line_is_a_record_and_a_continued_file_has_no_truncated_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let file = open_file(&path, Earlier::Refuse).expect("new");
        write(file, &[portion("a", 2), portion("ä", 1)]);
        let lines = |path| -> Vec<Value> {
            let content = std::fs::read_to_string(path).expect("readable");
            let lines = content.lines().map(serde_json::from_str);
            lines.collect::<Result<_, _>>().expect("JSON lines")
        };
        let records = lines(&path);
        let keys: Vec<&Value> = records
            .iter()
            .map(|it| &it["kinesis"]["partitionKey"])
            .collect();
        assert_eq!(keys, ["a", "a", "ä"]);
        let numbers: Vec<&str> = records
            .iter()
            .filter_map(|record| record["kinesis"]["sequenceNumber"].as_str())
            .collect();
        assert!(
            numbers.len() == 3 && numbers.is_sorted_by(|a, b| a < b),
            "{numbers:?}"
        );

        let error = open_file(&path, Earlier::Refuse).expect_err("it has content");
        assert!(error.to_string().contains("events.jsonl"), "{error}");
        // A kill has truncated the last line.
        for rest in ["{\"eventID\":\"rep".to_owned(), "x".repeat(200_000)] {
            let mut file = OpenOptions::new().append(true).open(&path).expect("there");
            file.write_all(rest.as_bytes()).expect("written");
            let file = open_file(&path, Earlier::Resume).expect("there");
            write(file, &[portion("b", 1)]);
        }
        assert_eq!(lines(&path).len(), 5);
        let file = open_file(&path, Earlier::Discard).expect("there");
        write(file, &[portion("c", 1)]);
        assert_eq!(lines(&path).len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_or_is_gone_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let gone = folder.path().join("gone.jsonl");
        let missing = folder.path().join("nowhere/new.jsonl");
        for (path, earlier, name) in [
            (
                &gone,
                Earlier::Resume,
                "gone.jsonl, to which the unfinished",
            ),
            (&missing, Earlier::Refuse, "nowhere/new.jsonl"),
            (
                &folder.path().to_owned(),
                Earlier::Refuse,
                "could not write",
            ),
        ] {
            let error = open_file(path, earlier).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
        open_file(Path::new("/dev/null"), Earlier::Refuse).expect("no regular file");
    }
}
