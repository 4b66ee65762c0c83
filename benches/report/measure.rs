//! Times of several ways, measured in turns: when the machine's speed changes, it changes for all of them. The times
//! are those of the CPU, because other programs on the machine don't add to them.

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

/// Does the work, and returns the nanoseconds for each record.
pub(crate) type Sampler<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// The times of one way over all rounds, in nanoseconds per record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Times {
    pub(crate) fastest: f64,
    pub(crate) median: f64,
}

/// Measures each way once in each round, after some rounds that don't count.
pub(crate) fn measure(ways: &mut [Sampler<'_>], rounds: usize) -> Result<Vec<Times>> {
    let mut samples = vec![Vec::with_capacity(rounds); ways.len()];
    for _ in 0..rounds.div_ceil(10) {
        for way in &mut *ways {
            way()?;
        }
    }
    for _ in 0..rounds {
        for (way, samples) in ways.iter_mut().zip(&mut samples) {
            samples.push(way()?);
        }
    }
    Ok(samples.into_iter().map(times).collect())
}

/// The time that this thread has run, in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "it runs for minutes")]
pub(crate) fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn times(mut samples: Vec<f64>) -> Times {
    samples.sort_by(f64::total_cmp);
    Times {
        fastest: samples[0],
        median: samples[samples.len() / 2],
    }
}
