//! What can go wrong, and what the caller does about it.

use std::error::Error as StdError;

use logline_span::Timestamp;

/// Why a call to the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the database cannot be read.
    #[error("the database address is not valid")]
    Url(#[source] sqlx::Error),
    /// Postgres is away, shutting down, out of connections, or cut the connection.
    #[error("the ledger is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Postgres refused the statement: missing migration, missing grant, identity that is not the login's.
    #[error("the ledger refused the statement")]
    Refused(#[source] sqlx::Error),
    /// A stored row is not what the system writes; `logline verify` names it.
    #[error("position {position} of tenant {tenant} cannot be decoded: column {column}")]
    Undecodable {
        /// Whose chain.
        tenant: String,
        /// Which row of it.
        position: i64,
        /// The first column that does not decode.
        column: &'static str,
    },
    /// `as_of` lies beyond what is sealed, so the answer could still change.
    #[error("as_of lies beyond what is sealed")]
    NotYetSealed {
        /// The latest instant that may be asked for, where anything is sealed at all.
        sealed_through: Option<Timestamp>,
    },
    /// The writer's shard belongs to another writer.
    #[error("another writer has taken the shard over")]
    Fenced,
    /// A role of that name exists and is not a client's login.
    #[error("the login's name belongs to a role that is not a client's")]
    NotAClient,
    /// The database has not been migrated and provisioned.
    #[error("the ledger has no log name: it has not been provisioned")]
    NotProvisioned,
}

/// Why a ledger could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] Error),
    /// A checkpoint from outside is of no log that is being verified.
    #[error("the checkpoint is of the log {0:?}, which is not verified here")]
    ForeignCheckpoint(String),
}

impl From<sqlx::Error> for VerifyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Ledger(error.into())
    }
}

/// What a caller does with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The same call may succeed later.
    Retry,
    /// The same call will fail again.
    Refuse,
}

impl Error {
    /// Whether trying again makes sense. A grant or a migration that is missing is an operator's to mend, and condemns nothing.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unavailable(_)
            | Self::Refused(_)
            | Self::NotYetSealed { .. }
            | Self::NotProvisioned => Disposition::Retry,
            Self::Url(_) | Self::Undecodable { .. } | Self::Fenced | Self::NotAClient => {
                Disposition::Refuse
            }
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_loss(&error) {
            Self::Unavailable(error)
        } else {
            Self::Refused(error)
        }
    }
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another writer owns the shard: stop writing.
    #[error("another writer has taken the shard over")]
    Fenced,
    /// A row is there already: prepare the batch again from the committed position (LED-11).
    #[error("a row of the batch conflicts with the ledger")]
    Conflict(#[source] Box<dyn StdError + Send + Sync>),
    /// The connection is gone and the outcome unknown, which [`crate::Writer::resume`] tells; or the database is not in order, such as
    /// without a grant, a migration or the right to write.
    #[error("the ledger is not available")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// Postgres will refuse these rows every time, for what they hold.
    #[error("the ledger refused the batch")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),
}

impl CommitError {
    /// Whether the same rows may be committed later.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Conflict(_) | Self::Unavailable(_) => Disposition::Retry,
            Self::Fenced | Self::Refused(_) => Disposition::Refuse,
        }
    }
}

impl From<sqlx::Error> for CommitError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|e| e.code()).as_deref() {
            Some(UNIQUE_VIOLATION) => Self::Conflict(Box::new(error)),
            Some(code) if CONTENT.iter().any(|class| code.starts_with(class)) => {
                Self::Refused(Box::new(error))
            }
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

const UNIQUE_VIOLATION: &str = "23505";

/// The classes of SQLSTATE that speak of the rows: data that cannot be stored, a constraint that they break, a limit that they
/// exceed. Everything else speaks of the database, which a migration, a grant or another server mends: it condemns no span.
const CONTENT: [&str; 3] = ["22", "23", "54"];

/// Whether the connection or the server is gone, full or restarting, as opposed to a statement that it refused.
pub(crate) fn is_loss(error: &sqlx::Error) -> bool {
    // Out of resources, operator intervention such as a shutdown or a time-out, serialisation and deadlock, system error such
    // as a full disk: all pass.
    is_dead(error)
        || matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
        || has_class(error, &["53", "57", "40", "58"])
}

/// Whether this connection will never answer again, while another one may.
pub(crate) fn is_dead(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed
    ) || has_class(error, &["08", "57P"])
}

fn has_class(error: &sqlx::Error, classes: &[&str]) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
}
