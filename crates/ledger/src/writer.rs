//! The one writer: the projector's side of the ledger.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use logline_span::{Hash, Head, Sealed, TenantId, Timestamp};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::sync::Mutex;

use crate::connection::{self, Config};
use crate::intake::Fingerprint;
use crate::{CommitError, Error, StoredOutcome, row};

mod batch;
mod lookup;

pub use batch::{Batch, Outcome, OutcomeKind, Row};
pub use lookup::{Existing, KeyHolder, Latest, Named, Version, Wanted};

/// How far a shard is, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardState {
    /// The right to write: whoever acquires the shard next has a higher one (LED-13).
    pub epoch: u64,
    /// The last message of `INGEST` that is handled; 0 before the first.
    pub ingest_seq: u64,
    /// What tells that message from another with its number (LED-17); none before the first.
    pub ingest: Option<Fingerprint>,
    /// Spans committed in the shard: the n-th is message n of `TIMELINE` (LED-12).
    pub timeline_seq: u64,
    /// The shard's clock: nothing was received after it, and what comes next will be (LED-4).
    pub sealed_through: Timestamp,
}

/// The projector's handle (role `logline_projector`). Clones share it.
#[derive(Clone, Debug)]
pub struct Writer {
    pool: PgPool,
    options: PgConnectOptions,
    timeout: Duration,
    /// The connection that acquired the shard: commits go over no other, so that taking the shard over ends exactly the
    /// transaction that a stalled owner may have left open.
    owned: Arc<Mutex<Option<PgConnection>>>,
}

impl Writer {
    /// Prepares a handle; connections are opened when first needed.
    ///
    /// # Errors
    /// [`Error::Url`] where the address cannot be read.
    pub fn connect(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            pool: config.pool()?,
            options: config.options()?,
            timeout: config.acquire_timeout,
            owned: Arc::default(),
        })
    }

    /// Takes a shard over, whoever has it: its former owner cannot write any more, and what that one left open is rolled back.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn acquire(&self, shard: u32) -> Result<ShardState, Error> {
        self.take(shard, None).await
    }

    /// Goes on after [`CommitError::Unavailable`] with a new connection and a new epoch, if the shard is still this writer's. Afterwards the
    /// state says whether the batch in doubt was committed: it cannot be any more, unless it is.
    ///
    /// # Errors
    /// [`Error::Fenced`] where another writer has taken the shard; [`Error::Unavailable`] while Postgres is away.
    pub async fn resume(&self, shard: u32, epoch: u64) -> Result<ShardState, Error> {
        self.take(shard, Some(epoch)).await
    }

    async fn take(&self, shard: u32, epoch: Option<u64>) -> Result<ShardState, Error> {
        let mut owned = self.owned.lock().await;
        *owned = None;
        let connect = PgConnection::connect_with(&self.options);
        let mut conn = tokio::time::timeout(self.timeout, connect)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        let taken = take_shard(&mut conn, to_i32(shard), epoch.map(to_i64));
        let state = connection::answered(taken).await?;
        *owned = Some(conn);
        Ok(state)
    }

    /// How many spans are committed in a shard; 0 before the first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn committed(&self, shard: u32) -> Result<u64, Error> {
        let read = || async {
            let query =
                sqlx::query_scalar("select timeline_seq from ledger.shard where shard = $1")
                    .bind(to_i32(shard));
            let found: Option<i64> = query.fetch_optional(&self.pool).await?;
            Ok(from_i64(found.unwrap_or(0)))
        };
        connection::again(&self.pool, read).await
    }

    /// Commits a batch: rows, edges, what became of each message, the shard's state and one notice per tenant, in one transaction.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing of the batch is there unless the connection was lost while it was being committed.
    pub async fn commit(&self, batch: &Batch) -> Result<(), CommitError> {
        let encoded = batch.encode();
        let mut owned = self.owned.lock().await;
        // Taken out while in use: a call that is dropped half-way leaves no connection in an unknown state.
        let Some(mut conn) = owned.take() else {
            return Err(CommitError::Unavailable(Box::new(NotAcquired)));
        };
        match connection::answered(batch::commit(&mut conn, batch, &encoded)).await {
            Err(error @ CommitError::Unavailable(_)) => Err(error),
            outcome => {
                if outcome.is_ok() || conn.execute("rollback").await.is_ok() {
                    *owned = Some(conn);
                }
                outcome
            }
        }
    }

    /// The name of the log, from which every chain's origin is made.
    ///
    /// # Errors
    /// [`Error::NotProvisioned`] before `migrate`; [`Error::Unavailable`] while Postgres is away.
    pub async fn log_name(&self) -> Result<String, Error> {
        connection::again(&self.pool, || connection::log_name(&self.pool)).await
    }

    /// The ends of these tenants' chains; a tenant without spans is absent.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn heads(&self, tenants: &[TenantId]) -> Result<HashMap<TenantId, Head>, Error> {
        connection::again(&self.pool, || lookup::heads(&self.pool, tenants)).await
    }

    /// What is there already of the ids and keys that a batch wants to use.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn existing(&self, wanted: &[Wanted]) -> Result<Existing, Error> {
        connection::again(&self.pool, || lookup::existing(&self.pool, wanted)).await
    }

    /// What is sealed of these versions.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn versions(&self, wanted: &[Named]) -> Result<HashMap<Named, Version>, Error> {
        connection::again(&self.pool, || lookup::versions(&self.pool, wanted)).await
    }

    /// The sealed spans from message `first` of `TIMELINE` on, with their numbers and causation depths: at least one where
    /// there is one, and no more than memory should hold at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn timeline_from(
        &self,
        first: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Sealed, u16)>, Error> {
        connection::again(&self.pool, || {
            lookup::timeline_from(&self.pool, first, limit)
        })
        .await
    }

    /// The `curr_hash` of the span that is this message of `TIMELINE`, whatever else its row holds; none where there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn timeline_hash(&self, number: u64) -> Result<Option<Hash>, Error> {
        connection::again(&self.pool, || lookup::timeline_hash(&self.pool, number)).await
    }

    /// What became of a message of `INGEST`; none where it has not been handled.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn outcome(
        &self,
        ingest_seq: u64,
        fingerprint: Fingerprint,
    ) -> Result<Option<StoredOutcome>, Error> {
        connection::again(&self.pool, || {
            lookup::outcome(&self.pool, ingest_seq, fingerprint)
        })
        .await
    }
}

/// The writer has no connection that owns a shard.
#[derive(Debug, thiserror::Error)]
#[error("the connection that owned the shard is gone")]
struct NotAcquired;

/// INVARIANT (fencing): the epoch rises with every taking, so a batch prepared under an earlier one cannot be committed, not even one that
/// is still on its way to the server.
async fn take_shard(
    conn: &mut PgConnection,
    shard: i32,
    epoch: Option<i64>,
) -> Result<ShardState, Error> {
    // A stalled owner may hold locks on the rows that this one will write: its transaction is ended, not waited for.
    sqlx::query(
        "select pg_terminate_backend(a.pid) from ledger.shard s
         join pg_stat_activity a on a.pid = s.holder_pid and a.backend_start = s.holder_since
         where s.shard = $1 and a.usename = current_user and a.pid <> pg_backend_pid() and ($2::bigint is null or s.epoch = $2)",
    )
    .bind(shard)
    .bind(epoch)
    .execute(&mut *conn)
    .await?;
    if epoch.is_none() {
        sqlx::query(
            "insert into ledger.shard (shard, epoch) values ($1, 0) on conflict (shard) do nothing",
        )
        .bind(shard)
        .execute(&mut *conn)
        .await?;
    }
    let row = sqlx::query(
        "update ledger.shard set epoch = epoch + 1, holder_pid = pg_backend_pid(),
             holder_since = (select backend_start from pg_stat_activity where pid = pg_backend_pid())
         where shard = $1 and ($2::bigint is null or epoch = $2)
         returning epoch, ingest_seq, ingest_digest, ingest_time_ns, timeline_seq, sealed_through",
    )
    .bind(shard)
    .bind(epoch)
    .fetch_optional(conn)
    .await?
    .ok_or(Error::Fenced)?;
    let digest: Option<Vec<u8>> = row.try_get("ingest_digest")?;
    let digest: Option<[u8; 16]> = digest.and_then(|bytes| bytes.try_into().ok());
    let time_ns: Option<i64> = row.try_get("ingest_time_ns")?;
    let sealed_through: Option<i64> = row.try_get_unchecked("sealed_through")?;
    Ok(ShardState {
        epoch: from_i64(row.try_get("epoch")?),
        ingest_seq: from_i64(row.try_get("ingest_seq")?),
        ingest: digest
            .zip(time_ns)
            .map(|(digest, time_ns)| Fingerprint { digest, time_ns }),
        timeline_seq: from_i64(row.try_get("timeline_seq")?),
        sealed_through: sealed_through
            .and_then(row::from_postgres)
            .unwrap_or(Timestamp::from_micros(0)),
    })
}

/// Numbers that the system counts itself stay far below 2^63.
fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_i64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn to_i32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
