//! One projector seals, and another takes over (LED-13).

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::world::{Load, Running, World, all_sealed_once, config};
use logline_projector::{Config, Health};

/// Far more than `take_over`, for a busy machine.
const SECONDS: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn another_projector_takes_over_from_one_that_died() {
    let world = World::new().await;
    let mut first = world.projector().await;
    first.becomes(|health| *health == Health::Active).await;
    let load = Load::start(&world.bus, 2);
    world.sealed(20).await;
    let mut second = world.projector_on(world.another_bus().await, config());
    world
        .sealed(world.bus.timeline_last().await.unwrap() + 20)
        .await;
    assert_eq!(*second.health.borrow(), Health::Standby);
    first.dies_after(Duration::from_millis(10)).await;
    let died = Instant::now();
    second.becomes(|health| *health == Health::Active).await;
    assert!(died.elapsed() < SECONDS, "{:?}", died.elapsed());
    let keys = load.finish().await;
    all_sealed_once(&world, &keys, 0).await;
    second.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_stops_hands_over_at_once() {
    let world = World::new().await;
    let mut first = world.projector().await;
    first.becomes(|health| *health == Health::Active).await;
    world
        .seal(
            "ingest.acme.alice.activity",
            r#"{"who":"alice","this":"door"}"#,
        )
        .await;
    let mut second = world.projector_on(world.another_bus().await, config());
    first.stop().await;
    second.becomes(|health| *health == Health::Active).await;
    second.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_projector_that_wakes_is_fenced() {
    let world = World::new().await;
    // The first one runs on a runtime of its own, which can stand still like a stopped process.
    let mut stalled = Stalled::start(&world).await;
    let mut second = world.projector_on(world.another_bus().await, config());
    let load = Load::start(&world.bus, 2);
    world.sealed(20).await;
    let thaw = stalled.freeze();
    second.becomes(|health| *health == Health::Active).await;
    let sealed = world.bus.timeline_last().await.unwrap();
    world.sealed(sealed + 20).await;
    drop(thaw);
    stalled
        .running
        .becomes(|health| *health == Health::Standby)
        .await;
    let keys = load.finish().await;
    all_sealed_once(&world, &keys, 0).await;
    assert_eq!(*second.health.borrow(), Health::Active);
    second.stop().await;
    stalled.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_projector_was_given_is_sealed_without_another_publish() {
    let world = World::new().await;
    // Far longer than this test waits for anything.
    let ack_wait = Duration::from_secs(600);
    for round in 1..=5 {
        for _ in 0..50 {
            world
                .publish(
                    "ingest.acme.alice.activity",
                    r#"{"who":"alice","this":"door"}"#,
                )
                .await;
        }
        let config = Config {
            ack_wait,
            ..config()
        };
        world
            .projector_on(world.bus.clone(), config)
            .dies_after(Duration::from_millis(round * 8))
            .await;
    }
    let projector = world.projector_on(
        world.bus.clone(),
        Config {
            ack_wait,
            ..config()
        },
    );
    world.sealed(250).await;
    projector.stop().await;
    world.check().await;
}

/// A projector on a thread of its own, which can be held.
struct Stalled {
    runtime: tokio::runtime::Runtime,
    running: Running,
}

impl Stalled {
    async fn start(world: &World) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let bus = world.another_bus_on(runtime.handle()).await;
        let mut running = world.projector_inside(runtime.handle(), bus, config());
        running.becomes(|health| *health == Health::Active).await;
        Self { runtime, running }
    }

    /// Holds its one thread until the answer is dropped.
    fn freeze(&self) -> mpsc::Sender<()> {
        let (thaw, held) = mpsc::channel::<()>();
        self.runtime.spawn(async move { held.recv() });
        thaw
    }

    async fn stop(self) {
        self.running.stop().await;
        self.runtime.shutdown_background();
    }
}
