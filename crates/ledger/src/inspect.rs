//! What the catalogs say about the promises of the schema, for `logline doctor` (CLI-3).

use std::time::Duration;

use crate::{Error, Verifier};

/// One promise of the schema and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is promised.
    pub name: &'static str,
    /// The sentence says what to do where it does not hold.
    pub result: Result<(), &'static str>,
}

/// A promise, the query that is true where it holds, and the remedy where it does not.
const PROMISES: [(&str, &str, &str); 7] = [
    (
        "the schema is there",
        "select to_regclass('ledger.span') is not null and to_regclass('ledger.universal_registry') is not null",
        "run `logline migrate`",
    ),
    (
        "rows cannot be changed (LED-1)",
        "select exists (select from pg_trigger where tgname = 'ur_no_update' and tgrelid = to_regclass('ledger.span') and tgenabled = 'A')",
        "the trigger ur_no_update is missing or disabled: find out who did that, then run `logline verify`",
    ),
    (
        "row-level security is forced (LED-2)",
        "select coalesce((select relrowsecurity and relforcerowsecurity from pg_class where oid = to_regclass('ledger.span')), false)",
        "run `alter table ledger.span force row level security`, and find out who took it away",
    ),
    (
        "no role of the system is a superuser",
        r"select not exists (select from pg_roles where rolname like 'logline\_%' and rolsuper)",
        "run `alter role … nosuperuser` for the role",
    ),
    (
        "no role of the system that logs in owns a table",
        r"select not exists (select from pg_class c join pg_roles r on r.oid = c.relowner
            where r.rolname like 'logline\_%' and r.rolcanlogin and c.relnamespace = to_regnamespace('ledger'))",
        "give the table to logline_owner",
    ),
    (
        "roles and keys follow from the chains (GOV-6)",
        "select app.standing_holds()",
        "app.standing was changed by hand, or its trigger ur_standing is missing: find out who did that",
    ),
    (
        "nothing is granted to everybody",
        "select not exists (select from pg_namespace n, aclexplode(n.nspacl) a where n.nspname in ('ledger', 'app') and a.grantee = 0)
            and not exists (select from pg_class c, aclexplode(c.relacl) a
                where c.relnamespace in (to_regnamespace('ledger'), to_regnamespace('app')) and a.grantee = 0)",
        "revoke what PUBLIC was granted on the schemas ledger and app",
    ),
];

/// Tenants whose first row beyond the newest head was sealed before the grace, found by skipping from one to the next.
const UNSIGNED: &str = "with recursive tenant (id) as (
         (select tenant_id from ledger.span order by tenant_id limit 1)
         union all
         select (select s.tenant_id from ledger.span s where s.tenant_id > t.id order by s.tenant_id limit 1)
         from tenant t where t.id is not null)
     select id from tenant t where exists (
         select from ledger.span s where s.tenant_id = t.id
             and s.position = coalesce((select max(size) from ledger.checkpoint h where h.tenant_id = t.id), 0) + 1
             and s.received_at < now() - make_interval(secs => $1))
     order by id";

impl Verifier {
    /// The tenants of whose chains something is unsigned that was received longer ago than `grace` (LED-8).
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn unsigned(&self, grace: Duration) -> Result<Vec<String>, Error> {
        let query = sqlx::query_scalar(UNSIGNED).bind(grace.as_secs_f64());
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Checks the promises that the schema makes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn inspect(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::with_capacity(PROMISES.len());
        for (name, query, remedy) in PROMISES {
            let holds: bool = sqlx::query_scalar(query).fetch_one(&self.pool).await?;
            findings.push(Finding {
                name,
                result: if holds { Ok(()) } else { Err(remedy) },
            });
        }
        Ok(findings)
    }
}
