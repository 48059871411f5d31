//! What arrives is sealed, in order, once.

use logline_bus::{Outgoing, Receipt};
use logline_projector::Health;

use crate::world::{Inbox, World, outgoing};

const ALICE: &str = "ingest.acme.alice.activity";

fn plain(this: usize) -> String {
    format!(r#"{{"who":"alice","this":"door {this}"}}"#)
}

/// Position and whether it is a duplicate.
fn place(receipt: &Receipt) -> (u64, bool) {
    match receipt {
        Receipt::Sealed {
            position,
            duplicate,
            ..
        } => (position.get(), *duplicate),
        Receipt::Refused(refusal) => panic!("{refusal}"),
    }
}

fn refused(receipt: Receipt) -> String {
    match receipt {
        Receipt::Sealed { position, .. } => panic!("sealed at {position}"),
        Receipt::Refused(refusal) => format!("{} {}", refusal.code, refusal.pointer),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_publish_of_the_stock_client_is_sealed() {
    let world = World::new().await;
    let mut projector = world.projector().await;
    world.nats_cli(&["pub", ALICE, r#"{"who":"alice","this":"door"}"#]);
    let sealed = world.sealed(1).await.remove(0);
    assert_eq!(sealed.span.this, "door");
    assert_eq!(sealed.published_by.as_str(), "alice");
    assert_eq!(sealed.span.at, sealed.received_at);
    projector.becomes(|health| *health == Health::Active).await;
    projector.stop().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_for_a_projector_are_sealed_in_their_order() {
    let world = World::new().await;
    for number in 0..500 {
        let subject = format!("ingest.t{}.alice.activity", number % 5);
        world.publish(&subject, &plain(number)).await;
    }
    let projector = world.projector().await;
    world.sealed(500).await;
    projector.stop().await;
    for (number, row) in world.check().await.iter().enumerate() {
        assert_eq!(row.span.this, format!("door {number}"));
        assert_eq!(row.position.get(), number as u64 / 5 + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_effect_once_within_a_batch_across_batches_and_across_restarts() {
    let world = World::new().await;
    let keyed = |this: &str| format!(r#"{{"who":"alice","this":"{this}","idempotency_key":"k"}}"#);
    for this in ["one", "two", "three"] {
        world.publish(ALICE, &keyed(this)).await;
    }
    let projector = world.projector().await;
    assert_eq!(place(&world.seal(ALICE, &keyed("four")).await), (1, true));
    projector.stop().await;
    let projector = world.projector().await;
    assert_eq!(place(&world.seal(ALICE, &keyed("five")).await), (1, true));
    assert_eq!(
        place(&world.seal("ingest.acme.bob.activity", &keyed("six")).await),
        (2, false)
    );
    projector.stop().await;
    let rows = world.check().await;
    assert_eq!(rows[0].span.this, "one");
    assert_eq!(rows.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_judged_against_what_is_sealed_span_3() {
    let world = World::new().await;
    let projector = world.projector().await;
    let id = "018f3c5e-7b1a-7c3d-8e4f-0123456789ab";
    let version = |rest: &str| format!(r#"{{"who":"alice","this":"door","id":"{id}"{rest}}}"#);
    assert_eq!(place(&world.seal(ALICE, &version("")).await), (1, false));
    assert_eq!(place(&world.seal(ALICE, &version("")).await), (1, true));
    assert_eq!(
        place(&world.seal(ALICE, &version(r#","seq":4"#)).await),
        (2, false)
    );
    assert_eq!(place(&world.seal(ALICE, &version("")).await), (1, true));
    let conflict = version(r#","seq":4,"did":"opened""#);
    assert_eq!(
        refused(world.seal(ALICE, &conflict).await),
        "version_conflict /seq"
    );
    assert_eq!(
        refused(world.seal(ALICE, &version(r#","seq":3"#)).await),
        "version_stale /seq"
    );
    let next = version(r#","seq":5"#);
    let (bob, other) = ("ingest.acme.bob.activity", "ingest.acme.alice.other");
    assert_eq!(refused(world.seal(bob, &next).await), "version_owner /id");
    assert_eq!(
        refused(world.seal(other, &next).await),
        "version_type /entity_type"
    );
    assert_eq!(
        place(&world.seal("ingest.globex.bob.activity", &next).await),
        (1, false)
    );
    projector.stop().await;
    assert_eq!(world.check().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_message_that_is_delivered_again_is_answered_again() {
    let world = World::new().await;
    let projector = world.projector().await;
    let mut inbox = Inbox::open(&world, "_INBOX.publisher");
    let with_receipt = |body: &str| Outgoing {
        receipt: Some("_INBOX.publisher".to_owned()),
        ..outgoing(body)
    };
    let subject = ALICE.parse().unwrap();
    world
        .bus
        .publish(&subject, with_receipt(&plain(1)))
        .await
        .unwrap();
    world
        .bus
        .publish(&subject, with_receipt("{"))
        .await
        .unwrap();
    let (sealed, refused) = (inbox.next(), inbox.next());
    assert_eq!(sealed["position"], 1);
    assert_eq!(refused["code"], "malformed_json");
    projector.stop().await;

    // Without its consumer the bus has forgotten that anything was acknowledged.
    world.nats_cli(&["consumer", "rm", "--force", "INGEST", "projector-0"]);
    let projector = world.projector().await;
    assert_eq!(inbox.next(), sealed);
    assert_eq!(inbox.next(), refused);
    projector.stop().await;
    assert_eq!(world.check().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sealing_the_same_messages_again_gives_the_same_chain_led_7() {
    let world = World::new().await;
    for number in 0..300 {
        let key = number % 250;
        let subject = format!("ingest.t{}.alice.activity", number % 3);
        let body = format!(r#"{{"who":"a","this":"{number}","idempotency_key":"{key}"}}"#);
        world.publish(&subject, &body).await;
    }
    world.publish(ALICE, "{").await;
    let projector = world.projector().await;
    world.seal(ALICE, &plain(1)).await;
    projector.stop().await;
    let first = world.check().await;

    let world = world.fresh_ledger().await;
    // Nothing is sealed over a timeline that is ahead.
    world.nats_cli(&["stream", "rm", "TIMELINE", "--force"]);
    world.bus.migrate().await.unwrap();
    let projector = world.projector().await;
    world.seal(ALICE, &plain(2)).await;
    projector.stop().await;
    let second = world.check().await;
    assert_eq!(second.len(), first.len() + 1);
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one.to_json(), other.to_json());
    }
}
