//! Prints what each way to do each piece of work allocates, for the benchmark `report`, as a list in JSON. A program of
//! its own, because an allocator that counts would make what `report` measures slower.
//!
//! Its arguments are the number of records and of accounts.

use allocation_counter::measure;
use anyhow::{Context as _, Result};
use millrace_benches::works::{Allocations, works};

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse());
    let mut next = || {
        numbers
            .next()
            .context("a number of records, and one of accounts")
    };
    let (records, accounts) = (next()??, next()??);
    let mut all = Vec::new();
    for work in works(records, accounts) {
        for way in &work.ways {
            let run = || (way.run)(&work.input);
            // What is allocated once in the life of a process doesn't count.
            run();
            let allocated = measure(run);
            all.push(Allocations {
                work: work.name.to_owned(),
                way: way.name.to_owned(),
                allocations: allocated.count_total,
                peak_bytes: allocated.bytes_max,
            });
        }
    }
    serde_json::to_writer(std::io::stdout(), &all)?;
    Ok(())
}
