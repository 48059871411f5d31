//! One batch and its transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::BytesMut;
use logline_span::{Hash, Position, Principal, Refusal, Sealed, TenantId, Timestamp};
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;

use super::{to_i32, to_i64};
use crate::copy::{self, RowWriter};
use crate::intake::Fingerprint;
use crate::{CommitError, row};

/// What one transaction commits.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The shard.
    pub shard: u32,
    /// The epoch that [`super::Writer::acquire`] gave.
    pub epoch: u64,
    /// The last message that was handled before this batch.
    pub after_ingest_seq: u64,
    /// The last message that this batch handles.
    pub through_ingest_seq: u64,
    /// What tells that message from another with its number; none where there is no such message.
    pub through: Option<Fingerprint>,
    /// When the shard's last span was received, or just before its last message where that is later: none is received
    /// at or before it any more (LED-4).
    pub sealed_through: Timestamp,
    /// The number on `TIMELINE` of the first row; the others follow in order.
    pub timeline_first: u64,
    /// What was sealed, in order.
    pub rows: Vec<Row>,
    /// The messages that sealed nothing.
    pub answered: Vec<Outcome>,
}

/// One sealed span.
#[derive(Clone, Debug)]
pub struct Row {
    /// The span in its place.
    pub sealed: Arc<Sealed>,
    /// Its content hash, which sealing needed anyway.
    pub content_hash: Hash,
    /// Its causation depth (EXE-8).
    pub depth: u16,
    /// The message that brought it.
    pub ingest_seq: u64,
    /// What tells that message from another with its number.
    pub fingerprint: Fingerprint,
}

/// A message that sealed nothing.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The message.
    pub ingest_seq: u64,
    /// What tells it from another with its number.
    pub fingerprint: Fingerprint,
    /// The tenant of its address, where that is valid.
    pub tenant: Option<TenantId>,
    /// The principal of its address, where that is valid.
    pub owner: Option<Principal>,
    /// What became of it.
    pub result: OutcomeKind,
}

/// What became of a message that sealed nothing.
#[derive(Clone, Debug)]
pub enum OutcomeKind {
    /// It repeats the span at this position of the tenant's chain.
    Repeat(Position),
    /// It was refused.
    Refused(Refusal),
}

/// A batch in COPY's form; empty where there is nothing to copy.
pub(super) struct Encoded {
    spans: BytesMut,
    edges: BytesMut,
    intake: BytesMut,
}

const COPY_SPAN: &str = concat!(
    "copy ledger.span (",
    row::columns!(),
    ") from stdin (format binary)"
);
const COPY_EDGE: &str = "copy ledger.edge (target, position, tenant_id) from stdin (format binary)";
const COPY_INTAKE: &str = "copy ledger.intake (ingest_seq, position, timeline_seq, depth, digest, bus_time_ns, tenant_id, \
     owner_id, refusal_code, refusal_pointer, refusal_detail) from stdin (format binary)";

/// A message to the server is held in memory whole on both sides.
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes of a usual row, to size buffers.
const ROW_BYTES: usize = 1024;

impl Batch {
    pub(super) fn encode(&self) -> Encoded {
        let mut spans = BytesMut::with_capacity(self.rows.len() * ROW_BYTES);
        let mut edges = BytesMut::new();
        let mut intake = BytesMut::with_capacity((self.rows.len() + self.answered.len()) * 128);
        copy::begin(&mut spans);
        copy::begin(&mut edges);
        copy::begin(&mut intake);
        for (sealed, timeline_seq) in self.rows.iter().zip(self.timeline_first..) {
            row::encode(&mut spans, &sealed.sealed, &sealed.content_hash);
            encode_edges(&mut edges, &sealed.sealed);
            sealed.encode_intake(&mut intake, timeline_seq);
        }
        for outcome in &self.answered {
            outcome.encode(&mut intake);
        }
        Encoded {
            spans,
            edges,
            intake,
        }
    }

    /// `{"tenant","first","last"}` for each tenant that the batch has rows of.
    fn notices(&self) -> Vec<String> {
        let mut ranges: BTreeMap<&TenantId, (Position, Position)> = BTreeMap::new();
        for row in &self.rows {
            let position = row.sealed.position;
            let range = ranges
                .entry(&row.sealed.span.tenant_id)
                .or_insert((position, position));
            *range = (range.0.min(position), range.1.max(position));
        }
        ranges
            .into_iter()
            .map(|(tenant, (first, last))| {
                // A tenant's name needs no escapes in JSON.
                format!(r#"{{"tenant":"{tenant}","first":{first},"last":{last}}}"#)
            })
            .collect()
    }
}

fn encode_edges(out: &mut BytesMut, sealed: &Sealed) {
    let targets: BTreeSet<_> = sealed.span.related_to.iter().collect();
    for target in targets {
        let mut row = RowWriter::begin(out, 3);
        row.bytes(target.as_uuid().as_bytes());
        row.int8(to_i64(sealed.position.get()));
        row.text(sealed.span.tenant_id.as_str());
    }
}

const INTAKE_COLUMNS: i16 = 11;

impl Row {
    fn encode_intake(&self, out: &mut BytesMut, timeline_seq: u64) {
        let mut row = RowWriter::begin(out, INTAKE_COLUMNS);
        row.int8(to_i64(self.ingest_seq));
        row.int8(to_i64(self.sealed.position.get()));
        row.int8(to_i64(timeline_seq));
        row.int4(i32::from(self.depth));
        row.bytes(&self.fingerprint.digest);
        row.int8(self.fingerprint.time_ns);
        row.text(self.sealed.span.tenant_id.as_str());
        (0..4).for_each(|_| row.null());
    }
}

impl Outcome {
    fn encode(&self, out: &mut BytesMut) {
        let (position, refusal) = match &self.result {
            OutcomeKind::Repeat(position) => (Some(position), None),
            OutcomeKind::Refused(refusal) => (None, Some(refusal)),
        };
        let mut row = RowWriter::begin(out, INTAKE_COLUMNS);
        row.int8(to_i64(self.ingest_seq));
        row.some(position, |row, position| row.int8(to_i64(position.get())));
        row.null();
        row.null();
        row.bytes(&self.fingerprint.digest);
        row.int8(self.fingerprint.time_ns);
        row.some(self.tenant.as_ref(), |row, tenant| {
            row.text(tenant.as_str())
        });
        row.some(self.owner.as_ref(), |row, owner| row.text(owner.as_str()));
        row.some(refusal, |row, refusal| row.text(refusal.code.as_str()));
        row.some(refusal, |row, refusal| row.text(&refusal.pointer));
        row.some(refusal, |row, refusal| row.text(&refusal.detail));
    }
}

/// The fence comes first, so that a stale writer learns that it is one, and not that its rows are there already.
pub(super) async fn commit(
    conn: &mut PgConnection,
    batch: &Batch,
    encoded: &Encoded,
) -> Result<(), CommitError> {
    conn.execute("begin").await?;
    let moved = sqlx::query(
        "update ledger.shard set ingest_seq = $4, ingest_digest = $5, ingest_time_ns = $9, timeline_seq = timeline_seq + $7,
             sealed_through = $8
         where shard = $1 and epoch = $2 and ingest_seq = $3 and timeline_seq = $6",
    )
    .bind(to_i32(batch.shard))
    .bind(to_i64(batch.epoch))
    .bind(to_i64(batch.after_ingest_seq))
    .bind(to_i64(batch.through_ingest_seq))
    .bind(batch.through.as_ref().map(|it| it.digest.as_slice()))
    .bind(to_i64(batch.timeline_first.saturating_sub(1)))
    .bind(to_i64(batch.rows.len() as u64))
    .bind(row::bind_time(batch.sealed_through))
    .bind(batch.through.map(|it| it.time_ns))
    .execute(&mut *conn)
    .await?;
    if moved.rows_affected() != 1 {
        return Err(CommitError::Fenced);
    }
    copy_in(conn, COPY_SPAN, &encoded.spans).await?;
    copy_in(conn, COPY_EDGE, &encoded.edges).await?;
    copy_in(conn, COPY_INTAKE, &encoded.intake).await?;
    if !batch.rows.is_empty() {
        sqlx::query("select pg_notify('timeline_updates', notice) from unnest($1::text[]) notice")
            .bind(batch.notices())
            .execute(&mut *conn)
            .await?;
    }
    conn.execute("commit").await?;
    Ok(())
}

async fn copy_in(conn: &mut PgConnection, statement: &str, rows: &[u8]) -> Result<(), CommitError> {
    // The header alone.
    if rows.len() <= copy::HEADER.len() {
        return Ok(());
    }
    let mut copy = conn.copy_in_raw(statement).await?;
    for chunk in rows.chunks(CHUNK_BYTES) {
        copy.send(chunk).await?;
    }
    copy.send(copy::TRAILER.to_be_bytes().as_slice()).await?;
    copy.finish().await?;
    Ok(())
}
