//! How fast the writer commits, beside the best raw COPY of the same rows into the same table with the same indexes, batch by batch in turn. Prints
//! JSON lines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use logline_ledger::{
    Batch, Config, Fingerprint, IdentityKey, Provision, Role, RolePassword, Row, Writer,
};
use logline_span::{Head, Json, Seq, Span, SpanId, Timestamp, TraceId, Visibility};
use logline_testkit::Postgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

const ROUNDS: u32 = 40;
/// Rounds before the clock starts.
const WARM: u32 = 5;
const PASSWORD: &str = "bench";

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test` runs benches too, to see that they work.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if measured { ROUNDS } else { WARM + 1 };
    let server = Postgres::private().await;
    let mut bench = Bench::start(&server).await?;

    let (ours, limit) = bench.rounds(rounds, 1000).await?;
    let rate = |times: &[Duration]| {
        Ok::<_, anyhow::Error>(
            1000.0 * f64::from(u32::try_from(times.len())?)
                / times.iter().sum::<Duration>().as_secs_f64(),
        )
    };
    report(
        "ledger commit, batches of 1000",
        rate(&limit)?,
        rate(&ours)?,
        "rows/s",
    );

    let (ours, limit) = bench.rounds(rounds * 5, 2).await?;
    report(
        "ledger commit, batches of 2, median",
        median_ms(limit),
        median_ms(ours),
        "ms",
    );
    server.stop().await?;
    Ok(())
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times
        .get(times.len() / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints figures")]
fn report(measure: &str, limit: f64, ours: f64, unit: &str) {
    println!(
        r#"{{"measure":"{measure}","limit":{limit:.2},"ours":{ours:.2},"ratio":{:.3},"unit":"{unit}"}}"#,
        ours / limit
    );
}

/// One writer, and one database beside it for the raw copies.
struct Bench {
    writer: Writer,
    epoch: u64,
    head: Head,
    columns: String,
    reader: PgConnection,
    raw: PgConnection,
}

impl Bench {
    async fn start(server: &Postgres) -> Result<Self> {
        let (ours, theirs) = (
            database(server, "ours").await?,
            database(server, "theirs").await?,
        );
        let writer = Writer::connect(&Config {
            url: server.url(Role::Projector.name(), PASSWORD, "ours"),
            connections_max: 1,
            acquire_timeout: Duration::from_secs(10),
            application_name: "bench".to_owned(),
        })?;
        let epoch = writer.acquire(0).await?.epoch;
        let mut reader = PgConnection::connect(&ours).await?;
        let columns = sqlx::query_scalar(
            "select string_agg(quote_ident(attname), ',' order by attnum) from pg_attribute
             where attrelid = 'ledger.span'::regclass and attnum > 0",
        )
        .fetch_one(&mut reader)
        .await?;
        let raw = PgConnection::connect(&theirs).await?;
        Ok(Self {
            writer,
            epoch,
            head: Head::genesis("bench/acme"),
            columns,
            reader,
            raw,
        })
    }

    /// How long each batch took, ours and the same rows copied raw.
    async fn rounds(&mut self, rounds: u32, rows: u64) -> Result<(Vec<Duration>, Vec<Duration>)> {
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let first = self.head.position + 1;
            let batch = batch(&mut self.head, self.epoch, rows)?;
            let began = Instant::now();
            self.writer.commit(&batch).await?;
            let committed = began.elapsed();
            let copied = self.copy(first).await?;
            if round >= WARM {
                ours.push(committed);
                raw.push(copied);
            }
        }
        Ok((ours, raw))
    }

    /// Copies the rows from `first` on into the other database; encoding them is not counted.
    async fn copy(&mut self, first: u64) -> Result<Duration> {
        let columns = &self.columns;
        let out = format!(
            "copy (select {columns} from ledger.span where position >= {first} order by position) to stdout (format binary)"
        );
        let rows: Vec<u8> = self
            .reader
            .copy_out_raw(&out)
            .await?
            .try_fold(Vec::new(), async |mut all, chunk| {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await?;
        let statement = format!("copy ledger.span ({columns}) from stdin (format binary)");
        let began = Instant::now();
        self.raw.execute("begin").await?;
        let mut copy = self.raw.copy_in_raw(&statement).await?;
        for chunk in rows.chunks(1 << 20) {
            copy.send(chunk).await?;
        }
        copy.finish().await?;
        self.raw.execute("commit").await?;
        Ok(began.elapsed())
    }
}

/// What nobody looks up again needs no fingerprint of its own.
const UNTOLD: Fingerprint = Fingerprint {
    digest: [0; 16],
    time_ns: 0,
};

async fn database(server: &Postgres, name: &str) -> Result<String> {
    let mut admin = PgConnection::connect(&server.superuser_url()).await?;
    admin.execute(&*format!("create database {name}")).await?;
    let url = server.superuser_url_of(name);
    let provision = Provision {
        log_name: "bench".to_owned(),
        identity_key: IdentityKey::from_bytes([1; 32]),
        passwords: vec![RolePassword {
            role: Role::Projector,
            password: PASSWORD.to_owned(),
        }],
    };
    logline_ledger::migrate(&url, &provision).await?;
    Ok(url)
}

fn batch(head: &mut Head, epoch: u64, rows: u64) -> Result<Batch> {
    let before = head.position;
    let through = before + rows;
    let rows: Vec<Row> = (before + 1..=through)
        .map(|number| {
            let span = span(number)?;
            let content_hash = span.content_hash();
            let publisher = span.owner_id.clone();
            let time = Timestamp::from_micros(i64::try_from(number)?);
            let sealed = Arc::new(head.seal(span, content_hash, publisher, time));
            Ok(Row {
                sealed,
                content_hash,
                depth: 0,
                ingest_seq: number,
                fingerprint: UNTOLD,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Batch {
        shard: 0,
        epoch,
        after_ingest_seq: before,
        through_ingest_seq: through,
        through: Some(UNTOLD),
        sealed_through: rows
            .last()
            .map_or(Timestamp::from_micros(0), |row| row.sealed.received_at),
        timeline_first: before + 1,
        rows,
        answered: Vec::new(),
    })
}

/// A span of everyday size: 0.8 KB of JSON.
fn span(number: u64) -> Result<Span> {
    let id = SpanId::from_uuid(Uuid::now_v7());
    let json = |text: String| Json::parse(text.as_bytes()).ok().context("not canonical");
    Ok(Span {
        id,
        seq: Seq::ZERO,
        entity_type: ["activity", "request", "execution", "metric"]
            .get(usize::try_from(number % 4)?)
            .context("type")?
            .parse()?,
        who: format!("user{}@acme.example", number % 50),
        did: Some("executed".to_owned()),
        this: format!("thing:{number}"),
        at: Timestamp::from_micros(i64::try_from(number)?),
        parent_id: number.is_multiple_of(3).then_some(id),
        related_to: if number.is_multiple_of(4) {
            vec![id]
        } else {
            Vec::new()
        },
        caused_by: None,
        trace_id: TraceId::of(id),
        owner_id: format!("user{}", number % 50).parse()?,
        tenant_id: "acme".parse()?,
        visibility: Visibility::Tenant,
        status: (number.is_multiple_of(2))
            .then(|| "complete".parse())
            .transpose()?,
        is_deleted: false,
        name: Some("a function of middling length".to_owned()),
        description: None,
        code: None,
        language: None,
        runtime: None,
        input: Some(json(format!(
            r#"{{"amount":{number},"list":[1,2,3,4,5,6,7,8],"note":"{}"}}"#,
            "n".repeat(200)
        ))?),
        output: Some(json(format!(
            r#"{{"ok":true,"text":"{}"}}"#,
            "t".repeat(200)
        ))?),
        error: None,
        content: None,
        metadata: Some(json(format!(
            r#"{{"batch":{},"region":"eu","step":{number}}}"#,
            number % 100
        ))?),
        duration_ms: Some(12),
        idempotency_key: None,
        signature: None,
        public_key: None,
        at_given: true,
        trace_given: true,
    })
}
