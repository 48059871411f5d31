//! From publishing a scheduled function to its sealed execution on the timeline, beside what three sealings cost by themselves.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement that cannot be made fails, and its result is what it prints"
)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use logline_bus::{Bus, Config, Filter, Outgoing, Start, Subject};
use logline_span::{Encoding, SpanId};
use serde_json::{Value, json};

/// Functions scheduled one after the other.
const RUNS: usize = 200;
/// The first ones load the engine and open connections.
const WARM_UP: usize = 20;
/// Function, request and execution are sealed one after the other.
const SEALINGS: f64 = 3.0;

/// A private stack that ends with the measurement.
struct Stack(Child);

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let mut stack = Stack(
        Command::new(env!("CARGO_BIN_EXE_logline"))
            .args([
                "dev",
                "--port",
                "0",
                "--nats-port",
                "0",
                "--pg-port",
                "0",
                "--output",
                "json",
            ])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(stack.0.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addresses: Value = serde_json::from_str(&line).unwrap();
    let bus = Bus::connect(&Config {
        url: addresses["nats_admin"].as_str().unwrap().to_owned(),
        connection_name: "bench".to_owned(),
        replicas: 1,
        ingest_bytes_max: -1,
        user_password: None,
        ca_file: None,
        open_inboxes: true,
    })
    .await
    .unwrap();
    let sealing = median(waits(&bus, "activity", "activity").await);
    let execution = median(waits(&bus, "function", "execution").await);
    let limit = sealing * SEALINGS;
    println!(
        "{}",
        json!({"measure": "scheduled function to sealed execution, p50 (limit: three sealings)",
            "limit": limit, "ours": execution, "ratio": execution / limit, "unit": "ms"})
    );
}

/// For each run the time from publishing a span until the one that it leads to is on the timeline.
async fn waits(bus: &Bus, published: &str, awaited: &str) -> Vec<Duration> {
    let subject = Subject::ingest(
        &"dev".parse().unwrap(),
        &"me".parse().unwrap(),
        &published.parse().unwrap(),
    );
    let filter = Filter::timeline().entity_type(awaited.parse().unwrap());
    let mut tail = bus.tail(vec![filter], Start::Latest).await.unwrap();
    let mut waits = Vec::new();
    for run in 0..WARM_UP + RUNS {
        let id = SpanId::from_uuid(uuid::Uuid::now_v7());
        let span = json!({"id": id.to_string(), "who": "bench", "this": "f", "status": "scheduled", "language": "javascript",
            "code": "export async function main(ctx) { return ctx.span.id }"});
        let began = Instant::now();
        let body = span.to_string().into();
        let outgoing = Outgoing {
            body,
            encoding: Encoding::Json,
            traceparent: None,
            receipt: None,
            depth: None,
        };
        bus.publish(&subject, outgoing).await.unwrap();
        loop {
            let span = tail.next().await.unwrap().1.span;
            if span.id == id || span.parent_id == Some(id) {
                break;
            }
        }
        if run >= WARM_UP {
            waits.push(began.elapsed());
        }
    }
    waits
}

fn median(mut waits: Vec<Duration>) -> f64 {
    waits.sort_unstable();
    waits[waits.len() / 2].as_secs_f64() * 1000.0
}
