//! Recomputes the chains from the stored columns (LED-9).

use sqlx::postgres::PgPool;

use crate::connection::Config;
use crate::{Error, Report, Scope};

/// The verifier's handle (role `logline_verifier`).
#[derive(Clone, Debug)]
pub struct Verifier {
    pool: PgPool,
}

impl Verifier {
    /// Prepares a handle; connections are opened when first needed.
    ///
    /// # Errors
    /// [`Error::Url`] where the address cannot be read.
    pub fn connect(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            pool: config.pool()?,
        })
    }

    /// Recomputes everything in `scope`; `progress` is told how many rows have been checked in all, from time to time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away. A row that cannot be decoded is a finding, not an error.
    pub async fn verify(
        &self,
        scope: &Scope,
        progress: impl Fn(u64) + Send + Sync,
    ) -> Result<Report, Error> {
        todo!()
    }
}
