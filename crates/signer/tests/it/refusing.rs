//! A ledger that does not go on from what was signed.

use logline_signer::Health;

use crate::world::World;

/// Signs two spans of each tenant, changes the ledger meanwhile, and goes on.
async fn after(tampering: &str) -> (World, crate::world::Running) {
    let mut world = World::new().await;
    let signer = world.signer().await;
    for tenant in ["acme", "globex"] {
        world.seal(tenant, 2).await;
        world.head_at(tenant, 2).await;
    }
    signer.stop().await;
    world.tamper(tampering);
    let signer = world.signer().await;
    (world, signer)
}

#[track_caller]
fn is_refusing(health: &Health) -> bool {
    *health == Health::Refusing { tenants: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_changed_below_the_signed_head_stops_the_signing_of_that_log_alone() {
    let (mut world, mut signer) = after(
        "update ledger.span set curr_hash = sha256('forged') where tenant_id = 'acme' and position = 1",
    )
    .await;
    world.seal("acme", 1).await;
    let incident = world.incident("acme").await;
    assert!(incident.contains("log_differs"), "{incident}");
    signer.becomes(is_refusing).await;
    world.seal("globex", 1).await;
    assert_eq!(
        world.head_at("globex", 3).await,
        world.signed("globex", 3).await
    );
    signer.stop().await;
    let stored = world.stored("acme").await.unwrap();
    assert_eq!(stored.checkpoint().head.size, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_restored_from_before_the_signed_head_is_not_signed_until_it_caught_up() {
    // A ledger of yesterday, while the bus knows the head of today.
    let (mut world, mut signer) = after(
        "create table ledger.kept as select * from ledger.span where tenant_id = 'acme' and position = 2;
         delete from ledger.span where tenant_id = 'acme' and position = 2;
         delete from ledger.checkpoint where tenant_id = 'acme'",
    )
    .await;
    let incident = world.incident("acme").await;
    assert!(incident.contains("log_shorter"), "{incident}");
    signer.becomes(is_refusing).await;
    world.tamper("insert into ledger.span select * from ledger.kept");
    world.seal("acme", 1).await;
    assert!(world.head("acme").await.checkpoint().head.size >= 3);
    signer.becomes(|health| *health == Health::Active).await;
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_the_log_never_signed_is_not_extended() {
    let mut world = World::new().await;
    world.seal("acme", 2).await;
    let signed = world.signed("acme", 2).await.to_string();
    let forged = signed.replacen("\n2\n", "\n3\n", 1);
    let tenant = "acme".parse().unwrap();
    world
        .bus
        .publish_checkpoint(&tenant, &forged, 0)
        .await
        .unwrap();
    let mut signer = world.signer().await;
    let incident = world.incident("acme").await;
    assert!(incident.contains("log_foreign"), "{incident}");
    signer.becomes(is_refusing).await;
    signer.stop().await;
    assert_eq!(world.stored("acme").await, None);
}
