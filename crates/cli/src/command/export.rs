//! `logline export`: a tenant's whole log as a file that verifies on another machine (LED-10), and the check of such a file.
//!
//! NDJSON: first what the log is, then its spans as they were sealed, in order, at last the signed head that covers all of them.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use logline_ledger::{Failure, Part, Report, Verifier};
use logline_proof::{
    Origin, SignedCheckpoint, VerifierKey,
    audit::{Audit, Broken},
};
use logline_span::{Sealed, TenantId};
use serde::{Deserialize, Serialize};

use crate::{
    Exit,
    args::Global,
    command::{proof, runtime},
    config, output, parts,
};

/// Names the form of the file, whose later releases only grow.
const FORM: &str = "logline-export-v1";
/// Spans read at once.
const PAGE: u32 = 500;

/// Flags of `logline export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 written, 1 nothing is signed yet, 2 could not be done.
Check the file anywhere: logline verify --export FILE --key KEY, with KEY as `logline keys` prints it."
)]
pub(crate) struct Export {
    /// Whose log.
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// End with the newest head that a witness has cosigned, in place of the newest.
    #[arg(long)]
    cosigned: bool,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Opening {
    export: String,
    origin: String,
    keys: Vec<String>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    checkpoint: String,
}

pub(crate) fn run(global: &Global, command: &Export) -> Result<Exit> {
    let settings = config::load_for_stack(global)?;
    let verifier = Verifier::connect(&parts::ledger_config(
        &settings,
        &settings.ledger.verifier_url,
        "export",
    ))?;
    runtime()?.block_on(write(&verifier, &command.tenant, command.cosigned))
}

async fn write(verifier: &Verifier, tenant: &TenantId, cosigned: bool) -> Result<Exit> {
    let Some(exported) = verifier.exported(tenant, cosigned).await? else {
        let signed = if cosigned { "cosigned" } else { "signed" };
        output::aside(&format!(
            "logline: no head of the log of `{tenant}` is {signed} yet: there is nothing to export"
        ))?;
        return Ok(Exit::No);
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let opening = Opening {
        export: FORM.to_owned(),
        origin: exported.origin,
        keys: exported.keys,
    };
    writeln!(out, "{}", serde_json::to_string(&opening)?)?;
    let size = exported.checkpoint.checkpoint().head.size;
    let mut written = 0;
    while written < size {
        let limit = u32::try_from(size - written).unwrap_or(PAGE).min(PAGE);
        let spans = verifier.spans(tenant, written, limit).await?;
        ensure!(
            !spans.is_empty(),
            "the ledger holds {written} spans, and its signed head covers {size}: `logline verify` says more"
        );
        for sealed in &spans {
            writeln!(out, "{}", sealed.to_json())?;
        }
        written += spans.len() as u64;
    }
    let closing = Closing {
        checkpoint: exported.checkpoint.to_string(),
    };
    writeln!(out, "{}", serde_json::to_string(&closing)?)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// Checks a file without database or bus. With a key of the log or of a witness from outside the answer is anchored; else the file vouches for itself.
pub(crate) fn check(
    file: &Path,
    key: Option<&VerifierKey>,
    witnesses: &[VerifierKey],
) -> Result<Report> {
    let opened = File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let mut lines = BufReader::new(opened).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let opening: Opening = serde_json::from_str(&first)
        .ok()
        .filter(|opening: &Opening| opening.export == FORM)
        .with_context(|| {
            format!(
                "`{}` is no export of a log: its first line is another",
                file.display()
            )
        })?;
    let origin: Origin = opening.origin.parse()?;
    let keys = match key {
        Some(key) => vec![key.clone()],
        None => opening
            .keys
            .iter()
            .filter_map(|key| key.parse().ok())
            .collect(),
    };
    let (_, tenant) = opening
        .origin
        .rsplit_once('/')
        .context("the origin names no tenant")?;

    let mut audit = Audit::new(&origin);
    let report = |checked, failure: Option<Failure>| Report {
        ok: failure.is_none(),
        anchored: (key.is_some() || !witnesses.is_empty()) && failure.is_none(),
        tenants: 1,
        checked,
        through: Default::default(),
        failures: failure.into_iter().collect(),
    };
    for (checked, line) in (0..).zip(lines) {
        let line = line.with_context(|| format!("cannot read `{}`", file.display()))?;
        if let Ok(closing) = serde_json::from_str::<Closing>(&line) {
            let failure = closed(audit, &closing, &keys, witnesses)?
                .map(|broken| failure(tenant, checked, None, &broken));
            return Ok(report(checked, failure));
        }
        let sealed = match Sealed::from_json(line.as_bytes()) {
            Ok(sealed) => sealed,
            Err(refusal) => {
                let mut failure = failure(tenant, checked + 1, None, &Broken::Content);
                failure.detail = format!("the line cannot be read: {refusal}");
                return Ok(report(checked, Some(failure)));
            }
        };
        if let Err(broken) = audit.step(&sealed) {
            return Ok(report(
                checked,
                Some(failure(tenant, checked + 1, Some(&sealed), &broken)),
            ));
        }
    }
    bail!(
        "`{}` is cut off: it does not end with a checkpoint",
        file.display()
    )
}

/// What is wrong with the end, with every key that may have signed it.
fn closed(
    audit: Audit,
    closing: &Closing,
    keys: &[VerifierKey],
    witnesses: &[VerifierKey],
) -> Result<Option<Broken>> {
    let signed: SignedCheckpoint = closing
        .checkpoint
        .parse()
        .context("the last line holds no checkpoint")?;
    let policies = || keys.iter().map(|key| proof::policy(key.clone(), witnesses));
    let trusted = policies().find(|policy| policy.trust(&signed).is_ok());
    let Some(policy) = trusted.or_else(|| policies().next()) else {
        bail!("the file names no key, and none was given with --key");
    };
    Ok(audit.finish(&signed, &policy).err())
}

fn failure(tenant: &str, position: u64, sealed: Option<&Sealed>, broken: &Broken) -> Failure {
    Failure {
        tenant: tenant.to_owned(),
        position: i64::try_from(position).unwrap_or(i64::MAX),
        id: sealed.map(|sealed| sealed.span.id),
        seq: sealed.map(|sealed| sealed.span.seq),
        part: match broken {
            Broken::Foreign | Broken::Content => Part::Content,
            Broken::Gap { .. } => Part::Gap,
            Broken::Link => Part::Link,
            Broken::Signature => Part::Signature,
            Broken::Untrusted(_) | Broken::Head => Part::Checkpoint,
        },
        detail: match broken {
            Broken::Untrusted(why) => format!("{broken}: {why}"),
            Broken::Foreign
            | Broken::Content
            | Broken::Gap { .. }
            | Broken::Link
            | Broken::Signature
            | Broken::Head => broken.to_string(),
        },
    }
}
