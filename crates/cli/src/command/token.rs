//! `logline token`: what lets people in.

mod psql;

use anyhow::Result;

use crate::{Exit, args::Global};

/// Flags of `logline token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a person's own login in Postgres, for psql and other SQL clients.
    Psql(psql::Psql),
}

pub(crate) fn run(global: &Global, token: &Token) -> Result<Exit> {
    match &token.command {
        Command::Psql(command) => psql::run(global, command),
    }
}
