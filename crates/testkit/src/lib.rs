//! Real servers for tests: a PostgreSQL database or cluster, a nats-server, the stock clients.
//!
//! It hands out URLs, never connections, so that it depends on nobody's client. Whatever it starts ends with the test
//! process, also when that is killed, and leaves no file behind. A missing program fails the test that wants it.
//!
//! Start reading at [`Postgres::shared`] and [`Nats::start`].
#![expect(
    clippy::panic,
    reason = "a helper of tests fails the test that uses it"
)]

mod nats;
mod postgres;

mod place;
mod wait;

use std::{path::PathBuf, sync::OnceLock};

use logline_stack::Binaries;

pub use nats::{Nats, NatsStore};
pub use postgres::{Database, Postgres, SharedPostgres};
pub use wait::deadline;

/// The stock bus client.
pub fn nats_cli() -> PathBuf {
    stock_client("nats")
}

/// The stock ledger client.
pub fn psql() -> PathBuf {
    stock_client("psql")
}

/// A program that few machines have, for a test that says so and does without where it is missing.
pub fn found(name: &str) -> Option<PathBuf> {
    logline_stack::stock_client(name)
}

fn stock_client(name: &str) -> PathBuf {
    match logline_stack::stock_client(name) {
        Some(program) => program,
        None => panic!(
            "`{name}` was not found: run `{}`",
            logline_stack::SETUP_COMMAND
        ),
    }
}

fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| expected(Binaries::locate()))
}

/// Fails the test with the whole chain of causes.
#[track_caller]
fn expected<T, E: Into<anyhow::Error>>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{:#}", error.into()),
    }
}
