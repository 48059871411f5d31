//! A sealed span as the columns of `ledger.span`, both ways.

use std::str::FromStr;

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Utc};
use logline_span::{
    Hash, Json, Position, PublicKey, Sealed, Seq, Signature, Span, SpanId, TenantId, Timestamp,
    TraceId,
};
use sqlx::Row as _;
use sqlx::postgres::{PgExecutor, PgRow, PgValueFormat};
use uuid::Uuid;

use crate::Error;
use crate::copy::RowWriter;

/// The columns, in the order in which [`encode`] writes and [`decode`] reads them.
macro_rules! columns {
    () => {
        "position, received_at, at, seq, duration_ms, id, parent_id, caused_by, is_deleted, tenant_id, owner_id, \
         visibility, entity_type, status, trace_id, published_by, idempotency_key, content_hash, prev_hash, curr_hash, \
         signature, public_key, who, did, this, name, description, language, runtime, related_to, code, input, output, \
         error, content, metadata"
    };
}
pub(crate) use columns;

/// How many they are.
const COLUMNS: i16 = 36;

/// Microseconds between 1970, where ours begin, and 2000, where Postgres' do.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Type oid of `uuid`, which array values name.
const UUID_OID: i32 = 2950;

/// Postgres' microseconds for an instant.
pub(crate) fn to_postgres(at: Timestamp) -> i64 {
    at.as_micros().saturating_sub(POSTGRES_EPOCH)
}

/// Rows that one answer holds in memory: beyond this many bytes it ends, and the caller asks on.
pub(crate) const READ_BYTES_MAX: usize = 8 << 20;

/// How much of the answer a row is.
pub(crate) fn bytes(row: &PgRow) -> usize {
    let length = |column| {
        row.try_get_raw(column)
            .ok()?
            .as_bytes()
            .ok()
            .map(<[u8]>::len)
    };
    (0..row.len()).filter_map(length).sum()
}

/// The first and last microsecond that RFC 3339 can write, which Postgres' calendar holds too.
const TIMES: (i64, i64) = (-62_167_219_200_000_000, 253_402_300_799_999_999);

/// An instant as a parameter; beyond what RFC 3339 can write, the nearest that it can.
pub(crate) fn bind_time(at: Timestamp) -> DateTime<Utc> {
    let micros = at.as_micros().clamp(TIMES.0, TIMES.1);
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// The instant of Postgres' microseconds; none for its infinities.
pub(crate) fn from_postgres(micros: i64) -> Option<Timestamp> {
    micros
        .checked_add(POSTGRES_EPOCH)
        .filter(|_| micros != i64::MIN)
        .map(Timestamp::from_micros)
}

/// Writes one row in COPY's binary form.
pub(crate) fn encode(out: &mut BytesMut, sealed: &Sealed, content_hash: &Hash) {
    let span = &sealed.span;
    let mut row = RowWriter::begin(out, COLUMNS);
    row.int8(i64::try_from(sealed.position.get()).unwrap_or(i64::MAX));
    row.int8(to_postgres(sealed.received_at));
    row.int8(to_postgres(span.at));
    row.int4(span.seq.get().cast_signed());
    row.some(span.duration_ms, |row, ms| row.int4(ms.cast_signed()));
    row.bytes(span.id.as_uuid().as_bytes());
    row.some(span.parent_id, |row, id| row.bytes(id.as_uuid().as_bytes()));
    row.some(span.caused_by, |row, id| row.bytes(id.as_uuid().as_bytes()));
    row.bool(span.is_deleted);
    row.text(span.tenant_id.as_str());
    row.text(span.owner_id.as_str());
    row.text(span.visibility.as_str());
    row.text(span.entity_type.as_str());
    row.some(span.status.as_ref(), |row, status| {
        row.text(status.as_str())
    });
    row.hex(span.trace_id.as_bytes());
    row.text(sealed.published_by.as_str());
    row.some(span.idempotency_key.as_deref(), RowWriter::text);
    row.bytes(content_hash.as_bytes());
    row.bytes(sealed.prev_hash.as_bytes());
    row.bytes(sealed.curr_hash.as_bytes());
    row.some(span.signature.as_ref(), |row, signature| {
        row.bytes(signature.as_bytes())
    });
    row.some(span.public_key.as_ref(), |row, key| {
        row.bytes(key.as_bytes())
    });
    row.text(&span.who);
    row.some(span.did.as_deref(), RowWriter::text);
    row.text(&span.this);
    for text in [&span.name, &span.description, &span.language, &span.runtime] {
        row.some(text.as_deref(), RowWriter::text);
    }
    row.some(
        (!span.related_to.is_empty()).then_some(&span.related_to),
        encode_ids,
    );
    row.some(span.code.as_deref(), RowWriter::text);
    for json in [
        &span.input,
        &span.output,
        &span.error,
        &span.content,
        &span.metadata,
    ] {
        row.some(json.as_ref(), |row, json| row.text(json.as_str()));
    }
}

/// A one-dimensional array from index 1 without nulls.
fn encode_ids(row: &mut RowWriter<'_>, ids: &Vec<SpanId>) {
    row.sized(|out| {
        out.put_i32(1);
        out.put_i32(0);
        out.put_i32(UUID_OID);
        out.put_i32(i32::try_from(ids.len()).unwrap_or(i32::MAX));
        out.put_i32(1);
        for id in ids {
            out.put_i32(16);
            out.put_slice(id.as_uuid().as_bytes());
        }
    });
}

/// A row as stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sealed: Sealed,
    pub(crate) content_hash: Hash,
}

/// The first column of a row that does not hold what the system writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BadColumn(pub(crate) &'static str);

/// Reads a row selected with [`columns`].
pub(crate) fn decode(row: &PgRow) -> Result<Stored, BadColumn> {
    let related_to = match raw(row, "related_to")? {
        None => Vec::new(),
        Some(bytes) => decode_ids(bytes).ok_or(BadColumn("related_to"))?,
    };
    let span = Span {
        id: SpanId::from_uuid(get::<Uuid>(row, "id")?),
        seq: seq(row)?,
        entity_type: parsed(row, "entity_type")?,
        who: get(row, "who")?,
        did: get(row, "did")?,
        this: get(row, "this")?,
        at: time(row, "at")?,
        parent_id: get::<Option<Uuid>>(row, "parent_id")?.map(SpanId::from_uuid),
        related_to,
        caused_by: get::<Option<Uuid>>(row, "caused_by")?.map(SpanId::from_uuid),
        trace_id: trace(row)?,
        owner_id: parsed(row, "owner_id")?,
        tenant_id: parsed(row, "tenant_id")?,
        visibility: parsed(row, "visibility")?,
        status: optional(row, "status")?,
        is_deleted: get(row, "is_deleted")?,
        name: get(row, "name")?,
        description: get(row, "description")?,
        code: get(row, "code")?,
        language: get(row, "language")?,
        runtime: get(row, "runtime")?,
        input: json(row, "input")?,
        output: json(row, "output")?,
        error: json(row, "error")?,
        content: json(row, "content")?,
        metadata: json(row, "metadata")?,
        duration_ms: get::<Option<i32>>(row, "duration_ms")?
            .map(u32::try_from)
            .transpose()
            .map_err(|_| BadColumn("duration_ms"))?,
        idempotency_key: get(row, "idempotency_key")?,
        signature: proof(row, "signature")?.map(Signature::from_bytes),
        public_key: proof(row, "public_key")?.map(PublicKey::from_bytes),
        at_given: true,
        trace_given: true,
    };
    Ok(Stored {
        sealed: Sealed {
            span,
            position: position(row)?,
            received_at: time(row, "received_at")?,
            published_by: parsed(row, "published_by")?,
            prev_hash: hash(row, "prev_hash")?,
            curr_hash: hash(row, "curr_hash")?,
        },
        content_hash: hash(row, "content_hash")?,
    })
}

/// [`decode`] for those who cannot go on with a broken row.
pub(crate) fn decode_or_fail(row: &PgRow) -> Result<Sealed, Error> {
    stored_or_fail(row).map(|stored| stored.sealed)
}

/// The same, with the hash of its content.
pub(crate) fn stored_or_fail(row: &PgRow) -> Result<Stored, Error> {
    decode(row).map_err(|BadColumn(column)| Error::Undecodable {
        tenant: get(row, "tenant_id").unwrap_or_default(),
        position: get(row, "position").unwrap_or_default(),
        column,
    })
}

pub(crate) fn get<'r, T>(row: &'r PgRow, column: &'static str) -> Result<T, BadColumn>
where
    T: sqlx::Decode<'r, sqlx::Postgres>,
{
    row.try_get_unchecked(column).map_err(|_| BadColumn(column))
}

pub(crate) fn parsed<T: FromStr>(row: &PgRow, column: &'static str) -> Result<T, BadColumn> {
    let text: &str = get(row, column)?;
    text.parse().map_err(|_| BadColumn(column))
}

pub(crate) fn seq(row: &PgRow) -> Result<Seq, BadColumn> {
    u32::try_from(get::<i32>(row, "seq")?)
        .ok()
        .and_then(Seq::new)
        .ok_or(BadColumn("seq"))
}

pub(crate) fn position(row: &PgRow) -> Result<Position, BadColumn> {
    u64::try_from(get::<i64>(row, "position")?)
        .ok()
        .and_then(Position::new)
        .ok_or(BadColumn("position"))
}

fn optional<T: FromStr>(row: &PgRow, column: &'static str) -> Result<Option<T>, BadColumn> {
    let text: Option<&str> = get(row, column)?;
    text.map(str::parse)
        .transpose()
        .map_err(|_| BadColumn(column))
}

pub(crate) fn time(row: &PgRow, column: &'static str) -> Result<Timestamp, BadColumn> {
    from_postgres(get(row, column)?).ok_or(BadColumn(column))
}

/// A trace id has several spellings, of which one is stored.
fn trace(row: &PgRow) -> Result<TraceId, BadColumn> {
    let stored: &str = get(row, "trace_id")?;
    let trace: TraceId = parsed(row, "trace_id")?;
    (trace.to_string() == stored)
        .then_some(trace)
        .ok_or(BadColumn("trace_id"))
}

fn proof<const N: usize>(row: &PgRow, column: &'static str) -> Result<Option<[u8; N]>, BadColumn> {
    let bytes: Option<&[u8]> = get(row, column)?;
    bytes
        .map(<[u8; N]>::try_from)
        .transpose()
        .map_err(|_| BadColumn(column))
}

pub(crate) fn hash(row: &PgRow, column: &'static str) -> Result<Hash, BadColumn> {
    proof(row, column)?
        .map(Hash::from_bytes)
        .ok_or(BadColumn(column))
}

/// The text as stored must be the canonical one, so that a changed character is found even where the value stays the same.
fn json(row: &PgRow, column: &'static str) -> Result<Option<Json>, BadColumn> {
    let Some(text) = get::<Option<&str>>(row, column)? else {
        return Ok(None);
    };
    Json::parse(text.as_bytes())
        .ok()
        .filter(|json| json.as_str() == text && text != "null")
        .map(Some)
        .ok_or(BadColumn(column))
}

fn raw<'r>(row: &'r PgRow, column: &'static str) -> Result<Option<&'r [u8]>, BadColumn> {
    let value = row.try_get_raw(column).map_err(|_| BadColumn(column))?;
    if sqlx::ValueRef::is_null(&value) {
        return Ok(None);
    }
    if value.format() != PgValueFormat::Binary {
        return Err(BadColumn(column));
    }
    value.as_bytes().map(Some).map_err(|_| BadColumn(column))
}

/// Exactly what [`encode_ids`] writes: another lower bound or shape is a changed row.
fn decode_ids(bytes: &[u8]) -> Option<Vec<SpanId>> {
    let (header, items) = bytes.split_at_checked(20)?;
    let mut words = header
        .chunks_exact(4)
        .filter_map(|word| Some(i32::from_be_bytes(word.try_into().ok()?)));
    let fixed = words.by_ref().take(3).eq([1, 0, UUID_OID]);
    let count = usize::try_from(words.next()?).ok()?;
    if !fixed || words.next()? != 1 || count == 0 || items.len() != count.checked_mul(20)? {
        return None;
    }
    items
        .chunks_exact(20)
        .map(|item| {
            let (length, id) = item.split_at_checked(4)?;
            (length == 16_i32.to_be_bytes()).then_some(())?;
            Some(SpanId::from_uuid(Uuid::from_slice(id).ok()?))
        })
        .collect()
}

/// The latest version of a span, for roles that read every row.
pub(crate) async fn latest(
    executor: impl PgExecutor<'_>,
    tenant: &TenantId,
    id: SpanId,
) -> Result<Option<Sealed>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from ledger.span where tenant_id = $1 and id = $2 order by seq desc limit 1"
    );
    let row = sqlx::query(sql)
        .bind(tenant.as_str())
        .bind(id.as_uuid())
        .fetch_optional(executor)
        .await?;
    row.as_ref().map(decode_or_fail).transpose()
}

/// The latest version before a position of the tenant's chain.
pub(crate) async fn version_before(
    executor: impl PgExecutor<'_>,
    tenant: &TenantId,
    id: SpanId,
    before: Position,
) -> Result<Option<Sealed>, Error> {
    let sql = concat!(
        "select ",
        columns!(),
        " from ledger.span where tenant_id = $1 and id = $2 and position < $3 order by seq desc limit 1"
    );
    let row = sqlx::query(sql)
        .bind(tenant.as_str())
        .bind(id.as_uuid())
        .bind(i64::try_from(before.get()).unwrap_or(i64::MAX))
        .fetch_optional(executor)
        .await?;
    row.as_ref().map(decode_or_fail).transpose()
}
