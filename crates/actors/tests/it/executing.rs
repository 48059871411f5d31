//! From a scheduled function to its execution.

use expect_test::expect;
use logline_span::Sealed;
use serde_json::{Value, json};

use crate::world::{World, config, owner, shown};

const HELLO: &str = "export async function main(ctx) { ctx.log('hi', ctx.input.name); return { hello: ctx.input.name } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_function_becomes_a_request_and_an_execution_as_the_table_says() {
    let world = World::new().await;
    let _actors = world.actors().await;
    let mut tail = world.tail(&["request", "execution"]).await;
    let more = json!({ "name": "greet", "input": { "name": "Ada" }, "visibility": "tenant" });
    let function = world.function(HELLO, more).await;
    let request = tail.of(function).await;
    let execution = tail.of(function).await;
    let names = [(function, "<function>"), (request.span.id, "<request>")];
    expect![[r#"
        {
          "did": "scheduled",
          "entity_type": "request",
          "idempotency_key": "edge:observer:<function>:0:<due>",
          "is_deleted": false,
          "links": {
            "caused_by": "<function>"
          },
          "owner_id": "alice",
          "parent_id": "<function>",
          "published_by": "edge:observer",
          "related_to": [
            "<function>"
          ],
          "seq": 0,
          "status": "scheduled",
          "tenant_id": "acme",
          "this": "run_code",
          "visibility": "tenant",
          "who": "edge:observer"
        }"#]]
    .assert_eq(&shown(&request, &names).replace(&request.span.at.to_string(), "<due>"));
    expect![[r#"
        {
          "did": "executed",
          "entity_type": "execution",
          "idempotency_key": "edge:run_code:<request>:0",
          "input": {
            "name": "Ada"
          },
          "is_deleted": false,
          "links": {
            "caused_by": "<request>"
          },
          "metadata": {
            "logs": [
              "hi Ada"
            ]
          },
          "name": "greet",
          "output": {
            "hello": "Ada"
          },
          "owner_id": "alice",
          "parent_id": "<function>",
          "published_by": "edge:run_code",
          "related_to": [
            "<function>"
          ],
          "seq": 0,
          "status": "complete",
          "tenant_id": "acme",
          "this": "run_code",
          "visibility": "tenant",
          "who": "edge:run_code"
        }"#]]
    .assert_eq(&shown(&execution, &names));
    assert_eq!(request.span.trace_id, execution.span.trace_id);
    assert!(execution.span.duration_ms.is_some());
}

/// Runs the code and gives the error of its execution.
async fn error_of(world: &World, code: &str, more: Value) -> Value {
    let mut tail = world.tail(&["execution"]).await;
    let function = world.function(code, more).await;
    let execution = tail.of(function).await;
    assert_eq!(execution.span.status.as_ref().unwrap().as_str(), "error");
    assert!(execution.span.output.is_none());
    execution.span.error.unwrap().to_value()
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_fails_is_reported_with_its_code() {
    let world = World::new().await;
    let _actors = world.actors().await;
    let cases = [
        (
            "export function main() { throw new Error('no') }",
            json!({}),
            "exception",
        ),
        (
            "export function main() { for (;;); }",
            json!({ "metadata": { "timeout_ms": 50 } }),
            "timeout",
        ),
        (
            "export function main() { return 'x'.repeat(200000) }",
            json!({}),
            "output_too_large",
        ),
        ("export const other = 1", json!({}), "no_main"),
        ("export function main( {", json!({}), "syntax"),
        ("   ", json!({}), "code_missing"),
        (
            "print(1)",
            json!({ "language": "python" }),
            "language_unsupported",
        ),
    ];
    for (code, more, expected) in cases {
        let error = error_of(&world, code, more).await;
        assert_eq!(error["code"], expected, "{code}: {error}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
    }
    let thrown = error_of(
        &world,
        "export function main() { throw new Error('no') }",
        json!({}),
    )
    .await;
    assert!(thrown["message"].as_str().unwrap().contains("no"));
    assert!(
        thrown["stack"].as_str().unwrap().contains("main"),
        "{thrown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_function_that_is_not_there_is_answered_to_its_owner() {
    let world = World::new().await;
    let _actors = world.actors().await;
    let mut tail = world.tail(&["execution"]).await;
    let nothing = "0198c0de-0000-7000-8000-00000000000f".parse().unwrap();
    let request = world
        .request("bob", nothing, json!({ "visibility": "tenant" }))
        .await;
    let execution = tail.of(nothing).await;
    assert_eq!(execution.span.caused_by, Some(request));
    assert_eq!(execution.span.owner_id, owner("bob"));
    assert_eq!(execution.span.visibility.as_str(), "tenant");
    assert_eq!(
        execution.span.error.unwrap().to_value()["code"],
        "function_not_found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_cannot_be_read_is_an_answer_and_holds_nothing_up() {
    let world = World::new().await;
    let function = world.function(HELLO, json!({ "status": "active" })).await;
    world.damage(function);
    let mut tail = world.tail(&["execution"]).await;
    let _actors = world.actors().await;
    let request = world.request("bob", function, json!({})).await;
    let execution = tail.of(function).await;
    assert_eq!(execution.span.caused_by, Some(request));
    assert_eq!(
        execution.span.error.unwrap().to_value()["code"],
        "function_unreadable"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_and_named_invokers_may_have_a_function_run() {
    let world = World::new().await;
    let _actors = world.actors().await;
    let more =
        json!({ "status": "active", "visibility": "tenant", "metadata": { "invokers": ["bob"] } });
    let function = world
        .function("export function main(ctx) { return ctx.input }", more)
        .await;
    let mut tail = world.tail(&["execution", "policy_violation"]).await;
    for principal in ["alice", "bob", "carol"] {
        let request = world
            .request(
                principal,
                function,
                json!({ "input": principal, "visibility": "public" }),
            )
            .await;
        let answer = tail
            .until(|answer| answer.span.caused_by == Some(request))
            .await
            .span;
        assert_eq!(
            (answer.owner_id, answer.visibility.as_str()),
            (owner("alice"), "tenant"),
            "EXE-12"
        );
        if principal == "carol" {
            assert_eq!(
                (answer.entity_type.as_str(), answer.this.as_str()),
                ("policy_violation", "invokers")
            );
            assert_eq!(
                answer.metadata.unwrap().to_value()["code"],
                "not_an_invoker"
            );
        } else {
            assert_eq!(answer.output.unwrap().to_value(), principal);
        }
    }
}

/// GOV-6: who has a role when the request is sealed, whatever became of it since.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_role_that_a_function_names_may_have_it_run() {
    let world = World::new().await;
    let role = |whom: &str, role: &str| json!({ "who": "an admin", "this": whom, "metadata": { "role": role } });
    world
        .seal("bootstrap:seed", "role_grant", role("alice", "admin"))
        .await;
    world
        .seal("alice", "role_grant", role("dana", "operator"))
        .await;
    let more = json!({ "status": "active", "visibility": "tenant", "metadata": { "invokers": ["operator"] } });
    let function = world
        .function("export function main(ctx) { return ctx.input }", more)
        .await;
    let ask = async |principal: &str| world.request(principal, function, json!({})).await;
    let granted = ask("dana").await;
    world
        .seal("alice", "role_revoke", role("dana", "operator"))
        .await;
    let revoked = ask("dana").await;
    // What is not an admin's has no effect.
    world
        .seal("dana", "role_grant", role("dana", "operator"))
        .await;
    let claimed = ask("dana").await;
    let mut tail = world.tail(&["execution", "policy_violation"]).await;
    let _actors = world.actors().await;
    for (request, answer) in [
        (granted, "execution"),
        (revoked, "policy_violation"),
        (claimed, "policy_violation"),
    ] {
        let of_it = |answer: &Sealed| answer.span.caused_by == Some(request);
        let got = tail.until(of_it).await.span.entity_type;
        assert_eq!(got.as_str(), answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_no_more_visible_than_its_request() {
    let world = World::new().await;
    let _actors = world.actors().await;
    let function = world
        .function(HELLO, json!({ "status": "active", "visibility": "public" }))
        .await;
    let mut tail = world.tail(&["execution"]).await;
    for visibility in ["public", "tenant", "private"] {
        let input = json!({ "input": { "name": 1 }, "visibility": visibility });
        let request = world.request("alice", function, input).await;
        let execution = tail
            .until(|execution| execution.span.caused_by == Some(request))
            .await;
        assert_eq!(execution.span.visibility.as_str(), visibility);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_execution_is_labelled_once_and_after_it() {
    let world = World::new().await;
    let actors = logline_actors::Config {
        slow_ms: 20,
        ..config()
    };
    let _actors = world.actors_with(actors, None).await;
    let mut tail = world.tail(&["execution", "status_patch"]).await;
    let more = json!({ "metadata": { "timeout_ms": 60 }, "visibility": "tenant" });
    let function = world
        .function("export function main() { for (;;); }", more)
        .await;
    let execution = tail.of(function).await;
    let label = tail.of(execution.span.id).await;
    let names = [
        (execution.span.id, "<execution>"),
        (execution.span.caused_by.unwrap(), "<request>"),
    ];
    let duration = execution.span.duration_ms.unwrap().to_string();
    expect![[r#"
        {
          "did": "labeled",
          "entity_type": "status_patch",
          "idempotency_key": "edge:run_code:<request>:0:slow",
          "is_deleted": false,
          "links": {
            "caused_by": "<request>"
          },
          "metadata": {
            "duration_ms": <duration>,
            "status": "slow"
          },
          "owner_id": "alice",
          "parent_id": "<execution>",
          "published_by": "edge:run_code",
          "seq": 0,
          "tenant_id": "acme",
          "this": "status=slow",
          "visibility": "tenant",
          "who": "edge:run_code"
        }"#]]
    .assert_eq(&shown(&label, &names).replace(&duration, "<duration>"));
    world.settle().await;
    assert_eq!(world.count("entity_type = 'status_patch'"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_function_run_in_their_order() {
    let world = World::new().await;
    let function = world
        .function(
            "export function main(ctx) { return ctx.input }",
            json!({ "status": "active" }),
        )
        .await;
    let mut requests = Vec::new();
    for number in 0..50 {
        requests.push(
            world
                .request("alice", function, json!({ "input": number }))
                .await,
        );
    }
    let mut tail = world.tail(&["execution"]).await;
    let _actors = world.actors().await;
    for (request, number) in requests.into_iter().zip(0..) {
        let execution = tail.of(function).await.span;
        assert_eq!(
            execution.caused_by,
            Some(request),
            "the order is that of the requests"
        );
        assert_eq!(execution.output.unwrap().to_value(), number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_runs_the_version_that_held_when_it_was_sealed() {
    let world = World::new().await;
    let function = world
        .function(
            "export function main() { return 1 }",
            json!({ "status": "active" }),
        )
        .await;
    world.request("alice", function, json!({})).await;
    let newer = json!({ "id": function, "seq": 5, "status": "active" });
    world
        .function("export function main() { return 2 }", newer)
        .await;
    world.request("alice", function, json!({})).await;
    let mut tail = world.tail(&["execution"]).await;
    let _actors = world.actors().await;
    assert_eq!(tail.of(function).await.span.output.unwrap().to_value(), 1);
    assert_eq!(tail.of(function).await.span.output.unwrap().to_value(), 2);
}
