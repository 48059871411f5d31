//! The tree of the log, as whoever may use `ledger.tile` reads it.

use logline_proof::{NodeHash, Tile};
use logline_span::{PublicKey, TenantId};
use sqlx::Row as _;
use sqlx::postgres::{PgExecutor, PgRow};

use crate::Error;

/// A tile's hashes, fewer where the ledger has no more.
pub(crate) async fn read(
    executor: impl PgExecutor<'_>,
    tenant: &TenantId,
    tile: &Tile,
) -> Result<Vec<NodeHash>, Error> {
    let first = i64::try_from(tile.first()).unwrap_or(i64::MAX);
    let hashes: Option<Vec<Vec<u8>>> = sqlx::query_scalar("select ledger.tile($1, $2, $3, $4)")
        .bind(tenant.as_str())
        .bind(i32::from(tile.level()))
        .bind(first)
        .bind(i32::from(tile.width()))
        .fetch_one(executor)
        .await?;
    let hashes = hashes.unwrap_or_default();
    Ok(hashes
        .into_iter()
        .map_while(|hash| Some(NodeHash::from_bytes(hash.try_into().ok()?)))
        .collect())
}

/// Keys from rows of one column.
pub(crate) fn keys(rows: &[PgRow]) -> Vec<PublicKey> {
    let keys = rows.iter().filter_map(|row| {
        let bytes: &[u8] = row.try_get(0).ok()?;
        Some(PublicKey::from_bytes(bytes.try_into().ok()?))
    });
    keys.collect()
}
