//! The translator, the projector and the archiver seen from outside: events per second, CPU per event, calls and
//! memory, and the start-up time of every function. `cargo bench -p millrace-benches --bench from_outside` builds
//! the functions and measures them. With `-- --functions FOLDER`, it measures those whose binaries are in a folder,
//! such as those of another version.
//!
//! Each row is the median of several invocations of one process. The translator's invocations have accounts that
//! are new, and those of the consumers continue the accounts of the invocation before, so that their views exist.
//! After each invocation, the stream must have every event once and in order; or the history must have every item
//! once, and every view its account's last sequence; or Firehose must have accepted every event once and in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use millrace_benches::batch::{self, DomainEvent, DomainEvents, Spread};
use millrace_benches::function::{self, Function};
use millrace_benches::http::{self, Server};
use millrace_benches::runtime_api::RuntimeApi;
use millrace_benches::services::{Behaviour, Received, Services};
use millrace_benches::tls::Certificate;
use tokio::time::Instant;

const EVENTS: u32 = 1_000;
const INVOCATIONS: u32 = 15;
/// Invocations with the events of one account, of which the translator's take 13 seconds each.
const INVOCATIONS_OF_ONE: u32 = 4;
const STARTS: usize = 21;
const BEHAVIOUR: Behaviour = Behaviour {
    put_records: Duration::from_millis(12),
    put_record_batch: Duration::from_millis(10),
    write: Duration::from_millis(4),
    read: Duration::from_millis(5),
    throttled: 0.0,
};

/// A function with its mocks.
struct Stage {
    function: Function,
    runtime_api: Arc<RuntimeApi>,
    services: Arc<Services>,
    server: Server,
}

impl Stage {
    /// Starts a binary with mocks of the services that are reached with TLS if there is a certificate.
    async fn start(
        binary: &Path,
        behaviour: Behaviour,
        certificate: Option<&Certificate>,
    ) -> Result<Self> {
        let runtime_api = Arc::new(RuntimeApi::default());
        let services = Arc::new(Services::new(behaviour));
        let api = Arc::clone(&runtime_api);
        let runtime_server = http::serve(None, move |request| {
            let api = Arc::clone(&api);
            async move { api.answer(&request).await }
        });
        let called = Arc::clone(&services);
        let tls = certificate.map(Certificate::acceptor);
        let server = http::serve(tls, move |request| {
            let called = Arc::clone(&called);
            async move { called.answer(&request).await }
        });
        let server = server.await?;
        let roots = certificate.map(Certificate::roots);
        let runtime_api_address = runtime_server.await?.address;
        Ok(Self {
            function: Function::start(
                binary,
                runtime_api_address,
                server.address,
                roots.as_deref(),
            )?,
            runtime_api,
            services,
            server,
        })
    }
}

/// The measurements of the invocations of one scenario.
#[derive(Default)]
struct Measured {
    seconds: Vec<f64>,
    cpu: Duration,
    received: Option<Received>,
    peak_memory: u32,
}

/// What the invocations of a function consist of, and what has to be true after each.
enum Work {
    /// The translator's: the accounts of each invocation are new.
    Translate,
    /// The projector's.
    Project(DomainEvents),
    /// The archiver's.
    Archive(DomainEvents),
}

impl Work {
    /// An invocation's body, and the domain events that it contains.
    fn next(&mut self, invocation: u32, spread: Spread) -> Result<(Vec<u8>, Vec<DomainEvent>)> {
        match self {
            Self::Translate => {
                let body = batch::invocation(&format!("{invocation:08x}"), spread, EVENTS)?;
                Ok((body, Vec::new()))
            }
            Self::Project(accounts) | Self::Archive(accounts) => {
                let events = accounts.next(spread, EVENTS)?;
                Ok((batch::consumer_invocation(&events)?, events))
            }
        }
    }

    fn check(
        &self,
        services: &Services,
        received: &Received,
        events: &[DomainEvent],
    ) -> Result<()> {
        match self {
            Self::Translate => received.check(EVENTS),
            Self::Project(_) => services.check_read_models(received, events),
            Self::Archive(_) => received.check_lake(events),
        }
    }
}

async fn measure(
    binary: &Path,
    mut work: Work,
    spread: Spread,
    throttled: f64,
    invocations: u32,
) -> Result<Measured> {
    let behaviour = Behaviour {
        throttled,
        ..BEHAVIOUR
    };
    let stage = Stage::start(binary, behaviour, None).await?;
    let mut measured = Measured::default();
    // The first invocation opens the connections, as after a cold start; it isn't counted.
    for invocation in 0..=invocations {
        stage.runtime_api.ready().await?;
        stage.services.take();
        let (body, events) = work.next(invocation, spread)?;
        let before = stage.function.cpu_time()?;
        let (response, took) = stage.runtime_api.invoke(body).await?;
        let received = stage.services.take();
        let response = String::from_utf8(response)?;
        ensure!(
            !response.contains("itemIdentifier"),
            "incomplete: {response}"
        );
        work.check(&stage.services, &received, &events)?;
        if invocation > 0 {
            measured.cpu += stage.function.cpu_time()?.saturating_sub(before);
            measured.seconds.push(took.as_secs_f64());
            measured.received = Some(received);
        }
    }
    measured.peak_memory = stage.function.peak_memory()?;
    Ok(measured)
}

/// A function's rows: how the events are distributed, and the part of the records that is throttled.
type Row = (&'static str, Spread, f64);

const SPREADS: [Row; 4] = [
    ("1,000", Spread::Even { accounts: 1_000 }, 0.0),
    ("1,000, Zipf", Spread::Zipf { accounts: 1_000 }, 0.0),
    ("10", Spread::Even { accounts: 10 }, 0.0),
    ("1", Spread::Even { accounts: 1 }, 0.0),
];
const THROTTLED: Row = (
    "1,000, Zipf, 5 % of the records throttled",
    Spread::Zipf { accounts: 1_000 },
    0.05,
);

/// Measures a function and prints its table. A folder may lack the binary.
async fn report(binary: &Path, title: &str, rows: &[Row], work: fn() -> Work) -> Result<()> {
    if !binary.exists() {
        return Ok(());
    }
    println!("{title}, {EVENTS} events in an invocation");
    println!();
    println!("| accounts | events/s | CPU per event | calls | peak memory |");
    println!("|---|---|---|---|---|");
    for (name, spread, throttled) in rows {
        let invocations = match spread {
            Spread::Even { accounts: 1 } => INVOCATIONS_OF_ONE,
            _ => INVOCATIONS,
        };
        let measured = measure(binary, work(), *spread, *throttled, invocations).await;
        let mut measured = measured.context(*name)?;
        let received = measured.received.take().context("an invocation")?;
        let calls: usize = received.calls.values().sum();
        let by_operation = received.calls.iter();
        let by_operation = by_operation.map(|(operation, calls)| format!("{operation} {calls}"));
        println!(
            "| {name} | {:.0} | {:.0} µs | {calls} ({}) | {:.1} MiB |",
            f64::from(EVENTS) / median(&mut measured.seconds),
            measured.cpu.as_secs_f64() * 1e6 / f64::from(EVENTS * invocations),
            by_operation.collect::<Vec<_>>().join(", "),
            f64::from(measured.peak_memory) / 1024.0,
        );
    }
    println!();
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The start-up of a function, in milliseconds.
struct StartUp {
    /// From the start of the process to its first connection to a service, or to its first request for an
    /// invocation if it doesn't call a service before.
    init: f64,
    /// From the first connection to a service, with TLS, to the first request for an invocation; `None` if the
    /// function doesn't call a service before.
    first_call: Option<f64>,
}

async fn start_up(binary: &Path, certificate: &Certificate) -> Result<StartUp> {
    let behaviour = Behaviour {
        read: Duration::ZERO,
        write: Duration::ZERO,
        ..BEHAVIOUR
    };
    let (mut init, mut first_call) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let stage = Stage::start(binary, behaviour, Some(certificate)).await?;
        let ready = stage.runtime_api.ready().await?;
        let connected = stage.server.connected();
        let millis = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1000.0;
        init.push(millis(stage.function.started, connected.unwrap_or(ready)));
        first_call.extend(connected.map(|connected| millis(connected, ready)));
    }
    Ok(StartUp {
        init: median(&mut init),
        first_call: (!first_call.is_empty()).then(|| median(&mut first_call)),
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let names = [
        "writer",
        "translator",
        "projector",
        "archiver",
        "reader",
        "reconciler",
    ];
    let mut arguments = std::env::args().skip_while(|argument| argument != "--functions");
    let folder = match (arguments.next(), arguments.next()) {
        (Some(_), Some(folder)) => folder.into(),
        (Some(_), None) => bail!("--functions needs a folder"),
        (None, _) => function::build(&names).await?,
    };
    println!("Functions in {}", folder.display());
    println!(
        "PutRecords takes {} ms, PutRecordBatch {} ms, a write {} ms, a read {} ms",
        BEHAVIOUR.put_records.as_millis(),
        BEHAVIOUR.put_record_batch.as_millis(),
        BEHAVIOUR.write.as_millis(),
        BEHAVIOUR.read.as_millis(),
    );
    println!();
    let with_throttling = [&SPREADS[..], &[THROTTLED]].concat();
    let translator = folder.join("translator");
    report(&translator, "Translator", &with_throttling, || {
        Work::Translate
    })
    .await?;
    let projector = folder.join("projector");
    let project = || Work::Project(DomainEvents::default());
    report(&projector, "Projector", &SPREADS, project).await?;
    let archiver = folder.join("archiver");
    let archive = || Work::Archive(DomainEvents::default());
    report(&archiver, "Archiver", &SPREADS, archive).await?;
    println!("Start-up in milliseconds, median of {STARTS}");
    println!();
    println!("| function | init | first call of a service, with TLS | size of the binary |");
    println!("|---|---|---|---|");
    let certificate = Certificate::new()?;
    for name in names {
        let binary = folder.join(name);
        if !binary.exists() {
            continue;
        }
        let StartUp { init, first_call } = start_up(&binary, &certificate).await.context(name)?;
        let first_call = first_call.map_or("none".to_owned(), |millis| format!("{millis:.1}"));
        let kilobytes = u32::try_from(std::fs::metadata(&binary)?.len() / 1000)?;
        let megabytes = f64::from(kilobytes) / 1000.0;
        println!("| {name} | {init:.1} | {first_call} | {megabytes:.1} MB |");
    }
    Ok(())
}
