//! Load on a running system, over the bus, at a fixed rate: how long from publishing to the receipt, and was anything lost.
//!
//! `cargo run --release -p logline-loadtest -- --nats nats://127.0.0.1:4222 --rate 500 --seconds 10`
//! prints one table and exits with 1 when a level breaks.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use logline_bus::{Answer, Bus, Config, Outgoing, Receipt, Subject};
use logline_span::Encoding;
use serde_json::json;
use tokio::{task::JoinSet, time::MissedTickBehavior};

/// Publishes spans at a fixed rate and waits for their receipts.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address of the bus.
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    nats: String,
    /// Tenant to publish in.
    #[arg(long, default_value = "load")]
    tenant: String,
    /// Principal to publish as.
    #[arg(long, default_value = "tester")]
    principal: String,
    /// Spans per second.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Median from publish to receipt at most, in milliseconds.
    #[arg(long, default_value_t = 5.0)]
    p50_ms_max: f64,
    /// 99th percentile from publish to receipt at most, in milliseconds.
    #[arg(long, default_value_t = 25.0)]
    p99_ms_max: f64,
}

/// A receipt later than this counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let waits = run(&arguments).await?;
    let (wanted, sealed) = (
        arguments.rate.saturating_mul(arguments.seconds) as usize,
        waits.len(),
    );
    let (p50, p99) = (percentile(&waits, 50), percentile(&waits, 99));
    println!("{:<28} {:>10} {:>10}", "measure", "limit", "ours");
    println!("{:<28} {wanted:>10} {sealed:>10}", "spans sealed");
    println!(
        "{:<28} {:>10.1} {p50:>10.1}",
        "publish to receipt p50, ms", arguments.p50_ms_max
    );
    println!(
        "{:<28} {:>10.1} {p99:>10.1}",
        "publish to receipt p99, ms", arguments.p99_ms_max
    );
    if sealed < wanted {
        bail!(
            "{} spans got no receipt within {} s",
            wanted.saturating_sub(sealed),
            PATIENCE.as_secs()
        );
    }
    if p50 > arguments.p50_ms_max || p99 > arguments.p99_ms_max {
        bail!("receipts came later than the level allows");
    }
    Ok(())
}

/// Publishes at the rate; the waits of all receipts, sorted.
async fn run(arguments: &Arguments) -> Result<Vec<Duration>> {
    let bus = Bus::connect(&Config {
        url: arguments.nats.clone(),
        connection_name: "logline-loadtest".to_owned(),
        replicas: 1,
        ingest_bytes_max: -1,
        user_password: None,
        ca_file: None,
        open_inboxes: true,
    })
    .await?;
    let subject = Subject::ingest(
        &arguments.tenant.parse()?,
        &arguments.principal.parse()?,
        &"activity".parse()?,
    );
    let mut tick = tokio::time::interval(
        Duration::from_secs(1)
            .checked_div(arguments.rate)
            .context("--rate is at least 1")?,
    );
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut publishing = JoinSet::new();
    for number in 0..arguments.rate.saturating_mul(arguments.seconds) {
        let due = tick.tick().await;
        publishing.spawn(publish(
            bus.clone(),
            subject.clone(),
            number,
            due.into_std(),
        ));
    }
    let mut waits = Vec::new();
    while let Some(wait) = publishing.join_next().await {
        waits.extend(wait??);
    }
    bus.close().await;
    waits.sort_unstable();
    Ok(waits)
}

/// Publishes one span; how long after it was due its receipt came, or none where it did not come in time.
async fn publish(
    bus: Bus,
    subject: Subject,
    number: u32,
    due: Instant,
) -> Result<Option<Duration>> {
    let id = uuid::Uuid::now_v7();
    let span = json!({"id": id, "who": "loadtest", "did": "measured", "this": number.to_string()});
    let outgoing = Outgoing {
        body: span.to_string().into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: None,
    };
    match bus.publish_sealed(&subject, outgoing, PATIENCE).await? {
        Answer::Receipt(Receipt::Sealed { .. }) => Ok(Some(due.elapsed())),
        Answer::Receipt(Receipt::Refused(refusal)) => bail!(refusal),
        Answer::Pending { .. } => Ok(None),
    }
}

/// Milliseconds below which so many of a hundred waits lie; 0 where there are none.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (sorted.len().saturating_mul(percent) / 100).min(last);
    sorted
        .get(index)
        .map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
}
