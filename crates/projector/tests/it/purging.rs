//! The bus forgets what is sealed (BUS-4).

use std::time::Duration;

use logline_projector::Config;

use crate::world::{World, config, outgoing};

const ALICE: &str = "ingest.acme.alice.activity";

fn body(bytes: usize) -> String {
    format!(
        r#"{{"who":"alice","this":"door","content":"{}"}}"#,
        "x".repeat(bytes)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fills_up_loses_what_is_sealed_and_takes_on() {
    let world = World::with_small_intake(1 << 20).await;
    let projector = world.projector().await;
    // Four times what the stream holds.
    for _ in 0..400 {
        world.seal(ALICE, &body(10_000)).await;
    }
    projector.stop().await;
    let state = world.bus.ingest_state().await.unwrap();
    assert!(state.first > 1 && state.last == 400, "{state:?}");
    assert_eq!(world.check().await.len(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_fill_a_stream_too() {
    let world = World::with_small_intake(1 << 20).await;
    let projector = world.projector().await;
    let header = format!("X-Unknown:{}", "x".repeat(60_000));
    // More than twice what the stream holds, and hardly any of it in bodies.
    for sealed in 1..=40 {
        world.nats_cli(&["pub", "--jetstream", "--header", &header, ALICE, &body(1)]);
        world.sealed(sealed).await;
    }
    projector.stop().await;
    assert_eq!(world.check().await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_means_unsealed_and_nothing_of_that_is_purged() {
    let world = World::with_small_intake(1 << 20).await;
    let mut taken = 0_u64;
    let subject = ALICE.parse().unwrap();
    while world
        .bus
        .publish(&subject, outgoing(&body(10_000)))
        .await
        .is_ok()
    {
        taken += 1;
    }
    assert!(taken > 50, "{taken}");
    let projector = world.projector().await;
    world.sealed(taken).await;
    // The purge comes after the receipts of the batch that it follows.
    while world
        .bus
        .publish(&subject, outgoing(&body(10_000)))
        .await
        .is_err()
    {}
    world.sealed(taken + 1).await;
    projector.stop().await;
    assert_eq!(world.check().await.len() as u64, taken + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_and_old_is_purged_but_never_the_last() {
    let world = World::new().await;
    let keep = Duration::from_millis(1);
    let projector = world.projector_on(
        world.bus.clone(),
        Config {
            ingest_keep: keep,
            ..config()
        },
    );
    for _ in 0..5 {
        world.seal(ALICE, &body(1)).await;
    }
    projector.stop().await;
    let state = world.bus.ingest_state().await.unwrap();
    assert!(state.first >= 4 && state.messages >= 1, "{state:?}");
    assert_eq!(world.check().await.len(), 5);
}
