//! The tables in Markdown.

use crate::{Cost, Growth, Point};

/// The ways to do a piece of work, compared with the first one.
pub(crate) fn print_comparison(work: &str, costs: &[Cost]) {
    println!("\n### {}\n", capitalized(work));
    println!(
        "| way | times as long | ns/record, fastest | median | allocations/record | most memory at a time |"
    );
    println!("|---|---|---|---|---|---|");
    let fastest = costs[0].times.fastest;
    for cost in costs {
        let (allocations, peak) = match cost.memory {
            Some(memory) => (
                format!("{:.1}", memory.allocations),
                memory.peak.map(multiple),
            ),
            None => (String::new(), None),
        };
        println!(
            "| {} | {:.1} | {} | {} | {allocations} | {} |",
            cost.way,
            cost.times.fastest / fastest,
            nanoseconds(cost.times.fastest),
            nanoseconds(cost.times.median),
            peak.unwrap_or_default(),
        );
    }
}

/// This project's costs on growing batches.
pub(crate) fn print_growth(of: &str, growths: &[Growth]) {
    println!("\n### Growth with {of}\n");
    println!(
        "| work | records | accounts | ns/record, fastest | median | allocations/record | most memory at a time |"
    );
    println!("|---|---|---|---|---|---|---|");
    for growth in growths {
        for point in &growth.points {
            print_point(growth.work, point);
        }
    }
}

fn print_point(work: &str, point: &Point) {
    println!(
        "| {work} | {} | {} | {} | {} | {:.1} | {} |",
        thousands(point.records),
        thousands(point.accounts),
        nanoseconds(point.times.fastest),
        nanoseconds(point.times.median),
        point.memory.allocations,
        point.memory.peak.map(multiple).unwrap_or_default(),
    );
}

fn multiple(of_input: f64) -> String {
    format!("{of_input:.2} × the input")
}

/// Whole nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time is positive, and shorter than an hour"
)]
pub(crate) fn nanoseconds(time: f64) -> String {
    thousands(time.round() as usize)
}

/// A number with a comma before each group of three digits.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<&str> = groups
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}
