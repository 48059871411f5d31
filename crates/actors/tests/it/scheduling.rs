//! One request for each version, and schedules that repeat it.

use serde_json::json;

use crate::world::World;

const NOTHING: &str = "export function main() {}";

#[tokio::test(flavor = "multi_thread")]
async fn a_function_published_many_times_gets_one_request() {
    let world = World::new().await;
    let _actors = world.actors().await;
    let function = world.function(NOTHING, json!({})).await;
    for _ in 0..20 {
        world.function(NOTHING, json!({ "id": function })).await;
    }
    world.settle().await;
    assert_eq!(
        world.count(&format!(
            "entity_type = 'request' and parent_id = '{function}'"
        )),
        1
    );
    assert_eq!(
        world.count(&format!(
            "entity_type = 'execution' and parent_id = '{function}'"
        )),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_repeat_the_request_at_their_times_until_a_version_without_one() {
    let world = World::new().await;
    let _actors = world.actors().await;
    let mut tail = world.tail(&["request"]).await;
    let every = world
        .function(NOTHING, json!({ "metadata": { "schedule": "@every 1s" } }))
        .await;
    let first = tail.of(every).await.span;
    for period in 1..=2 {
        let request = tail.of(every).await.span;
        assert_eq!(
            request.at.as_micros() - first.at.as_micros(),
            period * 1_000_000,
            "due times have no drift"
        );
    }
    let cron =
        json!({ "metadata": { "schedule": { "cron": "* * * * * *", "tz": "Europe/Berlin" } } });
    let cron = world.function(NOTHING, cron).await;
    tail.of(cron).await;
    for _ in 0..2 {
        let request = tail.of(cron).await.span;
        assert_eq!(
            request.at.as_micros() % 1_000_000,
            0,
            "cron keeps to whole seconds"
        );
    }
    for function in [every, cron] {
        world
            .function(NOTHING, json!({ "id": function, "seq": 1 }))
            .await;
    }
    // The clock that would fire them goes on in a third function.
    let third = world
        .function(NOTHING, json!({ "metadata": { "schedule": "@every 1s" } }))
        .await;
    let mut since = world.tail(&["request"]).await;
    since
        .until(|request| request.span.parent_id == Some(third))
        .await;
    let asked = |function| {
        world.count(&format!(
            "entity_type = 'request' and parent_id = '{function}'"
        ))
    };
    let before = [asked(every), asked(cron)];
    for _ in 0..3 {
        since.of(third).await;
    }
    assert_eq!([asked(every), asked(cron)], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_cannot_be_followed_is_refused_visibly_and_the_function_runs_once() {
    let world = World::new().await;
    let _actors = world.actors().await;
    let mut tail = world.tail(&["policy_violation", "execution"]).await;
    let more = json!({ "metadata": { "schedule": "every morning" }, "visibility": "tenant" });
    let function = world.function(NOTHING, more).await;
    let violation = tail
        .until(|span| span.span.caused_by == Some(function))
        .await
        .span;
    assert_eq!(
        (violation.who.as_str(), violation.this.as_str()),
        ("edge:observer", "schedule")
    );
    assert_eq!(violation.owner_id.as_str(), "alice");
    assert_eq!(
        violation.metadata.unwrap().to_value()["code"],
        "schedule_invalid"
    );
    tail.of(function).await;
}
