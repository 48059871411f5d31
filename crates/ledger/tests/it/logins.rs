//! LED-2: what no login can do, whatever it says. Each attack fails, and succeeds once the rule against it is taken away, so that
//! no attack fails for another reason.

use expect_test::expect;
use logline_ledger::{ClientLogin, Role, bind_login};
use logline_span::{Span, Visibility};
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};

use crate::support::{Ledger, person, span, state, with};

/// An attack, and how to take away what stops it. `{login}` is the attacker. It says `leak` where it succeeds.
struct Attack {
    name: &'static str,
    sql: &'static str,
    without: &'static str,
}

const fn attack(name: &'static str, sql: &'static str, without: &'static str) -> Attack {
    Attack { name, sql, without }
}

/// Identities are believed as they are set.
const BELIEVED: &str = "
    create or replace function app.identity(out tenant text, out principal text)
        language plpgsql stable security definer set search_path = pg_catalog
    as $$
    begin
        tenant := nullif(current_setting('app.tenant_id', true), '');
        principal := nullif(current_setting('app.user_id', true), '');
    end
    $$";
const UNPROTECTED: &str = "alter table ledger.span disable row level security";
const SUPERUSER: &str = "alter role {login} superuser";
const AS_ALICE: &str = "set app.tenant_id = 'acme'; set app.user_id = 'alice'";

/// What any login may try. A login that may not even read the registry is let do so first.
const BY_ANYONE: [Attack; 23] = [
    attack(
        "set an identity",
        "{as alice}; select 'leak' from ledger.universal_registry where this = 'secret'",
        BELIEVED,
    ),
    attack(
        "set_config beside the table",
        "select 'leak' from (select set_config('app.user_id', 'alice', false), set_config('app.tenant_id', 'acme', false) offset 0) s,
             lateral (select * from ledger.universal_registry where s is not null) r where this = 'secret'",
        BELIEVED,
    ),
    attack(
        "set_config in the condition of one statement and the next",
        "select 'leak' from ledger.universal_registry where set_config('app.user_id', 'alice', false) = 'alice'
             and set_config('app.tenant_id', 'acme', false) = 'acme' and this = 'secret';
         select 'leak' from ledger.universal_registry where this = 'secret'",
        BELIEVED,
    ),
    attack(
        "set_config in a subselect",
        "select (select set_config('app.user_id', 'alice', false)), (select set_config('app.tenant_id', 'acme', false));
         select 'leak' where exists (select from ledger.universal_registry where this = 'secret')",
        BELIEVED,
    ),
    attack(
        "change the identity under a prepared statement",
        "prepare secrets as select 'leak' from ledger.universal_registry where this = 'secret'; execute secrets; {as alice}; execute secrets",
        BELIEVED,
    ),
    attack(
        "change the identity under a cursor",
        "declare secrets cursor for select 'leak' from ledger.universal_registry where this = 'secret'; {as alice}; fetch all from secrets",
        BELIEVED,
    ),
    attack(
        "switch row-level security off",
        "set row_security = off; select 'leak' from ledger.universal_registry where this = 'secret'",
        UNPROTECTED,
    ),
    attack(
        "divide by zero on the rows of others",
        "select from ledger.universal_registry where 1 / (case when this = 'secret' then 0 else 1 end) = 1",
        UNPROTECTED,
    ),
    attack(
        "read statistics",
        "select 'leak' from pg_stats where schemaname = 'ledger' and tablename = 'span' and attname = 'this'",
        "alter table ledger.span disable row level security; grant select on ledger.span to {login}",
    ),
    attack(
        "become the owner",
        "set role logline_owner; select 'leak' from ledger.span where this = 'secret'",
        "grant logline_owner to {login}",
    ),
    attack(
        "become the owner of the views",
        "set role logline_views; select 'leak'",
        "grant logline_views to {login}",
    ),
    attack(
        "give another login an identity",
        "alter role logline_verifier set app.user_id = 'alice'; select 'leak'",
        SUPERUSER,
    ),
    attack(
        "lift the own limit of connections",
        "alter role {login} connection limit -1; select 'leak'",
        SUPERUSER,
    ),
    attack(
        "lift the limit of temporary files",
        "set temp_file_limit = -1; select 'leak'",
        "grant set on parameter temp_file_limit to {login}",
    ),
    attack(
        "switch triggers off",
        "set session_replication_role = replica; select 'leak'",
        "grant set on parameter session_replication_role to {login}",
    ),
    attack(
        "put a function before ours",
        "create temporary table shadow (); select 'leak'",
        "grant temporary on database {database} to {login}",
    ),
    attack(
        "make a function with a default that sets an identity",
        "create function public.f(x text default set_config('app.user_id', 'alice', false)) returns text language sql as 'select x'; select 'leak'",
        "grant create on schema public to {login}; grant usage on language sql to {login}",
    ),
    attack(
        "run a block of code",
        "do $$ begin end $$; select 'leak'",
        "grant usage on language plpgsql to {login}",
    ),
    attack(
        "make a schema",
        "create schema mine; select 'leak'",
        "grant create on database {database} to {login}",
    ),
    attack(
        "make a large object",
        "select 'leak' from lo_create(0)",
        "grant execute on function lo_create(oid) to {login}",
    ),
    attack(
        "keep bytes in a large object",
        "select 'leak' from lo_from_bytea(0, 'x')",
        "grant execute on function lo_from_bytea(oid, bytea) to {login}",
    ),
    attack(
        "read a file",
        "select 'leak' from pg_read_file('postgresql.conf')",
        "grant execute on function pg_read_file(text) to {login}",
    ),
    attack(
        "run a program",
        "copy (select 1) to program 'cat > /dev/null'; select 'leak'",
        "grant pg_execute_server_program to {login}",
    ),
];

/// What a person's login may try beyond that.
const BY_A_CLIENT: [Attack; 10] = [
    attack(
        "read the table",
        "select 'leak' from ledger.span where this = 'secret'",
        "grant select on ledger.span to {login}; create policy p on ledger.span for select to {login} using (true)",
    ),
    attack(
        "read the key of identities",
        "select 'leak' from app.identity_key",
        "grant select on app.identity_key to {login}",
    ),
    attack(
        "read who is who",
        "select 'leak' from app.login",
        "grant select on app.login to {login}",
    ),
    attack(
        "make a proof",
        "select 'leak' from app.proof('acme', 'alice')",
        "grant execute on function app.proof(text, text) to {login}",
    ),
    attack(
        "insert as another",
        "{as alice}; insert into ledger.universal_registry (entity_type, who, this) values ('a', 'b', 'c') returning 'leak'",
        BELIEVED,
    ),
    attack(
        "insert into the outbox past the registry",
        "insert into ledger.outbox (id, tenant_id, owner_id, entity_type, body) values (gen_random_uuid(), 'acme', 'bob', 'a', '{}'); select 'leak'",
        "drop policy write_rule on ledger.outbox;
         create policy write_rule on ledger.outbox for insert to logline_client with check (owner_id = (select app.current_user_id()))",
    ),
    attack(
        "read the outbox of others",
        "select 'leak' from ledger.outbox where owner_id = 'alice'",
        "grant select on ledger.outbox to {login}; create policy p on ledger.outbox for select to {login} using (true)",
    ),
    attack(
        "change a sealed row",
        "update ledger.span set this = 'x'; select 'leak'",
        "alter table ledger.span disable row level security; drop trigger ur_no_update on ledger.span; grant select, update on ledger.span to {login}",
    ),
    attack(
        "lock the registry",
        "lock table ledger.universal_registry in exclusive mode; select 'leak'",
        "grant update on ledger.universal_registry to {login}; grant update on ledger.span to logline_views",
    ),
    attack(
        "lock rows",
        "select 'leak' from ledger.universal_registry where this = 'shared' for share",
        "grant update on ledger.universal_registry to {login}; grant update on ledger.span to logline_views;
         create policy p on ledger.span for update to logline_views using (true)",
    ),
];

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Leak,
    Nothing,
    Refused(String),
}

/// Runs a script as a login, in a transaction that is taken back; `before` as the superuser.
async fn run(admin: &mut PgConnection, before: &str, login: &str, script: &str) -> Outcome {
    let script = format!(
        "begin; {before}; set local session authorization {login};
         set app.tenant_id = 'acme'; set app.user_id = 'bob'; {script}"
    );
    let outcome = sqlx::raw_sql(&script).fetch_all(&mut *admin).await;
    // Prepared statements outlive the transaction.
    sqlx::raw_sql("rollback; deallocate all")
        .execute(&mut *admin)
        .await
        .unwrap();
    match outcome {
        Ok(rows) => {
            let is_leak = |row: &sqlx::postgres::PgRow| {
                row.try_get::<&str, _>(0).is_ok_and(|text| text == "leak")
            };
            match rows.iter().any(is_leak) {
                true => Outcome::Leak,
                false => Outcome::Nothing,
            }
        }
        // Division by zero: a condition saw a row.
        Err(error) => match state::<()>(Err(error)).as_str() {
            "22012" => Outcome::Leak,
            state => Outcome::Refused(state.to_owned()),
        },
    }
}

async fn population(ledger: &Ledger) {
    let this = |text: &str, visibility| {
        with(span("acme", "alice"), |span: &mut Span| {
            text.clone_into(&mut span.this);
            span.visibility = visibility;
        })
    };
    let spans = vec![
        this("secret", Visibility::Private),
        this("shared", Visibility::Tenant),
    ];
    ledger.sealer().await.seal(spans).await;
    let waiting = "insert into ledger.outbox (id, tenant_id, owner_id, entity_type, body) values (gen_random_uuid(), 'acme', 'alice', 'a', '{}')";
    let mut admin = ledger.admin().await;
    admin.execute(waiting).await.unwrap();
    admin.execute("analyze ledger.span").await.unwrap();
}

/// A person's login, by its quoted name. It is nobody's in other databases of the cluster.
async fn client(ledger: &Ledger) -> (String, String) {
    let name = format!("bob of {}", ledger.database.name());
    let login = ClientLogin {
        name: name.clone(),
        password: "secret".to_owned(),
        reader: person("acme", "bob"),
    };
    let url = bind_login(&ledger.database.url(), &login).await.unwrap();
    (format!("\"{name}\""), url)
}

async fn forget(ledger: &Ledger, login: &str) {
    let mut admin = ledger.admin().await;
    let drop = format!("drop owned by {login}; drop role {login}");
    sqlx::raw_sql(&drop).execute(&mut admin).await.unwrap();
}

fn filled(template: &str, login: &str, ledger: &Ledger) -> String {
    template
        .replace("{login}", login)
        .replace("{database}", ledger.database.name())
        .replace("{as alice}", AS_ALICE)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_of_every_login_fails_and_for_the_reason_that_it_should() {
    let ledger = Ledger::fresh().await;
    population(&ledger).await;
    let (client, _) = client(&ledger).await;
    let mut admin = ledger.admin().await;
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Admin);
    let mut attackers: Vec<(String, &str, &[Attack])> = roles
        .map(|role| {
            let reading = "grant usage on schema ledger, app to {login}; grant select on ledger.universal_registry to {login};
                grant execute on function app.current_tenant_id(), app.current_user_id(), app.readable_from() to {login}";
            (role.name().to_owned(), reading, BY_ANYONE.as_slice())
        })
        .collect();
    attackers.push((client.clone(), "", &BY_ANYONE));
    attackers.push((client.clone(), "", &BY_A_CLIENT));
    for (login, reading, attacks) in &attackers {
        for Attack { name, sql, without } in *attacks {
            // The one writer reads every row by right.
            if (login.as_str(), *name) == ("logline_projector", "read statistics") {
                continue;
            }
            let sql = filled(sql, login, &ledger);
            for allowed in ["", reading] {
                let before = filled(allowed, login, &ledger);
                let outcome = run(&mut admin, &before, login, &sql).await;
                let is_harmless = match &outcome {
                    Outcome::Leak => false,
                    Outcome::Nothing => true,
                    Outcome::Refused(state) => state == "42501",
                };
                assert!(is_harmless, "{login}: {name}: {outcome:?}");
            }
            // A role of the cluster is changed by migrations of other tests too.
            if *without == SUPERUSER && *login != client {
                continue;
            }
            let before = filled(&format!("{reading}; {without}"), login, &ledger);
            let outcome = run(&mut admin, &before, login, &sql).await;
            assert_eq!(
                outcome,
                Outcome::Leak,
                "{login}: {name}, with the rule taken away"
            );
        }
    }
    forget(&ledger, &client).await;
}

/// What needs a session of the login's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_changes_neither_who_it_is_nor_what_it_may_use() {
    let ledger = Ledger::fresh().await;
    population(&ledger).await;
    let (client, url) = client(&ledger).await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(PgConnection::connect(&url).await.unwrap());
    }
    let ninth = PgConnection::connect(&url).await;
    assert_eq!(state(ninth.map(|_| ())), "53300");
    let login = sessions.first_mut().unwrap();
    let mut admin = ledger.admin().await;
    let superuser: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    for refused in [
        "set session authorization logline_verifier",
        "alter system set log_statement = 'all'",
        "alter database postgres set app.user_id = 'alice'",
        "create role another",
        "create extension dblink with schema ledger",
        "create foreign data wrapper w",
        "reset session authorization; set role postgres",
        &format!("select pg_terminate_backend({superuser})"),
        &format!("alter role {client} set app.user_id = 'alice'"),
        &format!("alter role {client} set temp_file_limit = -1"),
    ] {
        let outcome = sqlx::raw_sql(refused).execute(&mut *login).await;
        assert_eq!(state(outcome), "42501", "{refused}");
    }
    let limits: Vec<String> = sqlx::query_scalar(
        "select current_setting(name) from unnest(array['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
             'work_mem', 'temp_file_limit']) name",
    )
    .fetch_all(&mut *login)
    .await
    .unwrap();
    assert_eq!(limits, ["1min", "10s", "1min", "8MB", "256MB"]);
    sessions.clear();
    forget(&ledger, &client).await;
}

/// Whoever may run a function as its owner cannot lend it other names, and no lock of ours can be taken by a login.
#[tokio::test(flavor = "multi_thread")]
async fn functions_name_their_schemas_and_nothing_takes_advisory_locks() {
    let ledger = Ledger::fresh().await;
    let mut admin = ledger.admin().await;
    for (what, sql) in [
        (
            "a function without a search path of its own",
            "select proname::text from pg_proc where pronamespace in ('ledger'::regnamespace, 'app'::regnamespace)
             and not coalesce(proconfig @> array['search_path=pg_catalog'], false)",
        ),
        (
            "an advisory lock",
            "select proname::text from pg_proc where pronamespace in ('ledger'::regnamespace, 'app'::regnamespace) and prosrc ~ 'advisory'",
        ),
        (
            "code of anybody's own",
            "select lanname::text from pg_language l, aclexplode(coalesce(lanacl, acldefault('l', lanowner))) a where lanpltrusted and a.grantee = 0",
        ),
        (
            "large objects of anybody's own",
            "select proname::text from pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
             where pronamespace = 'pg_catalog'::regnamespace and (proname ~ '^lo_' or proname in ('loread', 'lowrite')) and a.grantee = 0",
        ),
        (
            "a table of clients' that is not protected",
            "select relname::text from pg_class where oid in ('ledger.span'::regclass, 'ledger.outbox'::regclass, 'ledger.refusal'::regclass)
             and not (relrowsecurity and relforcerowsecurity)",
        ),
    ] {
        let found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut admin).await.unwrap();
        assert_eq!(found, Vec::<String>::new(), "{what}");
    }
    let sources = [
        "../../migrations",
        "src",
        "src/writer",
        "src/reader",
        "src/verifier",
    ];
    for file in sources
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
    {
        let path = file.unwrap().path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("advisory_"), "{}", path.display());
        }
    }
}

/// Every right on relations, so that a new one is seen.
#[tokio::test(flavor = "multi_thread")]
async fn each_login_has_the_rights_of_its_part() {
    let ledger = Ledger::fresh().await;
    let mut admin = ledger.admin().await;
    let found: Vec<String> = sqlx::query_scalar(
        "select format('%s: %s', right_of, string_agg(what, ', ' order by what collate \"C\"))
         from (
             select a.grantee::regrole::text as right_of,
                 format('%s %s', c.relname, string_agg(lower(a.privilege_type), '+' order by a.privilege_type)) as what
             from pg_class c, aclexplode(c.relacl) a
             where c.relnamespace in ('ledger'::regnamespace, 'app'::regnamespace) and a.grantee <> c.relowner
             group by a.grantee, c.relname
             union all
             select a.grantee::regrole::text,
                 format('%s(%s) %s', c.relname, string_agg(t.attname, ' ' order by t.attnum), lower(a.privilege_type))
             from pg_class c join pg_attribute t on t.attrelid = c.oid, aclexplode(t.attacl) a
             where c.relnamespace in ('ledger'::regnamespace, 'app'::regnamespace) and a.grantee <> c.relowner
             group by a.grantee, c.relname, a.privilege_type
         ) rights
         where right_of <> 'logline_owner'
         group by right_of order by right_of",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    expect![[r#"
        logline_actor: span select
        logline_client: my_outbox select, my_refusals select, outbox(id tenant_id owner_id entity_type body) insert, related select, signed_head select, universal_registry insert+select, verifier_key select, visible_timeline select
        logline_outbox: outbox delete+select, refusal(inserted_at outbox_id id seq tenant_id owner_id entity_type code pointer detail) insert
        logline_projector: edge insert+select, intake insert+select, log select, shard insert+select+update, span insert+select
        logline_reader: readable select, receipt select, related select, signed_head select, universal_registry select, verified select, verifier_key select, visible_timeline select, witnessed select
        logline_signer: checkpoint insert+select, cosignature insert+select, head select, log select, log_key insert+select, node insert+select, span(position tenant_id curr_hash) select
        logline_verifier: checkpoint select, cosignature select, head select, log select, log_key select, node select, span select, verification insert
        logline_views: checkpoint select, cosignature select, edge select, intake select, log_key select, outbox select, refusal select, span select, verification select, version select"#]].assert_eq(&found.join("\n"));
}
