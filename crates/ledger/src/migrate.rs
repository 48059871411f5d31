//! Brings a database to the schema of this release and its roles to what the configuration says.

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use crate::{Error, IdentityKey};

/// The logins of the system, none with superuser rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Seals: the one writer.
    Projector,
    /// The API, which reads for people.
    Reader,
    /// The actors.
    Actor,
    /// Signs the heads of the chains.
    Signer,
    /// Publishes what clients inserted.
    Outbox,
    /// Recomputes the chains.
    Verifier,
    /// Migrates.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Projector,
        Self::Reader,
        Self::Actor,
        Self::Signer,
        Self::Outbox,
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
            Self::Signer => "logline_signer",
            Self::Outbox => "logline_outbox",
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

/// Roles and schemas, which the numbered migrations take as given.
const GROUND: &str = include_str!("../../../migrations/ground.sql");

/// The numbered migrations. Their own lock would be an advisory one, which any login could take: ours is a table's.
static MIGRATOR: Migrator = Migrator {
    locking: false,
    ..sqlx::migrate!("../../migrations")
};

/// How often a statement on the cluster's shared catalogs is tried while another database of the cluster changes them too.
const ATTEMPTS: u32 = 20;

impl<E: Into<Error>> From<E> for MigrateError {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// Brings the database at `admin_url` to this release's schema; does nothing where it is there. The first time it needs a superuser, later
/// a member of `logline_owner` such as `logline_admin` will do, who may set no passwords.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(admin_url: &str, provision: &Provision) -> Result<Migrated, MigrateError> {
    let options: PgConnectOptions = admin_url.parse().map_err(Error::Url)?;
    let mut conn = PgConnection::connect_with(&options.disable_statement_logging()).await?;
    shared(&mut conn, GROUND).await?;

    let mut transaction = conn.begin().await?;
    // The path says where the migrator keeps its own table; the migrations name their schemas.
    transaction
        .execute(
            "set local role logline_owner; set local search_path = ledger;
             lock table migrating in access exclusive mode",
        )
        .await?;
    let before = applied(&mut transaction).await?;
    MIGRATOR
        .run_direct(&mut *transaction)
        .await
        .map_err(|error| MigrateError::Schema(Box::new(error)))?;
    let mut versions = applied(&mut transaction).await?;
    versions.retain(|version| !before.contains(version));
    give(&mut transaction, provision).await?;
    transaction.commit().await?;

    for RolePassword { role, password } in &provision.passwords {
        let statement: String = sqlx::query_scalar(
            "select format('alter role %I login password %L', $1::text, $2::text)",
        )
        .bind(role.name())
        .bind(password)
        .fetch_one(&mut conn)
        .await?;
        shared(&mut conn, &statement).await?;
    }
    conn.close().await?;
    Ok(Migrated { applied: versions })
}

async fn applied(conn: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("select to_regclass('ledger._sqlx_migrations') is not null")
            .fetch_one(&mut *conn)
            .await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("select version from ledger._sqlx_migrations order by version")
        .fetch_all(conn)
        .await
}

/// Writes the log's name, once and for all, and the identity key.
async fn give(conn: &mut PgConnection, provision: &Provision) -> Result<(), MigrateError> {
    sqlx::query("insert into ledger.log (name) values ($1) on conflict do nothing")
        .bind(&provision.log_name)
        .execute(&mut *conn)
        .await?;
    let stored: String = sqlx::query_scalar("select name from ledger.log")
        .fetch_one(&mut *conn)
        .await?;
    if stored != provision.log_name {
        return Err(MigrateError::LogName {
            stored,
            wanted: provision.log_name.clone(),
        });
    }
    let (inner, outer) = provision.identity_key.pads();
    sqlx::query(
        "insert into app.identity_key (inner_pad, outer_pad) values ($1, $2)
         on conflict (only_one) do update set inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad",
    )
    .bind(inner.as_slice())
    .bind(outer.as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

/// Runs statements that change what all databases of a cluster share. Postgres does not serialise these for us: the loser of a race is told so,
/// and finds the winner's work when it looks again.
pub(crate) async fn shared(conn: &mut PgConnection, statements: &str) -> Result<(), sqlx::Error> {
    let mut left = ATTEMPTS;
    loop {
        // Our own script, or a statement that Postgres itself has quoted.
        match conn.execute(statements).await {
            Err(error) if left > 0 && is_race(&error) => left -= 1,
            outcome => return outcome.map(|_| ()),
        }
    }
}

/// Unique violation, duplicate role, schema or table, deadlock, "tuple concurrently updated".
fn is_race(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| {
            ["23505", "42710", "42P06", "42P07", "40P01", "XX000"].contains(&code.as_ref())
        })
}
