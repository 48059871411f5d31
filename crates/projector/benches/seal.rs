//! How fast what waits on `INGEST` is sealed, beside the best raw COPY of the same rows into the same table, and how long a publisher waits at 500
//! spans a second. Private servers with real fsync; one line of JSON per measure.
#![expect(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a benchmark prints figures"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use logline_bus::{Answer, Bus, Filter, IntakeConfig, Outgoing, Start, Subject, TimelineEntry};
use logline_ledger::{
    self as ledger, Batch, Fingerprint, IdentityKey, Provision, Role, RolePassword, Row, Writer,
};
use logline_projector::{Config, Projector};
use logline_span::{Arrival, Draft, Encoding, Head, Limits, Sealed, SpanId, Timestamp};
use logline_testkit::{Nats, Postgres};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "bench";
const SUBJECT: &str = "ingest.acme.alice.activity";
const BATCH: usize = 1000;
/// Rounds of the raw insert, of which the best counts.
const RAW_ROUNDS: usize = 2;
/// Publishes on their way at once while `INGEST` is filled.
const FILLING: usize = 512;
const PER_SECOND: u64 = 500;
const ACTIVE: &str = "active";
/// The status of the span that ends a measurement.
const LAST: &str = "last";
const PATIENCE: Duration = Duration::from_secs(300);

/// Writes a span's body.
type Body = fn(usize, &str) -> String;

/// How much of everything is measured.
struct Scale {
    filled: usize,
    timed: u64,
    single: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test` runs benches too, to see that they work.
    let scale = if std::env::args().any(|argument| argument == "--bench") {
        Scale {
            filled: 100_000,
            timed: 5_000,
            single: 500,
        }
    } else {
        Scale {
            filled: 2_000,
            timed: 100,
            single: 20,
        }
    };
    let postgres = Postgres::private().await;
    rate(&postgres, "plain", scale.filled, plain).await?;
    rate(&postgres, "named", scale.filled / 2, named).await?;
    latency(&postgres, &scale).await?;
    Ok(())
}

/// About 800 bytes, as a device would send them: the projector derives the id.
fn plain(number: usize, status: &str) -> String {
    format!(
        r#"{{"who":"alice","did":"opened","this":"door {number}",{}}}"#,
        rest(number, status)
    )
}

/// The same from a client that names id and key, both of which must be looked up.
fn named(number: usize, status: &str) -> String {
    format!(
        r#"{{"id":"018f3c5e-{:04x}-7c3d-8e4f-{number:012x}","idempotency_key":"key {number}","who":"alice","did":"opened","this":"door {number}",{}}}"#,
        number % 0xffff,
        rest(number, status)
    )
}

fn rest(number: usize, status: &str) -> String {
    format!(
        r#""status":"{status}","visibility":"tenant","duration_ms":{},"input":{{"door":{number},"reason":"{}"}},"content":{{"text":"{}","items":[1,2.5,"three",null,true]}},"metadata":{{"site":"north","floor":{},"note":"{}"}}"#,
        number % 1000,
        "r".repeat(120),
        "c".repeat(300),
        number % 9,
        "n".repeat(100)
    )
}

/// One database and one bus, and what they are reached by.
struct World {
    nats: Nats,
    bus: Bus,
    writer: Writer,
    admin_url: String,
}

impl World {
    async fn new(postgres: &Postgres, name: &str) -> Result<Self> {
        let nats = Nats::start().await;
        let bus = connect(&nats).await?;
        bus.migrate().await?;
        let admin_url = database(postgres, name).await?;
        let writer = Writer::connect(&ledger::Config {
            url: postgres.url(Role::Projector.name(), PASSWORD, name),
            connections_max: 4,
            acquire_timeout: Duration::from_secs(10),
            application_name: "bench".to_owned(),
        })?;
        Ok(Self {
            nats,
            bus,
            writer,
            admin_url,
        })
    }

    async fn fill(&self, count: usize, body: Body) -> Result<()> {
        let subject: Subject = SUBJECT.parse()?;
        stream::iter(1..count)
            .map(|number| self.bus.publish(&subject, outgoing(&body(number, ACTIVE))))
            .buffer_unordered(FILLING)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        self.bus.publish(&subject, outgoing(&body(0, LAST))).await?;
        Ok(())
    }

    fn project(&self, stop: &CancellationToken) -> JoinSet<()> {
        let projector = Projector::new(config(), self.bus.clone(), self.writer.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(projector.run(stop.clone()));
        tasks
    }
}

/// Seals what was filled beforehand, then measures what bounds it.
async fn rate(postgres: &Postgres, name: &str, count: usize, body: Body) -> Result<()> {
    let world = World::new(postgres, name).await?;
    world.fill(count, body).await?;

    let stop = CancellationToken::new();
    let began = Instant::now();
    let mut tasks = world.project(&stop);
    last_published(&world.bus).await?;
    let ours = per_second(count, began);
    stop.cancel();
    tasks.join_next().await;

    let raw = raw_insert(postgres, &world, name, count).await?;
    report(
        &format!("sealed rate, {name} (goal 0.35)"),
        raw,
        ours,
        "spans/s",
    );
    let reading = read(&world.bus, count).await?;
    // Where the rest goes: each stage alone, and the share of it that the whole reaches.
    report(
        &format!("  {name}: reading INGEST alone"),
        reading,
        ours,
        "spans/s",
    );
    report(
        &format!("  {name}: deciding alone, one core"),
        decide(count, body)?,
        ours,
        "spans/s",
    );
    let rows = world
        .writer
        .timeline_from(1, u32::try_from(count.min(10_000))?)
        .await?;
    let committing = commit(postgres, &format!("{name}_commit"), &rows).await?;
    report(
        &format!("  {name}: committing alone"),
        committing,
        ours,
        "spans/s",
    );
    report(
        &format!("  {name}: TIMELINE alone"),
        append(&rows).await?,
        ours,
        "spans/s",
    );
    world.nats.stop().await?;
    Ok(())
}

/// Waits for the one span that says that it is the last.
async fn last_published(bus: &Bus) -> Result<()> {
    let last = Filter::timeline().status(Some(LAST.parse()?));
    let waiting = async { bus.tail(vec![last], Start::After(0)).await?.next().await };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .context("not all was sealed")??;
    Ok(())
}

/// Reads and acknowledges `INGEST` from its beginning and keeps nothing.
async fn read(bus: &Bus, count: usize) -> Result<f64> {
    let mut intake = bus
        .intake(IntakeConfig {
            take_over: Duration::from_secs(2),
            ack_wait: Duration::from_secs(60),
            max_ack_pending: 200_000,
            batch_max: BATCH,
        })
        .await?;
    intake.claim().await?;
    let began = Instant::now();
    let mut next = 1;
    while next <= count as u64 {
        let messages = intake.next(BATCH, Duration::ZERO, next).await?;
        next = messages.last().context("a message")?.seq + 1;
        intake.ack_through(next - 1).await?;
    }
    let rate = per_second(count, began);
    intake.release().await?;
    Ok(rate)
}

/// All that deciding computes: reading, filling in, hashing, chaining, writing the timeline's JSON.
fn decide(count: usize, body: Body) -> Result<f64> {
    let subject: Subject = SUBJECT.parse()?;
    let Subject::Ingest {
        tenant,
        principal,
        entity_type,
    } = &subject
    else {
        anyhow::bail!("the address is one of ingest");
    };
    let bodies: Vec<String> = (0..count.min(20_000))
        .map(|number| body(number, ACTIVE))
        .collect();
    let mut head = Head::genesis("bench/acme");
    let mut bytes = 0;
    let began = Instant::now();
    for (number, body) in (1..).zip(&bodies) {
        let time = Timestamp::from_micros(number);
        let arrival = Arrival {
            tenant,
            principal,
            entity_type: Some(entity_type),
            received_at: time,
            trace_id: None,
            id: SpanId::derived(number, SUBJECT, body.as_bytes()),
        };
        let draft = Draft::parse(body.as_bytes(), Encoding::Json, &Limits::STANDARD)?;
        let span = draft.complete(&arrival, &Limits::STANDARD)?;
        let content_hash = span.content_hash();
        bytes += head
            .seal(span, content_hash, principal.clone(), time)
            .to_json()
            .len();
    }
    ensure!(bytes > 0, "the spans have a text");
    Ok(per_second(bodies.len(), began))
}

/// What nobody looks up again needs no fingerprint of its own.
const UNTOLD: Fingerprint = Fingerprint {
    digest: [0; 16],
    time_ns: 0,
};

/// The ledger's commit of the same rows into an empty ledger.
async fn commit(postgres: &Postgres, name: &str, rows: &[(u64, Sealed, u16)]) -> Result<f64> {
    database(postgres, name).await?;
    let writer = Writer::connect(&ledger::Config {
        url: postgres.url(Role::Projector.name(), PASSWORD, name),
        connections_max: 1,
        acquire_timeout: Duration::from_secs(10),
        application_name: "bench".to_owned(),
    })?;
    let epoch = writer.acquire(0).await?.epoch;
    let batches: Vec<Batch> = rows
        .chunks(BATCH)
        .map(|chunk| batch(epoch, chunk))
        .collect();
    let began = Instant::now();
    for batch in &batches {
        writer.commit(batch).await?;
    }
    Ok(per_second(rows.len(), began))
}

fn batch(epoch: u64, rows: &[(u64, Sealed, u16)]) -> Batch {
    let first = rows.first().map_or(1, |(number, ..)| *number);
    Batch {
        shard: 0,
        epoch,
        after_ingest_seq: first - 1,
        through_ingest_seq: first - 1 + rows.len() as u64,
        through: UNTOLD,
        sealed_through: rows
            .last()
            .map_or(Timestamp::from_micros(0), |row| row.1.received_at),
        timeline_first: first,
        rows: rows
            .iter()
            .map(|(number, sealed, depth)| Row {
                content_hash: sealed.span.content_hash(),
                sealed: sealed.clone().into(),
                depth: *depth,
                ingest_seq: *number,
                fingerprint: UNTOLD,
            })
            .collect(),
        answered: Vec::new(),
    }
}

/// The same spans onto an empty timeline.
async fn append(rows: &[(u64, Sealed, u16)]) -> Result<f64> {
    let nats = Nats::start().await;
    let bus = connect(&nats).await?;
    bus.migrate().await?;
    let entries: Vec<TimelineEntry> = rows
        .iter()
        .map(|(_, sealed, depth)| TimelineEntry {
            subject: Subject::timeline(&sealed.span),
            body: sealed.to_json().into(),
            traceparent: None,
            depth: *depth,
        })
        .collect();
    let began = Instant::now();
    for (first, chunk) in (1..).step_by(BATCH).zip(entries.chunks(BATCH)) {
        bus.timeline_append(first, chunk).await?;
    }
    let rate = per_second(entries.len(), began);
    nats.stop().await?;
    Ok(rate)
}

/// The best of a few rounds of COPY, a transaction per batch, of the same rows into the same table of an empty ledger.
async fn raw_insert(postgres: &Postgres, world: &World, name: &str, count: usize) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let columns = psql(
        &world.admin_url,
        "select string_agg(quote_ident(attname), ',' order by attnum) from pg_attribute
         where attrelid = 'ledger.span'::regclass and attnum > 0",
    )?;
    let columns = columns.trim();
    let (mut out, mut back) = (String::new(), String::new());
    for first in (1..=count).step_by(BATCH) {
        let file = dir.path().join(format!("{first}.copy"));
        let (file, last) = (file.display(), first + BATCH - 1);
        writeln!(
            out,
            "\\copy (select {columns} from ledger.span where position between {first} and {last} order by position) to '{file}' (format binary)"
        )?;
        writeln!(
            back,
            "\\copy ledger.span ({columns}) from '{file}' (format binary)"
        )?;
    }
    script(&world.admin_url, dir.path(), &out)?;
    let mut best: f64 = 0.0;
    for round in 0..RAW_ROUNDS {
        let url = database(postgres, &format!("{name}_raw_{round}")).await?;
        let began = Instant::now();
        script(&url, dir.path(), &back)?;
        best = best.max(per_second(count, began));
    }
    Ok(best)
}

/// What a publisher waits for its receipt, beside what the bus's acknowledgement and a bare commit take.
async fn latency(postgres: &Postgres, scale: &Scale) -> Result<()> {
    let world = World::new(postgres, "latency").await?;
    let subject: Subject = SUBJECT.parse()?;
    let mut acks = Vec::new();
    for number in (0..usize::try_from(scale.single)?).rev() {
        let status = if number == 0 { LAST } else { ACTIVE };
        let began = Instant::now();
        world
            .bus
            .publish(&subject, outgoing(&plain(number, status)))
            .await?;
        acks.push(began.elapsed());
    }
    let stop = CancellationToken::new();
    let mut tasks = world.project(&stop);
    last_published(&world.bus).await?;

    let mut waiting: JoinSet<Result<Duration>> = JoinSet::new();
    let mut clock = tokio::time::interval(Duration::from_micros(1_000_000 / PER_SECOND));
    for number in 0..scale.timed {
        clock.tick().await;
        let (bus, subject) = (world.bus.clone(), subject.clone());
        let body = plain(usize::try_from(number)?, ACTIVE);
        waiting.spawn(async move {
            let began = Instant::now();
            let answer = bus
                .publish_sealed(&subject, outgoing(&body), PATIENCE)
                .await?;
            ensure!(matches!(answer, Answer::Receipt(_)), "a receipt");
            Ok(began.elapsed())
        });
    }
    let mut ours = Vec::new();
    while let Some(waited) = waiting.join_next().await {
        ours.push(waited??);
    }
    let commits = single_commits(postgres, &world, scale.single).await?;
    stop.cancel();
    tasks.join_next().await;
    for (percent, goal) in [(50, 5), (99, 25)] {
        let limit = percentile(&mut acks, percent) + percentile(&mut commits.clone(), percent);
        let measure = format!("publish → sealed at {PER_SECOND}/s, p{percent} (goal {goal})");
        report(&measure, limit, percentile(&mut ours, percent), "ms");
    }
    world.nats.stop().await?;
    Ok(())
}

/// Commits of one row each, in a ledger of their own.
async fn single_commits(postgres: &Postgres, world: &World, count: u64) -> Result<Vec<Duration>> {
    let rows = world.writer.timeline_from(1, u32::try_from(count)?).await?;
    database(postgres, "single").await?;
    let writer = Writer::connect(&ledger::Config {
        url: postgres.url(Role::Projector.name(), PASSWORD, "single"),
        connections_max: 1,
        acquire_timeout: Duration::from_secs(10),
        application_name: "bench".to_owned(),
    })?;
    let epoch = writer.acquire(0).await?.epoch;
    let mut took = Vec::new();
    for row in rows.chunks(1) {
        let batch = batch(epoch, row);
        let began = Instant::now();
        writer.commit(&batch).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}

async fn connect(nats: &Nats) -> Result<Bus> {
    let config = logline_bus::Config {
        url: nats.url(),
        connection_name: "bench".to_owned(),
        replicas: 1,
        ingest_bytes_max: -1,
        user_password: None,
        ca_file: None,
        open_inboxes: true,
    };
    Ok(Bus::connect(&config).await?)
}

async fn database(postgres: &Postgres, name: &str) -> Result<String> {
    psql(
        &postgres.superuser_url(),
        &format!("create database {name}"),
    )?;
    let url = postgres.superuser_url_of(name);
    let provision = Provision {
        log_name: "bench".to_owned(),
        identity_key: IdentityKey::from_bytes([1; IdentityKey::LEN]),
        passwords: vec![RolePassword {
            role: Role::Projector,
            password: PASSWORD.to_owned(),
        }],
    };
    ledger::migrate(&url, &provision).await?;
    Ok(url)
}

fn config() -> Config {
    Config {
        shard: 0,
        take_over: Duration::from_secs(2),
        ack_wait: Duration::from_secs(30),
        ack_pending_max: 20_000,
        batch_max: BATCH,
        batch_bytes_max: 4 << 20,
        tenants_cached_max: 10_000,
        ingest_keep: Duration::from_secs(3600),
        limits: Limits::STANDARD,
    }
}

fn outgoing(body: &str) -> Outgoing {
    Outgoing {
        body: body.to_owned().into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: None,
    }
}

fn psql(url: &str, statement: &str) -> Result<String> {
    run(
        url,
        &["--tuples-only", "--no-align", "--command", statement],
    )
}

fn script(url: &str, dir: &Path, text: &str) -> Result<()> {
    let file = dir.join("script.sql");
    std::fs::write(&file, text)?;
    run(url, &["--file", &file.display().to_string()]).map(drop)
}

fn run(url: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(logline_testkit::psql())
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"])
        .args(arguments)
        .arg(url)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn per_second(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

/// In milliseconds.
fn percentile(samples: &mut [Duration], percent: usize) -> f64 {
    samples.sort();
    let index = (samples.len() * percent / 100).min(samples.len().saturating_sub(1));
    samples
        .get(index)
        .map_or(0.0, |sample| sample.as_secs_f64() * 1000.0)
}

fn report(measure: &str, limit: f64, ours: f64, unit: &str) {
    let ratio = ours / limit;
    println!(
        r#"{{"measure":"{measure}","limit":{limit:.3},"ours":{ours:.3},"ratio":{ratio:.3},"unit":"{unit}"}}"#
    );
}
