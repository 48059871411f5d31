//! `logline show ID`: one span, whole.

use anyhow::{Result, bail};

use crate::{
    Exit,
    args::{Global, Output},
    client::{Client, problem_text},
    output,
};

/// Flags of `logline show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The span's id.
    id: String,
    /// An older version in place of the latest.
    #[arg(long)]
    seq: Option<u32>,
    /// The version that the ledger knew at this RFC 3339 time.
    #[arg(long)]
    as_of: Option<String>,
}

pub(crate) fn run(global: &Global, command: &Show) -> Result<Exit> {
    let mut query = Vec::new();
    if let Some(seq) = command.seq {
        query.push(("seq", seq.to_string()));
    }
    if let Some(as_of) = &command.as_of {
        query.push(("as_of", as_of.clone()));
    }
    if command.id.is_empty()
        || !command
            .id
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    {
        bail!(
            "`{}` is no span id; it looks like 0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f",
            output::printable(&command.id)
        );
    }
    let (status, span) = Client::new(global)?.get(&format!("/api/spans/{}", command.id), &query)?;
    if status == 404 {
        output::report(&anyhow::anyhow!("{}", problem_text(status, &span)));
        return Ok(Exit::No);
    }
    if status != 200 {
        bail!("{}", problem_text(status, &span));
    }
    match output::form(global.output) {
        Output::Json | Output::Ndjson => output::line(&span.to_string())?,
        Output::Table => output::line(output::fields(&span).trim_end())?,
    }
    Ok(Exit::Done)
}
