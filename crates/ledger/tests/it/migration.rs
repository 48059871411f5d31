use logline_ledger::{MigrateError, Provision};
use logline_testkit::Postgres;
use tokio::task::JoinSet;

use crate::support::{Ledger, provision};

#[tokio::test(flavor = "multi_thread")]
async fn migrating_again_changes_nothing() {
    let ledger = Ledger::fresh().await;
    let again = logline_ledger::migrate(&ledger.database.url(), &provision())
        .await
        .unwrap();
    assert_eq!(again.applied, Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_databases_and_several_processes_may_migrate_at_once() {
    let mut databases = Vec::new();
    for _ in 0..3 {
        databases.push(Postgres::shared().database().await);
    }
    let mut running = JoinSet::new();
    for database in &databases {
        for _ in 0..2 {
            let url = database.url();
            running.spawn(async move { logline_ledger::migrate(&url, &provision()).await });
        }
    }
    let mut applied = Vec::new();
    while let Some(migrated) = running.join_next().await {
        applied.push(migrated.unwrap().unwrap().applied.len());
    }
    applied.sort_unstable();
    let all = applied[5];
    assert!(all > 0);
    assert_eq!(applied, [0, 0, 0, all, all, all]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_its_name() {
    let ledger = Ledger::fresh().await;
    let other = Provision {
        log_name: "other.example".to_owned(),
        ..provision()
    };
    let refused = logline_ledger::migrate(&ledger.database.url(), &other).await;
    assert!(
        matches!(refused, Err(MigrateError::LogName { .. })),
        "{refused:?}"
    );
    assert_eq!(
        ledger.writer().log_name().await.unwrap(),
        crate::support::LOG
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_migrating_role_may_migrate_but_owns_nothing() {
    let ledger = Ledger::fresh().await;
    let url = ledger.config(logline_ledger::Role::Admin).url;
    let again = logline_ledger::migrate(
        &url,
        &Provision {
            passwords: Vec::new(),
            ..provision()
        },
    )
    .await
    .unwrap();
    assert_eq!(again.applied, Vec::<i64>::new());
}

/// LED-1, LED-2: no superuser, nothing for PUBLIC, tables owned by a role that nobody logs in as.
#[tokio::test(flavor = "multi_thread")]
async fn roles_have_no_more_rights_than_they_need() {
    let ledger = Ledger::fresh().await;
    let mut admin = ledger.admin().await;
    let checks = [
        ("a superuser", "select rolname::text from pg_roles where rolname like 'logline%' and rolsuper"),
        (
            "an owner that logs in",
            "select c.relname::text from pg_class c join pg_roles r on r.oid = c.relowner
             where c.relnamespace in ('ledger'::regnamespace, 'app'::regnamespace) and (r.rolcanlogin or r.rolname !~ '^logline_')
             and c.relname !~ '^migration'",
        ),
        (
            "a relation of PUBLIC's",
            "select c.relname::text from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
             where c.relnamespace in ('ledger'::regnamespace, 'app'::regnamespace) and a.grantee = 0",
        ),
        (
            "a function of PUBLIC's",
            "select p.proname::text from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
             where p.pronamespace in ('ledger'::regnamespace, 'app'::regnamespace) and a.grantee = 0",
        ),
        (
            "a schema of PUBLIC's",
            "select n.nspname::text from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
             where n.nspname in ('ledger', 'app', 'public') and a.grantee = 0",
        ),
        (
            "a database of PUBLIC's",
            "select d.datname::text from pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
             where d.datname = current_database() and a.grantee = 0",
        ),
        (
            "a client's grant on a table",
            "select c.relname::text from pg_class c
             where c.relnamespace in ('ledger'::regnamespace, 'app'::regnamespace) and c.relkind = 'r'
             and (has_table_privilege('logline_client', c.oid, 'select') or has_table_privilege('logline_reader', c.oid, 'select'))",
        ),
        (
            "a table without forced row-level security",
            "select relname::text from pg_class where oid = 'ledger.span'::regclass and not (relrowsecurity and relforcerowsecurity)",
        ),
    ];
    for (what, sql) in checks {
        let found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut admin).await.unwrap();
        assert_eq!(found, Vec::<String>::new(), "{what}");
    }
}
