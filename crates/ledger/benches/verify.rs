//! How fast a chain is verified from the database, beside BLAKE3 and Ed25519 alone over the same bytes in memory, on as many threads, in
//! turn (LED-9): the signatures one by one, and by one equation for as many as the verifier takes together. Every span is signed by its
//! author. Prints JSON lines.

use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use logline_ledger::{
    Batch, Config, Fingerprint, IdentityKey, Provision, Role, RolePassword, Row, Scope, Verifier,
    Writer,
};
use logline_span::chain::{body_hash, chain_body};
use logline_span::{
    Hash, Head, Json, Sealed, Seq, SigningKey, Span, SpanId, Timestamp, TraceId, Visibility,
    signature,
};
use logline_testkit::Postgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

const ROUNDS: usize = 5;
const BATCHES: u64 = 40;
const BATCH: u64 = 500;
/// Signatures in one equation, as in the verifier.
const GROUP: usize = 128;
/// Authors, each with a key.
const AUTHORS: u64 = 50;
const PASSWORD: &str = "bench";

/// A span as the hashes and signatures see it.
struct Bytes {
    canonical: Vec<u8>,
    sealed: Sealed,
}

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test` runs benches too, to see that they work.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, batches) = if measured { (ROUNDS, BATCHES) } else { (1, 1) };
    let server = Postgres::private().await;
    let rows = fill(&server, batches).await?;
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let verifier = Verifier::connect(&config(&server, Role::Verifier, 8))?;
    let (mut ours, mut singly, mut together) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        let report = verifier.verify(&Scope::default(), |_| ()).await?;
        ours.push(began.elapsed());
        ensure!(report.ok && report.checked == batches * BATCH, "{report:?}");
        singly.push(alone(&rows, threads, |chunk| chunk.iter().all(holds))?);
        together.push(alone(&rows, threads, |chunk| {
            chunk.chunks(GROUP).all(hold)
        })?);
    }
    let ours = rate(&rows, ours);
    report(
        "verify, beside signatures one by one",
        rate(&rows, singly),
        ours,
    );
    report(
        "verify, beside signatures by batch",
        rate(&rows, together),
        ours,
    );
    server.stop().await?;
    Ok(())
}

/// The rate at the median.
fn rate(rows: &[Bytes], mut times: Vec<Duration>) -> f64 {
    times.sort();
    let median = times
        .get(times.len() / 2)
        .map_or(f64::NAN, Duration::as_secs_f64);
    rows.len() as f64 / median
}

#[expect(clippy::print_stdout, reason = "a benchmark prints figures")]
fn report(measure: &str, limit: f64, ours: f64) {
    println!(
        r#"{{"measure":"{measure}","limit":{limit:.0},"ours":{ours:.0},"ratio":{:.3},"unit":"spans/s"}}"#,
        ours / limit
    );
}

/// Both hashes and the signature of every span, and nothing else.
fn alone(
    rows: &[Bytes],
    threads: usize,
    check: impl Fn(&[Bytes]) -> bool + Copy + Send,
) -> Result<Duration> {
    let began = Instant::now();
    let is_whole = std::thread::scope(|scope| {
        let chunks = rows.chunks(rows.len().div_ceil(threads));
        let halves: Vec<_> = chunks
            .map(|chunk| scope.spawn(move || check(chunk)))
            .collect();
        halves.into_iter().all(|half| half.join().unwrap_or(false))
    });
    ensure!(is_whole, "a span does not hold");
    Ok(began.elapsed())
}

fn holds(row: &Bytes) -> bool {
    let content = Hash::of(&row.canonical);
    let (Some(key), Some(signature)) = (row.sealed.span.public_key, row.sealed.span.signature)
    else {
        return false;
    };
    signature::verify_content(&key, &content, &signature)
        && body_hash(&chain_body(&row.sealed, &content)) == row.sealed.curr_hash
}

fn hold(rows: &[Bytes]) -> bool {
    let hash = |row: &Bytes| {
        let content = Hash::of(&row.canonical);
        let span = &row.sealed.span;
        let links = body_hash(&chain_body(&row.sealed, &content)) == row.sealed.curr_hash;
        links.then_some((span.public_key?, content, span.signature?))
    };
    let signed: Option<Vec<_>> = rows.iter().map(hash).collect();
    signed.is_some_and(|signed| signature::verify_contents(&signed))
}

/// Seals a chain and gives it as bytes.
async fn fill(server: &Postgres, batches: u64) -> Result<Vec<Bytes>> {
    let mut admin = PgConnection::connect(&server.superuser_url()).await?;
    admin.execute("create database ours").await?;
    let password = |role| RolePassword {
        role,
        password: PASSWORD.to_owned(),
    };
    let provision = Provision {
        log_name: "bench".to_owned(),
        identity_key: IdentityKey::from_bytes([1; 32]),
        passwords: vec![password(Role::Projector), password(Role::Verifier)],
    };
    logline_ledger::migrate(&server.superuser_url_of("ours"), &provision).await?;
    let writer = Writer::connect(&config(server, Role::Projector, 1))?;
    let epoch = writer.acquire(0).await?.epoch;
    let (mut head, mut all) = (Head::genesis("bench/acme"), Vec::new());
    for _ in 0..batches {
        let batch = batch(&mut head, epoch)?;
        writer.commit(&batch).await?;
        all.extend(batch.rows.into_iter().map(|row| {
            let mut canonical = Vec::new();
            row.sealed.span.canonical(&mut canonical);
            Bytes {
                canonical,
                sealed: Sealed::clone(&row.sealed),
            }
        }));
    }
    Ok(all)
}

fn config(server: &Postgres, role: Role, connections_max: u32) -> Config {
    Config {
        url: server.url(role.name(), PASSWORD, "ours"),
        connections_max,
        acquire_timeout: Duration::from_secs(10),
        application_name: "bench".to_owned(),
    }
}

/// What nobody looks up again needs no fingerprint of its own.
const UNTOLD: Fingerprint = Fingerprint {
    digest: [0; 16],
    time_ns: 0,
};

fn batch(head: &mut Head, epoch: u64) -> Result<Batch> {
    let (before, through) = (head.position, head.position + BATCH);
    let mut row = |number: u64| {
        let span = span(number)?;
        let content_hash = span.content_hash();
        let publisher = span.owner_id.clone();
        let time = Timestamp::from_micros(i64::try_from(number)?);
        Ok(Row {
            sealed: Arc::new(head.seal(span, content_hash, publisher, time)),
            content_hash,
            depth: 0,
            ingest_seq: number,
            fingerprint: UNTOLD,
        })
    };
    let rows: Result<Vec<Row>> = (before + 1..=through).map(&mut row).collect();
    Ok(Batch {
        shard: 0,
        epoch,
        after_ingest_seq: before,
        through_ingest_seq: through,
        through: Some(UNTOLD),
        sealed_through: Timestamp::from_micros(i64::try_from(through)?),
        timeline_first: before + 1,
        rows: rows?,
        answered: Vec::new(),
    })
}

/// A span of everyday size: 0.8 KB of JSON, signed.
fn span(number: u64) -> Result<Span> {
    let id = SpanId::from_uuid(Uuid::now_v7());
    let json = |text: String| Json::parse(text.as_bytes()).ok().context("not canonical");
    let author = number % AUTHORS;
    let mut span = Span {
        id,
        seq: Seq::ZERO,
        entity_type: "activity".parse()?,
        who: format!("user{author}@acme.example"),
        did: Some("executed".to_owned()),
        this: format!("thing:{number}"),
        at: Timestamp::from_micros(i64::try_from(number)?),
        parent_id: None,
        related_to: Vec::new(),
        caused_by: None,
        trace_id: TraceId::of(id),
        owner_id: format!("user{author}").parse()?,
        tenant_id: "acme".parse()?,
        visibility: Visibility::Tenant,
        status: Some("complete".parse()?),
        is_deleted: false,
        name: Some("a function of middling length".to_owned()),
        description: None,
        code: None,
        language: None,
        runtime: None,
        input: Some(json(format!(
            r#"{{"amount":{number},"note":"{}"}}"#,
            "n".repeat(200)
        ))?),
        output: Some(json(format!(
            r#"{{"ok":true,"text":"{}"}}"#,
            "t".repeat(200)
        ))?),
        error: None,
        content: None,
        metadata: Some(json(format!(r#"{{"region":"eu","step":{number}}}"#))?),
        duration_ms: Some(7),
        idempotency_key: None,
        signature: None,
        public_key: None,
        at_given: true,
        trace_given: true,
    };
    let key = SigningKey::from_seed(&[u8::try_from(author)?; 32]);
    span.signature = Some(key.sign_content(&span.content_hash()));
    span.public_key = Some(key.public_key());
    Ok(span)
}
