//! `logline completions SHELL`.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Exit, args::Args};

/// Flags of `logline completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell to complete for.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(command: &Completions) -> Result<Exit> {
    clap_complete::generate(
        command.shell,
        &mut Args::command(),
        "logline",
        &mut std::io::stdout(),
    );
    Ok(Exit::Done)
}
