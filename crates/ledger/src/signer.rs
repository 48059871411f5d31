//! What the signer reads and writes: hashes of the registry, and the tree above them.

use logline_proof::tree::Completed;
use logline_proof::{NodeHash, Tile};
use logline_span::{Hash, PublicKey, TenantId};
use sqlx::Row as _;
use sqlx::postgres::PgPool;

use crate::connection::{self, Config};
use crate::{Error, tile};

/// The signer's handle (role `logline_signer`). Clones share it.
#[derive(Clone, Debug)]
pub struct Signer {
    pool: PgPool,
}

/// The tenants, found by skipping from one to the next in the index, whose chain goes on beyond their newest head.
const AHEAD: &str = "with recursive tenant (id) as (
         (select tenant_id from ledger.span order by tenant_id limit 1)
         union all
         select (select s.tenant_id from ledger.span s where s.tenant_id > t.id order by s.tenant_id limit 1)
         from tenant t where t.id is not null)
     select id from tenant t where id is not null
         and (select max(position) from ledger.span s where s.tenant_id = t.id)
             > coalesce((select max(size) from ledger.checkpoint c where c.tenant_id = t.id), 0)";

impl Signer {
    /// Prepares a handle; connections are opened when first needed.
    ///
    /// # Errors
    /// [`Error::Url`] where the address cannot be read.
    pub fn connect(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            pool: config.pool()?,
        })
    }

    /// The name of the log: a tenant's origin is `<log>/<tenant>`.
    ///
    /// # Errors
    /// [`Error::NotProvisioned`] where it has none yet, [`Error::Unavailable`] while Postgres is away.
    pub async fn log_name(&self) -> Result<String, Error> {
        connection::again(&self.pool, || connection::log_name(&self.pool)).await
    }

    /// Records a key as one of the log's; gives all of them, the newest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn add_key(&self, key: &PublicKey) -> Result<Vec<PublicKey>, Error> {
        connection::again(&self.pool, || async {
            sqlx::query(
                "insert into ledger.log_key (public_key) values ($1) on conflict do nothing",
            )
            .bind(key.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
            let keys = sqlx::query("select public_key from ledger.log_key order by since desc");
            Ok(tile::keys(&keys.fetch_all(&self.pool).await?))
        })
        .await
    }

    /// The tenants with spans that no head covers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn ahead(&self) -> Result<Vec<TenantId>, Error> {
        connection::again(&self.pool, || async {
            let names: Vec<String> = sqlx::query_scalar(AHEAD).fetch_all(&self.pool).await?;
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
        .await
    }

    /// A tenant's newest head, as the signed note that was stored.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn newest(&self, tenant: &TenantId) -> Result<Option<String>, Error> {
        connection::again(&self.pool, || async {
            let note = sqlx::query_scalar(
                "select note from ledger.checkpoint where tenant_id = $1 order by size desc limit 1",
            )
            .bind(tenant.as_str())
            .fetch_optional(&self.pool);
            Ok(note.await?)
        })
        .await
    }

    /// The hashes of tiles of a tenant's tree, each as wide as it says; fewer where the ledger has no more.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn tiles(
        &self,
        tenant: &TenantId,
        tiles: &[Tile],
    ) -> Result<Vec<Vec<NodeHash>>, Error> {
        connection::again(&self.pool, || async {
            let mut found = Vec::with_capacity(tiles.len());
            for wanted in tiles {
                found.push(tile::read(&self.pool, tenant, wanted).await?);
            }
            Ok(found)
        })
        .await
    }

    /// Up to `limit` hashes of a tenant's chain, behind a position.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn hashes(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Hash>, Error> {
        connection::again(&self.pool, || async {
            let rows = sqlx::query(
                "select position, curr_hash from ledger.span where tenant_id = $1 and position > $2 order by position limit $3",
            )
            .bind(tenant.as_str())
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
            let hashes = rows.iter().zip(after.saturating_add(1)..).map_while(|(row, place)| {
                // What lies behind a gap is not behind the position.
                let position: i64 = row.try_get("position").ok()?;
                let bytes: &[u8] = row.try_get("curr_hash").ok()?;
                (u64::try_from(position) == Ok(place)).then_some(())?;
                Some(Hash::from_bytes(bytes.try_into().ok()?))
            });
            Ok(hashes.collect())
        })
        .await
    }

    /// Stores a signed head with the subtrees that became complete below it, in one transaction; what is there stays.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away: it may be stored all the same.
    pub async fn store(
        &self,
        tenant: &TenantId,
        size: u64,
        note: &str,
        nodes: &[Completed],
    ) -> Result<(), Error> {
        let levels: Vec<i16> = nodes.iter().map(|node| i16::from(node.level)).collect();
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let indexes: Vec<i64> = nodes.iter().map(|node| number(node.index)).collect();
        let hashes: Vec<&[u8]> = nodes
            .iter()
            .map(|node| node.hash.as_bytes().as_slice())
            .collect();
        connection::again(&self.pool, || async {
            sqlx::query(
                "with nodes as (
                     insert into ledger.node (tenant_id, level, index, hash)
                     select $1, n.level, n.index, n.hash from unnest($4::smallint[], $5::bigint[], $6::bytea[]) n (level, index, hash)
                     on conflict do nothing)
                 insert into ledger.checkpoint (tenant_id, size, note) values ($1, $2, $3) on conflict do nothing",
            )
            .bind(tenant.as_str())
            .bind(number(size))
            .bind(note)
            .bind(&levels)
            .bind(&indexes)
            .bind(&hashes)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }
}
