use std::collections::HashSet;

use futures_util::future::join;
use logline_testkit::deadline;
use serde_json::{Value, json};

use crate::{
    client::{Client, Event},
    world::{PATIENCE, World, config},
};

const STREAM: &str = "/api/timeline/stream";

fn note(visibility: &str, this: &str) -> Value {
    json!({"entity_type": "note", "who": "ann", "this": this, "visibility": visibility})
}

/// LED-2 on the stream: each reader sees its own in order and nothing of others.
#[tokio::test(flavor = "multi_thread")]
async fn everyone_follows_what_they_may_read_and_nothing_else() {
    let world = World::new().await;
    let readers = [world.alice(), world.bob(), world.eve(), world.anonymous()];
    let mut streams = Vec::new();
    for reader in &readers {
        streams.push(reader.follow(STREAM, None).await);
    }
    for visibility in ["private", "tenant", "public"] {
        world
            .alice()
            .seal(&note(visibility, &format!("alice {visibility}")))
            .await;
        world
            .eve()
            .seal(&note(visibility, &format!("eve {visibility}")))
            .await;
    }
    world.bob().seal(&note("public", "last")).await;
    let wanted: [&[&str]; 4] = [
        &[
            "alice private",
            "alice tenant",
            "alice public",
            "eve public",
            "last",
        ],
        &["alice tenant", "alice public", "eve public", "last"],
        &[
            "eve private",
            "eve tenant",
            "alice public",
            "eve public",
            "last",
        ],
        &["alice public", "eve public", "last"],
    ];
    for (stream, wanted) in streams.iter_mut().zip(wanted) {
        for this in wanted {
            assert_eq!(stream.span().await["this"], *this);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_the_filters_of_a_page() {
    let world = World::new().await;
    let alice = world.alice();
    let parent = "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f";
    let mut by_type = alice
        .follow(&format!("{STREAM}?entity_type=task&status=open"), None)
        .await;
    let mut by_parent = alice
        .follow(&format!("{STREAM}?parent_id={parent}&who=ann"), None)
        .await;
    for (entity_type, status, child, this) in [
        ("note", "open", false, "a"),
        ("task", "done", true, "b"),
        ("task", "open", false, "c"),
    ] {
        let mut span =
            json!({"entity_type": entity_type, "who": "ann", "this": this, "status": status});
        if child {
            span["parent_id"] = parent.into();
        }
        alice.seal(&span).await;
    }
    assert_eq!(by_type.span().await["this"], "c");
    assert_eq!(by_parent.span().await["this"], "b");
}

async fn publish_all(author: Client, count: usize) {
    for first in (0..count).step_by(20) {
        let spans: Vec<Value> = (first..first + 20)
            .map(|n| note("tenant", &n.to_string()))
            .collect();
        assert_eq!(author.publish(&Value::from(spans)).await.status, 200);
    }
}

/// A reader whose connection breaks over and over while spans are sealed sees each once, in order.
#[tokio::test(flavor = "multi_thread")]
async fn resuming_under_load_neither_loses_nor_repeats() {
    const COUNT: usize = 600;
    let world = World::new().await;
    let reading = async {
        let mut seen = Vec::new();
        let mut stream = world.bob().follow(STREAM, None).await;
        let publishing = publish_all(world.alice(), COUNT);
        let following = async {
            while seen.len() < COUNT {
                for _ in 0..(7.min(COUNT - seen.len())) {
                    seen.push(stream.span().await["position"].as_u64().unwrap());
                }
                let token = stream.id.clone();
                stream = world.bob().follow(STREAM, Some(&token)).await;
            }
        };
        join(publishing, following).await;
        seen
    };
    let seen = reading.await;
    let all: Vec<u64> = (1..=COUNT as u64).collect();
    assert_eq!(seen, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_also_works_as_parameter_and_before_the_first_span() {
    let world = World::new().await;
    let alice = world.alice();
    alice.seal(&note("private", "before")).await;
    let mut stream = alice.follow(STREAM, None).await;
    alice.seal(&note("private", "first")).await;
    assert_eq!(stream.span().await["this"], "first");
    let mut all = alice.follow(&format!("{STREAM}?after=0"), None).await;
    assert_eq!(all.span().await["this"], "before");
    assert_eq!(all.span().await["this"], "first");
    // The header, which a browser sends when it connects again, stands above the address.
    let mut rest = alice
        .follow(&format!("{STREAM}?after=0"), Some(&stream.id))
        .await;
    alice.seal(&note("private", "second")).await;
    assert_eq!(rest.span().await["this"], "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_shows_that_it_is_alive_and_moves_its_token_on() {
    let mut config = config();
    config.heartbeat_ms = 50;
    let world = World::with(config).await;
    let mut stream = world
        .alice()
        .follow(&format!("{STREAM}?who=nobody"), None)
        .await;
    let heartbeat = Event {
        event: ":".to_owned(),
        data: "heartbeat".to_owned(),
    };
    assert_eq!(stream.next().await, Some(heartbeat));
    let begun = stream.id.clone();
    world.alice().seal(&note("private", "passed over")).await;
    while stream.id == begun {
        assert_eq!(stream.next().await.unwrap().event, ":");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_reason_when_the_api_stops() {
    let mut world = World::new().await;
    let mut stream = world.alice().follow(STREAM, None).await;
    world.alice().seal(&note("private", "last")).await;
    assert_eq!(stream.span().await["this"], "last");
    world.stop().await;
    assert_eq!(stream.end().await, "shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_reason_when_the_bus_is_lost() {
    let world = World::new().await;
    let mut stream = world.alice().follow(STREAM, None).await;
    world.nats.kill().await;
    assert_eq!(stream.end().await, "bus_lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_is_ended_and_resumes_without_loss() {
    const SPANS: usize = 120;
    let mut config = config();
    config.slow_reader_ms = 100;
    let world = World::with(config).await;
    let alice = world.alice();
    let mut stream = alice.follow(STREAM, None).await;
    // More than the sockets of both sides hold.
    for _ in 0..(SPANS / 4) {
        let spans = vec![
            json!({"entity_type": "note", "who": "ann", "this": "x", "content": "x".repeat(200 << 10)});
            4
        ];
        assert_eq!(alice.publish(&Value::from(spans)).await.status, 200);
    }
    let mut positions = HashSet::new();
    let mut ended = String::new();
    while let Some(event) = stream.next().await {
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        match event.event.as_str() {
            "span" => assert!(positions.insert(data["position"].as_u64().unwrap())),
            "end" => data["reason"].as_str().unwrap().clone_into(&mut ended),
            _ => {}
        }
    }
    assert_eq!(ended, "slow_reader");
    let mut rest = alice.follow(STREAM, Some(&stream.id)).await;
    while positions.len() < SPANS {
        assert!(positions.insert(rest.span().await["position"].as_u64().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_given_back() {
    let mut config = config();
    config.streams_max = 1;
    config.heartbeat_ms = 20;
    let world = World::with(config).await;
    let first = world.alice().follow(STREAM, None).await;
    let second = world.alice().get(STREAM).await;
    assert_eq!(second.problem(), "429 rate_limited");
    assert_eq!(second.header("retry-after"), "1");
    drop(first);
    // The place comes back once the server sees that the reader has gone.
    let freed = async { while world.alice().status(STREAM).await == 429 {} };
    deadline(PATIENCE, freed).await;
}
