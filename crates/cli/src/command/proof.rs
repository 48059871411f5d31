//! `logline proof`: what a stranger needs to believe that a span is in the log, or that the log has only grown, and the check of
//! either without a network (LED-8, LED-10).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use logline_proof::{
    ConsistencyProof, InclusionProof, Policy, SignedCheckpoint, VerifierKey, consistency,
};
use logline_span::{SpanId, TenantId};
use serde_json::{Value, json};

use crate::{
    Exit,
    args::{Global, Output},
    client::Client,
    output,
};

/// Flags of `logline proof`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 proved, 1 not proved, 2 could not be done.
A span:  logline proof ID > FILE, then anywhere: logline proof --check FILE --key KEY
Growth:  logline proof --consistency FROM TO --tenant T > FILE, then: logline proof --check FILE --since OLD --key KEY,
         where OLD is the checkpoint of size FROM that you kept, and KEY is as `logline keys` prints it.")]
pub(crate) struct Proof {
    /// The span's id.
    #[arg(required_unless_present_any = ["check", "consistency"], conflicts_with_all = ["check", "consistency"])]
    id: Option<SpanId>,
    /// An older version in place of the latest.
    #[arg(long, requires = "id")]
    seq: Option<u32>,
    /// Fetch the proof that the log has only grown from a checkpoint of size FROM to the one of size TO, or else to the newest.
    #[arg(long, value_names = ["FROM", "TO"], num_args = 1..=2, requires = "tenant", conflicts_with = "check")]
    consistency: Vec<u64>,
    /// Whose log, with --consistency.
    #[arg(long, value_name = "TENANT", requires = "consistency")]
    tenant: Option<TenantId>,
    /// Check this file, as this command printed it, in place of fetching one.
    #[arg(long, value_name = "FILE", requires = "key")]
    check: Option<PathBuf>,
    /// The log's key, as `logline keys` prints it.
    #[arg(long, value_name = "VKEY", requires = "check")]
    key: Option<VerifierKey>,
    /// The earlier checkpoint, where --check names a proof of consistency.
    #[arg(long, value_name = "FILE", requires = "check")]
    since: Option<PathBuf>,
    /// A witness that must have cosigned, by its key; may be given more than once.
    #[arg(long, value_name = "VKEY", requires = "check")]
    witness: Vec<VerifierKey>,
}

pub(crate) fn run(global: &Global, command: &Proof) -> Result<Exit> {
    if let (Some(file), Some(key)) = (&command.check, &command.key) {
        let policy = policy(key.clone(), &command.witness);
        return check(global, file, command.since.as_deref(), &policy);
    }
    let (path, query) = match (&command.id, &command.tenant) {
        (Some(id), _) => {
            let seq = command.seq.map(|seq| ("seq", seq.to_string()));
            (format!("/api/proofs/{id}"), Vec::from_iter(seq))
        }
        (None, Some(tenant)) => {
            let sizes = ["from", "to"].into_iter().zip(&command.consistency);
            let query = sizes.map(|(name, size)| (name, size.to_string())).collect();
            (format!("/api/log/{tenant}/consistency"), query)
        }
        (None, None) => bail!("name a span, two sizes with --consistency, or a file with --check"),
    };
    match Client::new(global)?.find_text(&path, &query)? {
        Ok(proof) => output::text(&proof)?,
        Err(problem) => {
            output::report(&anyhow::anyhow!(problem));
            return Ok(Exit::No);
        }
    }
    Ok(Exit::Done)
}

/// Believes the log's key, and asks for all the witnesses that are named.
pub(crate) fn policy(log: VerifierKey, witnesses: &[VerifierKey]) -> Policy {
    Policy {
        log,
        witnesses: witnesses.to_vec(),
        threshold: witnesses.len(),
    }
}

fn check(global: &Global, file: &Path, since: Option<&Path>, policy: &Policy) -> Result<Exit> {
    let text = read(file)?;
    let proved = match since {
        None if text.starts_with(consistency::HEADER) => bail!(
            "`{}` proves that a log has grown: name the earlier checkpoint with --since",
            file.display()
        ),
        None => link(&text, policy),
        Some(since) => {
            let old = read(since)?
                .parse()
                .with_context(|| format!("`{}` holds no checkpoint", since.display()))?;
            growth(&text, &old, policy)
        }
    };
    let answer = match proved {
        Ok(answer) => answer,
        Err(error) => {
            output::report(&error.context(format!("`{}` proves nothing", file.display())));
            return Ok(Exit::No);
        }
    };
    match output::form(global.output) {
        Output::Json | Output::Ndjson => output::line(&answer.to_string())?,
        Output::Table => output::line(output::fields(&answer).trim_end())?,
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))
}

/// That a span is in the log.
fn link(text: &str, policy: &Policy) -> Result<Value> {
    let proof: InclusionProof = text.parse()?;
    let link = proof.verify_link(policy)?;
    let checkpoint = proof.checkpoint.checkpoint();
    Ok(json!({
        "ok": true,
        "origin": checkpoint.origin.as_str(),
        "size": checkpoint.head.size,
        "witnesses": policy.threshold,
        "position": link.position.get(),
        "received_at": link.received_at.to_string(),
        "content_hash": link.content_hash.to_string(),
        "curr_hash": link.curr_hash.to_string(),
    }))
}

/// That the log has only grown since a checkpoint, which need not be cosigned itself.
fn growth(text: &str, old: &SignedCheckpoint, policy: &Policy) -> Result<Value> {
    let proof: ConsistencyProof = text.parse()?;
    proof.verify(old, policy)?;
    let checkpoint = proof.checkpoint.checkpoint();
    Ok(json!({
        "ok": true,
        "origin": checkpoint.origin.as_str(),
        "old_size": proof.old_size,
        "size": checkpoint.head.size,
        "witnesses": policy.threshold,
        "root": checkpoint.head.root.to_string(),
    }))
}
