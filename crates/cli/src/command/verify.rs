//! `logline verify`: recomputes chain and content of every row from the stored columns (LED-9).

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use logline_ledger::{Progress, Report, Scope, Verifier};
use logline_proof::{SignedCheckpoint, VerifierKey};
use logline_span::{Position, TenantId};

use crate::{
    Exit,
    args::{Global, Output},
    command::{export, runtime},
    config, output, parts,
};

/// Flags of `logline verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 whole, 1 broken, 2 could not check. Stopped by Ctrl-C, it says where it goes on."
)]
pub(crate) struct Verify {
    /// Only this tenant; may be given more than once.
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<TenantId>,
    /// Start at this position; the row before it is believed.
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    /// A checkpoint that was kept outside, as `GET /api/checkpoints/{tenant}` gave it; may be given more than once.
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Check this file of `logline export` instead, without database or bus.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tenant", "from", "against"])]
    export: Option<PathBuf>,
    /// A witness that must have cosigned, by its key; may be given more than once.
    #[arg(long, value_name = "KEY")]
    witness: Vec<VerifierKey>,
    /// The log's key, as `logline keys` prints it; without it the file vouches for itself.
    #[arg(long, value_name = "KEY", requires = "export")]
    key: Option<VerifierKey>,
}

pub(crate) fn run(global: &Global, command: &Verify) -> Result<Exit> {
    let form = output::form(global.output);
    if let Some(file) = &command.export {
        return tell(
            &export::check(file, command.key.as_ref(), &command.witness)?,
            form,
        );
    }
    let settings = config::load_for_stack(global)?;
    let scope = Scope {
        tenants: command.tenant.clone(),
        from: command
            .from
            .map(|from| Position::new(from).context("positions begin at 1"))
            .transpose()?,
        against: command
            .against
            .iter()
            .map(|file| checkpoint(file))
            .collect::<Result<_>>()?,
        witnesses: command.witness.clone(),
    };
    let shown = std::io::stderr().is_terminal() && form == Output::Table;
    let reached = Mutex::new(None);
    let verified = runtime()?.block_on(async {
        let verifier = Verifier::connect(&parts::ledger_config(
            &settings,
            &settings.ledger.verifier_url,
            "verify",
        ))?;
        let report = verifier.verify(&scope, |Progress { checked, next }| {
            if shown {
                let _ = write!(std::io::stderr(), "\r{checked} rows checked");
            }
            let next = next.map(|(tenant, position)| (tenant.to_owned(), position));
            *reached.lock().unwrap_or_else(PoisonError::into_inner) = next;
        });
        let report = tokio::select! {
            report = report => report.context("the ledger cannot be checked")?,
            _ = tokio::signal::ctrl_c() => return Ok(None),
        };
        // What was found holds whether it can be kept or not. That a witness is missing who was asked for says nothing of the chain.
        let is_of_chain = report.ok || scope.witnesses.is_empty();
        if is_of_chain && let Err(error) = verifier.record(&scope, &report).await {
            output::report(
                &anyhow::Error::new(error).context("the result is not kept for `GET /api/verify`"),
            );
        }
        anyhow::Ok(Some(report))
    })?;
    if shown {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    match verified {
        Some(report) => tell(&report, form),
        None => {
            let reached = reached.into_inner().unwrap_or_else(PoisonError::into_inner);
            bail!("{}", stopped(reached))
        }
    }
}

/// Where a run goes on that was stopped.
fn stopped(next: Option<(String, i64)>) -> String {
    match next {
        Some((tenant, position)) => format!(
            "stopped: `logline verify --tenant {tenant} --from {position}` goes on; the tenants whose names come after it are not checked"
        ),
        None => "stopped before the signed heads were checked: run it again".to_owned(),
    }
}

fn tell(report: &Report, form: Output) -> Result<Exit> {
    match form {
        Output::Json | Output::Ndjson => output::line(&serde_json::to_string(report)?)?,
        Output::Table => {
            for failure in &report.failures {
                let id = failure.id.map(|id| format!(" {id}")).unwrap_or_default();
                let seq = failure
                    .seq
                    .map(|seq| format!(" seq {seq}"))
                    .unwrap_or_default();
                output::line(&format!(
                    "{}/{}{id}{seq}: {}: {}",
                    failure.tenant, failure.position, failure.part, failure.detail
                ))?;
            }
            let state = if report.ok { "whole" } else { "BROKEN" };
            output::line(&format!(
                "{state}: {} rows in {} chains, {} failures{}",
                report.checked,
                report.tenants,
                report.failures.len(),
                if report.anchored {
                    ""
                } else {
                    "; not anchored by a checkpoint or a witness from outside"
                }
            ))?;
        }
    }
    Ok(if report.ok { Exit::Done } else { Exit::No })
}

fn checkpoint(file: &Path) -> Result<SignedCheckpoint> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    text.parse()
        .with_context(|| format!("`{}` holds no checkpoint", file.display()))
}
