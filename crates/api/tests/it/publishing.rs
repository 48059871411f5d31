use axum::{body::Body, http::Method};
use logline_span::{Draft, Encoding, Limits, SigningKey};
use serde_json::{Value, json};

use crate::world::World;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

fn door() -> Value {
    json!({"entity_type": "activity", "who": "alice", "this": "door"})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_span_is_answered_with_its_receipt_and_can_be_read() {
    let world = World::new().await;
    let alice = world.alice();
    let receipt = alice.seal(&door()).await;
    assert_eq!(receipt["success"], true);
    assert_eq!(receipt["seq"], 0);
    assert_eq!(receipt["position"], 1);
    assert!(receipt["at"].as_str().unwrap().ends_with('Z'));
    assert!(
        receipt["curr_hash"]
            .as_str()
            .unwrap()
            .starts_with("blake3:")
    );
    let id = receipt["id"].as_str().unwrap();
    assert_eq!(
        id.as_bytes()[14],
        b'7',
        "an id that was not sent is a UUIDv7: {id}"
    );
    let span = alice.get(&format!("/api/spans/{id}")).await;
    assert_eq!(span.status, 200);
    assert_eq!(span.json()["this"], "door");
    assert_eq!(span.json()["curr_hash"], receipt["curr_hash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_answered_in_order_with_refusals_among_the_receipts() {
    let world = World::new().await;
    let body = json!([door(), {"entity_type": "activity", "who": "alice"}, door(), 5]);
    let answer = world
        .alice()
        .post("/api/spans", JSON, body.to_string())
        .await;
    assert_eq!(answer.status, 200);
    let entries = answer.json();
    let summary: Vec<String> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| match entry["success"] == true {
            true => format!("position {}", entry["position"]),
            false => format!(
                "{} {}",
                entry["code"].as_str().unwrap(),
                entry["pointer"].as_str().unwrap()
            ),
        })
        .collect();
    assert_eq!(
        summary,
        [
            "position 1",
            "missing_field /this",
            "position 2",
            "wrong_type "
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ndjson_is_answered_line_by_line() {
    let world = World::new().await;
    let body = format!("{}\n\nnot json\r\n{}", door(), door());
    let answer = world.alice().post("/api/spans", NDJSON, body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), NDJSON);
    let lines: Vec<Value> = answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{}", answer.text);
    assert_eq!(lines[0]["position"], 1);
    assert_eq!(lines[1]["code"], "malformed_json");
    assert_eq!(lines[2]["position"], 2);
    let nothing = world.alice().post("/api/spans", JSON, "[]").await;
    assert_eq!((nothing.status, nothing.text.as_str()), (200, "[]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_in_one_array_are_sealed_in_their_order() {
    let world = World::new().await;
    let versions: Vec<Value> = (0..900)
        .map(|seq| {
            json!({"id": "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f", "seq": seq,
                   "entity_type": "note", "who": "alice", "this": "page"})
        })
        .collect();
    let body = Value::from(versions).to_string();
    let answer = world.alice().post("/api/spans", JSON, body).await.json();
    for (index, entry) in answer.as_array().unwrap().iter().enumerate() {
        assert_eq!(entry["position"], index + 1, "{entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_is_taken() {
    let world = World::new().await;
    let body = rmp_serde::to_vec(&door()).unwrap();
    let answer = world
        .alice()
        .post("/api/spans", "application/msgpack", body)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["position"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_span_is_sealed_as_it_was_signed() {
    let world = World::new().await;
    let mut whole = door();
    let fields = json!({
        "id": "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f", "at": "2026-01-31T12:00:00.000000Z",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "tenant_id": "acme", "owner_id": "alice",
    });
    whole
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let mut draft = Draft::parse(
        whole.to_string().as_bytes(),
        Encoding::Json,
        &Limits::STANDARD,
    )
    .unwrap();
    draft.sign(&SigningKey::from_seed(&[3; 32])).unwrap();
    let signed: Value = serde_json::from_str(&draft.to_json()).unwrap();
    let receipt = world.alice().seal(&signed).await;
    let span = world
        .alice()
        .get(&format!("/api/spans/{}", receipt["id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(span["signature"], signed["signature"]);

    let mut incomplete = signed.clone();
    incomplete.as_object_mut().unwrap().remove("id");
    assert_eq!(
        world.alice().publish(&incomplete).await.problem(),
        "422 signature_incomplete /id"
    );
    let mut forged = signed;
    forged["this"] = "window".into();
    assert_eq!(
        world.alice().publish(&forged).await.problem(),
        "422 signature_invalid /signature"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_bus_alone_asks_for_the_receipt_later() {
    let world = World::new().await;
    let alice = world.alice();
    let mut events = alice.follow("/api/timeline/stream", None).await;
    let answer = alice
        .post("/api/spans?wait=received", JSON, door().to_string())
        .await;
    assert_eq!(answer.status, 202);
    let received = answer.json();
    assert_eq!(
        (&received["success"], &received["level"]),
        (&json!(true), &json!("received"))
    );
    let path = format!("/api/receipts/{}", received["receipt"].as_str().unwrap());
    assert_eq!(answer.header("location"), path);
    // A span on the timeline is committed, and so is its receipt.
    let span = events.span().await;
    assert_eq!(span["id"], received["id"]);
    let receipt = alice.get(&path).await;
    assert_eq!(receipt.status, 200);
    assert_eq!(receipt.json()["curr_hash"], span["curr_hash"]);
    assert_eq!(world.bob().get(&path).await.problem(), "404 not_found");
    assert_eq!(world.eve().get(&path).await.problem(), "404 not_found");
    assert_eq!(
        world.anonymous().get(&path).await.problem(),
        "401 unauthorized"
    );
    let other = format!("/api/receipts/7-{}", "0".repeat(32));
    let unknown = alice.get(&other).await;
    assert_eq!(
        (unknown.problem().as_str(), unknown.header("retry-after")),
        ("404 not_found", "1")
    );
    assert_eq!(
        alice.get("/api/receipts/7").await.problem(),
        "400 invalid_value /receipt"
    );

    let many = alice
        .post("/api/spans?wait=received", NDJSON, door().to_string())
        .await;
    assert_eq!(many.status, 200);
    assert_eq!(many.json()["level"], "received");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_idempotency_key_is_answered_with_the_first_receipt() {
    let world = World::new().await;
    let mut span = door();
    span["idempotency_key"] = "once".into();
    let first = world.alice().seal(&span).await;
    let second = world.alice().seal(&span).await;
    assert_eq!(first.get("duplicate"), None);
    assert_eq!(second["duplicate"], true);
    assert_eq!(second["id"], first["id"]);
    assert_eq!(second["curr_hash"], first["curr_hash"]);
}

/// OBS-1: one trace from the request on.
#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_request_goes_into_its_spans() {
    let world = World::new().await;
    let alice = world.alice();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = alice
        .request(Method::POST, "/api/spans")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = alice.send(request, Body::from(door().to_string())).await;
    assert!(answer.header("traceparent").contains(trace));
    assert!(!answer.header("x-request-id").is_empty());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let span = alice.get(&format!("/api/spans/{id}")).await.json();
    assert_eq!(span["trace_id"], trace);

    let answer = alice.publish(&json!([door(), door()])).await;
    let begun = answer.header("traceparent").get(3..35).unwrap().to_owned();
    let spans = alice
        .get(&format!("/api/timeline?trace_id={begun}"))
        .await
        .json();
    assert_eq!(
        spans["count"], 2,
        "spans of one request share the trace that begins with it"
    );

    let refused = alice.get("/api/nothing").await;
    assert!(
        refused
            .header("traceparent")
            .contains(refused.json()["trace_id"].as_str().unwrap())
    );
}
