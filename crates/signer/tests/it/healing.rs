//! Crashes between two steps, and servers that lost something.

use logline_signer::Health;
use logline_testkit::deadline;

use crate::world::{PATIENCE, World, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_published_and_not_kept_is_kept_after_a_crash() {
    let world = World::new().await;
    let _projector = world.projector();
    world.sql("revoke insert on ledger.checkpoint from logline_signer");
    let (signer, mut health) = world.watched_signer().await;
    world.seal("acme", "").await;
    let (seq, published) = world.published("acme", 1).await;
    let held_up = health.wait_for(|health| matches!(health, Health::Degraded { .. }));
    deadline(PATIENCE, held_up).await.unwrap();
    signer.die().await;
    assert_eq!(world.sql("select count(*) from ledger.checkpoint"), "0");

    world.sql("grant insert on ledger.checkpoint to logline_signer");
    let _signer = world.signer().await;
    let kept = world.signed("acme", 1).await;
    assert_eq!(kept, published);
    assert_eq!(world.published("acme", 1).await, (seq, published));
    world.seal("acme", "").await;
    world.signed("acme", 2).await;
    assert_eq!(world.check("acme").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_is_killed_again_and_again_leaves_no_gap_and_no_fork() {
    let world = World::new().await;
    let _projector = world.projector();
    for round in 1..=15_u64 {
        let signer = world.signer().await;
        world.seal_many("acme", 40).await;
        // Somewhere within the first steps of its turn.
        if round % 2 == 0 {
            world.published("acme", 40 * round - 39).await;
        }
        signer.die().await;
    }
    let _signer = world.signer().await;
    world.seal("acme", "").await;
    let kept = world.signed("acme", 601).await;
    assert_eq!(world.published("acme", 601).await.1, kept);
    world.check("acme").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_lost_its_heads_gets_the_newest_again() {
    let world = World::new().await;
    let _projector = world.projector();
    let signer = world.signer().await;
    world.seal("acme", "").await;
    let kept = world.signed("acme", 1).await;
    signer.stop().await;
    world.operate(&["stream", "purge", "CHECKPOINTS", "--force"]);
    assert_eq!(world.bus.checkpoint(&tenant("acme")).await.unwrap(), None);
    let _signer = world.signer().await;
    assert_eq!(world.published("acme", 1).await.1, kept);
}
