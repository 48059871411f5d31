//! A tenant's log as those who belong to it read it (LED-8): signed heads, keys, tiles, and that it has only grown.

use logline_proof::tree::{SIZE_MAX, verify_consistency};
use logline_proof::{
    ConsistencyProof, EntryBundle, Frontier, NodeHash, Plan, SignedCheckpoint, Tile, TreeHead,
    VerifierKey,
};
use logline_span::{Hash, TenantId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row as _, Transaction};

use super::{ReaderSession, SYSTEM};
use crate::proof::{Wanted, arranged};
use crate::{Error, row};

/// What the ledger says of a chain, as those who belong to its tenant may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The last row; none where nothing is sealed.
    pub sealed: Option<ChainEnd>,
    /// The newest signed head; none where nothing is signed.
    pub signed: Option<SignedHead>,
    /// What the newest verification of the whole chain, or of its end, found.
    pub verified: Option<Verified>,
}

/// The last row of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainEnd {
    /// Its place, and so the length of the chain.
    pub position: u64,
    /// When it was received.
    pub received_at: Timestamp,
    /// Its hash.
    pub curr_hash: Hash,
}

/// The newest signed head, and whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// The tree that was signed.
    pub head: TreeHead,
    /// When it was kept.
    pub made_at: Timestamp,
    /// How many signatures of others are under the note.
    pub cosignatures: usize,
    /// Whether a key of the log has signed it.
    pub is_signed: bool,
    /// Whether the stored tree leads to its root: computed for this answer from a few tiles.
    pub is_reproduced: bool,
}

/// What a run of `logline verify` found in one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When it ended.
    pub at: Timestamp,
    /// The positions that it recomputed.
    pub first: u64,
    /// Less than `first` where there was nothing to recompute.
    pub last: u64,
    /// How many failures it named; 0 where the chain is whole.
    pub failures: u64,
    /// Whether it was held against something kept outside.
    pub is_anchored: bool,
}

impl ReaderSession {
    /// The newest signed head of the reader's tenant, or of `system`, with the cosignatures under it; none of any other. With
    /// `cosigned` the newest that a witness has cosigned.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn checkpoint(
        &self,
        tenant: &TenantId,
        cosigned: bool,
    ) -> Result<Option<String>, Error> {
        const NEWEST: &str =
            "select note from ledger.signed_head where tenant_id = $1 order by size desc limit 1";
        const COSIGNED: &str = "select note from ledger.signed_head where tenant_id = $1
             and size = (select size from ledger.witnessed where tenant_id = $1 order by size desc limit 1)";
        let mut transaction = self.begin().await?;
        let note = sqlx::query_scalar(if cosigned { COSIGNED } else { NEWEST })
            .bind(tenant.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(note)
    }

    /// The keys that verify the heads of the reader's tenant and of `system`, in the form of signed notes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn log_keys(&self) -> Result<Vec<String>, Error> {
        let mut transaction = self.begin().await?;
        let own = self.identity.as_ref().map(|reader| reader.tenant.as_str());
        let keys = sqlx::query_scalar(
            "select key from ledger.verifier_key where tenant_id in ($1, $2) order by tenant_id, since, key",
        )
        .bind(own)
        .bind(SYSTEM)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(keys)
    }

    /// A tile of a tenant's tree, in the bytes of `tlog-tiles`; none where no signed head covers it, or the tenant is not the reader's.
    ///
    /// # Errors
    /// [`Error::Undecodable`] where a hash of it is missing, or [`Error::Unavailable`] while Postgres is away.
    pub async fn tile(&self, tenant: &TenantId, tile: &Tile) -> Result<Option<Vec<u8>>, Error> {
        let mut transaction = self.begin().await?;
        if !tile.is_within(newest(&mut transaction, tenant).await?) {
            return Ok(None);
        }
        let hashes = hashes(&mut transaction, tenant, std::slice::from_ref(tile)).await?;
        transaction.commit().await?;
        let whole = hashes
            .into_iter()
            .next()
            .filter(|hashes| hashes.len() == usize::from(tile.width()));
        let whole = whole.ok_or_else(|| undecodable(tenant, "hash"))?;
        Ok(Some(Tile::bytes(&whole)))
    }

    /// What the leaves of the own tenant's tree are the hashes of, in the bytes of `tlog-tiles`; none where no signed head covers them.
    ///
    /// # Errors
    /// [`Error::Undecodable`] where an entry is missing, or [`Error::Unavailable`] while Postgres is away.
    pub async fn entries(&self, bundle: &EntryBundle) -> Result<Option<Vec<u8>>, Error> {
        const SQL: &str = "select hash from ledger.log_entries($1, $2)";
        let Some(tenant) = self.identity.as_ref().map(|reader| &reader.tenant) else {
            return Ok(None);
        };
        let mut transaction = self.begin().await?;
        let tile = bundle.tile();
        if !tile.is_within(newest(&mut transaction, tenant).await?) {
            return Ok(None);
        }
        let rows = sqlx::query(SQL)
            .bind(i64::try_from(tile.first()).unwrap_or(i64::MAX))
            .bind(i32::from(tile.width()))
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let bad = || undecodable(tenant, "curr_hash");
        let entries: Vec<Hash> = rows
            .iter()
            .map(|row| row::hash(row, "hash").map_err(|_| bad()))
            .collect::<Result<_, _>>()?;
        if entries.len() != usize::from(tile.width()) {
            return Err(bad());
        }
        Ok(Some(EntryBundle::bytes(&entries)))
    }

    /// That a tenant's log has only grown from a size to a signed head: the one of size `to`, or else the newest. None where there is no
    /// such head for this reader, or it is smaller.
    ///
    /// # Errors
    /// [`Error::Undecodable`] where what is stored proves nothing, or [`Error::Unavailable`] while Postgres is away.
    pub async fn consistency(
        &self,
        tenant: &TenantId,
        from: u64,
        to: Option<u64>,
    ) -> Result<Option<ConsistencyProof>, Error> {
        const SQL: &str = "select note from ledger.signed_head where tenant_id = $1 and size = coalesce($2,
             (select size from ledger.signed_head where tenant_id = $1 order by size desc limit 1))";
        let bad = |column| undecodable(tenant, column);
        let mut transaction = self.begin().await?;
        let note: Option<String> = sqlx::query_scalar(SQL)
            .bind(tenant.as_str())
            .bind(to.map(|to| i64::try_from(to).unwrap_or(i64::MAX)))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(note) = note else { return Ok(None) };
        let checkpoint: SignedCheckpoint = note.parse().map_err(|_| bad("note"))?;
        let head = checkpoint.checkpoint().head;
        let Some(plan) = Plan::consistency(from, head.size) else {
            return Ok(None);
        };
        let path = self.compute(&mut transaction, tenant, &plan).await?;
        // The earlier head is computed too: what does not lead from one to the other proves nothing, and is not the reader's fault.
        let old = match Plan::frontier(from) {
            Some(plan) => self.compute(&mut transaction, tenant, &plan).await?,
            None => return Ok(None),
        };
        transaction.commit().await?;
        let old = Frontier::from_peaks(from, old).map_err(|_| bad("hash"))?;
        verify_consistency(&old.head(), &head, &path).map_err(|_| bad("hash"))?;
        Ok(Some(ConsistencyProof {
            old_size: from,
            path,
            checkpoint,
        }))
    }

    /// What the ledger says of a chain; none where the tenant is not the reader's. The cost is that of a few tiles, however long the
    /// chain is.
    ///
    /// # Errors
    /// [`Error::Undecodable`] where what stands there cannot be read, or [`Error::Unavailable`] while Postgres is away.
    pub async fn log_state(&self, tenant: &TenantId) -> Result<Option<LogState>, Error> {
        let own = self.identity.as_ref().map(|reader| &reader.tenant);
        if own != Some(tenant) && tenant.as_str() != SYSTEM {
            return Ok(None);
        }
        let mut transaction = self.begin().await?;
        let sealed =
            sqlx::query("select position, received_at, curr_hash from ledger.chain_end($1)")
                .bind(tenant.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        let sealed = sealed.map(|row| chain_end(&row, tenant)).transpose()?;
        let signed = self.signed(&mut transaction, tenant).await?;
        let verified = sqlx::query(
            "select verified_at, first_position, last_position, failures, anchored from ledger.verified
             where tenant_id = $1 order by id desc limit 1",
        )
        .bind(tenant.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let verified = verified
            .map(|row| self::verified(&row, tenant))
            .transpose()?;
        transaction.commit().await?;
        Ok(Some(LogState {
            sealed,
            signed,
            verified,
        }))
    }

    async fn signed(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        tenant: &TenantId,
    ) -> Result<Option<SignedHead>, Error> {
        let row = sqlx::query(
            "select note, made_at from ledger.signed_head where tenant_id = $1 order by size desc limit 1",
        )
        .bind(tenant.as_str())
        .fetch_optional(&mut **transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let bad = |column| undecodable(tenant, column);
        let note: SignedCheckpoint = row
            .try_get::<&str, _>("note")?
            .parse()
            .map_err(|_| bad("note"))?;
        let keys: Vec<String> =
            sqlx::query_scalar("select key from ledger.verifier_key where tenant_id = $1")
                .bind(tenant.as_str())
                .fetch_all(&mut **transaction)
                .await?;
        let keys: Vec<VerifierKey> = keys.iter().filter_map(|key| key.parse().ok()).collect();
        let signatures = note.note().signatures();
        let is_own = |line: &&_| keys.iter().any(|key| key.is_named_by(line));
        let head = note.checkpoint().head;
        let plan = Plan::frontier(head.size).ok_or_else(|| bad("note"))?;
        let peaks = self.compute(transaction, tenant, &plan).await;
        let tree = peaks.map(|peaks| Frontier::from_peaks(head.size, peaks));
        Ok(Some(SignedHead {
            head,
            made_at: time(&row, "made_at", tenant)?,
            cosignatures: signatures.iter().filter(|line| !is_own(line)).count(),
            is_signed: note.verify(&keys).is_ok(),
            is_reproduced: match tree {
                Ok(tree) => tree.is_ok_and(|tree| tree.head() == head),
                Err(Error::Undecodable { .. }) => false,
                Err(error) => return Err(error),
            },
        }))
    }

    async fn compute(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        tenant: &TenantId,
        plan: &Plan,
    ) -> Result<Vec<NodeHash>, Error> {
        let tiles = hashes(transaction, tenant, plan.tiles()).await?;
        plan.compute(&tiles)
            .map_err(|_| undecodable(tenant, "hash"))
    }
}

/// The size of the newest signed head that the reader sees; 0 where there is none.
async fn newest(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &TenantId,
) -> Result<u64, Error> {
    const SQL: &str =
        "select size from ledger.signed_head where tenant_id = $1 order by size desc limit 1";
    let size: Option<i64> = sqlx::query_scalar(SQL)
        .bind(tenant.as_str())
        .fetch_optional(&mut **transaction)
        .await?;
    Ok(u64::try_from(size.unwrap_or(0)).unwrap_or(SIZE_MAX))
}

async fn hashes(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &TenantId,
    tiles: &[Tile],
) -> Result<Vec<Vec<NodeHash>>, Error> {
    const SQL: &str = "select tile, hash from ledger.log_tiles($1, $2, $3, $4)";
    let wanted = Wanted::of(tiles);
    let rows = sqlx::query(SQL)
        .bind(tenant.as_str())
        .bind(&wanted.levels)
        .bind(&wanted.firsts)
        .bind(&wanted.widths)
        .fetch_all(&mut **transaction)
        .await?;
    arranged(&rows, tiles, |_, hash| hash)
}

fn chain_end(row: &PgRow, tenant: &TenantId) -> Result<ChainEnd, Error> {
    let position: i64 = row.try_get("position")?;
    Ok(ChainEnd {
        position: u64::try_from(position).unwrap_or(0),
        received_at: time(row, "received_at", tenant)?,
        curr_hash: row::hash(row, "curr_hash").map_err(|_| undecodable(tenant, "curr_hash"))?,
    })
}

fn verified(row: &PgRow, tenant: &TenantId) -> Result<Verified, Error> {
    let number = |column| -> Result<u64, Error> {
        let number: i64 = row.try_get(column)?;
        Ok(u64::try_from(number).unwrap_or(0))
    };
    Ok(Verified {
        at: time(row, "verified_at", tenant)?,
        first: number("first_position")?,
        last: number("last_position")?,
        failures: u64::from(row.try_get::<i32, _>("failures")?.unsigned_abs()),
        is_anchored: row.try_get("anchored")?,
    })
}

fn time(row: &PgRow, column: &'static str, tenant: &TenantId) -> Result<Timestamp, Error> {
    let micros: i64 = row.try_get_unchecked(column)?;
    row::from_postgres(micros).ok_or_else(|| undecodable(tenant, column))
}

fn undecodable(tenant: &TenantId, column: &'static str) -> Error {
    Error::Undecodable {
        tenant: tenant.to_string(),
        position: 0,
        column,
    }
}
