//! An account with rows in the legacy layout.

use anyhow::{Result, ensure};
use millrace_tests::corpus;

use crate::journal::first_occurrences;
use crate::pipeline::Pipeline;
use crate::verify;

pub(crate) async fn legacy_rows_are_published_and_new_events_appended(
    pipeline: &Pipeline,
) -> Result<()> {
    let case = corpus::named("older-layout")?;
    let id = "4711";
    for row in &case.rows {
        pipeline.put_row(row).await?;
    }
    let events = case.events.len();
    let records = pipeline.journal.records_of(id, events).await?;
    let published: Vec<&[u8]> = first_occurrences(&records)
        .iter()
        .map(|record| record.bytes.as_slice())
        .collect();
    let expected: Vec<&[u8]> = case.events.iter().map(String::as_bytes).collect();
    ensure!(
        published == expected,
        "the published events differ from the corpus"
    );

    // Enough commands for the writer to write another snapshot.
    for more in 1..=12 {
        let answer = pipeline.accepted(id, "credit", 1).await?;
        ensure!(answer.body["sequence"] == events + more, "{answer:?}");
    }
    verify::has_exactly(pipeline, id, events + 12).await
}
