use axum::{body::Body, http::Method};
use logline_api::Check;
use serde_json::json;

use crate::world::{World, config};

const ORIGIN: &str = "https://app.example";

/// API-3: off unless an operator names origins.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_named_origins_alone_may_call() {
    let world = World::new().await;
    let anonymous = world.anonymous();
    let from = |path: &str| {
        anonymous
            .request(Method::GET, path)
            .header("origin", ORIGIN)
    };
    let closed = anonymous.send(from("/api/timeline"), Body::empty()).await;
    assert_eq!(closed.header("access-control-allow-origin"), "");

    let mut config = config();
    config.cors_origins = vec![ORIGIN.to_owned()];
    let world = World::with(config).await;
    let anonymous = world.anonymous();
    let from = |origin: &str| {
        anonymous
            .request(Method::GET, "/api/nothing")
            .header("origin", origin)
    };
    let open = anonymous.send(from(ORIGIN), Body::empty()).await;
    assert_eq!(open.problem(), "404 not_found");
    assert_eq!(open.header("access-control-allow-origin"), ORIGIN);
    let other = anonymous
        .send(from("https://evil.example"), Body::empty())
        .await;
    assert_eq!(other.header("access-control-allow-origin"), "");
    let preflight = anonymous
        .request(Method::OPTIONS, "/api/spans")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    let preflight = anonymous.send(preflight, Body::empty()).await;
    assert_eq!(preflight.status, 200);
    assert!(
        preflight
            .header("access-control-allow-headers")
            .contains("authorization")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_health_readiness_and_counts() {
    let world = World::new().await;
    let anonymous = world.anonymous();
    assert_eq!(
        anonymous.get("/healthz").await.json(),
        json!({"status": "ok"})
    );
    let ready = anonymous.get("/readyz").await;
    assert_eq!(ready.status, 200);
    let parts = [("bus", true), ("ledger", true), ("projector", true)]
        .map(|(name, ok)| json!({"name": name, "ok": ok}));
    assert_eq!(ready.json(), json!({"ready": true, "checks": parts}));
    anonymous.get("/healthz").await;
    let metrics = anonymous.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(
        metrics.text.contains("logline_api_requests_total{"),
        "{}",
        metrics.text
    );
    assert!(
        metrics.text.contains("route=\"/healthz\""),
        "{}",
        metrics.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_not_well_makes_the_process_not_ready() {
    let check = Check::new("worker", || Err("the sandbox is missing".to_owned()));
    let world = World::with_check(check).await;
    let ready = world.anonymous().get("/readyz").await;
    assert_eq!(ready.status, 503);
    let worker = json!({"name": "worker", "ok": false, "detail": "the sandbox is missing"});
    assert_eq!(ready.json()["checks"][2], worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_answered_and_the_next_request_too() {
    let world = World::with_check(Check::new("worker", || panic!("of a test"))).await;
    let anonymous = world.anonymous();
    assert_eq!(anonymous.get("/readyz").await.problem(), "500 internal");
    assert_eq!(anonymous.get("/healthz").await.status, 200);
}
