//! What actors read: spans by id, of any tenant, past row-level security.

use logline_span::{Sealed, Seq, SpanId, TenantId};
use sqlx::postgres::PgPool;

use crate::connection::{self, Config};
use crate::{Error, row};

/// The actors' view of the ledger (role `logline_actor`).
#[derive(Clone, Debug)]
pub struct Actors {
    pool: PgPool,
}

impl Actors {
    /// Prepares a handle; connections are opened when first needed.
    ///
    /// # Errors
    /// [`Error::Url`] where the address cannot be read.
    pub fn connect(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            pool: config.pool()?,
        })
    }

    /// The latest version of a span.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn latest(&self, tenant: &TenantId, id: SpanId) -> Result<Option<Sealed>, Error> {
        connection::again(&self.pool, || row::version(&self.pool, tenant, id, None)).await
    }

    /// One version of a span.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn at(
        &self,
        tenant: &TenantId,
        id: SpanId,
        seq: Seq,
    ) -> Result<Option<Sealed>, Error> {
        connection::again(&self.pool, || {
            row::version(&self.pool, tenant, id, Some(seq))
        })
        .await
    }
}
