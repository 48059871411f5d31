//! `logline restore` and `logline republish`: either side of the system made again from the other (LED-15).

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use logline_bus::{Bus, access::Login};
use logline_ledger::Writer;
use logline_projector::Progress;
use serde_json::json;

use crate::{
    Exit,
    args::{Global, Output},
    command::runtime,
    config::{self, Settings},
    output, parts,
};

/// The one shard.
const SHARD: u32 = 0;

/// Flags of `logline restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Stop every part first, and run `logline migrate` on an empty database. A restoration that was cut off goes on where it was.
Exit codes: 0 done, 2 could not be done."
)]
pub(crate) struct Restore {
    /// Bring back what the ledger lost from the bus: from the timeline, then from what INGEST still holds.
    #[arg(long, required = true)]
    from_bus: bool,
}

/// Flags of `logline republish`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The parts may go on meanwhile; a timeline that holds anything else than the ledger is made anew.
Exit codes: 0 done, 2 could not be done."
)]
pub(crate) struct Republish {}

pub(crate) fn restore(global: &Global, _command: &Restore) -> Result<Exit> {
    let settings = config::load_for_stack(global)?;
    let form = output::form(global.output);
    let restored = runtime()?.block_on(ledger(&settings, form))?;
    match form {
        Output::Json | Output::Ndjson => {
            output::line(&json!({ "restored": restored }).to_string())?;
        }
        Output::Table => output::line(&format!(
            "{restored} spans are back in the ledger; `logline verify` checks all of it"
        ))?,
    }
    Ok(Exit::Done)
}

/// Brings back what the ledger lost; says how many spans.
pub(crate) async fn ledger(settings: &Settings, form: Output) -> Result<u64> {
    let (bus, writer) = sides(settings).await?;
    let restored = logline_projector::restore(&bus, &writer, SHARD, meter(form)).await;
    clear(form);
    bus.close().await;
    restored.context("the ledger is not restored")
}

pub(crate) fn republish(global: &Global, _command: &Republish) -> Result<Exit> {
    let settings = config::load_for_stack(global)?;
    let form = output::form(global.output);
    let done = runtime()?.block_on(async {
        let (bus, writer) = sides(&settings).await?;
        bus.migrate().await.context("cannot create the streams")?;
        let done = logline_projector::republish(&bus, &writer, SHARD, meter(form)).await;
        clear(form);
        bus.close().await;
        done.context("the timeline is not made again")
    })?;
    match form {
        Output::Json | Output::Ndjson => output::line(
            &json!({"spans": done.spans, "published": done.published, "parted_at": done.parted_at})
                .to_string(),
        )?,
        Output::Table => {
            if let Some(number) = done.parted_at {
                output::line(&format!(
                    "message {number} was not what the ledger says: the timeline was made anew"
                ))?;
            }
            output::line(&format!(
                "{} spans published again; the timeline holds the ledger's {}",
                done.published, done.spans
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// How many spans the timeline tells of and how many the ledger holds, where the ledger lost some.
pub(crate) async fn lost(settings: &Settings) -> Result<Option<(u64, u64)>> {
    let (bus, writer) = sides(settings).await?;
    let told = bus.timeline_last().await?;
    bus.close().await;
    let committed = writer.committed(SHARD).await?;
    Ok((told > committed).then_some((told, committed)))
}

async fn sides(settings: &Settings) -> Result<(Bus, Writer)> {
    let bus = Bus::connect(&parts::bus_config(settings, Login::Operator, "recovery")).await?;
    let writer = Writer::connect(&parts::ledger_config(
        settings,
        &settings.ledger.projector_url,
        "recovery",
    ))?;
    Ok((bus, writer))
}

/// Shows on a terminal how far it is.
fn meter(form: Output) -> impl FnMut(Progress) {
    let shown = shown(form);
    move |Progress { done, all }| {
        if shown {
            let _ = write!(std::io::stderr(), "\r{done} of {all} spans");
        }
    }
}

fn clear(form: Output) {
    if shown(form) {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

fn shown(form: Output) -> bool {
    std::io::stderr().is_terminal() && form == Output::Table
}
