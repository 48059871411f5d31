use axum::{body::Body, http::Method};
use serde_json::{Value, json};

use crate::world::{World, config};

const JSON: &str = "application/json";

fn door(fields: Value) -> Value {
    let mut span = json!({"entity_type": "activity", "who": "alice", "this": "door"});
    span.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    span
}

/// Bodies that break one rule each, with the status, code and pointer that they are answered with.
fn broken() -> Vec<(String, &'static str)> {
    let deep = format!("{}1{}", "[".repeat(80), "]".repeat(80));
    vec![
        ("{\"who\":".to_owned(), "400 malformed_json"),
        (String::new(), "400 malformed_json"),
        ("[{\"who\":1},]".to_owned(), "400 malformed_json"),
        ("\"text\"".to_owned(), "400 wrong_type"),
        (
            door(json!({"seq": "one"})).to_string(),
            "400 wrong_type /seq",
        ),
        (
            door(json!({"colour": "red"})).to_string(),
            "400 unknown_field /colour",
        ),
        (
            door(json!({"this": null})).to_string(),
            "400 missing_field /this",
        ),
        (
            door(json!({"at": "yesterday"})).to_string(),
            "400 invalid_timestamp /at",
        ),
        (
            door(json!({"at": "2999-01-01T00:00:00Z"})).to_string(),
            "400 at_in_future /at",
        ),
        (
            door(json!({"curr_hash": "x"})).to_string(),
            "400 ledger_field /curr_hash",
        ),
        (
            door(json!({"who": "edge:me"})).to_string(),
            "422 reserved_name /who",
        ),
        (
            door(json!({"entity_type": "execution"})).to_string(),
            "422 reserved_type /entity_type",
        ),
        (
            door(json!({"tenant_id": "other"})).to_string(),
            "403 tenant_mismatch /tenant_id",
        ),
        (
            door(json!({"owner_id": "bob"})).to_string(),
            "403 owner_mismatch /owner_id",
        ),
        (
            door(json!({"public_key": "00".repeat(32)})).to_string(),
            "422 key_without_signature /public_key",
        ),
        (
            "{\"entity_type\":\"a\",\"who\":\"a\",\"this\":\"b\",\"input\":9007199254740993}"
                .to_owned(),
            "400 unsafe_number /input",
        ),
        (
            format!("{{\"entity_type\":\"a\",\"who\":\"a\",\"this\":\"b\",\"input\":{deep}}}"),
            "400 too_deep",
        ),
        (
            door(json!({"content": "x".repeat(300 << 10)})).to_string(),
            "413 too_large",
        ),
    ]
}

/// SPAN-2, SPAN-5, LED-14: the code, the pointer, the status; the bytes in quarantine; the stream goes on.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_by_its_rule_and_kept() {
    let world = World::new().await;
    for (body, problem) in broken() {
        let answer = world.alice().post("/api/spans", JSON, body.clone()).await;
        let found = answer.problem();
        assert!(
            found.starts_with(problem),
            "{found}, wanted {problem}, for {:.80}",
            body
        );
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        let kept = world.quarantined("acme", &code).await;
        assert!(kept.contains(&body), "not in quarantine: {body:.80}");
        assert!(kept.contains("as alice of acme"), "{kept:.300}");
    }
    assert_eq!(world.alice().seal(&door(json!({}))).await["position"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_someone_elses_span_is_refused_by_the_ledger() {
    let world = World::new().await;
    let id = "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f";
    world.alice().seal(&door(json!({"id": id}))).await;
    let answer = world
        .bob()
        .publish(&door(json!({"id": id, "seq": 1, "who": "bob"})))
        .await;
    assert!(
        answer.problem().starts_with("409 version_owner"),
        "{}",
        answer.text
    );
    assert!(
        world
            .quarantined("acme", "version_owner")
            .await
            .contains(id)
    );
    let answer = world
        .alice()
        .publish(&door(json!({"id": id, "this": "window"})))
        .await;
    assert!(
        answer.problem().starts_with("409 version_conflict"),
        "{}",
        answer.text
    );
    // Ids are a tenant's own: in another tenant the same id is free.
    world.eve().seal(&door(json!({"id": id}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_its_bound_is_refused_and_not_kept() {
    let mut config = config();
    config.batch_bytes_max = 3 << 20;
    config.batch_entries_max = 3;
    let world = World::with(config).await;
    let alice = world.alice();
    let long = door(json!({"content": "x".repeat((1 << 20) + 1)})).to_string();
    assert_eq!(
        alice.post("/api/spans", JSON, long.clone()).await.problem(),
        "413 body_too_large"
    );
    let among = format!("[{long},{}]", door(json!({})));
    let entries = alice.post("/api/spans", JSON, among).await.json();
    assert_eq!(entries[0]["code"], "body_too_large");
    assert_eq!(entries[1]["position"], 1);
    let whole = " ".repeat((3 << 20) + 1);
    assert_eq!(
        alice.post("/api/spans", JSON, whole).await.problem(),
        "413 body_too_large"
    );
    let many = Value::from(vec![door(json!({})); 4]);
    assert_eq!(alice.publish(&many).await.problem(), "413 body_too_large");
    // Space between tokens is not content: what is padded to the bound is sealed.
    let padded = format!(
        "{}{}",
        " ".repeat((1 << 20) - 200),
        door(json!({"id": "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f"}))
    );
    assert!(padded.len() <= 1 << 20);
    assert_eq!(
        alice.post("/api/spans", JSON, padded).await.json()["position"],
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_checked_before_anything_else() {
    let world = World::new().await;
    let anonymous = world.anonymous().publish(&door(json!({}))).await;
    assert_eq!(anonymous.problem(), "401 unauthorized");
    assert_eq!(
        anonymous.header("www-authenticate"),
        "Bearer realm=\"logline\""
    );
    for path in [
        "/api/timeline",
        "/api/spans/0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f",
        "/api/timeline/stream",
    ] {
        let wrong = world.by("guessed").get(path).await;
        assert_eq!(wrong.problem(), "401 unauthorized", "{path}");
        assert!(wrong.header("www-authenticate").contains("invalid_token"));
    }
    let basic = world.anonymous();
    let request = basic
        .request(Method::GET, "/api/timeline")
        .header("authorization", "Basic YTpi");
    assert_eq!(
        basic.send(request, Body::empty()).await.problem(),
        "401 unauthorized"
    );
    let alice = world.alice();
    let twice = alice
        .request(Method::GET, "/api/timeline")
        .header("authorization", "Bearer guessed");
    assert_eq!(
        alice.send(twice, Body::empty()).await.problem(),
        "401 unauthorized"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_exist_are_answered_with_problems() {
    let world = World::new().await;
    let alice = world.alice();
    assert_eq!(alice.get("/api/nothing").await.problem(), "404 not_found");
    assert_eq!(alice.get("/").await.problem(), "404 not_found");
    let method = alice
        .send(alice.request(Method::DELETE, "/api/spans"), Body::empty())
        .await;
    assert_eq!(method.problem(), "405 method_not_allowed");
    assert_eq!(method.header("allow"), "POST,GET,HEAD");
    let form = alice
        .post("/api/spans", "application/x-www-form-urlencoded", "{}")
        .await;
    assert_eq!(form.problem(), "415 unsupported_encoding");
    let zipped = alice
        .request(Method::POST, "/api/spans")
        .header("content-encoding", "gzip");
    assert_eq!(
        alice.send(zipped, Body::from("{}")).await.problem(),
        "415 unsupported_encoding"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_are_unknown_or_malformed_are_refused_with_their_name() {
    let world = World::new().await;
    let alice = world.alice();
    let id = "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f";
    for (path, problem) in [
        ("/api/timeline?entity=a", "400 invalid_query /entity"),
        ("/api/timeline?who=a&who=b", "400 invalid_query /who"),
        ("/api/timeline?limit=0", "400 invalid_query /limit"),
        ("/api/timeline?limit=1001", "400 invalid_query /limit"),
        ("/api/timeline?since=yesterday", "400 invalid_query /since"),
        (
            "/api/timeline?tenant_id=ACME",
            "400 invalid_query /tenant_id",
        ),
        ("/api/timeline?cursor=5", "400 invalid_cursor /cursor"),
        (
            "/api/timeline?as_of=2999-01-01T00:00:00Z",
            "400 invalid_query /as_of",
        ),
        ("/api/timeline/stream?limit=5", "400 invalid_query /limit"),
        ("/api/timeline/stream?after=-1", "400 invalid_cursor /after"),
        (
            "/api/timeline/stream?after=18446744073709551615",
            "400 invalid_cursor /after",
        ),
        ("/api/spans/5", "400 invalid_value /id"),
        ("/api/spans/%FF", "400 invalid_utf8"),
        (&format!("/api/spans/{id}?seq=-1"), "400 invalid_query /seq"),
        (
            &format!("/api/spans/{id}?sequence=1"),
            "400 invalid_query /sequence",
        ),
        ("/healthz?verbose", "400 invalid_query /verbose"),
    ] {
        assert_eq!(alice.get(path).await.problem(), problem, "{path}");
    }
    let wait = alice
        .post("/api/spans?wait=forever", JSON, door(json!({})).to_string())
        .await;
    assert_eq!(wait.problem(), "400 invalid_query /wait");
}

/// API-5: every request is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_ended() {
    let mut config = config();
    config.request_timeout_ms = 100;
    let world = World::with(config).await;
    let never = Body::from_stream(futures_util::stream::pending::<
        Result<String, std::io::Error>,
    >());
    let answer = world.alice().post("/api/spans", JSON, never).await;
    assert_eq!(answer.problem(), "408 request_timeout");
}
