//! Heads follow what is sealed.

use std::time::{Duration, Instant};

use logline_ledger::Scope;
use logline_signer::Health;
use logline_span::SigningKey;
use logline_testkit::deadline;

use crate::world::{PATIENCE, World, policy, policy_of, tenant};

/// What LED-8 promises.
const PROMISED: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn led_8_a_head_is_signed_within_a_second_of_sealing() {
    let world = World::new().await;
    let _projector = world.projector();
    let (_signer, mut health) = world.watched_signer().await;
    let active = health.wait_for(|health| *health == Health::Active);
    deadline(PATIENCE, active).await.unwrap();
    let mut took = Vec::new();
    for size in 1..=20 {
        world.seal("acme", "").await;
        let sealed = Instant::now();
        let (_, published) = world.published("acme", size).await;
        policy("acme").trust(&published).unwrap();
        world.signed("acme", size).await;
        took.push(sealed.elapsed());
    }
    took.sort_unstable();
    println!(
        "sealed to signed and kept: median {:?}, longest {:?}",
        took[10], took[19]
    );
    assert!(took[19] < PROMISED, "{took:?}");
    assert_eq!(world.check("acme").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn led_8_what_was_sealed_before_is_signed_at_the_start() {
    let world = World::new().await;
    let _projector = world.projector();
    world.seal_many("acme", 700).await;
    world.seal("beta", "").await;
    let signer = world.signer().await;
    world.signed("acme", 700).await;
    world.signed("beta", 1).await;
    // Two full subtrees of 256 leaves, with their hashes.
    assert_eq!(
        world.sql("select count(*) from ledger.node where level = 1"),
        "2"
    );
    signer.stop().await;

    // And taken up again, past a border of the next tile.
    world.seal_many("acme", 100).await;
    let _signer = world.signer().await;
    world.signed("acme", 800).await;
    assert_eq!(world.sql("select count(*) from ledger.node"), "3");
    assert!(world.check("acme").await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_tenant_gets_a_few_heads_for_many_spans() {
    let world = World::new().await;
    let _projector = world.projector();
    let _signer = world.signer().await;
    let began = Instant::now();
    world.seal_many("acme", 1000).await;
    world.signed("acme", 1000).await;
    // One in each interval of 50 ms, and one at either end.
    let most = began.elapsed().as_millis() / 50 + 2;
    let heads = world.check("acme").await;
    assert!(heads as u128 <= most, "{heads} heads, {most} intervals");
}

#[tokio::test(flavor = "multi_thread")]
async fn led_8_two_signers_do_not_fork_a_log() {
    let world = World::new().await;
    let _projector = world.projector();
    let (one, two) = (world.signer().await, world.signer().await);
    for _ in 0..20 {
        for name in ["acme", "beta"] {
            world.seal_many(name, 20).await;
        }
    }
    // One of them is gone in the middle, and the other goes on.
    one.die().await;
    world.seal("acme", "").await;
    for (name, size) in [("acme", 401), ("beta", 400)] {
        world.signed(name, size).await;
        world.check(name).await;
        let (_, newest) = world.published(name, size).await;
        assert_eq!(newest.checkpoint().head.size, size);
    }
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_each_log_is_kept_for_its_readers() {
    let world = World::new().await;
    let _projector = world.projector();
    let _signer = world.signer().await;
    world.seal("acme", "").await;
    world.signed("acme", 1).await;
    let keys = world.signers_ledger().keys(&tenant("acme")).await.unwrap();
    assert_eq!(keys, [policy("acme").log.to_string()]);
}

/// A log whose key is changed stays one log: what the old key signed is verified by the old key, and extended under the
/// new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_on_under_a_new_key() {
    let world = World::new().await;
    let _projector = world.projector();
    let signer = world.signer().await;
    world.seal_many("acme", 5).await;
    let old = world.signed("acme", 5).await;
    signer.stop().await;
    let new_key = SigningKey::from_seed(&[10; 32]);
    let (_signer, _) = world.signer_of(Vec::new(), new_key.clone()).await;
    world.seal_many("acme", 5).await;
    let new = world.signed("acme", 10).await;
    let (before, after) = (policy("acme"), policy_of("acme", &new_key));
    assert!(before.trust(&old).is_ok() && after.trust(&old).is_err());
    assert!(after.trust(&new).is_ok() && before.trust(&new).is_err());
    // Both are told, the old one first, and the ledger holds against either head.
    let keys = world.signers_ledger().keys(&tenant("acme")).await.unwrap();
    assert_eq!(keys, [before.log.to_string(), after.log.to_string()]);
    let scope = Scope {
        against: vec![old, new],
        ..Scope::default()
    };
    let report = world.verifier().verify(&scope, |_| ()).await.unwrap();
    assert!(report.ok && report.anchored, "{report:?}");
}
