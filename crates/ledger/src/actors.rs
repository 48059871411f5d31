//! What actors read: spans by id, of any tenant, past row-level security.

use std::collections::BTreeSet;

use logline_span::{Position, Principal, RoleName, Sealed, SpanId, TenantId};
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
        connection::again(&self.pool, || row::latest(&self.pool, tenant, id)).await
    }

    /// The roles that somebody had before a position of the tenant's chain (GOV-6).
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn roles(
        &self,
        tenant: &TenantId,
        principal: &Principal,
        before: Position,
    ) -> Result<BTreeSet<RoleName>, Error> {
        let names: Vec<String> = connection::again(&self.pool, || async {
            let query = sqlx::query_scalar("select app.roles_of($1, $2, $3)")
                .bind(tenant.as_str())
                .bind(principal.as_str())
                .bind(i64::try_from(before.get()).unwrap_or(i64::MAX));
            Ok(query.fetch_all(&self.pool).await?)
        })
        .await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The version of a span that was the latest before a position of its tenant's chain.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn as_of(
        &self,
        tenant: &TenantId,
        id: SpanId,
        before: Position,
    ) -> Result<Option<Sealed>, Error> {
        connection::again(&self.pool, || {
            row::version_before(&self.pool, tenant, id, before)
        })
        .await
    }
}
