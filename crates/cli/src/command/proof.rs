//! `logline proof`: that one span is in the log, fetched or checked; checking needs no network (LED-10).

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use logline_proof::{InclusionProof, Policy, VerifierKey};
use logline_span::SpanId;
use serde_json::json;

use crate::{
    Exit,
    args::{Global, Output},
    client::Client,
    output,
};

/// Flags of `logline proof`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 printed or proved, 1 not provable or not proved, 2 could not be done."
)]
pub(crate) struct Proof {
    /// The span's id, not with --check.
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    id: Option<SpanId>,
    /// An older version in place of the latest.
    #[arg(long, conflicts_with = "check")]
    seq: Option<u32>,
    /// Check this file, as `logline proof ID` printed it, in place of fetching one.
    #[arg(long, value_name = "FILE", requires = "key")]
    check: Option<PathBuf>,
    /// The log's key, as `logline keys` prints it.
    #[arg(long, value_name = "VKEY", requires = "check")]
    key: Option<VerifierKey>,
}

pub(crate) fn run(global: &Global, command: &Proof) -> Result<Exit> {
    if let (Some(file), Some(key)) = (&command.check, &command.key) {
        return check(global, file, key.clone());
    }
    let Some(id) = command.id else {
        bail!("name a span, or a file with --check");
    };
    let query: Vec<_> = command
        .seq
        .map(|seq| ("seq", seq.to_string()))
        .into_iter()
        .collect();
    match Client::new(global)?.find_text(&format!("/api/proofs/{id}"), &query)? {
        Ok(proof) => output::text(&proof)?,
        Err(problem) => {
            output::report(&anyhow::anyhow!(problem));
            return Ok(Exit::No);
        }
    }
    Ok(Exit::Done)
}

fn check(global: &Global, file: &PathBuf, key: VerifierKey) -> Result<Exit> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    let policy = Policy::log_alone(key);
    let parsed = text.parse::<InclusionProof>();
    let proved = parsed
        .map_err(anyhow::Error::from)
        .and_then(|proof| Ok((proof.verify_link(&policy)?, proof)));
    let (link, proof) = match proved {
        Ok(proved) => proved,
        Err(error) => {
            output::report(&error.context(format!("`{}` proves nothing", file.display())));
            return Ok(Exit::No);
        }
    };
    let checkpoint = proof.checkpoint.checkpoint();
    let answer = json!({
        "ok": true,
        "origin": checkpoint.origin.as_str(),
        "size": checkpoint.head.size,
        "position": link.position.get(),
        "received_at": link.received_at.to_string(),
        "content_hash": link.content_hash.to_string(),
        "curr_hash": link.curr_hash.to_string(),
    });
    match output::form(global.output) {
        Output::Json | Output::Ndjson => output::line(&answer.to_string())?,
        Output::Table => output::line(output::fields(&answer).trim_end())?,
    }
    Ok(Exit::Done)
}
