//! Reading for people, under row-level security.

use std::sync::Arc;

use futures_util::{Stream, TryStreamExt as _};
use logline_span as span;
use logline_span::{Sealed, Seq, SpanId, Timestamp};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Postgres, Row as _, Transaction};

use crate::connection::{self, Config};
use crate::intake;
use crate::query::{AsOf, Cursor, Page, Query};
use crate::{Error, IdentityKey, Provable, StoredOutcome, proof, row};

mod log;
mod select;

pub use log::{ChainEnd, LogState, SignedHead, Verified};

/// A read that nobody waits for any longer (API-5) ends on the server too.
const STATEMENT_TIMEOUT_MS: &str = "30000";

/// The API's handle (role `logline_reader`). Clones share it.
#[derive(Clone, Debug)]
pub struct Reader {
    pool: PgPool,
    key: Arc<IdentityKey>,
}

impl Reader {
    /// Prepares a handle; connections are opened when first needed.
    ///
    /// # Errors
    /// [`Error::Url`] where the address cannot be read.
    pub fn connect(config: &Config, key: IdentityKey) -> Result<Self, Error> {
        Ok(Self {
            pool: config.pool_with([("statement_timeout", STATEMENT_TIMEOUT_MS)])?,
            key: Arc::new(key),
        })
    }

    /// Reads as this person; as an anonymous reader, who sees what is public, for none.
    #[must_use]
    pub fn as_reader(&self, identity: Option<&span::Reader>) -> ReaderSession {
        ReaderSession {
            ledger: self.clone(),
            identity: identity.cloned(),
        }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether the ledger answers, for readiness.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn ping(&self) -> Result<(), Error> {
        connection::again(&self.pool, || async {
            sqlx::query("select 1").execute(&self.pool).await?;
            Ok(())
        })
        .await
    }
}

/// What one person may read.
#[derive(Clone, Debug)]
pub struct ReaderSession {
    ledger: Reader,
    identity: Option<span::Reader>,
}

impl ReaderSession {
    /// A span by id: the reader's tenant first, then `system`, then what is public. The version asked for, or else the
    /// latest as of then.
    ///
    /// # Errors
    /// [`Error::NotYetSealed`], or [`Error::Unavailable`] while Postgres is away.
    pub async fn get(
        &self,
        id: SpanId,
        seq: Option<Seq>,
        as_of: AsOf,
    ) -> Result<Option<Sealed>, Error> {
        let mut transaction = self.begin().await?;
        check(as_of, sealed_through(&mut transaction).await?)?;
        let row = self.find(&mut transaction, id, seq, as_of).await?;
        transaction.commit().await?;
        row.as_ref().map(row::decode_or_fail).transpose()
    }

    /// The proof that a span is in its tenant's log (LED-10), for who may read it: the version asked for, or else the latest. None
    /// where there is no such span for this reader.
    ///
    /// # Errors
    /// [`Error::Undecodable`] where what is stored proves nothing, or [`Error::Unavailable`] while Postgres is away.
    pub async fn proof(&self, id: SpanId, seq: Option<Seq>) -> Result<Option<Provable>, Error> {
        let mut transaction = self.begin().await?;
        let Some(row) = self.find(&mut transaction, id, seq, AsOf::Latest).await? else {
            return Ok(None);
        };
        let stored = row::stored_or_fail(&row)?;
        let provable = proof::prove(&mut transaction, &stored).await?;
        transaction.commit().await?;
        Ok(Some(provable))
    }

    /// The row of a span, where the reader may read it.
    async fn find(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        id: SpanId,
        seq: Option<Seq>,
        as_of: AsOf,
    ) -> Result<Option<PgRow>, Error> {
        for place in self.places() {
            let mut query = select::by_id(place, id, seq, as_of);
            let row = query.build().fetch_optional(&mut **transaction).await?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// The latest versions that match, newest sealed first, without deleted ones.
    ///
    /// # Errors
    /// [`Error::NotYetSealed`], or [`Error::Unavailable`] while Postgres is away.
    pub async fn timeline(&self, query: &Query) -> Result<Page, Error> {
        let mut transaction = self.begin().await?;
        let sealed_through = sealed_through(&mut transaction).await?;
        check(query.as_of, sealed_through)?;
        let limit = query.limit.clamp(1, Query::LIMIT_MAX);
        let own = self.identity.as_ref().map(|reader| &reader.tenant);
        let mut select = select::timeline(query, own, limit);
        let (spans, next) = page(select.build().fetch(&mut *transaction), limit).await?;
        transaction.commit().await?;
        Ok(Page {
            spans,
            next,
            sealed_through,
        })
    }

    /// What became of a message that this person published; none while it is on its way, or where it is someone else's.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn outcome(
        &self,
        ingest_seq: u64,
        digest: [u8; 16],
    ) -> Result<Option<StoredOutcome>, Error> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "select * from ledger.receipt where ingest_seq = $1 and digest = $2 order by bus_time_ns desc limit 1",
        )
        .bind(i64::try_from(ingest_seq).unwrap_or(i64::MAX))
        .bind(digest.as_slice())
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        row.as_ref().map(intake::decode).transpose()
    }

    /// Where a look-up by id goes, in order.
    fn places(&self) -> impl Iterator<Item = select::Place<'_>> {
        let own = self.identity.as_ref().map(|reader| reader.tenant.as_str());
        own.map(select::Place::Tenant)
            .into_iter()
            .chain([select::Place::Tenant(SYSTEM), select::Place::Public])
    }

    /// Begins a transaction that has proved who is reading (LED-2). A connection that died with a server shows it here, so the
    /// statements after this one need no second try.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        connection::again(&self.ledger.pool, || async {
            let begin = "begin isolation level repeatable read read only";
            let mut transaction = self.ledger.pool.begin_with(begin).await?;
            self.prove(&mut transaction).await?;
            Ok(transaction)
        })
        .await
    }

    async fn prove(&self, transaction: &mut Transaction<'_, Postgres>) -> Result<(), Error> {
        let Some(reader) = &self.identity else {
            return Ok(());
        };
        let (backend, began): (i32, i64) = sqlx::query_as(
            "select pg_backend_pid(), (extract(epoch from transaction_timestamp()) * 1000000)::bigint",
        )
        .fetch_one(&mut **transaction)
        .await?;
        sqlx::query(
            "select set_config('app.tenant_id', $1, true), set_config('app.user_id', $2, true),
                 set_config('app.identity_proof', $3, true)",
        )
        .bind(reader.tenant.as_str())
        .bind(reader.principal.as_str())
        .bind(self.ledger.key.code(reader, backend, began))
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}

/// The tenant whose public spans govern everyone.
const SYSTEM: &str = "system";

pub(crate) async fn sealed_through(
    transaction: &mut Transaction<'_, Postgres>,
) -> Result<Option<Timestamp>, Error> {
    let row = sqlx::query("select ledger.sealed_through()")
        .fetch_one(&mut **transaction)
        .await?;
    let micros: Option<i64> = row.try_get_unchecked(0)?;
    Ok(micros.and_then(row::from_postgres))
}

pub(crate) fn check(as_of: AsOf, sealed_through: Option<Timestamp>) -> Result<(), Error> {
    match as_of {
        AsOf::Latest => Ok(()),
        AsOf::At(at) if sealed_through.is_some_and(|through| at <= through) => Ok(()),
        AsOf::At(_) => Err(Error::NotYetSealed { sealed_through }),
    }
}

/// One row more than the limit was asked for: it tells whether there is a next page.
async fn page(
    mut rows: impl Stream<Item = Result<PgRow, sqlx::Error>> + Unpin,
    limit: u32,
) -> Result<(Vec<Sealed>, Option<Cursor>), Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut spans, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        if spans.len() >= limit || bytes >= row::READ_BYTES_MAX {
            let next = spans.last().map(Cursor::after);
            return Ok((spans, next));
        }
        bytes += row::bytes(&row);
        spans.push(row::decode_or_fail(&row)?);
    }
    Ok((spans, None))
}
