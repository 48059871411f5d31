//! The project's own commands: the gate, the measurements, the long fault run.
//!
//! Start reading at [`Task`]; the rules that no other tool checks are in `layers` and `tidy`.
#![expect(
    clippy::print_stdout,
    reason = "the results of these commands are what they print"
)]
#![expect(clippy::print_stderr, reason = "progress goes beside the results")]

mod bench;
mod check;
mod load;
mod workspace;

#[cfg(test)]
mod layers;
#[cfg(test)]
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, lints, documentation, tests, layering: the gate
    Check {
        /// Only what takes seconds: formatting, lints, layering and tidiness
        #[arg(long)]
        quick: bool,
    },
    /// Every bench target in turn, as one table and as `target/bench.jsonl`
    Bench {
        /// Run only the targets with one of these names
        names: Vec<String>,
    },
    /// Load over HTTP and over the bus, held against the levels of service
    Load(load::Load),
    /// Kills, freezes and restarts parts at random under load, puts older copies under the bus, and checks the ledger
    Faults {
        /// How many runs, each with two faults
        #[arg(long, default_value_t = 30)]
        runs: u32,
        /// The first run's seed; the others count on from it
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Receipts of each run
        #[arg(long, default_value_t = 1000)]
        receipts: u32,
    },
    /// Tampers with a ledger at random, and checks that each tampering is found and named
    Tamper {
        /// How many tamperings
        #[arg(long, default_value_t = 10_000)]
        runs: u32,
        /// Which ones; repeats a run that failed
        #[arg(long)]
        seed: Option<u64>,
    },
    /// The documentation, warnings denied
    Docs,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Check { quick } => check::check(quick),
        Task::Bench { names } => bench::bench(&names),
        Task::Load(load) => load::load(&load),
        Task::Faults {
            runs,
            seed,
            receipts,
        } => check::faults(runs, seed, receipts),
        Task::Tamper { runs, seed } => check::tamper(runs, seed),
        Task::Docs => check::docs(),
    }
}
