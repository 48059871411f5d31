//! What canonical bytes and sealing cost beside their limits: one JSON line per measure on standard output.
//!
//! `cargo bench -p logline-span`; the figures of one run are comparable with each other, not with another machine's.
#![expect(clippy::print_stdout, reason = "the lines are the result")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use logline_span::{Arrival, Draft, Encoding, Hash, Head, Limits, Span, SpanId, Timestamp};

/// How long each round of a measure takes, and how many rounds its median is taken of.
const ROUND: Duration = Duration::from_millis(50);
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let body = body();
    let limits = Limits::STANDARD;
    let span = parse(body.as_bytes(), &limits)?;
    canonical_form(&body, &span)?;
    reading(&body, &limits)?;
    sealing(&body, &limits, &span);
    Ok(())
}

fn canonical_form(body: &str, span: &Span) -> Result<(), serde_json::Error> {
    let value: serde_json::Value = serde_json::from_str(body)?;
    let mut out = Vec::with_capacity(4096);
    compare(
        "canonical form of a parsed span, beside serde_json_canonicalizer",
        || serde_json_canonicalizer::to_vec(black_box(&value)).map(|bytes| bytes.len()),
        || {
            out.clear();
            black_box(span).canonical(&mut out);
            out.len()
        },
    );
    Ok(())
}

fn reading(body: &str, limits: &Limits) -> Result<(), Box<dyn std::error::Error>> {
    compare(
        "read JSON into canonical texts, beside serde_json to a Value",
        || serde_json::from_str::<serde_json::Value>(black_box(body)).is_ok(),
        || Draft::parse(black_box(body.as_bytes()), Encoding::Json, limits).is_ok(),
    );
    let value: serde_json::Value = serde_json::from_str(body)?;
    let packed = rmp_serde::to_vec_named(&value)?;
    compare(
        "read MessagePack into canonical texts, beside rmp-serde to a Value",
        || rmp_serde::from_slice::<serde_json::Value>(black_box(&packed)).is_ok(),
        || Draft::parse(black_box(&packed), Encoding::MessagePack, limits).is_ok(),
    );
    Ok(())
}

fn sealing(body: &str, limits: &Limits, span: &Span) {
    let mut bytes = Vec::with_capacity(4096);
    span.canonical(&mut bytes);
    let bus_time = Timestamp::from_micros(1_700_000_000_000_000);
    let publisher = span.owner_id.clone();
    let mut head = Head::genesis("bench");
    compare(
        "seal a parsed span (canonical form, content hash, chain), beside BLAKE3 of its bytes",
        || Hash::of(black_box(&bytes)),
        || {
            let span = black_box(span).clone();
            let content_hash = span.content_hash();
            head.seal(span, content_hash, publisher.clone(), bus_time)
        },
    );
    compare(
        "from message to sealed JSON, beside BLAKE3 of its bytes",
        || Hash::of(black_box(&bytes)),
        || {
            let span = parse(black_box(body.as_bytes()), limits).map_err(|refusal| refusal.code)?;
            let content_hash = span.content_hash();
            let sealed = head.seal(span, content_hash, publisher.clone(), bus_time);
            Ok::<_, logline_span::Code>(sealed.to_json())
        },
    );
}

fn parse(body: &[u8], limits: &Limits) -> Result<Span, logline_span::Refusal> {
    let draft = Draft::parse(body, Encoding::Json, limits)?;
    let arrival = Arrival {
        tenant: &"acme".parse()?,
        principal: &"alice@acme.com".parse()?,
        entity_type: None,
        received_at: Timestamp::from_micros(1_700_000_000_000_000),
        trace_id: None,
        id: SpanId::derived(
            1_700_000_000_000_000_000,
            "ingest.acme.alice@acme%2Ecom.activity",
            body,
        ),
    };
    draft.complete(&arrival, limits)
}

/// A span of about 850 canonical bytes, as the ledger's measurements used.
fn body() -> String {
    serde_json::json!({
        "id": "0190163d-8694-739b-aea5-966c26f8ad91",
        "entity_type": "activity",
        "who": "alice@acme.com",
        "did": "opened",
        "this": "document:4711",
        "at": "2023-11-14T22:13:20.000000Z",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "owner_id": "alice@acme.com",
        "tenant_id": "acme",
        "visibility": "tenant",
        "status": "complete",
        "description": "Opened the quarterly report from the shared drive.",
        "input": {"path": "/shared/reports/2023/q3.pdf", "mode": "read", "flags": [1, 2, 3]},
        "output": {"pages": 42, "bytes": 1_048_576, "ratio": 0.4375},
        "metadata": {
            "clock": {"tz": "Europe/Paris"}, "device": {"kind": "laptop", "os": "linux", "version": "6.8.0"},
            "tags": ["report", "finance", "q3"], "session": "f3a1c9d2", "attempt": 1,
            "location": {"lat": 48.856_613, "lon": 2.352_222},
        },
        "duration_ms": 137,
    })
    .to_string()
}

/// Runs both in turns, so that what else the machine does meets both, and prints the medians.
fn compare<L, O>(measure: &str, mut limit: impl FnMut() -> L, mut ours: impl FnMut() -> O) {
    let (mut limits, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limits.push(per_second(&mut limit));
        rates.push(per_second(&mut ours));
    }
    let (limit, ours) = (median(limits), median(rates));
    let line = serde_json::json!({
        "measure": measure,
        "limit": limit.round(),
        "ours": ours.round(),
        "ratio": (ours / limit * 100.0).round() / 100.0,
        "unit": "spans/s",
    });
    println!("{line}");
}

fn per_second<T>(work: &mut impl FnMut() -> T) -> f64 {
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < ROUND {
        for _ in 0..64 {
            black_box(work());
        }
        count += 64.0;
    }
    count / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
