use crate::support::{Ledger, span, state};

/// LED-1
#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_a_sealed_row() {
    let ledger = Ledger::fresh().await;
    ledger
        .sealer()
        .await
        .seal(vec![span("acme", "alice")])
        .await;
    let mut admin = ledger.admin().await;
    for role in ["none", "logline_owner"] {
        for statement in [
            "update ledger.span set who = 'x'",
            "delete from ledger.span",
            "truncate ledger.span",
        ] {
            let sql = format!("set role {role}; {statement}");
            let outcome = sqlx::raw_sql(&sql).execute(&mut admin).await;
            assert_eq!(state(outcome), "23001", "{role}: {statement}");
        }
    }
    for role in [
        "logline_projector",
        "logline_reader",
        "logline_actor",
        "logline_verifier",
        "logline_admin",
        "logline_client",
    ] {
        for statement in [
            "update ledger.span set who = 'x'",
            "delete from ledger.span",
            "truncate ledger.span",
        ] {
            let sql = format!("set role {role}; {statement}");
            let outcome = sqlx::raw_sql(&sql).execute(&mut admin).await;
            assert_eq!(state(outcome), "42501", "{role}: {statement}");
        }
    }
    let through_view = sqlx::raw_sql("reset role; update ledger.universal_registry set who = 'x'")
        .execute(&mut admin)
        .await;
    assert_eq!(state(through_view), "23001");
    // Not even where triggers are switched off for a replica.
    let replica = sqlx::raw_sql("set session_replication_role = replica; delete from ledger.span")
        .execute(&mut admin)
        .await;
    assert_eq!(state(replica), "23001");
}
