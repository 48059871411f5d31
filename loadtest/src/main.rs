//! Load on a running system, over HTTP and over the bus, held against the levels of service.
//!
//! Each scenario starts a stack of its own, or takes the addresses of one that runs; it fills the table, and the program
//! exits with 1 when a level breaks. `docs/load.md` says what is measured and how. Start reading at [`Scenario`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the result, and progress goes beside it"
)]

mod bursts;
mod bus;
mod mixed;
mod outside;
mod publishers;
mod scale;
mod sse;
mod stack;
mod subscribers;
mod table;
mod users;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use crate::{
    scale::Scale,
    stack::{Addresses, Stack},
    table::Table,
};

/// Puts load on a stack and compares what it finds with the levels of service.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to run, one after another; all of them where none is named.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// The scripts of `loadtest/k6` too.
    #[arg(long)]
    k6: bool,
    /// Seconds instead of minutes: to see that every scenario works, on any machine.
    #[arg(long)]
    short: bool,
    /// File with the addresses of a stack that runs, such as `.logline/stack.json`; without it one is started.
    #[arg(long, value_name = "FILE")]
    stack: Option<PathBuf>,
    /// The program `logline` that starts a stack; the one beside this program where absent.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "stack")]
    logline: Option<PathBuf>,
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// A ramp of publishers by HTTP.
    Publishers,
    /// Publishing, reading back, querying and paging at once.
    Mixed,
    /// Readers of the stream that leave and come back.
    Subscribers,
    /// Requests beyond the rate limit.
    Bursts,
    /// A publisher on the bus at fixed rates and without a pause.
    Bus,
    /// The `nats` client's own bench on the same server.
    Nats,
    /// The scripts of `loadtest/k6`; see --k6.
    #[value(skip)]
    K6,
}

/// What runs where nothing is named.
const USUAL: [Scenario; 6] = [
    Scenario::Publishers,
    Scenario::Mixed,
    Scenario::Subscribers,
    Scenario::Bursts,
    Scenario::Bus,
    Scenario::Nats,
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut table = Table::default();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(run(&arguments, &mut table));
    // What was found before a failure is told all the same.
    print!("{table}");
    outcome?;
    let broken = table.broken();
    for measure in &broken {
        eprintln!("loadtest: this level breaks: {measure}");
    }
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn run(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let scale = if arguments.short {
        Scale::SHORT
    } else {
        Scale::LONG
    };
    stack::raise_files_max(scale.files)?;
    let mut scenarios = arguments.scenarios.clone();
    if scenarios.is_empty() {
        scenarios.extend(USUAL);
    }
    scenarios.extend(arguments.k6.then_some(Scenario::K6));
    let stack = match &arguments.stack {
        Some(file) => Stack::at(file)?,
        None => Stack::start(arguments.logline.as_deref())?,
    };
    for scenario in scenarios {
        eprintln!("+ {scenario:?}");
        scenario
            .run(&stack, &scale, table)
            .await
            .with_context(|| format!("the scenario {scenario:?} could not be run to its end"))?;
    }
    stack.stop()
}

impl Scenario {
    async fn run(self, stack: &Stack, scale: &Scale, table: &mut Table) -> Result<()> {
        let addresses: &Addresses = stack.addresses();
        match self {
            Self::Publishers => publishers::run(addresses, scale, table).await,
            Self::Mixed => mixed::run(addresses, scale, table).await,
            Self::Subscribers => subscribers::run(addresses, scale, table).await,
            Self::Bursts => bursts::run(stack, scale, table).await,
            Self::Bus => bus::run(addresses, scale, table).await,
            Self::Nats => outside::nats(addresses, scale, table).await,
            Self::K6 => outside::k6(stack, scale, table).await,
        }
    }
}
