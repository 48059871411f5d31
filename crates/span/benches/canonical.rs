//! What canonical bytes and sealing cost beside their limits: one JSON line per measure on standard output.
//!
//! `cargo bench -p logline-span`; the figures of one run are comparable with each other, not with another machine's.
#![expect(clippy::print_stdout, reason = "the lines are the result")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use logline_span::{Arrival, Draft, Encoding, Hash, Head, Limits, Span, SpanId, Timestamp};

/// How long each round of a measure takes, and how many rounds its median is taken of.
const ROUND: Duration = Duration::from_millis(200);
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let body = body();
    let limits = Limits::STANDARD;
    let span = parse(body.as_bytes(), &limits)?;
    let value: serde_json::Value = serde_json::from_str(&body)?;
    let mut bytes = Vec::with_capacity(4096);
    span.canonical(&mut bytes);

    let library =
        per_second(|| serde_json_canonicalizer::to_vec(black_box(&value)).map(|bytes| bytes.len()));
    let mut out = Vec::with_capacity(4096);
    let ours = per_second(|| {
        out.clear();
        black_box(&span).canonical(&mut out);
        out.len()
    });
    report(
        "canonical form of a parsed span",
        "serde_json_canonicalizer",
        library,
        ours,
        "spans/s",
    );

    let value_parse =
        per_second(|| serde_json::from_str::<serde_json::Value>(black_box(&body)).is_ok());
    let draft_parse =
        per_second(|| Draft::parse(black_box(body.as_bytes()), Encoding::Json, &limits).is_ok());
    report(
        "parse and check an envelope",
        "serde_json to a Value",
        value_parse,
        draft_parse,
        "spans/s",
    );

    let packed = rmp_serde::to_vec_named(&value)?;
    let value_parse =
        per_second(|| rmp_serde::from_slice::<serde_json::Value>(black_box(&packed)).is_ok());
    let draft_parse =
        per_second(|| Draft::parse(black_box(&packed), Encoding::MessagePack, &limits).is_ok());
    report(
        "parse and check MessagePack",
        "rmp-serde to a Value",
        value_parse,
        draft_parse,
        "spans/s",
    );

    let blake3 = per_second(|| Hash::of(black_box(&bytes)));
    let mut head = Head::genesis("bench");
    let publisher = span.owner_id.clone();
    let seal = per_second(|| {
        let span = span.clone();
        let content_hash = span.content_hash();
        head.seal(
            span,
            content_hash,
            publisher.clone(),
            Timestamp::from_micros(1_700_000_000_000_000),
        )
    });
    report(
        "seal a parsed span (canonical form, hashes, chain)",
        "BLAKE3 of its bytes",
        blake3,
        seal,
        "spans/s",
    );

    let whole = per_second(|| {
        let span = parse(black_box(body.as_bytes()), &limits).map_err(|refusal| refusal.code)?;
        let content_hash = span.content_hash();
        let sealed = head.seal(
            span,
            content_hash,
            publisher.clone(),
            Timestamp::from_micros(1_700_000_000_000_000),
        );
        Ok::<_, logline_span::Code>(sealed.to_json())
    });
    report(
        "message to sealed JSON",
        "BLAKE3 of its bytes",
        blake3,
        whole,
        "spans/s",
    );
    Ok(())
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

fn per_second<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (start, mut count) = (Instant::now(), 0.0);
        while start.elapsed() < ROUND {
            for _ in 0..64 {
                black_box(work());
            }
            count += 64.0;
        }
        rates.push(count / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    rates.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn report(measure: &str, limit_name: &str, limit: f64, ours: f64, unit: &str) {
    let line = serde_json::json!({
        "measure": format!("{measure}, beside {limit_name}"),
        "limit": limit.round(),
        "ours": ours.round(),
        "ratio": (ours / limit * 100.0).round() / 100.0,
        "unit": unit,
    });
    println!("{line}");
}
