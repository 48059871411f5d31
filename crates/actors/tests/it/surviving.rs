//! Crashes, restarts, take-overs and stops: every request is executed once in the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use logline_actors::{Role, State, Step};
use logline_testkit::deadline;
use serde_json::json;

use crate::world::{PATIENCE, World, broken_sandbox, config, failing};

const ECHO: &str = "export function main(ctx) { return ctx.input }";

/// Crashes a role at a step, the first `times` times.
fn crashing(role: Role, step: Step, times: usize) -> Option<logline_actors::OnStep> {
    let crashes = AtomicUsize::new(0);
    failing(move |at, reached| {
        at == role && reached == step && crashes.fetch_add(1, SeqCst) < times
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn exe_5_a_role_that_crashes_comes_back_and_a_redelivery_changes_nothing() {
    for role in [Role::Observer, Role::Worker] {
        for step in [Step::Taken, Step::Published] {
            let world = World::new().await;
            let mut actors = world.actors_with(config(), crashing(role, step, 2)).await;
            let mut tail = world.tail(&["execution"]).await;
            let function = world.function(ECHO, json!({ "input": 7 })).await;
            assert_eq!(tail.of(function).await.span.output.unwrap().to_value(), 7);
            world.settle().await;
            assert_eq!(
                world.count(&format!("parent_id = '{function}'")),
                2,
                "{role} crashed at {step:?}"
            );
            deadline(
                PATIENCE,
                actors
                    .health
                    .wait_for(|roles| roles.values().all(|state| *state == State::Running)),
            )
            .await;
            assert!(actors.health.is_ready());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exe_5_a_role_that_keeps_crashing_stops_with_an_incident() {
    let world = World::new().await;
    let mut actors = world
        .actors_with(config(), crashing(Role::Worker, Step::Taken, usize::MAX))
        .await;
    let mut tail = world.tail(&["incident"]).await;
    world.function(ECHO, json!({})).await;
    let stopped = |state: &State| matches!(state, State::Stopped { .. });
    assert!(
        deadline(
            PATIENCE,
            actors
                .health
                .wait_for(|roles| stopped(&roles[&Role::Worker]))
        )
        .await
    );
    assert!(!actors.health.is_ready());
    assert_eq!(
        actors.health.roles()[&Role::Observer],
        State::Running,
        "the others go on"
    );
    let incident = tail.next().await.span;
    assert_eq!(
        (incident.tenant_id.as_str(), incident.who.as_str()),
        ("system", "edge:worker")
    );
    assert_eq!(
        (incident.did.unwrap().as_str(), incident.this.as_str()),
        ("detected", "role.worker")
    );
    assert_eq!(
        incident.metadata.unwrap().to_value()["code"],
        "role_stopped"
    );
}

/// It would hold the requests that another process could run.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_sandbox_cannot_be_loaded_is_not_ready_and_takes_no_request() {
    let world = World::new().await;
    let mut broken = world.actors_in(broken_sandbox(), config(), None).await;
    let stopped = deadline(
        PATIENCE,
        broken.health.wait_for(|roles| {
            let states = (&roles[&Role::Observer], &roles[&Role::Worker]);
            matches!(states, (State::Running, State::Stopped { .. }))
        }),
    );
    assert!(stopped.await);
    assert!(!broken.health.is_ready());
    let function = world.function(ECHO, json!({ "input": 7 })).await;
    let _whole = world.actors().await;
    let mut tail = world.tail(&["execution"]).await;
    assert_eq!(tail.of(function).await.span.output.unwrap().to_value(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_execute_each_request_once() {
    let world = World::new().await;
    let mut one = Some(world.actors().await);
    let _two = world.actors().await;
    let mut functions = Vec::new();
    for number in 0..3 {
        functions.push(world.function(ECHO, json!({ "input": number })).await);
    }
    for number in 0..30 {
        world
            .request("alice", functions[number % 3], json!({ "input": number }))
            .await;
        if number == 15 {
            drop(world.actors().await);
        }
    }
    let mut tail = world.tail(&["execution"]).await;
    for number in 0..33 {
        tail.next().await;
        if number == 20 {
            one.take().unwrap().stop().await;
        }
    }
    world.settle().await;
    assert_eq!(world.count("entity_type = 'request'"), 34);
    assert_eq!(world.count("entity_type = 'execution'"), 34);
    assert_eq!(
        world.count("entity_type = 'execution' and status = 'complete'"),
        34
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exe_9_a_stop_hands_back_what_waits() {
    let world = World::new().await;
    let taken = Arc::new(tokio::sync::Semaphore::new(0));
    let announce = Arc::clone(&taken);
    let on_step: logline_actors::OnStep = Arc::new(move |role, step| {
        if (role, step) == (Role::Worker, Step::Taken) {
            announce.add_permits(1);
        }
    });
    let actors = world.actors_with(config(), Some(on_step)).await;
    let more = json!({ "status": "active", "metadata": { "timeout_ms": 1500 } });
    let busy = world
        .function("export function main() { for (;;); }", more)
        .await;
    for _ in 0..3 {
        world.request("alice", busy, json!({})).await;
    }
    let _ = deadline(PATIENCE, taken.acquire_many(3)).await.unwrap();
    let begun = Instant::now();
    actors.stop().await;
    assert!(
        begun.elapsed().as_secs() < 10,
        "it took {:?}",
        begun.elapsed()
    );
    let ended = world.count("entity_type = 'execution'");
    assert!(ended < 3, "what waited was not begun");
    let mut tail = world.tail(&["execution"]).await;
    let _next = world.actors().await;
    for _ in 0..3 {
        tail.of(busy).await;
    }
    world.settle().await;
    assert_eq!(
        world.count(&format!(
            "entity_type = 'execution' and parent_id = '{busy}'"
        )),
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_comes_back_finds_everything_done() {
    let world = World::new().await;
    let actors = world.actors().await;
    let mut functions = Vec::new();
    for number in 0..10 {
        functions.push(world.function(ECHO, json!({ "input": number })).await);
    }
    world.nats.kill().await;
    world.nats.restart().await.unwrap();
    let mut tail = world.tail(&["execution"]).await;
    for _ in &functions {
        tail.next().await;
    }
    world.settle().await;
    for function in functions {
        assert_eq!(
            world.count(&format!(
                "entity_type = 'execution' and parent_id = '{function}'"
            )),
            1
        );
    }
    assert!(actors.health.is_ready(), "a lost bus is no crash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_comes_back_loses_no_request_and_keeps_their_order() {
    let world = World::with_own_postgres().await;
    let function = world.function(ECHO, json!({ "status": "active" })).await;
    let mut requests = Vec::new();
    for number in 0..5 {
        requests.push(
            world
                .request("alice", function, json!({ "input": number }))
                .await,
        );
    }
    world.postgres().stop().await.unwrap();
    let taken = Arc::new(tokio::sync::Semaphore::new(0));
    let announce = Arc::clone(&taken);
    let on_step: logline_actors::OnStep = Arc::new(move |_, _| announce.add_permits(1));
    let actors = world.actors_with(config(), Some(on_step)).await;
    let _ = deadline(PATIENCE, taken.acquire_many(5)).await.unwrap();
    world.postgres().restart().await.unwrap();
    let mut tail = world.tail(&["execution"]).await;
    for request in requests {
        assert_eq!(tail.of(function).await.span.caused_by, Some(request));
    }
    assert!(actors.health.is_ready(), "a lost ledger is no crash");
}

/// The crash lets the older version come again after the newer one was handled.
#[tokio::test(flavor = "multi_thread")]
async fn bus_9_an_older_version_that_comes_again_leaves_the_newer_ones_schedule_alone() {
    for older in [
        json!(null),
        json!({ "schedule": "@at 2100-01-01T00:00:00Z" }),
    ] {
        let world = World::new().await;
        let function = world.function(ECHO, json!({ "metadata": older })).await;
        let newer = json!({ "id": function, "seq": 1, "metadata": { "schedule": "@every 1s" } });
        world.function(ECHO, newer).await;
        let first = AtomicUsize::new(0);
        let crashing = failing(move |role, step| {
            role == Role::Observer && step == Step::Published && first.fetch_add(1, SeqCst) == 0
        });
        let _actors = world.actors_with(config(), crashing).await;
        let mut tail = world.tail(&["request"]).await;
        let mut repeated = 0;
        while repeated < 3 {
            let request = tail.of(function).await.span;
            let key = request.idempotency_key.unwrap();
            repeated += usize::from(key.contains(&format!("{function}:1:")));
        }
    }
}
