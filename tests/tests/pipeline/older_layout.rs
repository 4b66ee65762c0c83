//! A table that an older producer began.

use anyhow::{Result, ensure};
use millrace_tests::corpus;

use crate::journal::first_occurrences;
use crate::pipeline::Pipeline;
use crate::verify;

pub(crate) async fn rows_of_an_older_producer_flow_and_are_continued(
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
    ensure!(published == expected, "not published as the corpus says");

    // Over the next snapshot, which the writer has to add.
    for more in 1..=12 {
        let answer = pipeline.accepted(id, "credit", 1).await?;
        ensure!(answer.body["sequence"] == events + more, "{answer:?}");
    }
    verify::has_exactly(pipeline, id, events + 12).await
}
