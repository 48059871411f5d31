//! One module a command; each takes its parsed flags and says how it went.

pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod keygen;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod proof;
pub(crate) mod psql;
pub(crate) mod publish;
pub(crate) mod quarantine;
pub(crate) mod query;
pub(crate) mod restore;
pub(crate) mod role;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod span;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod verify;

use std::{future::Future, time::SystemTime};

use anyhow::{Context, Result};
use logline_span::Timestamp;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use crate::{
    Exit,
    args::{Args, Command},
};

/// Runs the command that the flags name.
pub(crate) fn run(args: Args) -> Result<Exit> {
    let global = args.global;
    match args.command {
        Command::Dev(command) => dev::run(&global, &command),
        Command::Serve(command) => serve::run(&global, &command),
        Command::Migrate(command) => migrate::run(&global, &command),
        Command::Publish(command) => publish::run(&global, &command),
        Command::Query(command) => query::run(&global, &command),
        Command::Tail(command) => tail::run(&global, &command),
        Command::Show(command) => show::run(&global, &command),
        Command::Proof(command) => proof::run(&global, &command),
        Command::Keys(command) => keys::run(&global, &command),
        Command::Export(command) => export::run(&global, &command),
        Command::Verify(command) => verify::run(&global, &command),
        Command::Doctor(command) => doctor::run(&global, &command),
        Command::Restore(command) => restore::restore(&global, &command),
        Command::Republish(command) => restore::republish(&global, &command),
        Command::Quarantine(command) => quarantine::run(&global, &command),
        Command::Psql(command) => match psql::run(&global, &command)? {},
        Command::Keygen(command) => keygen::run(&global, &command),
        Command::Token(command) => token::run(&global, &command),
        Command::Role(command) => role::run(&global, &command),
        Command::Key(command) => role::run_key(&global, &command),
        Command::Tenant(command) => role::run_tenant(&global, &command),
        Command::Span(command) => span::run(&command),
        Command::Completions(command) => completions::run(&command),
    }
}

/// The wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a command is where a person meets the clock"
)]
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The runtime of commands that wait.
fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Resolves on SIGTERM or Ctrl-C.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
