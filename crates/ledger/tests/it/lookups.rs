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

/// Many tenants, one large; many owners and traces; few public, scheduled or rare rows.
const POPULATION: &str = "
    insert into ledger.span (
        position, received_at, at, seq, id, parent_id, is_deleted, tenant_id, owner_id, visibility, entity_type, status,
        trace_id, published_by, idempotency_key, content_hash, prev_hash, curr_hash, who, this, metadata)
    select n, timestamptz '2026-01-01' + n * interval '1 second', timestamptz '2026-01-01' + n * interval '1 second',
        0, md5(n::text)::uuid, case when n % 5 = 0 then md5(n::text)::uuid end, false,
        case when n % 10 < 7 then 'acme' else 'tenant' || n % 97 end, 'user' || n % 50,
        case when n % 50 = 0 then 'public' when n % 3 = 0 then 'tenant' else 'private' end,
        case when n % 4000 = 0 then 'law.decision' else 'activity' end,
        case when n % 1000 = 0 then 'scheduled' end, md5((n / 3)::text), 'user', 'k' || n, 'c', 'c', 'c', 'w', 't',
        json_build_object('batch', n % 2000)
    from generate_series(1, 20000) n;
    insert into ledger.edge select id, position, tenant_id from ledger.span where position % 4 = 0;
    analyze ledger.span; analyze ledger.edge";

/// Each look-up of `03-ledger.md` as a reader under row-level security, and the index that serves it.
#[tokio::test(flavor = "multi_thread")]
async fn every_lookup_of_a_reader_has_an_index() {
    let ledger = Ledger::fresh().await;
    let mut admin = ledger.admin().await;
    sqlx::raw_sql(POPULATION).execute(&mut admin).await.unwrap();
    sqlx::raw_sql(
        "set role logline_reader; set app.tenant_id = 'acme'; set app.user_id = 'user1'; set enable_seqscan = off",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    let id = "md5('100')::uuid";
    for (index, lookup) in [
        ("span_at", "ledger.visible_timeline order by \"when\" desc limit 20".to_owned()),
        ("span_at", "ledger.visible_timeline where at between '2026-01-01 01:00' and '2026-01-01 01:01'".to_owned()),
        ("span_type", "ledger.visible_timeline where entity_type = 'law.decision' order by \"when\" desc".to_owned()),
        (
            "span_type",
            "ledger.readable where entity_type = 'activity' and tenant_id = 'acme' order by position desc limit 100".to_owned(),
        ),
        ("span_owner", "ledger.visible_timeline where owner_id = 'user1' and tenant_id = 'tenant8'".to_owned()),
        ("span_trace", "ledger.visible_timeline where trace_id = md5('33')".to_owned()),
        ("span_parent", format!("ledger.visible_timeline where parent_id = {id}")),
        ("edge_pkey", format!("ledger.related join ledger.visible_timeline using (tenant_id, id, seq) where target = {id}")),
        ("span_status", "ledger.visible_timeline where status = 'scheduled'".to_owned()),
        ("span_pkey", format!("ledger.visible_timeline where tenant_id = 'acme' and id = {id}")),
        ("span_public_id", format!("ledger.readable where visibility = 'public' and id = {id}")),
        (
            "span_public",
            "ledger.readable where visibility = 'public' order by received_at desc, tenant_id desc, position desc limit 100".to_owned(),
        ),
        ("span_position", "ledger.readable where tenant_id = 'acme' order by position desc limit 100".to_owned()),
    ] {
        let plan: Vec<String> =
            sqlx::query_scalar(&format!("explain select * from {lookup}")).fetch_all(&mut admin).await.unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains(&format!(" {index} ")), "{lookup}:\n{plan}");
        assert!(!plan.contains("Seq Scan on span"), "{lookup}:\n{plan}");
    }
}
