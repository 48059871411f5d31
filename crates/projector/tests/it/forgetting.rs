//! LED-17: an older copy of the bus's store comes back, and numbers of sealed messages are given to others.

use std::collections::BTreeSet;

use logline_projector::Health;
use logline_span::Sealed;
use logline_testkit::deadline;

use crate::world::{Load, PATIENCE, World};

const ADDRESS: &str = "ingest.acme.alice.activity";
/// Without an id: what is said a second time is a second span.
const BODY: &str = r#"{"who":"alice","this":"door"}"#;

fn texts(rows: &[Sealed]) -> Vec<String> {
    rows.iter().map(Sealed::to_json).collect()
}

fn incidents(rows: &[Sealed]) -> Vec<&Sealed> {
    rows.iter()
        .filter(|row| row.span.entity_type.as_str() == "incident")
        .collect()
}

/// Fewer messages than were forgotten, as many, and more; none says anything that another one did not say.
#[tokio::test(flavor = "multi_thread")]
async fn what_got_the_numbers_of_sealed_messages_is_sealed_too() {
    for newer in [0, 7, 20, 45] {
        let world = World::new().await;
        let running = world.projector().await;
        for _ in 0..30 {
            world.seal(ADDRESS, BODY).await;
        }
        let older = world.nats.back_up().await;
        for _ in 0..20 {
            world.seal(ADDRESS, BODY).await;
        }
        running.stop().await;
        let before = world.rows().await;

        world.nats.put_back(&older).await;
        assert_eq!(world.bus.timeline_last().await.unwrap(), 30);
        for _ in 0..newer {
            world.publish(ADDRESS, BODY).await;
        }
        let mut running = world.projector().await;
        let wanted = before.len() as u64 + newer + 1;
        world.sealed(wanted).await;
        running.becomes(|health| *health == Health::Active).await;
        running.stop().await;

        let after = world.check().await;
        assert_eq!(after.len() as u64, wanted, "{newer}");
        assert_eq!(texts(&after[..before.len()]), texts(&before), "{newer}");
        let told = incidents(&after);
        let [incident] = told.as_slice() else {
            panic!("one incident, not {}", told.len());
        };
        let metadata = incident.span.metadata.as_ref().unwrap().to_value();
        assert_eq!(metadata["code"], "bus_forgot");
        assert_eq!(metadata["sealed_through"], 50);
        assert_eq!(metadata["sealing_from"], 31);
        assert_eq!(incident.span.tenant_id.as_str(), "system");
    }
}

/// Whatever the moment, and whether the projector was connected or dies too.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_sealed_is_lost_or_doubled_when_an_older_store_comes_back_under_load() {
    let world = World::new().await;
    let mut running = world.projector().await;
    let mut keys = BTreeSet::new();
    for round in 0..4_u64 {
        let load = Load::start_as(&world.bus, 1, &format!("before{round}-"));
        world.sealed(world.rows().await.len() as u64 + 30).await;
        let older = world.nats.back_up().await;
        let sealed = world.bus.timeline_last().await.unwrap();
        world.sealed(sealed + 20 + 13 * round).await;
        if round % 2 == 1 {
            drop(running);
            running = world.projector().await;
        }
        world.nats.put_back(&older).await;
        // What the bus alone had is forgotten with it; what is published from here on is not.
        load.finish().await;
        let load = Load::start_as(&world.bus, 1, &format!("after{round}-"));
        world.sealed(world.rows().await.len() as u64 + 20).await;
        keys.extend(load.finish().await);
    }
    let mut tail = world.tail().await;
    let (mut sealed, mut told) = (BTreeSet::new(), 0);
    while told < 4 || !sealed.is_superset(&keys) {
        let (_, row) = deadline(PATIENCE, tail.next()).await.unwrap();
        told += incidents(std::slice::from_ref(&row)).len();
        if let Some(key) = row.span.idempotency_key {
            assert!(sealed.insert(key), "each key once");
        }
    }
    running.stop().await;
    world.check().await;
}
