use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{World, config};

const JSON: &str = "application/json";

fn door() -> Value {
    json!({"entity_type": "activity", "who": "alice", "this": "door"})
}

/// API-4: publishing goes on, reads say that they cannot, the receipt comes later.
#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_publishing_goes_on_and_receipts_follow() {
    let mut config = config();
    config.sealed_wait_ms = 300;
    let world = World::with_own_postgres(config).await;
    // What a signed token says is known without a ledger; of an API key nothing is.
    let token = world.token("acme", "alice", &["auditor"], Duration::from_secs(600));
    let alice = world.by(&token);
    let keyed = world.by(&logline_access::ApiKey::generate().expose());
    let mut events = alice.follow("/api/timeline/stream", None).await;
    world.postgres().stop().await.unwrap();

    let answer = alice.publish(&door()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let received = answer.json();
    assert_eq!(
        (&received["success"], &received["level"]),
        (&json!(true), &json!("received"))
    );
    let at_once = alice
        .post("/api/spans?wait=received", JSON, door().to_string())
        .await;
    assert_eq!(at_once.status, 202);
    let many = alice.publish(&json!([door()])).await;
    assert_eq!(
        (many.status, &many.json()[0]["level"]),
        (200, &json!("received"))
    );

    let receipt = format!("/api/receipts/{}", received["receipt"].as_str().unwrap());
    let span = format!("/api/spans/{}", received["id"].as_str().unwrap());
    for path in ["/api/timeline", &span, &receipt] {
        let answer = keyed.get(path).await;
        assert_eq!(answer.problem(), "503 ledger_unavailable", "{path}");
        let answer = alice.get(path).await;
        assert_eq!(answer.problem(), "503 ledger_unavailable", "{path}");
        assert_eq!(answer.header("retry-after"), "1");
    }
    let ready = alice.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["checks"][1]["ok"], false);
    assert_eq!(alice.get("/healthz").await.status, 200);

    world.postgres().restart().await.unwrap();
    for _ in 0..3 {
        events.span().await;
    }
    let late = alice.get(&receipt).await;
    assert_eq!(late.status, 200, "{}", late.text);
    assert_eq!(late.json()["id"], received["id"]);
    assert_eq!(alice.get(&span).await.status, 200);
    assert_eq!(alice.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_bus_is_away_nothing_is_taken_and_reads_go_on() {
    let world = World::new().await;
    let alice = world.alice();
    let sealed = alice.seal(&door()).await;
    let mut connection = world.bus.connected();
    world.nats.kill().await;
    let lost = connection.wait_for(|connection| !connection.up);
    logline_testkit::deadline(Duration::from_secs(30), lost)
        .await
        .unwrap();
    for path in ["/api/spans", "/api/spans?wait=received"] {
        let answer = alice.post(path, JSON, door().to_string()).await;
        assert_eq!(answer.problem(), "503 bus_unavailable");
        assert_eq!(answer.header("retry-after"), "1");
    }
    let many = alice.publish(&json!([door(), {"who": 1}])).await;
    assert_eq!(many.problem(), "503 bus_unavailable");
    assert_eq!(
        alice.get("/api/timeline/stream").await.problem(),
        "503 bus_unavailable"
    );
    let span = alice
        .get(&format!("/api/spans/{}", sealed["id"].as_str().unwrap()))
        .await;
    assert_eq!(span.status, 200);
    let ready = alice.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["checks"][0]["ok"]),
        (503, &json!(false))
    );

    world.nats.restart().await.unwrap();
    let back = connection.wait_for(|connection| connection.up);
    logline_testkit::deadline(Duration::from_secs(30), back)
        .await
        .unwrap();
    assert_eq!(alice.seal(&door()).await["position"], 2);
}
