//! People's own logins in Postgres, each bound to whom it reads as (LED-2).

use logline_span::Reader;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use crate::Error;
use crate::migrate::shared;

/// A login of a person, for `psql` and other stock clients.
#[derive(Clone)]
pub struct ClientLogin {
    /// The role's name in Postgres.
    pub name: String,
    /// Its password, set on every call.
    pub password: String,
    /// Whom it reads as; its sessions start with this identity.
    pub reader: Reader,
}

impl std::fmt::Debug for ClientLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientLogin")
            .field("name", &self.name)
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

/// What a login may use of the server. Its holder can change the time-outs for a session of their own, as Postgres lets everybody;
/// the number of connections and the size of temporary files they cannot.
const LIMITS: &str = "connection limit 8; \
    alter role %1$I set statement_timeout = '60s'; \
    alter role %1$I set lock_timeout = '10s'; \
    alter role %1$I set idle_in_transaction_session_timeout = '60s'; \
    alter role %1$I set work_mem = '8MB'; \
    alter role %1$I set temp_file_limit = '256MB'";

/// Makes the login where it is missing, binds it to its identity, and gives the URL to connect with. Needs a superuser's URL.
///
/// # Errors
/// [`Error::Unavailable`] while Postgres is away; [`Error::Refused`] where it refuses, such as a role that is no client's.
pub async fn bind_login(admin_url: &str, login: &ClientLogin) -> Result<String, Error> {
    let options: PgConnectOptions = admin_url.parse().map_err(Error::Url)?;
    let options = options.disable_statement_logging();
    let mut conn = PgConnection::connect_with(&options).await?;
    // A name that belongs to someone else's role is not taken over.
    let is_client: Option<bool> = sqlx::query_scalar(
        "select exists (select from pg_auth_members m where m.member = r.oid and m.roleid = 'logline_client'::regrole)
         from pg_roles r where r.rolname = $1",
    )
    .bind(&login.name)
    .fetch_optional(&mut conn)
    .await?;
    if is_client == Some(false) {
        return Err(Error::NotAClient);
    }
    let verb = if is_client.is_some() {
        "alter"
    } else {
        "create"
    };
    // Settings of the role itself: a session starts as its person, and a client may still say so in its own words.
    let statements: String = sqlx::query_scalar(
        "select format('%2$s role %1$I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password %3$L; '
            'grant logline_client to %1$I; alter role %1$I set app.tenant_id = %4$L; alter role %1$I set app.user_id = %5$L; '
            'alter role %1$I ' || $6, $1::text, $2::text, $3::text, $4::text, $5::text)",
    )
    .bind(&login.name)
    .bind(verb)
    .bind(&login.password)
    .bind(login.reader.tenant.as_str())
    .bind(login.reader.principal.as_str())
    .bind(LIMITS)
    .fetch_one(&mut conn)
    .await?;
    shared(&mut conn, &statements).await?;
    sqlx::query(
        "insert into app.login (login, tenant_id, principal) values ($1, $2, $3)
         on conflict (login) do update set tenant_id = excluded.tenant_id, principal = excluded.principal",
    )
    .bind(&login.name)
    .bind(login.reader.tenant.as_str())
    .bind(login.reader.principal.as_str())
    .execute(&mut conn)
    .await?;
    conn.close().await?;
    Ok(url(options.username(&login.name).password(&login.password)))
}

/// As stock clients take it: they refuse parameters of this client's own.
fn url(options: PgConnectOptions) -> String {
    let mut url = options.to_url_lossy();
    let kept: Vec<String> = url
        .query_pairs()
        .filter(|(key, _)| key.starts_with("ssl"))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    url.set_query((!kept.is_empty()).then(|| kept.join("&")).as_deref());
    url.into()
}
