//! What the projector looks up before it seals.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
pub use logline_span::version::Latest;
use logline_span::version::Stored;
use logline_span::{Hash, Head, Position, Principal, Sealed, Seq, SpanId, TenantId, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};
use uuid::Uuid;

use super::{from_i64, to_i64};
use crate::intake::{self, Fingerprint};
use crate::row::{self, BadColumn};
use crate::{Error, StoredOutcome};

/// An id and a key that a span in preparation wants to use.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// In this tenant.
    pub tenant: TenantId,
    /// For this owner.
    pub owner: Principal,
    /// The span's id.
    pub id: SpanId,
    /// Its idempotency key.
    pub key: Option<String>,
}

/// What is sealed already of what was wanted.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// The latest version of each id.
    pub by_id: HashMap<(TenantId, SpanId), Latest>,
    /// The span that used each key.
    pub by_key: HashMap<(TenantId, Principal, String), KeyHolder>,
}

/// The span that used an idempotency key first: what its receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// Its id.
    pub id: SpanId,
    /// Its version.
    pub seq: Seq,
    /// Its place.
    pub position: Position,
    /// When, as its author says.
    pub at: Timestamp,
    /// Its hash in the chain.
    pub curr_hash: Hash,
}

/// A version of a span: whose chain, which id, which `seq`.
pub type Named = (TenantId, SpanId, Seq);

/// A sealed version that a span may repeat (SPAN-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// What its receipt says.
    pub first: KeyHolder,
    /// What a repeat must agree with.
    pub stored: Stored,
}

pub(super) async fn existing(pool: &PgPool, wanted: &[Wanted]) -> Result<Existing, Error> {
    let tenants: Vec<&str> = wanted.iter().map(|w| w.tenant.as_str()).collect();
    let owners: Vec<&str> = wanted.iter().map(|w| w.owner.as_str()).collect();
    let ids: Vec<Uuid> = wanted.iter().map(|w| *w.id.as_uuid()).collect();
    let keys: Vec<Option<&str>> = wanted.iter().map(|w| w.key.as_deref()).collect();
    let rows = sqlx::query(
        "select w.nth, true as by_id, s.id, s.seq, s.owner_id, s.entity_type, s.position, s.at, s.curr_hash
         from unnest($1::text[], $2::uuid[]) with ordinality w (tenant_id, id, nth)
         cross join lateral (
             select * from ledger.span s where s.tenant_id = w.tenant_id and s.id = w.id order by s.seq desc limit 1) s
         union all
         select w.nth, false, s.id, s.seq, s.owner_id, s.entity_type, s.position, s.at, s.curr_hash
         from unnest($1::text[], $3::text[], $4::text[]) with ordinality w (tenant_id, owner_id, key, nth)
         cross join lateral (
             select * from ledger.span s
             where s.tenant_id = w.tenant_id and s.owner_id = w.owner_id and s.idempotency_key = w.key limit 1) s
         where w.key is not null",
    )
    .bind(tenants)
    .bind(ids)
    .bind(owners)
    .bind(keys)
    .fetch_all(pool)
    .await?;

    let mut existing = Existing::default();
    for row in &rows {
        let nth = usize::try_from(row.try_get::<i64, _>("nth")?).unwrap_or_default();
        let Some(wanted) = nth.checked_sub(1).and_then(|index| wanted.get(index)) else {
            continue;
        };
        let tenant = wanted.tenant.clone();
        let fail = |BadColumn(column)| undecodable(row, &tenant, column);
        if row.try_get("by_id")? {
            let latest = Latest {
                seq: row::seq(row).map_err(fail)?,
                owner: row::parsed(row, "owner_id").map_err(fail)?,
                entity_type: row::parsed(row, "entity_type").map_err(fail)?,
            };
            existing.by_id.insert((tenant, wanted.id), latest);
        } else if let Some(key) = wanted.key.clone() {
            let holder = key_holder(row).map_err(fail)?;
            existing
                .by_key
                .insert((tenant, wanted.owner.clone(), key), holder);
        }
    }
    Ok(existing)
}

pub(super) async fn versions(
    pool: &PgPool,
    wanted: &[Named],
) -> Result<HashMap<Named, Version>, Error> {
    let tenants: Vec<&str> = wanted.iter().map(|(tenant, ..)| tenant.as_str()).collect();
    let ids: Vec<Uuid> = wanted.iter().map(|(_, id, _)| *id.as_uuid()).collect();
    let seqs: Vec<i32> = wanted
        .iter()
        .map(|(.., seq)| seq.get().cast_signed())
        .collect();
    let rows = sqlx::query(
        "select w.nth, s.id, s.seq, s.position, s.at, s.curr_hash, s.trace_id, s.content_hash
         from unnest($1::text[], $2::uuid[], $3::integer[]) with ordinality w (tenant_id, id, seq, nth)
         join ledger.span s on s.tenant_id = w.tenant_id and s.id = w.id and s.seq = w.seq",
    )
    .bind(tenants)
    .bind(ids)
    .bind(seqs)
    .fetch_all(pool)
    .await?;
    let mut versions = HashMap::with_capacity(rows.len());
    for row in &rows {
        let nth = usize::try_from(row.try_get::<i64, _>("nth")?).unwrap_or_default();
        let Some(named) = nth.checked_sub(1).and_then(|index| wanted.get(index)) else {
            continue;
        };
        let version =
            version(row).map_err(|BadColumn(column)| undecodable(row, &named.0, column))?;
        versions.insert(named.clone(), version);
    }
    Ok(versions)
}

fn version(row: &PgRow) -> Result<Version, BadColumn> {
    let first = key_holder(row)?;
    let stored = Stored {
        at: first.at,
        trace_id: row::parsed(row, "trace_id")?,
        content_hash: row::hash(row, "content_hash")?,
    };
    Ok(Version { first, stored })
}

fn key_holder(row: &PgRow) -> Result<KeyHolder, BadColumn> {
    Ok(KeyHolder {
        id: SpanId::from_uuid(row::get(row, "id")?),
        seq: row::seq(row)?,
        position: row::position(row)?,
        at: row::time(row, "at")?,
        curr_hash: row::hash(row, "curr_hash")?,
    })
}

fn undecodable(row: &PgRow, tenant: &TenantId, column: &'static str) -> Error {
    Error::Undecodable {
        tenant: tenant.to_string(),
        position: row.try_get("position").unwrap_or_default(),
        column,
    }
}

pub(super) async fn heads(
    pool: &PgPool,
    tenants: &[TenantId],
) -> Result<HashMap<TenantId, Head>, Error> {
    let names: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    let rows = sqlx::query(
        "select s.tenant_id, s.position, s.curr_hash, s.received_at
         from unnest($1::text[]) w (tenant_id)
         cross join lateral (
             select * from ledger.span s where s.tenant_id = w.tenant_id order by s.position desc limit 1) s",
    )
    .bind(names)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let tenant: TenantId =
                row::parsed(row, "tenant_id").map_err(|_| sqlx::Error::RowNotFound)?;
            let fail = |BadColumn(column)| undecodable(row, &tenant, column);
            let head = Head {
                position: row::position(row).map_err(fail)?.get(),
                hash: row::hash(row, "curr_hash").map_err(fail)?,
                received_at: row::time(row, "received_at").map_err(fail)?,
            };
            Ok((tenant, head))
        })
        .collect()
}

pub(super) async fn timeline_from(
    pool: &PgPool,
    first: u64,
    limit: u32,
) -> Result<Vec<(u64, Sealed, u16)>, Error> {
    const SQL: &str = concat!(
        "select i.timeline_seq, i.depth, s.* from (
             select timeline_seq, depth, tenant_id, position from ledger.intake
             where timeline_seq >= $1 order by timeline_seq limit $2) i
         cross join lateral (select ",
        row::columns!(),
        " from ledger.span s where s.tenant_id = i.tenant_id and s.position = i.position) s
         order by i.timeline_seq"
    );
    let mut rows = sqlx::query(SQL)
        .bind(to_i64(first))
        .bind(i64::from(limit))
        .fetch(pool);
    let (mut spans, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += row::bytes(&row);
        let depth: Option<i32> = row.try_get("depth")?;
        let depth = depth.and_then(|depth| u16::try_from(depth).ok());
        spans.push((
            from_i64(row.try_get("timeline_seq")?),
            row::decode_or_fail(&row)?,
            depth.unwrap_or_default(),
        ));
        if bytes >= row::READ_BYTES_MAX {
            break;
        }
    }
    Ok(spans)
}

pub(super) async fn timeline_hash(pool: &PgPool, number: u64) -> Result<Option<Hash>, Error> {
    let hash: Option<Vec<u8>> = sqlx::query_scalar(
        "select s.curr_hash from ledger.intake i
         join ledger.span s on s.tenant_id = i.tenant_id and s.position = i.position
         where i.timeline_seq = $1",
    )
    .bind(to_i64(number))
    .fetch_optional(pool)
    .await?;
    Ok(hash
        .and_then(|bytes| bytes.try_into().ok())
        .map(Hash::from_bytes))
}

pub(super) async fn outcome(
    pool: &PgPool,
    ingest_seq: u64,
    fingerprint: Fingerprint,
) -> Result<Option<StoredOutcome>, Error> {
    let row = sqlx::query(
        "select i.timeline_seq is null as duplicate, i.refusal_code, i.refusal_pointer, i.refusal_detail,
             s.id, s.seq, s.at, s.position, s.curr_hash
         from ledger.intake i left join ledger.span s on s.tenant_id = i.tenant_id and s.position = i.position
         where i.ingest_seq = $1 and i.digest = $2 and i.bus_time_ns = $3 limit 1",
    )
    .bind(to_i64(ingest_seq))
    .bind(fingerprint.digest.as_slice())
    .bind(fingerprint.time_ns)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(intake::decode).transpose()
}
