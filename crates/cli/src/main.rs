//! `logline`: the one binary of LogLine OS, and its composition root.
//!
//! It alone reads the environment, files and flags, builds every part and hands each its resources.
//! It decides nothing about spans: rules live in `span`, storage in `ledger`, transport in `bus`.
//! Start reading at [`args`], then [`config`], then [`parts`].

mod args;
mod client;
mod command;
mod config;
#[cfg(debug_assertions)]
mod halting;
mod output;
mod parts;
mod stack;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match command::run(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::report(&error);
            Exit::Unable.into()
        }
    }
}

/// Exit codes of every command (CLI-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// What was asked holds or was done.
    Done = 0,
    /// It was done, and the answer is no: refused, not found, broken, a failed check.
    No = 1,
    /// It could not be done: wrong usage, no server, no permission.
    Unable = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
