//! The signer's side of the ledger (LED-8): the hashes of the chains, and what is signed over them. It reads no content of any span.

use logline_proof::tree::Completed;
use logline_proof::{NodeHash, SignedCheckpoint, Tile, VerifierKey};
use logline_span::{Hash, TenantId};
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use crate::connection::{self, Config};
use crate::row::{self, BadColumn};
use crate::{Error, proof};

/// The signer's handle (role `logline_signer`). Clones share it.
#[derive(Clone, Debug)]
pub struct Signer {
    pool: PgPool,
}

/// How far a tenant's chain is, and how much of it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Whose.
    pub tenant: TenantId,
    /// The position of the last row.
    pub sealed: u64,
    /// The size of the newest signed head; 0 before the first.
    pub signed: u64,
}

/// A row of a chain as the tree knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its place in the chain.
    pub position: u64,
    /// Its hash.
    pub curr_hash: Hash,
}

/// What a witness has signed over a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Its key, in the form of signed notes.
    pub witness: String,
    /// The line that goes under the note.
    pub line: String,
    /// When, in seconds since 1970, as the witness says.
    pub at_s: u64,
}

/// The last second of the year 9999, beyond which no calendar of ours goes.
const AT_S_MAX: u64 = 253_402_300_799;

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

    /// The name of the log, from which every chain's origin is made.
    ///
    /// # Errors
    /// [`Error::NotProvisioned`] before `migrate`; [`Error::Unavailable`] while Postgres is away.
    pub async fn log_name(&self) -> Result<String, Error> {
        connection::again(&self.pool, || connection::log_name(&self.pool)).await
    }

    /// Every tenant that has a chain or a signed head, found by skipping from one to the next in the indexes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn ends(&self) -> Result<Vec<Ends>, Error> {
        const SQL: &str = "with recursive chain (id) as (
                 (select tenant_id from ledger.span order by tenant_id limit 1)
                 union all
                 select (select s.tenant_id from ledger.span s where s.tenant_id > c.id order by s.tenant_id limit 1)
                 from chain c where c.id is not null),
             log (id) as (
                 (select tenant_id from ledger.checkpoint order by tenant_id limit 1)
                 union all
                 select (select h.tenant_id from ledger.checkpoint h where h.tenant_id > l.id order by h.tenant_id limit 1)
                 from log l where l.id is not null)
             select id as tenant_id,
                 coalesce((select max(position) from ledger.span s where s.tenant_id = t.id), 0) as position,
                 coalesce((select max(size) from ledger.checkpoint h where h.tenant_id = t.id), 0) as size
             from (select id from chain union select id from log) t where id is not null";
        let read = || async {
            let rows = sqlx::query(SQL).fetch_all(&self.pool).await?;
            rows.iter().map(ends).collect()
        };
        connection::again(&self.pool, read).await
    }

    /// The newest signed note of a tenant; none before the first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn newest(&self, tenant: &TenantId) -> Result<Option<String>, Error> {
        const SQL: &str =
            "select note from ledger.checkpoint where tenant_id = $1 order by size desc limit 1";
        let read = || async {
            let query = sqlx::query_scalar(SQL).bind(tenant.as_str());
            Ok(query.fetch_optional(&self.pool).await?)
        };
        connection::again(&self.pool, read).await
    }

    /// The keys that have signed a tenant's heads, in the form of signed notes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn keys(&self, tenant: &TenantId) -> Result<Vec<String>, Error> {
        const SQL: &str = "select key from ledger.log_key where tenant_id = $1 order by since, key";
        let read = || async {
            let query = sqlx::query_scalar(SQL).bind(tenant.as_str());
            Ok(query.fetch_all(&self.pool).await?)
        };
        connection::again(&self.pool, read).await
    }

    /// Says which key signs a tenant's heads from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn add_key(&self, tenant: &TenantId, key: &VerifierKey) -> Result<(), Error> {
        const SQL: &str =
            "insert into ledger.log_key (tenant_id, key) values ($1, $2) on conflict do nothing";
        let write = || async {
            let query = sqlx::query(SQL).bind(tenant.as_str()).bind(key.to_string());
            query.execute(&self.pool).await?;
            Ok(())
        };
        connection::again(&self.pool, write).await
    }

    /// Rows of a chain from a position on, in order, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Undecodable`] where a row's hash is none; [`Error::Unavailable`] while Postgres is away.
    pub async fn leaves(
        &self,
        tenant: &TenantId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Leaf>, Error> {
        const SQL: &str = "select tenant_id, position, curr_hash from ledger.span
             where tenant_id = $1 and position >= $2 order by position limit $3";
        let read = || async {
            let query = sqlx::query(SQL)
                .bind(tenant.as_str())
                .bind(to_i64(from))
                .bind(i64::from(limit));
            let rows = query.fetch_all(&self.pool).await?;
            rows.iter().map(leaf).collect()
        };
        connection::again(&self.pool, read).await
    }

    /// What is stored in the places of these nodes, in their order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn nodes(
        &self,
        tenant: &TenantId,
        places: &[Completed],
    ) -> Result<Vec<Option<NodeHash>>, Error> {
        const SQL: &str = "select n.hash
             from unnest($2::smallint[], $3::bigint[]) with ordinality w (level, index, place)
             left join ledger.node n on n.tenant_id = $1 and n.level = w.level and n.index = w.index
             order by w.place";
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let (levels, indexes, _) = columns(places);
        let read = || async {
            let query = sqlx::query(SQL)
                .bind(tenant.as_str())
                .bind(&levels)
                .bind(&indexes);
            let rows = query.fetch_all(&self.pool).await?;
            let node = |row: &PgRow| -> Result<_, Error> {
                let bytes: Option<&[u8]> = row.try_get(0)?;
                Ok(bytes.and_then(proof::node_hash))
            };
            rows.iter().map(node).collect()
        };
        connection::again(&self.pool, read).await
    }

    /// The hashes of tiles of a tenant's tree, in their order; fewer than a tile's width where rows or nodes are missing.
    ///
    /// # Errors
    /// [`Error::Undecodable`] where a hash is none; [`Error::Unavailable`] while Postgres is away.
    pub async fn tiles(
        &self,
        tenant: &TenantId,
        tiles: &[Tile],
    ) -> Result<Vec<Vec<NodeHash>>, Error> {
        const SQL: &str = "select w.tile::integer, h.hash
             from unnest($2::integer[], $3::bigint[], $4::integer[]) with ordinality w (level, first, width, tile)
             cross join lateral (
                 (select s.position - 1 as index, s.curr_hash as hash from ledger.span s
                     where w.level = 0 and s.tenant_id = $1 and s.position > w.first and s.position <= w.first + w.width
                     order by s.position limit w.width)
                 union all
                 (select n.index, n.hash from ledger.node n
                     where w.level > 0 and n.tenant_id = $1 and n.level = w.level and n.index >= w.first and n.index < w.first + w.width
                     order by n.index limit w.width)) h
             order by w.tile, h.index";
        if tiles.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = proof::Wanted::of(tiles);
        let read = || async {
            let query = sqlx::query(SQL)
                .bind(tenant.as_str())
                .bind(&wanted.levels)
                .bind(&wanted.firsts)
                .bind(&wanted.widths);
            let rows = query.fetch_all(&self.pool).await?;
            proof::arranged(&rows, tiles, proof::of_row)
        };
        connection::again(&self.pool, read).await
    }

    /// Keeps what witnesses have signed over the head of that size; what is there already stays.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away; doing it again is harmless.
    pub async fn cosign(
        &self,
        tenant: &TenantId,
        size: u64,
        cosignatures: &[Cosignature],
    ) -> Result<(), Error> {
        const SQL: &str = "insert into ledger.cosignature (tenant_id, size, witness, line, cosigned_at)
             select $1, $2, w.witness, w.line, to_timestamp(w.at_s)
             from unnest($3::text[], $4::text[], $5::bigint[]) w (witness, line, at_s) on conflict do nothing";
        if cosignatures.is_empty() {
            return Ok(());
        }
        let texts = |text: fn(&Cosignature) -> &str| -> Vec<&str> {
            cosignatures.iter().map(text).collect()
        };
        let (witnesses, lines) = (texts(|one| &one.witness), texts(|one| &one.line));
        let times = cosignatures
            .iter()
            .map(|one| to_i64(one.at_s.min(AT_S_MAX)));
        let times: Vec<i64> = times.collect();
        let write = || async {
            let query = sqlx::query(SQL).bind(tenant.as_str()).bind(to_i64(size));
            let query = query.bind(&witnesses).bind(&lines).bind(&times);
            query.execute(&self.pool).await?;
            Ok(())
        };
        connection::again(&self.pool, write).await
    }

    /// The newest signed note of every tenant where one of these witnesses, named by their keys, has not cosigned it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn uncosigned(&self, witnesses: &[String]) -> Result<Vec<(TenantId, String)>, Error> {
        const SQL: &str = "with recursive log (id) as (
                 (select tenant_id from ledger.checkpoint order by tenant_id limit 1)
                 union all
                 select (select h.tenant_id from ledger.checkpoint h where h.tenant_id > l.id order by h.tenant_id limit 1)
                 from log l where l.id is not null)
             select l.id, h.note
             from log l
             cross join lateral (
                 select size, note from ledger.head where tenant_id = l.id order by size desc limit 1) h
             where l.id is not null and exists (
                 select from unnest($1::text[]) w (key) where not exists (
                     select from ledger.cosignature c where c.tenant_id = l.id and c.size = h.size and c.witness = w.key))";
        let read = || async {
            let query = sqlx::query_as(SQL).bind(witnesses);
            let rows: Vec<(String, String)> = query.fetch_all(&self.pool).await?;
            let named = |(tenant, note): (String, String)| Some((tenant.parse().ok()?, note));
            Ok(rows.into_iter().filter_map(named).collect())
        };
        connection::again(&self.pool, read).await
    }

    /// Keeps a signed head and the nodes that it completes, in one transaction. What is there already stays; says whether what
    /// stands under that size then has this head's root.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away; doing it again is harmless.
    pub async fn store(
        &self,
        tenant: &TenantId,
        signed: &SignedCheckpoint,
        nodes: &[Completed],
    ) -> Result<bool, Error> {
        const SQL: &str = "with nodes as (
                 insert into ledger.node (tenant_id, level, index, hash)
                 select $1, w.level, w.index, w.hash from unnest($2::smallint[], $3::bigint[], $4::bytea[]) w (level, index, hash)
                 on conflict do nothing)
             insert into ledger.checkpoint (tenant_id, size, root, note) values ($1, $5, $6, $7) on conflict do nothing";
        const STANDS: &str =
            "select root = $3 from ledger.checkpoint where tenant_id = $1 and size = $2";
        let head = signed.checkpoint().head;
        let (levels, indexes, hashes) = columns(nodes);
        let (size, root, note) = (to_i64(head.size), head.root, signed.to_string());
        let write = || async {
            let query = sqlx::query(SQL)
                .bind(tenant.as_str())
                .bind(&levels)
                .bind(&indexes)
                .bind(&hashes)
                .bind(size)
                .bind(root.as_bytes().as_slice())
                .bind(&note);
            if query.execute(&self.pool).await?.rows_affected() == 1 {
                return Ok(true);
            }
            let query = sqlx::query_scalar(STANDS)
                .bind(tenant.as_str())
                .bind(size)
                .bind(root.as_bytes().as_slice());
            Ok(query.fetch_one(&self.pool).await?)
        };
        connection::again(&self.pool, write).await
    }
}

fn ends(row: &PgRow) -> Result<Ends, Error> {
    let read = || -> Result<_, BadColumn> {
        Ok(Ends {
            tenant: row::parsed(row, "tenant_id")?,
            sealed: from_i64(row::get(row, "position")?),
            signed: from_i64(row::get(row, "size")?),
        })
    };
    read().map_err(|error| undecodable(row, error))
}

fn leaf(row: &PgRow) -> Result<Leaf, Error> {
    let read = || -> Result<_, BadColumn> {
        Ok(Leaf {
            position: row::position(row)?.get(),
            curr_hash: row::hash(row, "curr_hash")?,
        })
    };
    read().map_err(|error| undecodable(row, error))
}

fn undecodable(row: &PgRow, BadColumn(column): BadColumn) -> Error {
    Error::Undecodable {
        tenant: row::get(row, "tenant_id").unwrap_or_default(),
        position: row::get(row, "position").unwrap_or_default(),
        column,
    }
}

fn columns(nodes: &[Completed]) -> (Vec<i16>, Vec<i64>, Vec<Vec<u8>>) {
    let levels = nodes.iter().map(|node| i16::from(node.level)).collect();
    let indexes = nodes.iter().map(|node| to_i64(node.index)).collect();
    let hashes = nodes.iter().map(|node| node.hash.as_bytes().to_vec());
    (levels, indexes, hashes.collect())
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_i64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
