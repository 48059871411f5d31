use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{client::Client, world::World};

/// Publishes a span of each visibility and gives their ids.
async fn one_of_each(author: &Client) -> Vec<String> {
    let mut ids = Vec::new();
    for visibility in ["private", "tenant", "public"] {
        let span = json!({"entity_type": "note", "who": "someone", "this": visibility, "visibility": visibility});
        ids.push(author.seal(&span).await["id"].as_str().unwrap().to_owned());
    }
    ids
}

async fn listed(reader: &Client, path: &str) -> HashSet<String> {
    let page = reader.get(path).await;
    assert_eq!(page.status, 200, "{:?} {path}: {}", reader.token, page.text);
    let page = page.json();
    let id = |span: &Value| span["id"].as_str().unwrap().to_owned();
    page["spans"].as_array().unwrap().iter().map(id).collect()
}

/// LED-2 on every path that reads the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn everyone_reads_what_they_may_and_nothing_else() {
    let world = World::new().await;
    let ids = one_of_each(&world.alice()).await;
    for (reader, may_read) in [
        (world.alice(), &ids[..]),
        (world.bob(), &ids[1..]),
        (world.eve(), &ids[2..]),
        (world.anonymous(), &ids[2..]),
    ] {
        let wanted: HashSet<String> = may_read.iter().cloned().collect();
        for path in [
            "/api/timeline",
            "/api/spans",
            "/api/timeline?tenant_id=acme",
            "/api/spans?owner_id=alice&entity_type=note",
        ] {
            assert_eq!(
                listed(&reader, path).await,
                wanted,
                "{:?} {path}",
                reader.token
            );
        }
        for id in &ids {
            let answer = reader.get(&format!("/api/spans/{id}")).await;
            let status = if wanted.contains(id) { 200 } else { 404 };
            assert_eq!(answer.status, status, "{:?} {id}", reader.token);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_together() {
    let world = World::new().await;
    let alice = world.alice();
    let parent = "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f";
    let spans = json!([
        {"entity_type": "note", "who": "ann", "this": "a", "status": "open", "at": "2026-01-01T00:00:00Z"},
        {"entity_type": "note", "who": "ann", "this": "b", "status": "done", "at": "2026-01-02T00:00:00Z", "parent_id": parent},
        {"entity_type": "task", "who": "ben", "this": "c", "status": "open", "at": "2026-01-03T00:00:00Z", "related_to": [parent],
         "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
    ]);
    alice.publish(&spans).await;
    for (query, found) in [
        ("", "cba"),
        ("entity_type=note", "ba"),
        ("who=ann&status=open", "a"),
        ("status=open", "ca"),
        (&format!("parent_id={parent}"), "b"),
        (&format!("related_to={parent}"), "c"),
        ("trace_id=4bf92f3577b34da6a3ce929d0e0e4736", "c"),
        ("since=2026-01-02T00:00:00Z&until=2026-01-02T00:00:00Z", "b"),
        ("owner_id=bob@acme.com", ""),
    ] {
        let page = alice.get(&format!("/api/timeline?{query}")).await.json();
        let names: String = page["spans"]
            .as_array()
            .unwrap()
            .iter()
            .map(|span| span["this"].as_str().unwrap())
            .collect();
        assert_eq!(names, found, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_one_another_without_gap_or_repetition() {
    let world = World::new().await;
    let alice = world.alice();
    let spans: Vec<Value> = (0..25)
        .map(|n| json!({"entity_type": "note", "who": "ann", "this": n.to_string()}))
        .collect();
    alice.publish(&Value::from(spans)).await;
    let mut names = Vec::new();
    let mut path = "/api/timeline?limit=10".to_owned();
    loop {
        let page = alice.get(&path).await.json();
        let spans = page["spans"].as_array().unwrap();
        assert_eq!(page["count"], spans.len());
        assert!(page["sealed_through"].is_string());
        names.extend(
            spans
                .iter()
                .map(|span| span["this"].as_str().unwrap().parse::<u32>().unwrap()),
        );
        assert_eq!(page["has_more"], page["next"].is_string());
        match page["next"].as_str() {
            Some(next) => path = format!("/api/timeline?limit=10&cursor={next}"),
            None => break,
        }
    }
    let newest_first: Vec<u32> = (0..25).rev().collect();
    assert_eq!(names, newest_first);
}

/// LED-4: what the ledger knew then, on both paths.
#[tokio::test(flavor = "multi_thread")]
async fn versions_are_read_by_number_and_by_instant() {
    let world = World::new().await;
    let alice = world.alice();
    let id = "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f";
    let version = |seq: u32, this: &str| json!({"id": id, "seq": seq, "entity_type": "note", "who": "ann", "this": this});
    alice.seal(&version(0, "old")).await;
    let then = alice.get("/api/timeline").await.json()["sealed_through"]
        .as_str()
        .unwrap()
        .to_owned();
    alice.seal(&version(1, "new")).await;
    for (query, this) in [
        ("", "new"),
        ("?seq=0", "old"),
        ("?seq=1", "new"),
        (&format!("?as_of={then}"), "old"),
    ] {
        let span = alice.get(&format!("/api/spans/{id}{query}")).await.json();
        assert_eq!(span["this"], this, "{query}");
    }
    assert_eq!(
        alice.get(&format!("/api/spans/{id}?seq=2")).await.problem(),
        "404 not_found"
    );
    let page = alice
        .get(&format!("/api/timeline?as_of={then}"))
        .await
        .json();
    assert_eq!(
        (&page["count"], &page["spans"][0]["this"]),
        (&json!(1), &json!("old"))
    );
    let page = alice.get("/api/timeline").await.json();
    assert_eq!(
        (&page["count"], &page["spans"][0]["this"]),
        (&json!(1), &json!("new"))
    );
}
