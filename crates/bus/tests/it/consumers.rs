//! BUS-8: durable readers.

use std::time::Duration;

use logline_bus::{Bus, ConsumerSpec, Deliveries, Error, Filter};
use logline_testkit::{Nats, deadline};

use crate::support::{Chain, SOON, connect, entry, migrated, nats_cli};

fn spec() -> ConsumerSpec {
    ConsumerSpec {
        durable: "test-observer",
        filters: vec![
            Filter::timeline()
                .status(Some("scheduled".parse().unwrap()))
                .entity_type("function".parse().unwrap()),
        ],
        max_ack_pending: 100,
        ack_wait: Duration::from_secs(2),
        max_deliver: 3,
        backoff: Vec::new(),
        exclusive: None,
    }
}

/// Scheduled functions at the odd places, other things at the even ones.
async fn filled(bus: &Bus, count: usize) -> Chain {
    let mut chain = Chain::new();
    append(bus, &mut chain, 1, count).await;
    chain
}

async fn append(bus: &Bus, chain: &mut Chain, first: u64, count: usize) {
    let entries: Vec<_> = (0..count)
        .map(|n| match n % 2 {
            0 => entry(&chain.seal("function", Some("scheduled"))),
            _ => entry(&chain.seal("function", None)),
        })
        .collect();
    bus.timeline_append(first, &entries).await.unwrap();
}

async fn offsets(deliveries: &mut Deliveries, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let delivery = deadline(SOON, deliveries.next()).await.unwrap();
        delivery.ack().await.unwrap();
        offsets.push(delivery.offset);
    }
    offsets
}

#[tokio::test]
async fn a_reader_gets_what_it_wants_with_depth_and_trace() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    filled(&bus, 6).await;
    let mut deliveries = bus.consume(spec()).await.unwrap();
    let delivery = deadline(SOON, deliveries.next()).await.unwrap();
    assert_eq!(
        (delivery.offset, delivery.depth, delivery.deliveries),
        (1, 3, 1)
    );
    assert_eq!(delivery.sealed.span.entity_type.as_str(), "function");
    assert!(
        delivery
            .traceparent
            .as_deref()
            .unwrap()
            .starts_with("00-4bf9")
    );
    delivery.ack().await.unwrap();
    assert_eq!(offsets(&mut deliveries, 2).await, [3, 5]);
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = filled(&bus, 6).await;
    let mut deliveries = bus.consume(spec()).await.unwrap();
    assert_eq!(offsets(&mut deliveries, 3).await, [1, 3, 5]);
    drop(deliveries);
    append(&bus, &mut chain, 7, 2).await;
    let mut deliveries = connect(&nats).await.consume(spec()).await.unwrap();
    assert_eq!(offsets(&mut deliveries, 1).await, [7]);
}

#[tokio::test]
async fn a_delivery_can_be_put_off_or_given_up() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    filled(&bus, 4).await;
    let mut deliveries = bus.consume(spec()).await.unwrap();
    let first = deadline(SOON, deliveries.next()).await.unwrap();
    first.retry_after(Duration::from_millis(100)).await.unwrap();
    let second = deadline(SOON, deliveries.next()).await.unwrap();
    second.give_up().await.unwrap();
    let again = deadline(SOON, deliveries.next()).await.unwrap();
    assert_eq!((again.offset, again.deliveries), (1, 2));
    again.ack().await.unwrap();
    deadline(SOON, dead_letters(&nats, 1)).await;
}

#[tokio::test]
async fn what_nobody_acknowledges_becomes_a_dead_letter() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    filled(&bus, 1).await;
    let impatient = ConsumerSpec {
        ack_wait: Duration::from_millis(300),
        backoff: vec![Duration::from_millis(400)],
        ..spec()
    };
    let mut deliveries = bus.consume(impatient).await.unwrap();
    for expected in 1..=3 {
        let delivery = deadline(SOON, deliveries.next()).await.unwrap();
        assert_eq!(delivery.deliveries, expected);
    }
    // The server notices when it would deliver once more, and only while somebody asks.
    let letters = dead_letters(&nats, 1);
    deadline(SOON, async {
        tokio::select! {
            () = letters => {}
            more = deliveries.next() => panic!("{more:?}"),
        }
    })
    .await;
}

async fn dead_letters(nats: &Nats, count: u64) {
    loop {
        let info = nats_cli(nats, &["stream", "info", "DEADLETTER", "--json"])
            .await
            .unwrap();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        if info["state"]["messages"].as_u64() >= Some(count) {
            return;
        }
    }
}

#[tokio::test]
async fn work_in_progress_is_not_delivered_again() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    filled(&bus, 1).await;
    let brief = ConsumerSpec {
        ack_wait: Duration::from_secs(1),
        ..spec()
    };
    let mut deliveries = bus.consume(brief).await.unwrap();
    let delivery = deadline(SOON, deliveries.next()).await.unwrap();
    for _ in 0..5 {
        delivery.in_progress().await.unwrap();
        let again = tokio::time::timeout(Duration::from_millis(500), deliveries.next()).await;
        assert!(again.is_err(), "{again:?}");
    }
    delivery.ack().await.unwrap();
}

#[tokio::test]
async fn an_exclusive_reader_is_alone_until_it_falls_silent() {
    let nats = Nats::start().await;
    let (one, other) = (migrated(&nats).await, connect(&nats).await);
    filled(&one, 8).await;
    let exclusive = ConsumerSpec {
        max_ack_pending: 2,
        exclusive: Some(Duration::from_secs(2)),
        ..spec()
    };
    let mut first = one.consume(exclusive.clone()).await.unwrap();
    let mut second = other.consume(exclusive).await.unwrap();
    assert_eq!(offsets(&mut first, 2).await, [1, 3]);
    let held = deadline(SOON, first.next()).await.unwrap();
    assert_eq!(held.offset, 5);
    let released = first.released();
    let waiting = tokio::time::timeout(Duration::from_secs(3), async {
        tokio::select! {
            stolen = second.next() => panic!("{stolen:?}"),
            // It has a second message coming, and then waits, which holds the pin.
            () = async { loop { first.next().await.unwrap(); } } => {}
        }
    });
    assert!(waiting.await.is_err());
    // What the first one was given and did not finish comes to the second one, in an order that the server does not promise.
    let mut taken_over = offsets(&mut second, 2).await;
    taken_over.sort_unstable();
    assert_eq!(taken_over, [5, 7]);
    let woken = deadline(SOON, first.next()).await;
    assert!(matches!(woken, Err(Error::PinLost)), "{woken:?}");
    deadline(SOON, released).await;
    second.release().await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_is_gone_is_made_again() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = filled(&bus, 2).await;
    let mut deliveries = bus.consume(spec()).await.unwrap();
    assert_eq!(offsets(&mut deliveries, 1).await, [1]);
    let remove = ["consumer", "rm", "TIMELINE", "test-observer", "--force"];
    nats_cli(&nats, &remove).await.unwrap();
    append(&bus, &mut chain, 3, 1).await;
    // It has forgotten what was done, so everything comes again.
    assert_eq!(offsets(&mut deliveries, 2).await, [1, 3]);
}

#[tokio::test]
async fn a_consumer_made_again_goes_on_behind_what_was_acknowledged() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = filled(&bus, 600).await;
    let mut deliveries = bus.consume(spec()).await.unwrap();
    assert_eq!(offsets(&mut deliveries, 300).await.last(), Some(&599));
    let remove = ["consumer", "rm", "TIMELINE", "test-observer", "--force"];
    nats_cli(&nats, &remove).await.unwrap();
    append(&bus, &mut chain, 601, 1).await;
    let first = offsets(&mut deliveries, 1).await[0];
    // How far it was is looked at now and then: some of the last come again, never the first.
    assert!((300..=601).contains(&first), "{first}");
}

#[tokio::test]
async fn readers_go_on_after_the_server_was_killed() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = filled(&bus, 2).await;
    let mut deliveries = bus.consume(spec()).await.unwrap();
    assert_eq!(offsets(&mut deliveries, 1).await, [1]);
    nats.kill().await;
    nats.restart().await.unwrap();
    let publisher = connect(&nats).await;
    let last = deadline(SOON, async {
        loop {
            if let Ok(last) = publisher.timeline_last().await {
                return last;
            }
        }
    })
    .await;
    append(&publisher, &mut chain, last + 1, 1).await;
    let next = loop {
        let delivery = deadline(SOON, deliveries.next()).await.unwrap();
        delivery.ack().await.unwrap();
        if delivery.offset > 1 {
            break delivery.offset;
        }
    };
    assert_eq!(next, last + 1);
}

#[tokio::test]
async fn what_is_no_sealed_span_is_given_up_and_stops_nothing() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let subject = "timeline.acme.private.alice.scheduled.function";
    nats_cli(&nats, &["pub", subject, "nonsense"])
        .await
        .unwrap();
    let mut chain = Chain::new();
    append(&bus, &mut chain, 2, 1).await;
    let mut deliveries = bus.consume(spec()).await.unwrap();
    assert_eq!(offsets(&mut deliveries, 1).await, [2]);
    deadline(SOON, dead_letters(&nats, 1)).await;
}
