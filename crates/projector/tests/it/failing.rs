//! Parts are killed under load: nothing is lost, doubled or reordered (LED-12).

use std::time::Duration;

use logline_bus::{Subject, TimelineEntry};
use logline_projector::Health;

use crate::world::{Load, World, all_sealed_once};

/// Lifetimes that end in every stage of a batch, the same ones in each run.
fn lives() -> impl Iterator<Item = Duration> {
    (0..20_u64).map(|number| Duration::from_micros(number * 7_919 % 90_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_dies_anywhere_loses_and_doubles_nothing() {
    let world = World::new().await;
    let load = Load::start(&world.bus, 4);
    for life in lives() {
        world.projector().await.dies_after(life).await;
    }
    let projector = world.projector().await;
    let keys = load.finish().await;
    all_sealed_once(&world, &keys, 0).await;
    projector.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_be_killed_under_load() {
    let world = World::with_own_postgres().await;
    let mut projector = world.projector().await;
    let load = Load::start(&world.bus, 4);
    for sealed in [50, 100, 150] {
        world.sealed(sealed).await;
        world.postgres().kill().await;
        projector
            .becomes(|health| matches!(health, Health::Degraded { .. }))
            .await;
        // Publishing goes on while the ledger is away.
        world
            .publish("ingest.acme.alice.activity", r#"{"who":"a","this":"b"}"#)
            .await;
        world.postgres().restart().await.unwrap();
        projector.becomes(|health| *health == Health::Active).await;
    }
    let keys = load.finish().await;
    all_sealed_once(&world, &keys, 3).await;
    projector.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_stands_still_holds_nobody_up_but_the_sealing() {
    let world = World::with_own_postgres().await;
    let projector = world.projector().await;
    let load = Load::start(&world.bus, 2);
    world.sealed(20).await;
    world.postgres().pause();
    for _ in 0..50 {
        world
            .publish("ingest.acme.alice.activity", r#"{"who":"a","this":"b"}"#)
            .await;
    }
    world.postgres().resume();
    let keys = load.finish().await;
    all_sealed_once(&world, &keys, 50).await;
    projector.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_may_be_killed_under_load() {
    let world = World::new().await;
    let mut projector = world.projector().await;
    let load = Load::start(&world.bus, 4);
    for sealed in [50, 100, 150] {
        world.sealed(sealed).await;
        world.nats.kill().await;
        projector
            .becomes(|health| matches!(health, Health::Degraded { .. }))
            .await;
        world.nats.restart().await.unwrap();
        projector.becomes(Health::is_ready).await;
    }
    let keys = load.finish().await;
    all_sealed_once(&world, &keys, 0).await;
    projector.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_the_bus_gives_again_are_sealed_led_17() {
    let world = World::new().await;
    let alice = "ingest.acme.alice.activity";
    let projector = world.projector().await;
    for number in 0..9 {
        let body = format!(r#"{{"who":"a","this":"old {number}"}}"#);
        world.publish(alice, &body).await;
    }
    world.sealed(9).await;
    projector.stop().await;
    // A bus restored from nothing: fewer messages than were sealed, under their numbers.
    world.nats_cli(&["stream", "rm", "--force", "INGEST"]);
    world.bus.migrate().await.unwrap();
    for number in 0..5 {
        let body = format!(r#"{{"who":"a","this":"new {number}"}}"#);
        world.publish(alice, &body).await;
    }
    let projector = world.projector().await;
    let sealed = world.sealed(14).await;
    assert_eq!(sealed[13].span.this, "new 4");
    projector.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_the_bus_gives_again_to_the_same_words_are_sealed_led_17() {
    let world = World::new().await;
    let (alice, words) = ("ingest.acme.alice.activity", r#"{"who":"a","this":"b"}"#);
    let projector = world.projector().await;
    for _ in 0..9 {
        world.publish(alice, words).await;
    }
    world.sealed(9).await;
    projector.stop().await;
    world.nats_cli(&["stream", "rm", "--force", "INGEST"]);
    world.bus.migrate().await.unwrap();
    for _ in 0..9 {
        world.publish(alice, words).await;
    }
    let projector = world.projector().await;
    world.sealed(18).await;
    projector.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_that_lost_its_end_gets_it_back() {
    let world = World::new().await;
    let projector = world.projector().await;
    for _ in 0..30 {
        world
            .publish("ingest.acme.alice.activity", r#"{"who":"a","this":"b"}"#)
            .await;
    }
    world.sealed(30).await;
    projector.stop().await;
    world.nats_cli(&["stream", "rm", "--force", "TIMELINE"]);
    world.bus.migrate().await.unwrap();
    let projector = world.projector().await;
    world.sealed(30).await;
    projector.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_the_bus_gives_again_to_more_messages_are_sealed_within_one_life_led_17() {
    let world = World::new().await;
    let alice = "ingest.acme.alice.activity";
    let projector = world.projector().await;
    for number in 0..9 {
        let body = format!(r#"{{"who":"a","this":"old {number}"}}"#);
        world.publish(alice, &body).await;
    }
    world.sealed(9).await;
    world.nats_cli(&["stream", "rm", "--force", "INGEST"]);
    world.bus.migrate().await.unwrap();
    for number in 0..14 {
        let body = format!(r#"{{"who":"a","this":"new {number}"}}"#);
        world.publish(alice, &body).await;
    }
    let sealed = world.sealed(23).await;
    for (number, sealed) in sealed[9..].iter().enumerate() {
        assert_eq!(sealed.span.this, format!("new {number}"));
    }
    projector.stop().await;
    world.check().await;
}

fn reason(health: &Health) -> &str {
    match health {
        Health::Degraded { reason } => reason,
        Health::Standby | Health::Active => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_ledger_does_not_know_is_never_acknowledged() {
    let world = World::new().await;
    let projector = world.projector().await;
    for _ in 0..3 {
        world
            .publish("ingest.acme.alice.activity", r#"{"who":"a","this":"b"}"#)
            .await;
    }
    world.sealed(3).await;
    projector.stop().await;
    world.nats_cli(&["consumer", "rm", "--force", "INGEST", "projector-0"]);
    world.sql(
        "set session_replication_role = replica; delete from ledger.intake where ingest_seq = 2",
    );
    let mut projector = world.projector().await;
    projector
        .becomes(|health| reason(health).contains("message 2 counts as sealed"))
        .await;
    let info = world.nats_cli(&["consumer", "info", "--json", "INGEST", "projector-0"]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["ack_floor"]["stream_seq"], 0, "{info}");
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_on_the_timeline_at_our_numbers_is_compared() {
    let world = World::new().await;
    let projector = world.projector().await;
    for _ in 0..3 {
        world
            .publish("ingest.acme.alice.activity", r#"{"who":"a","this":"b"}"#)
            .await;
    }
    let rows = world.sealed(3).await;
    projector.stop().await;
    world.nats_cli(&["stream", "rm", "--force", "TIMELINE"]);
    world.bus.migrate().await.unwrap();
    let entries: Vec<TimelineEntry> = [&rows[0], &rows[2], &rows[1]]
        .map(|sealed| TimelineEntry {
            subject: Subject::timeline(&sealed.span),
            body: sealed.to_json().into(),
            traceparent: None,
            depth: 0,
        })
        .into();
    world.bus.timeline_append(1, &entries).await.unwrap();
    let mut projector = world.projector().await;
    projector
        .becomes(|health| reason(health).contains("message 3 of TIMELINE"))
        .await;
    projector.stop().await;
}
