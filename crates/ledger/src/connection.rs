//! Connections that are opened when needed, kept, and never spoken to while idle.

use std::io::ErrorKind;
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::Error;
use crate::error::is_dead;

/// Where Postgres is and how much of it a part may use.
#[derive(Clone)]
pub struct Config {
    /// `postgres://role:password@host:port/database`, as stock clients take it.
    pub url: String,
    /// Connections kept at most; each holds a server process.
    pub connections_max: u32,
    /// How long a call waits for a connection before it answers [`Error::Unavailable`].
    pub acquire_timeout: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

// The URL holds a password.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("connections_max", &self.connections_max)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("application_name", &self.application_name)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// What every connection of the system starts with.
    ///
    /// Every look-up has an index, most of them in the order of the answer, so that a page ends after as many rows as it holds.
    /// Left alone, a plan made while a table was small would go on scanning it whole, and the read rule, whose selectivity the planner cannot know, makes
    /// collecting all rows of a type and sorting them look cheap. Compiling a plan costs more than any query of ours.
    pub(crate) fn options(&self) -> Result<PgConnectOptions, Error> {
        let options = PgConnectOptions::from_str(&self.url).map_err(Error::Url)?;
        Ok(options
            .application_name(&self.application_name)
            .options([
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                ("jit", "off"),
                // A receipt promises what the disk has.
                ("synchronous_commit", "on"),
            ])
            .disable_statement_logging())
    }

    /// A pool that sends nothing of its own: no test before use, no reaper.
    pub(crate) fn pool(&self) -> Result<PgPool, Error> {
        self.pool_with([])
    }

    /// The same, with settings for its sessions.
    pub(crate) fn pool_with<const N: usize>(
        &self,
        settings: [(&str, &str); N],
    ) -> Result<PgPool, Error> {
        Ok(self
            .pool_options(self.connections_max)
            .connect_lazy_with(self.options()?.options(settings)))
    }

    /// One connection for listening, which ends with its use: tested instead, one that died with its server would be complained of.
    pub(crate) fn listening(&self) -> Result<PgPool, Error> {
        Ok(self
            .pool_options(1)
            .after_release(|_, _| Box::pin(std::future::ready(Ok(false))))
            .connect_lazy_with(self.options()?))
    }

    fn pool_options(&self, connections_max: u32) -> PgPoolOptions {
        PgPoolOptions::new()
            .max_connections(connections_max)
            .min_connections(0)
            .acquire_timeout(self.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    }
}

/// A server whose host is gone without a word does not even refuse: TCP alone would wait for a quarter of an hour.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Waits no longer for an answer than a server that is there may take.
pub(crate) async fn answered<T, E: From<sqlx::Error>>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let silence = || Err(E::from(sqlx::Error::Io(ErrorKind::TimedOut.into())));
    tokio::time::timeout(ANSWER_MAX, asked)
        .await
        .unwrap_or_else(|_| silence())
}

/// Runs a read again while its connection turns out to be dead, as often as the pool may hold connections that died with
/// a server: nothing tests them before use.
pub(crate) async fn again<T, F, R>(pool: &PgPool, mut read: F) -> Result<T, Error>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, Error>>,
{
    let mut stale = pool.num_idle();
    loop {
        match answered(read()).await {
            Err(Error::Unavailable(error)) if stale > 0 && is_dead(&error) => stale -= 1,
            outcome => return outcome,
        }
    }
}

/// The name of the log.
pub(crate) async fn log_name(pool: &PgPool) -> Result<String, Error> {
    sqlx::query_scalar("select name from ledger.log")
        .fetch_optional(pool)
        .await?
        .ok_or(Error::NotProvisioned)
}
