//! Heads are signed, and only ever extended.

use std::time::Instant;

use logline_proof::tree::{verify_consistency, verify_inclusion};
use logline_proof::{NodeHash, Plan};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_is_signed_within_a_second_led_8() {
    let mut world = World::new().await;
    let signer = world.signer().await;
    world.seal("acme", 1).await;
    let sealed = Instant::now();
    let signed = world.head_at("acme", 1).await;
    assert!(sealed.elapsed().as_secs_f64() < 1.0);
    assert_eq!(signed, world.signed("acme", 1).await);
    signer.stop().await;
    assert_eq!(world.stored("acme").await, Some(signed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_before_the_signer_came_is_signed_too() {
    let mut world = World::new().await;
    world.seal("acme", 300).await;
    world.seal("globex", 2).await;
    world.seal("initech", 1).await;
    let signer = world.signer().await;
    for (tenant, size) in [("acme", 300), ("globex", 2), ("initech", 1)] {
        assert_eq!(
            world.head_at(tenant, size).await,
            world.signed(tenant, size as usize).await
        );
    }
    signer.stop().await;
    // The first 256 leaves are a stored node by now, and with it every span is proved.
    let head = world.signed("acme", 300).await.checkpoint().head;
    for (index, hash) in (0..).zip(world.hashes("acme").await).step_by(37) {
        let plan = Plan::inclusion(index, 300).unwrap();
        let path = world.compute("acme", &plan).await;
        verify_inclusion(&head, index, &NodeHash::of_span(&hash), &path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_head_extends_each_earlier_one_whoever_signs_led_8() {
    let mut world = World::new().await;
    let signers = [world.signer().await, world.signer().await];
    let mut heads = Vec::new();
    for _ in 0..12 {
        world.seal("acme", 25).await;
        heads.push(world.head("acme").await.checkpoint().head);
    }
    heads.push(world.head_at("acme", 300).await.checkpoint().head);
    for signer in signers {
        signer.stop().await;
    }
    // Whoever listens to the bus also hears the head that it did not take.
    heads.sort_by_key(|head| head.size);
    heads.dedup();
    for (number, old) in heads.iter().enumerate() {
        for new in heads.iter().skip(number + 1) {
            assert!(old.size < new.size, "a size has one root");
            let plan = Plan::consistency(old.size, new.size).unwrap();
            verify_consistency(old, new, &world.compute("acme", &plan).await).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_published_and_not_stored_is_taken_up() {
    let mut world = World::new().await;
    world.seal("acme", 5).await;
    let published = world.signed("acme", 3).await;
    let tenant = "acme".parse().unwrap();
    world
        .bus
        .publish_checkpoint(&tenant, &published.to_string(), 0)
        .await
        .unwrap();
    let signer = world.signer().await;
    let signed = world.head_at("acme", 5).await;
    signer.stop().await;
    assert_eq!(signed, world.signed("acme", 5).await);
    let kept = world
        .as_signer("select size from ledger.checkpoint order by size")
        .unwrap();
    assert_eq!(kept, "3\n5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_lost_its_heads_gets_the_newest_again() {
    let mut world = World::new().await;
    let signer = world.signer().await;
    world.seal("acme", 2).await;
    world.head_at("acme", 2).await;
    signer.stop().await;
    let stored = world.stored("acme").await;
    world.forget_heads();
    let signer = world.signer().await;
    world.seal("acme", 1).await;
    assert_eq!(Some(world.head("acme").await), stored);
    assert_eq!(world.head("acme").await.checkpoint().head.size, 3);
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signers_login_sees_hashes_and_changes_nothing() {
    let world = World::new().await;
    world.seal("acme", 1).await;
    assert_eq!(
        world
            .as_signer("select count(curr_hash) from ledger.span")
            .as_deref(),
        Ok("1")
    );
    for refused in [
        "select who from ledger.span",
        "select * from ledger.universal_registry",
        "insert into ledger.span (position) values (2)",
        "update ledger.log_key set since = now()",
        "delete from ledger.checkpoint",
        "update ledger.shard set epoch = 9",
    ] {
        let said = world.as_signer(refused).unwrap_err();
        assert!(said.contains("permission denied"), "{refused}: {said}");
    }
}
