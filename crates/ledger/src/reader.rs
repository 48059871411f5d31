//! Reading for people, under row-level security.

use std::sync::Arc;

use logline_span as span;
use logline_span::{Sealed, Seq, SpanId, Timestamp};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Postgres, QueryBuilder, Row as _, Transaction};

use crate::connection::{self, Config};
use crate::intake::{self, Digest};
use crate::query::{AsOf, Cursor, Page, Query};
use crate::{Error, IdentityKey, StoredOutcome, row};

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
            pool: config.pool()?,
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
    /// A span by id: the reader's tenant first, then `system`, then what is public. The latest version that was sealed as of then, or the one asked for.
    ///
    /// # Errors
    /// [`Error::NotYetSealed`], or [`Error::Unavailable`] while Postgres is away.
    pub async fn get(
        &self,
        id: SpanId,
        seq: Option<Seq>,
        as_of: AsOf,
    ) -> Result<Option<Sealed>, Error> {
        todo!()
    }

    /// The latest versions that match, newest sealed first, without deleted ones.
    ///
    /// # Errors
    /// [`Error::NotYetSealed`], or [`Error::Unavailable`] while Postgres is away.
    pub async fn timeline(&self, query: &Query) -> Result<Page, Error> {
        todo!()
    }

    /// What became of a message that this person published; none while it is on its way, or where it is someone else's.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn outcome(
        &self,
        ingest_seq: u64,
        digest: Digest,
    ) -> Result<Option<StoredOutcome>, Error> {
        todo!()
    }
}
