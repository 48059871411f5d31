use logline_span::Visibility;

use crate::support::{Ledger, json, span, with};

/// `@>` is not leakproof: behind one function that applies the read rule itself.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_searched_by_containment_within_what_one_may_read() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let spans = [("acme", "alice"), ("acme", "bob"), ("other", "bob")]
        .into_iter()
        .flat_map(|(tenant, owner)| {
            [Visibility::Private, Visibility::Public].map(|visibility| {
                with(span(tenant, owner), |span| {
                    span.visibility = visibility;
                    span.metadata = json(r#"{"city":{"name":"Lisbon"},"n":1}"#);
                })
            })
        })
        .collect();
    sealer.seal(spans).await;
    let mut admin = ledger.admin().await;
    let count = "select count(*) from ledger.metadata_contains('{\"city\":{\"name\":\"Lisbon\"}}')";
    for (identity, rows) in [
        ("", 3),
        ("set app.tenant_id = 'acme'; set app.user_id = 'alice'", 4),
    ] {
        sqlx::raw_sql(identity).execute(&mut admin).await.unwrap();
        let found: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut admin)
            .await
            .unwrap();
        assert_eq!(found, rows);
    }
}
