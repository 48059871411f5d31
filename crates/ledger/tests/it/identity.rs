use logline_ledger::{AsOf, ClientLogin, Error, Query, Role, bind_login};
use logline_span::{Span, Visibility};
use sqlx::{Connection as _, PgConnection};

use crate::support::{Ledger, person, span, state, with};

const OWNERS: [(&str, &str); 4] = [
    ("acme", "alice"),
    ("acme", "bob"),
    ("other", "alice"),
    ("system", "root"),
];
const VISIBILITIES: [Visibility; 3] = [Visibility::Private, Visibility::Tenant, Visibility::Public];

/// One span of each owner in each visibility.
fn population() -> Vec<Span> {
    OWNERS
        .iter()
        .flat_map(|(tenant, owner)| {
            VISIBILITIES
                .map(|visibility| with(span(tenant, owner), |span| span.visibility = visibility))
        })
        .collect()
}

/// LED-2
#[tokio::test(flavor = "multi_thread")]
async fn each_reader_sees_exactly_what_the_rule_gives() {
    let ledger = Ledger::fresh().await;
    let sealed = ledger.sealer().await.seal(population()).await;
    let reader = ledger.reader();
    for (tenant, owner) in OWNERS {
        let who = person(tenant, owner);
        let session = reader.as_reader(Some(&who));
        let page = session
            .timeline(&Query {
                limit: 100,
                ..Query::default()
            })
            .await
            .unwrap();
        let mut seen: Vec<_> = page.spans.iter().map(|sealed| sealed.span.id).collect();
        let mut due: Vec<_> = sealed
            .iter()
            .map(|sealed| &sealed.span)
            .filter(|span| who.may_read(&span.tenant_id, &span.owner_id, span.visibility))
            .map(|span| span.id)
            .collect();
        seen.sort();
        due.sort();
        assert_eq!(seen, due, "{tenant}/{owner}");
        for Span { id, .. } in sealed.iter().map(|sealed| &sealed.span) {
            let found = session
                .get(*id, None, AsOf::Latest)
                .await
                .unwrap()
                .is_some();
            assert_eq!(found, due.contains(id), "{tenant}/{owner}");
        }
    }
    let anonymous = reader
        .as_reader(None)
        .timeline(&Query {
            limit: 100,
            ..Query::default()
        })
        .await
        .unwrap();
    assert_eq!(anonymous.spans.len(), OWNERS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superuser_without_identity_reads_every_row_and_with_one_what_it_may() {
    let ledger = Ledger::fresh().await;
    ledger.sealer().await.seal(population()).await;
    let mut admin = ledger.admin().await;
    for (identity, rows) in [
        ("", 12),
        ("set app.user_id = 'alice'; set app.tenant_id = 'acme'", 7),
        ("reset app.user_id; reset app.tenant_id", 12),
    ] {
        sqlx::raw_sql(identity).execute(&mut admin).await.unwrap();
        for view in ["universal_registry", "visible_timeline"] {
            let sql = format!("select count(*) from ledger.{view}");
            let count: i64 = sqlx::query_scalar(&sql)
                .fetch_one(&mut admin)
                .await
                .unwrap();
            assert_eq!(count, rows, "{view} after {identity}");
        }
    }
}

/// LED-2: any SELECT can call `set_config`.
#[tokio::test(flavor = "multi_thread")]
async fn a_setting_alone_is_an_error_and_never_an_identity() {
    let ledger = Ledger::fresh().await;
    ledger.sealer().await.seal(population()).await;
    for role in [Role::Reader, Role::Actor, Role::Admin] {
        let mut login = ledger.login(role).await;
        sqlx::raw_sql("set app.user_id = 'alice'; set app.tenant_id = 'acme'")
            .execute(&mut login)
            .await
            .unwrap();
        let read = sqlx::raw_sql("select count(*) from ledger.universal_registry")
            .execute(&mut login)
            .await;
        assert_eq!(state(read), "42501", "{role:?}");
    }
    let mut login = ledger.login(Role::Reader).await;
    let inside = sqlx::raw_sql(
        "select count(*) from (select set_config('app.user_id', 'alice', false), set_config('app.tenant_id', 'acme', false) offset 0) s,
             lateral (select * from ledger.universal_registry where s is not null) r",
    )
    .execute(&mut login)
    .await;
    assert_eq!(state(inside), "42501");
    let half = sqlx::raw_sql("set app.tenant_id = 'acme'; set app.user_id = ''; select count(*) from ledger.universal_registry")
        .execute(&mut login)
        .await;
    assert_eq!(state(half), "42501");
    for secret in ["app.identity_key", "app.login"] {
        let sql = format!("select count(*) from {secret}");
        let read = sqlx::raw_sql(&sql).execute(&mut login).await;
        assert_eq!(state(read), "42501");
    }
    let proof = sqlx::raw_sql("select app.proof('acme', 'alice')")
        .execute(&mut login)
        .await;
    assert_eq!(state(proof), "42501");
}

/// A proof covers the identity and the transaction: neither another name nor another transaction may use it.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_good_for_one_identity_in_one_transaction() {
    let ledger = Ledger::fresh().await;
    ledger.sealer().await.seal(population()).await;
    let mut admin = ledger.admin().await;
    let mut login = ledger.login(Role::Reader).await;
    let mut transaction = login.begin().await.unwrap();
    let (backend, began): (i32, String) =
        sqlx::query_as("select pg_backend_pid(), ((extract(epoch from transaction_timestamp()) * 1000000)::bigint)::text")
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
    let proof: String = sqlx::query_scalar(
        "select encode(sha256(outer_pad || sha256(inner_pad || convert_to(
             concat_ws(E'\\n', $1, $2, 'acme', 'alice'), 'UTF8'))), 'hex') from app.identity_key",
    )
    .bind(backend)
    .bind(&began)
    .fetch_one(&mut admin)
    .await
    .unwrap();
    sqlx::query("select set_config('app.tenant_id', 'acme', false), set_config('app.user_id', 'alice', false),
                 set_config('app.identity_proof', $1, false)")
        .bind(proof)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from ledger.universal_registry")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(count, 7);
    let other = sqlx::raw_sql(
        "savepoint s; set app.user_id = 'bob'; select count(*) from ledger.universal_registry",
    )
    .execute(&mut *transaction)
    .await;
    assert_eq!(state(other), "42501");
    sqlx::raw_sql("rollback to s")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let later = sqlx::raw_sql("select count(*) from ledger.universal_registry")
        .execute(&mut login)
        .await;
    assert_eq!(state(later), "42501");
}

/// People's own psql logins are whom the table says, whatever they set.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_login_is_the_person_it_is_bound_to_or_nobody() {
    let ledger = Ledger::fresh().await;
    ledger.sealer().await.seal(population()).await;
    let mut admin = ledger.admin().await;
    let mut client = ClientLogin {
        name: format!("client of {}", ledger.database.name()),
        password: "a 'secret'".to_owned(),
        reader: person("acme", "alice"),
    };
    for principal in ["alice", "bob"] {
        client.reader = person("acme", principal);
        bind_login(&ledger.database.url(), &client).await.unwrap();
    }
    let url = ledger
        .database
        .url_as(&client.name.replace(' ', "%20"), "a%20%27secret%27");
    let mut login = PgConnection::connect(&url).await.unwrap();
    let rows = "select count(*) from ledger.visible_timeline";

    let own: i64 = sqlx::query_scalar(rows)
        .fetch_one(&mut login)
        .await
        .unwrap();
    assert_eq!(own, 7, "a session starts as its person");
    for (user, tenant, count) in [("", "", 4), ("bob", "acme", 7)] {
        let sql = format!("set app.user_id = '{user}'; set app.tenant_id = '{tenant}'");
        sqlx::raw_sql(&sql).execute(&mut login).await.unwrap();
        let seen: i64 = sqlx::query_scalar(rows)
            .fetch_one(&mut login)
            .await
            .unwrap();
        assert_eq!(seen, count, "{user}/{tenant}");
    }
    for (user, tenant) in [("alice", "acme"), ("bob", "other"), ("bob", "")] {
        let sql = format!("set app.user_id = '{user}'; set app.tenant_id = '{tenant}'; {rows}");
        let outcome = sqlx::raw_sql(&sql).execute(&mut login).await;
        assert_eq!(state(outcome), "42501", "{user}/{tenant}");
    }
    let table = sqlx::raw_sql("select count(*) from ledger.span")
        .execute(&mut login)
        .await;
    assert_eq!(state(table), "42501");
    login.close().await.unwrap();
    let sql = format!("drop role \"{}\"", client.name);
    sqlx::raw_sql(&sql).execute(&mut admin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_login_never_takes_over_another_role() {
    let ledger = Ledger::fresh().await;
    for name in ["postgres", "logline_owner", "logline_projector"] {
        let client = ClientLogin {
            name: name.to_owned(),
            password: "x".to_owned(),
            reader: person("acme", "alice"),
        };
        let refused = bind_login(&ledger.database.url(), &client).await;
        assert!(matches!(refused, Err(Error::NotAClient)), "{refused:?}");
    }
}
