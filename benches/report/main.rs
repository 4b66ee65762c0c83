//! `cargo bench -p millrace-benches --bench report` measures the work of the functions between their service calls,
//! prints the tables of docs/performance.md, and writes its charts to docs/performance/.

mod charts;
mod measure;
mod node;
mod tables;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use millrace_benches::works::{self, Allocations, MILLRACE, Work};
use millrace_benches::{one_pass, stream_event};

use crate::charts::Line;
use crate::measure::{Sampler, Times, cpu_time, measure};
use crate::node::Node;

/// The batch that all ways are compared with.
const RECORDS: usize = 1_000;
const ACCOUNTS: usize = 100;
/// The batches of which the growth with their records is measured. An account has ten records.
const GROWING_RECORDS: [(usize, usize); 4] = [(10, 1), (100, 10), (1_000, 100), (10_000, 1_000)];
/// The batches of which the growth with their accounts is measured.
const GROWING_ACCOUNTS: [(usize, usize); 5] = [
    (10_000, 1),
    (10_000, 10),
    (10_000, 100),
    (10_000, 1_000),
    (10_000, 10_000),
];
/// How often each way is measured.
const ROUNDS: usize = 200;
const GROWTH_ROUNDS: usize = 40;

const NODE: &str = "Node, `@aws-sdk/util-dynamodb`";

/// What one way to do a piece of work costs.
struct Cost {
    way: &'static str,
    /// In nanoseconds per record.
    times: Times,
    /// `None` for a way in another process.
    memory: Option<Memory>,
}

/// What one batch allocates.
#[derive(Clone, Copy)]
struct Memory {
    /// Per record.
    allocations: f64,
    /// The most bytes at a time, as a multiple of the input's bytes; `None` for an input of a few rows.
    peak: Option<f64>,
}

/// A batch's costs in one piece of work, by this project's way.
struct Point {
    records: usize,
    accounts: usize,
    times: Times,
    memory: Memory,
}

/// A piece of work and its costs on growing batches.
struct Growth {
    work: &'static str,
    points: Vec<Point>,
}

fn main() -> Result<()> {
    works::check(RECORDS, ACCOUNTS);
    let batch = stream_event(RECORDS, ACCOUNTS);
    let node = Node::start(batch.as_bytes())?;
    ensure!(
        node.events()? == one_pass::translate(batch.as_bytes()),
        "the events of the handler in JavaScript differ"
    );

    println!(
        "All ways have the same results: those in Rust, and the bytes of the events of Node's."
    );
    let allocations = allocations(RECORDS, ACCOUNTS)?;
    for work in works::works(RECORDS, ACCOUNTS) {
        let costs = compare(&work, &allocations, &node)?;
        tables::print_comparison(work.name, &costs);
        if work.name == "decode and encode" {
            charts::write_bars(&directory().join("ways.svg"), &costs)?;
        }
    }
    let by_records = growth(&GROWING_RECORDS)?;
    tables::print_growth("records", &by_records);
    charts::write_growth(
        &directory().join("growth-with-records.svg"),
        "records of a batch, ten for each account",
        &lines(&by_records, |point| point.records),
    )?;
    let by_accounts = growth(&GROWING_ACCOUNTS)?;
    tables::print_growth("accounts", &by_accounts);
    charts::write_growth(
        &directory().join("growth-with-accounts.svg"),
        "accounts of a batch of 10,000 records",
        &lines(&by_accounts, |point| point.accounts),
    )
}

/// Where the charts are.
fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance")
}

/// Measures all ways to do a piece of work.
fn compare(work: &Work, allocations: &[Allocations], node: &Node) -> Result<Vec<Cost>> {
    let mut names: Vec<&str> = work.ways.iter().map(|way| way.name).collect();
    let mut samplers: Vec<Sampler<'_>> = work.ways.iter().map(|way| sampler(work, way)).collect();
    let request = match work.name {
        "decode" => Some("decode"),
        "decode and encode" => Some("translate"),
        _ => None,
    };
    if let Some(request) = request {
        names.push(NODE);
        samplers.push(Box::new(move || {
            Ok(per_record(node.time(request)?, RECORDS))
        }));
    }
    let times = measure(&mut samplers, ROUNDS)?;
    let costs = names.into_iter().zip(times).map(|(way, times)| Cost {
        way,
        times,
        memory: memory(allocations, work, way),
    });
    Ok(costs.collect())
}

/// Measures this project's way on growing batches.
fn growth(sizes: &[(usize, usize)]) -> Result<Vec<Growth>> {
    let mut growths: Vec<Growth> = Vec::new();
    let mut batches = Vec::new();
    for &(records, accounts) in sizes {
        let allocations = allocations(records, accounts)?;
        for work in works::growing(records, accounts) {
            batches.push((accounts, memory(&allocations, &work, MILLRACE), work));
        }
    }
    let samplers = batches
        .iter()
        .map(|(_, _, work)| sampler(work, &work.ways[0]));
    let times = measure(&mut samplers.collect::<Vec<_>>(), GROWTH_ROUNDS)?;
    for ((accounts, memory, work), times) in batches.iter().zip(times) {
        let point = Point {
            records: work.records,
            accounts: *accounts,
            times,
            memory: memory.context("the program counts each way")?,
        };
        match growths.iter_mut().find(|growth| growth.work == work.name) {
            Some(growth) => growth.points.push(point),
            None => growths.push(Growth {
                work: work.name,
                points: vec![point],
            }),
        }
    }
    // Not all batches have all works, and each work has the same colour in all charts.
    growths.sort_by_key(|growth| growth.work);
    Ok(growths)
}

fn lines(growths: &[Growth], size: fn(&Point) -> usize) -> Vec<Line> {
    let lines = growths.iter().map(|growth| Line {
        name: growth.work,
        points: growth
            .points
            .iter()
            .map(|point| {
                (
                    size(point),
                    point.times.fastest,
                    point.memory.peak.unwrap_or_default(),
                )
            })
            .collect(),
    });
    lines.collect()
}

/// Takes the time of a way, for as many runs as have some hundred records together.
fn sampler<'w>(work: &'w Work, way: &'w works::Way) -> Sampler<'w> {
    const RECORDS_OF_A_SAMPLE: usize = 500;
    let runs = RECORDS_OF_A_SAMPLE.div_ceil(work.records);
    Box::new(move || {
        let begin = cpu_time();
        for _ in 0..runs {
            (way.run)(&work.input);
        }
        Ok(per_record(cpu_time() - begin, work.records * runs))
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are less than 2^53 records"
)]
fn per_record(nanoseconds: f64, records: usize) -> f64 {
    nanoseconds / records as f64
}

/// What all ways allocate, counted in a process of its own.
fn allocations(records: usize, accounts: usize) -> Result<Vec<Allocations>> {
    let program = env!("CARGO_BIN_EXE_allocations");
    let arguments = [records.to_string(), accounts.to_string()];
    let output = Command::new(program).args(arguments).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {error}");
    serde_json::from_slice(&output.stdout).context("its output is no list")
}

#[expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^53")]
fn memory(allocations: &[Allocations], work: &Work, way: &str) -> Option<Memory> {
    let counted = allocations
        .iter()
        .find(|counted| counted.work == work.name && counted.way == way)?;
    let input = work.input.len() as f64;
    Some(Memory {
        allocations: counted.allocations as f64 / work.records as f64,
        peak: (!work.input.is_empty()).then(|| counted.peak_bytes as f64 / input),
    })
}
