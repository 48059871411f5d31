//! The command line, as clap parses it: no value is interpreted here.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::command;

/// A governance ledger: spans published on a bus, sealed into Postgres, acted upon.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 the answer is no (refused, not found, broken), 2 could not be done."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// Directory of a development stack; the default is `.logline` here or in a directory above.
    #[arg(long, global = true, value_name = "DIR", env = "LOGLINE_DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Form of the answer; the default is `table` on a terminal and `json` elsewhere.
    #[arg(long, short, global = true, value_enum)]
    pub(crate) output: Option<Output>,
    /// Configuration file, over the built-in defaults.
    #[arg(long, global = true, value_name = "FILE", env = "LOGLINE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Address of the API, in place of the development stack's.
    #[arg(long, global = true, value_name = "URL", env = "LOGLINE_API")]
    pub(crate) api: Option<String>,
    /// Bearer token for the API, in place of the development stack's.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "LOGLINE_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
}

/// Forms in which a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for a person.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a private Postgres, bus and every role here; Ctrl-C stops all.
    Dev(command::dev::Dev),
    /// Run roles against given servers.
    Serve(command::serve::Serve),
    /// Create or bring up to date the database and the streams.
    Migrate(command::migrate::Migrate),
    /// Publish spans and wait until they are sealed.
    Publish(command::publish::Publish),
    /// List sealed spans, the newest first.
    Query(command::query::Query),
    /// Follow sealed spans as they come.
    Tail(command::tail::Tail),
    /// Show one span.
    Show(command::show::Show),
    /// Print the proof that a span is in the log, or check one without a network.
    Proof(command::proof::Proof),
    /// Print the keys that verify the log's signed heads.
    Keys(command::keys::Keys),
    /// Write a tenant's whole log, with what proves it, to standard output.
    Export(command::export::Export),
    /// Recompute the chain and the content of every row, or of an export.
    Verify(command::verify::Verify),
    /// Check the whole deployment, with a real round trip.
    Doctor(command::doctor::Doctor),
    /// List, show, mend and discard what was refused.
    Quarantine(command::quarantine::Quarantine),
    /// Bring back what the ledger lost.
    Restore(command::restore::Restore),
    /// Make the timeline on the bus again from the ledger.
    Republish(command::restore::Republish),
    /// Open psql on the stack at hand, as its person.
    Psql(command::psql::Psql),
    /// Make an Ed25519 key pair.
    Keygen(command::keygen::Keygen),
    /// Make, show, list and revoke bearer tokens and API keys.
    Token(command::token::TokenArgs),
    /// Grant, revoke and list roles.
    Role(command::role::RoleArgs),
    /// Bind, revoke and list the public keys of people.
    Key(command::role::KeyArgs),
    /// Give a tenant its first admin.
    Tenant(command::role::TenantArgs),
    /// Work on spans without a server.
    Span(command::span::SpanArgs),
    /// Print completions for a shell.
    Completions(command::completions::Completions),
}
