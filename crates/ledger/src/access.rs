//! Who may do what, as the ledger knows it: API keys by their digests, and what a tenant's spans say of roles and public keys.

use std::collections::BTreeSet;
use std::time::Duration;

use logline_span as span;
use logline_span::{Hash, Principal, RoleName, TenantId, Timestamp};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::{AsOf, Error, Reader, ReaderSession, connection, reader, row};

/// Whom an API key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The identity.
    pub reader: span::Reader,
    /// The roles that the key may use, as far as its holder has them.
    pub roles: BTreeSet<RoleName>,
    /// When the key ends.
    pub expires_at: Option<Timestamp>,
}

/// An API key as it is entered.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Its id, by which it is revoked.
    pub id: String,
    /// What it is for, in its maker's words.
    pub name: String,
    /// BLAKE3 of its text.
    pub digest: Hash,
    /// Whom it stands for.
    pub reader: span::Reader,
    /// The roles that it may use.
    pub roles: BTreeSet<RoleName>,
    /// How long it lives; for ever where there is none.
    pub ttl: Option<Duration>,
}

/// An API key as it is listed.
#[derive(Clone, Debug)]
pub struct ApiKeyEntry {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// Its principal.
    pub principal: String,
    /// The roles that it may use.
    pub roles: Vec<String>,
    /// When it was made.
    pub made_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What is given: a role, or a public key bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Given {
    /// A role (GOV-6).
    Role,
    /// A public key (GOV-7).
    Key,
}

/// A role or public key that somebody of the reader's tenant has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which of both.
    pub given: Given,
    /// Who has it.
    pub principal: String,
    /// The role's name, or the key's 64 digits.
    pub value: String,
    /// The key's device.
    pub device: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Who gave it.
    pub given_by: String,
}

impl Reader {
    /// Whom the API key with this digest stands for; none where it is unknown, revoked or expired.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn api_key(&self, digest: &Hash) -> Result<Option<Holder>, Error> {
        let row = connection::again(self.pool(), || async {
            let select = "select tenant_id, principal, roles, expires_at from app.holder_of($1)";
            let query = sqlx::query(select).bind(digest.as_bytes().as_slice());
            Ok(query.fetch_optional(self.pool()).await?)
        })
        .await?;
        row.as_ref().map(holder).transpose()
    }

    /// The roles that this person has (GOV-6).
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn roles(
        &self,
        tenant: &TenantId,
        principal: &Principal,
    ) -> Result<BTreeSet<RoleName>, Error> {
        let names: Vec<String> = connection::again(self.pool(), || async {
            let query = sqlx::query_scalar("select app.roles_of($1, $2)");
            let query = query.bind(tenant.as_str()).bind(principal.as_str());
            Ok(query.fetch_all(self.pool()).await?)
        })
        .await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

impl ReaderSession {
    /// The roles and public keys of the reader's tenant.
    ///
    /// # Errors
    /// [`Error::NotYetSealed`], or [`Error::Unavailable`] while Postgres is away.
    pub async fn standing(&self, as_of: AsOf) -> Result<Vec<Standing>, Error> {
        let mut transaction = self.begin().await?;
        reader::check(as_of, reader::sealed_through(&mut transaction).await?)?;
        let as_of_us = match as_of {
            AsOf::Latest => None,
            AsOf::At(at) => Some(at.as_micros()),
        };
        let rows = sqlx::query(
            "select * from ledger.standing(coalesce(timestamptz 'epoch' + $1 * interval '1 microsecond', 'infinity'))
             order by kind desc, principal, value",
        )
        .bind(as_of_us)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.iter().map(standing).collect()
    }

    /// Which of these rows were signed with a key that was bound to their owner when they were received (SPAN-10).
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn signed_by_bound(
        &self,
        rows: &[(TenantId, span::Position)],
    ) -> Result<Vec<bool>, Error> {
        let tenants: Vec<&str> = rows.iter().map(|(tenant, _)| tenant.as_str()).collect();
        let positions: Vec<i64> = rows
            .iter()
            .map(|(_, position)| i64::try_from(position.get()).unwrap_or(i64::MAX))
            .collect();
        let mut transaction = self.begin().await?;
        let bound = sqlx::query_scalar(
            "select ledger.signed_by_bound(tenant_id, position)
             from unnest($1::text[], $2::bigint[]) with ordinality w (tenant_id, position, nth) order by nth",
        )
        .bind(tenants)
        .bind(positions)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(bound)
    }
}

/// Enters an API key. Needs the URL of the schema's owner or of a superuser.
///
/// # Errors
/// [`Error::Unavailable`] while Postgres is away; [`Error::Refused`] where the login may not.
pub async fn enter_api_key(admin_url: &str, key: &NewApiKey) -> Result<(), Error> {
    let mut conn = administer(admin_url).await?;
    let roles: Vec<&str> = key.roles.iter().map(RoleName::as_str).collect();
    let ttl_s = key.ttl.map(|ttl| ttl.as_secs_f64());
    sqlx::query(
        "insert into app.api_key (id, name, digest, tenant_id, principal, roles, expires_at)
         values ($1, $2, $3, $4, $5, $6, transaction_timestamp() + $7 * interval '1 second')",
    )
    .bind(&key.id)
    .bind(&key.name)
    .bind(key.digest.as_bytes().as_slice())
    .bind(key.reader.tenant.as_str())
    .bind(key.reader.principal.as_str())
    .bind(roles)
    .bind(ttl_s)
    .execute(&mut conn)
    .await?;
    conn.close().await?;
    Ok(())
}

/// Ends an API key at once; says whether there was one that had not been revoked.
///
/// # Errors
/// As [`enter_api_key`].
pub async fn revoke_api_key(admin_url: &str, id: &str) -> Result<bool, Error> {
    let mut conn = administer(admin_url).await?;
    let revoke = "update app.api_key set revoked_at = transaction_timestamp() where id = $1 and revoked_at is null";
    let revoked = sqlx::query(revoke).bind(id).execute(&mut conn).await?;
    conn.close().await?;
    Ok(revoked.rows_affected() > 0)
}

/// All API keys, the newest first; of one tenant where it is named.
///
/// # Errors
/// As [`enter_api_key`].
pub async fn api_keys(
    admin_url: &str,
    tenant: Option<&TenantId>,
) -> Result<Vec<ApiKeyEntry>, Error> {
    let mut conn = administer(admin_url).await?;
    let rows = sqlx::query(
        "select id, name, tenant_id, principal, roles, made_at, expires_at, revoked_at
         from app.api_key where $1 is null or tenant_id = $1 order by made_at desc, id",
    )
    .bind(tenant.map(TenantId::as_str))
    .fetch_all(&mut conn)
    .await?;
    conn.close().await?;
    rows.iter().map(entry).collect()
}

async fn administer(admin_url: &str) -> Result<PgConnection, Error> {
    let options: PgConnectOptions = admin_url.parse().map_err(Error::Url)?;
    let mut conn = PgConnection::connect_with(&options.disable_statement_logging()).await?;
    sqlx::query("set role logline_owner")
        .execute(&mut conn)
        .await?;
    Ok(conn)
}

fn instant(row: &PgRow, column: &str) -> Result<Option<Timestamp>, Error> {
    let micros: Option<i64> = row.try_get_unchecked(column)?;
    Ok(micros.and_then(row::from_postgres))
}

fn holder(row: &PgRow) -> Result<Holder, Error> {
    let foreign = |_| Error::Refused(sqlx::Error::RowNotFound);
    let tenant: String = row.try_get("tenant_id")?;
    let principal: String = row.try_get("principal")?;
    let roles: Vec<String> = row.try_get("roles")?;
    Ok(Holder {
        reader: span::Reader {
            tenant: tenant.parse().map_err(foreign)?,
            principal: principal.parse().map_err(foreign)?,
        },
        roles: roles.iter().filter_map(|role| role.parse().ok()).collect(),
        expires_at: instant(row, "expires_at")?,
    })
}

fn entry(row: &PgRow) -> Result<ApiKeyEntry, Error> {
    Ok(ApiKeyEntry {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        tenant: row.try_get("tenant_id")?,
        principal: row.try_get("principal")?,
        roles: row.try_get("roles")?,
        made_at: instant(row, "made_at")?,
        expires_at: instant(row, "expires_at")?,
        revoked_at: instant(row, "revoked_at")?,
    })
}

fn standing(row: &PgRow) -> Result<Standing, Error> {
    let kind: String = row.try_get("kind")?;
    Ok(Standing {
        given: if kind == "role" {
            Given::Role
        } else {
            Given::Key
        },
        principal: row.try_get("principal")?,
        value: row.try_get("value")?,
        device: row.try_get("device")?,
        since: instant(row, "since")?,
        given_by: row.try_get("given_by")?,
    })
}
