//! Brings a database to the schema of this release and its roles to what the configuration says.

use crate::IdentityKey;

/// The logins of the system, none with superuser rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Seals: the one writer.
    Projector,
    /// The API, which reads for people.
    Reader,
    /// The actors.
    Actor,
    /// Recomputes the chains.
    Verifier,
    /// Migrates.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Projector,
        Self::Reader,
        Self::Actor,
        Self::Verifier,
        Self::Admin,
    ];

    /// The role's name in Postgres.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Projector => "logline_projector",
            Self::Reader => "logline_reader",
            Self::Actor => "logline_actor",
            Self::Verifier => "logline_verifier",
            Self::Admin => "logline_admin",
        }
    }
}

/// A role's password.
#[derive(Clone)]
pub struct RolePassword {
    /// Whose.
    pub role: Role,
    /// The password; set on every migration.
    pub password: String,
}

impl std::fmt::Debug for RolePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RolePassword")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// What a database is given beside its schema.
#[derive(Clone, Debug)]
pub struct Provision {
    /// The name of the log: a tenant's origin is `<log>/<tenant>`, on which every hash depends, so it never changes.
    pub log_name: String,
    /// The key of the readers' identity proof.
    pub identity_key: IdentityKey,
    /// Passwords of roles that log in; the others keep theirs.
    pub passwords: Vec<RolePassword>,
}

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Versions applied by this call; none where the schema was current.
    pub applied: Vec<i64>,
}

/// Why a database was not migrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// Postgres is away or refused a statement.
    #[error("the database cannot be migrated")]
    Database(#[source] crate::Error),
    /// The database's schema is not one that this release knows.
    #[error("the schema is not one that this release can bring forward")]
    Schema(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log has another name.
    #[error("the log is named {stored:?}, not {wanted:?}")]
    LogName {
        /// The name that its chains were made with.
        stored: String,
        /// The name that was asked for.
        wanted: String,
    },
}

/// Brings the database at `admin_url` to this release's schema; does nothing where it is there.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(admin_url: &str, provision: &Provision) -> Result<Migrated, MigrateError> {
    todo!()
}
