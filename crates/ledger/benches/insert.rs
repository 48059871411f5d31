//! How fast the writer commits, beside the best raw COPY of the same rows into the same table with the same indexes, batch by batch in turn. Prints one
//! JSON line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use logline_ledger::{
    Batch, Config, Digest, IdentityKey, Provision, Role, RolePassword, Row, Writer,
};
use logline_span::{Head, Json, Seq, Span, SpanId, Timestamp, TraceId, Visibility};
use logline_testkit::Postgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

const BATCH: u64 = 1000;
const BATCHES: u64 = 40;
/// Batches before the clock starts.
const WARM: u64 = 5;
const PASSWORD: &str = "bench";

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test` runs benches too, to see that they work.
    let batches = if std::env::args().any(|argument| argument == "--bench") {
        BATCHES
    } else {
        WARM + 1
    };
    let server = Postgres::private().await;
    let (ours, theirs) = (
        database(&server, "ours").await?,
        database(&server, "theirs").await?,
    );
    let writer = Writer::connect(&Config {
        url: server.url(Role::Projector.name(), PASSWORD, "ours"),
        connections_max: 1,
        acquire_timeout: Duration::from_secs(10),
        application_name: "bench".to_owned(),
    })?;
    let epoch = writer.acquire(0).await?.epoch;
    let mut reader = PgConnection::connect(&ours).await?;
    let mut raw = PgConnection::connect(&theirs).await?;
    let columns: String = sqlx::query_scalar(
        "select string_agg(quote_ident(attname), ',' order by attnum) from pg_attribute
         where attrelid = 'ledger.span'::regclass and attnum > 0",
    )
    .fetch_one(&mut reader)
    .await?;

    let mut head = Head::genesis("bench/acme");
    let (mut ours_took, mut raw_took) = (Duration::ZERO, Duration::ZERO);
    for nth in 0..batches {
        let batch = batch(&mut head, epoch, nth)?;
        let began = Instant::now();
        writer.commit(&batch).await?;
        let committed = began.elapsed();

        let (first, last) = (nth * BATCH + 1, (nth + 1) * BATCH);
        let out = format!(
            "copy (select {columns} from ledger.span where position between {first} and {last} order by position) to stdout (format binary)"
        );
        let rows: Vec<u8> = reader
            .copy_out_raw(&out)
            .await?
            .try_fold(Vec::new(), async |mut all, chunk| {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await?;
        let began = Instant::now();
        raw.execute("begin").await?;
        let mut copy = raw
            .copy_in_raw(&format!(
                "copy ledger.span ({columns}) from stdin (format binary)"
            ))
            .await?;
        for chunk in rows.chunks(1 << 20) {
            copy.send(chunk).await?;
        }
        copy.finish().await?;
        raw.execute("commit").await?;
        if nth >= WARM {
            ours_took += committed;
            raw_took += began.elapsed();
        }
    }
    report((batches - WARM) * BATCH, ours_took, raw_took);
    server.stop().await?;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints figures"
)]
fn report(rows: u64, ours: Duration, limit: Duration) {
    let (ours, limit) = (
        rows as f64 / ours.as_secs_f64(),
        rows as f64 / limit.as_secs_f64(),
    );
    println!(
        r#"{{"measure":"ledger commit, batches of 1000","limit":{limit:.0},"ours":{ours:.0},"ratio":{:.3},"unit":"rows/s"}}"#,
        ours / limit
    );
}

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

fn batch(head: &mut Head, epoch: u64, nth: u64) -> Result<Batch> {
    let (before, through) = (nth * BATCH, (nth + 1) * BATCH);
    let rows = (before + 1..=through)
        .map(|number| {
            let span = span(number)?;
            let content_hash = span.content_hash();
            let publisher = span.owner_id.clone();
            let sealed = Arc::new(head.seal(
                span,
                content_hash,
                publisher,
                Timestamp::from_micros(i64::try_from(number)?),
            ));
            Ok(Row {
                sealed,
                content_hash,
                depth: 0,
                ingest_seq: number,
                digest: Digest([0; 16]),
            })
        })
        .collect::<Result<_>>()?;
    Ok(Batch {
        shard: 0,
        epoch,
        after_ingest_seq: before,
        through_ingest_seq: through,
        through_digest: Digest([0; 16]),
        through_time: Timestamp::from_micros(i64::try_from(through)?),
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
