//! `logline span`: canonical form, hash and signature of spans in files, without a server.
//!
//! One span a line in, one result a line out (NDJSON); `-` is standard input.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::Subcommand;
use logline_span::{
    Encoding, EntityType, Limits, Principal, SigningKey, SpanId, TenantId,
    check::{self, Fill, Outcome},
};

use crate::Exit;

/// Flags of `logline span`.
#[derive(Debug, clap::Args)]
pub(crate) struct SpanArgs {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Print the canonical form (RFC 8785), which is what is hashed.
    Canon(Input),
    /// Print the content hash.
    Hash(Input),
    /// Sign; id, at, trace_id, tenant_id and owner_id are filled in where they are missing.
    Sign(Sign),
    /// Check bounds, hashes and signatures.
    Check(Input),
}

#[derive(Debug, clap::Args)]
struct Input {
    /// A file with one span a line; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Sign {
    #[command(flatten)]
    input: Input,
    /// The private key, as `logline keygen` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The tenant that the spans are published in.
    #[arg(long)]
    tenant: TenantId,
    /// The principal that publishes them.
    #[arg(long)]
    owner: Principal,
    /// Their type, where a span names none.
    #[arg(long)]
    entity_type: Option<EntityType>,
}

pub(crate) fn run(command: &SpanArgs) -> Result<Exit> {
    let limits = Limits::STANDARD;
    match &command.work {
        Work::Canon(input) => each_line(input, |line| check::canon(line, Encoding::Json, &limits)),
        Work::Hash(input) => each_line(input, |line| check::hash(line, Encoding::Json, &limits)),
        Work::Check(input) => each_line(input, |line| check::check(line, Encoding::Json, &limits)),
        Work::Sign(sign) => {
            let pem = std::fs::read_to_string(&sign.key)
                .with_context(|| format!("cannot read `{}`", sign.key.display()))?;
            let key = SigningKey::from_pem(&pem).with_context(|| {
                format!(
                    "`{}` holds no Ed25519 key in PKCS#8 PEM",
                    sign.key.display()
                )
            })?;
            each_line(&sign.input, |line| {
                let fill = Fill {
                    id: SpanId::from_uuid(uuid::Uuid::now_v7()),
                    at: super::now(),
                    tenant: &sign.tenant,
                    owner: &sign.owner,
                    entity_type: sign.entity_type.as_ref(),
                    trace_id: None,
                };
                check::sign(line, Encoding::Json, &limits, &fill, &key)
            })
        }
    }
}

/// Longest line that is read: what the bus takes (SPAN-2), with room for the newline.
const LINE_BYTES_MAX: u64 = (1 << 20) + 2;

fn each_line(input: &Input, mut work: impl FnMut(&[u8]) -> Outcome) -> Result<Exit> {
    let mut reader: Box<dyn BufRead> = if input.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = File::open(&input.file)
            .with_context(|| format!("cannot read `{}`", input.file.display()))?;
        Box::new(BufReader::new(file))
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut exit = Exit::Done;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = std::io::Read::take(&mut reader, LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .context("cannot read the input")?;
        if read == 0 {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LINE_BYTES_MAX {
            anyhow::bail!("line {number} is longer than 1 MiB, which no span may be");
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let outcome = work(text);
        if !outcome.is_success() {
            exit = Exit::No;
        }
        writeln!(out, "{outcome}").context("cannot write the result")?;
    }
    out.flush().context("cannot write the result")?;
    Ok(exit)
}
