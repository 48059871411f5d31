//! Following the timeline.

use std::time::Duration;

use logline_bus::{Error, Filter, Start, Tail};
use logline_testkit::{Nats, deadline};

use crate::support::{Chain, SOON, connect, entry, migrated, nats_cli};

async fn offsets(tail: &mut Tail, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        offsets.push(deadline(SOON, tail.next()).await.unwrap().0);
    }
    offsets
}

#[tokio::test]
async fn a_tail_begins_where_it_is_told() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = Chain::new();
    bus.timeline_append(1, &chain.entries(300)).await.unwrap();
    let mut whole = bus.tail(vec![], Start::After(0)).await.unwrap();
    assert_eq!(
        offsets(&mut whole, 300).await,
        (1..=300).collect::<Vec<_>>()
    );
    let mut resumed = bus.tail(vec![], Start::After(298)).await.unwrap();
    assert_eq!(offsets(&mut resumed, 2).await, [299, 300]);
    let mut latest = bus.tail(vec![], Start::Latest).await.unwrap();
    bus.timeline_append(301, &chain.entries(1)).await.unwrap();
    for tail in [&mut whole, &mut resumed, &mut latest] {
        assert_eq!(offsets(tail, 1).await, [301]);
    }
}

#[tokio::test]
async fn more_tails_stand_at_once_than_a_server_allows_by_itself() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut tails = Vec::new();
    for _ in 0..1001 {
        tails.push(bus.tail(vec![], Start::After(0)).await.unwrap());
    }
    bus.timeline_append(1, &Chain::new().entries(1))
        .await
        .unwrap();
    for tail in &mut tails {
        assert_eq!(offsets(tail, 1).await, [1]);
    }
}

#[tokio::test]
async fn a_tail_brings_only_what_its_filters_name() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = Chain::new();
    let entries = [
        entry(&chain.seal("shop.sale", None)),
        entry(&chain.seal("shop", None)),
        entry(&chain.seal("function", Some("scheduled"))),
        entry(&chain.seal("function", Some("active"))),
    ];
    bus.timeline_append(1, &entries).await.unwrap();
    let filters = vec![
        Filter::timeline().entity_group("shop".parse().unwrap()),
        Filter::timeline().status(Some("active".parse().unwrap())),
    ];
    let mut tail = bus.tail(filters, Start::After(0)).await.unwrap();
    assert_eq!(offsets(&mut tail, 2).await, [1, 4]);
}

#[tokio::test]
async fn a_tail_goes_on_after_the_server_was_killed() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = Chain::new();
    let entries = chain.entries(6);
    bus.timeline_append(1, &entries[..4]).await.unwrap();
    let mut tail = bus.tail(vec![], Start::After(0)).await.unwrap();
    assert_eq!(offsets(&mut tail, 4).await, [1, 2, 3, 4]);
    nats.kill().await;
    nats.restart().await.unwrap();
    let publisher = connect(&nats).await;
    // It persists asynchronously: its tail may be lost, and is published again with the same numbers.
    deadline(SOON, async {
        let last = loop {
            if let Ok(last) = publisher.timeline_last().await {
                break last;
            }
        };
        let rest = &entries[usize::try_from(last).unwrap()..];
        publisher.timeline_append(last + 1, rest).await.unwrap();
    })
    .await;
    assert_eq!(offsets(&mut tail, 2).await, [5, 6]);
}

/// LED-12: a number means the same after the timeline was made again.
#[tokio::test]
async fn a_timeline_made_again_brings_nothing_twice() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = Chain::new();
    let entries = chain.entries(12);
    bus.timeline_append(1, &entries[..10]).await.unwrap();
    let mut tail = bus.tail(vec![], Start::After(0)).await.unwrap();
    assert_eq!(offsets(&mut tail, 10).await.len(), 10);
    nats_cli(&nats, &["stream", "rm", "TIMELINE", "--force"])
        .await
        .unwrap();
    bus.migrate().await.unwrap();
    bus.timeline_append(1, &entries[..7]).await.unwrap();
    let early = tokio::time::timeout(Duration::from_secs(1), tail.next()).await;
    assert!(early.is_err(), "{early:?}");
    bus.timeline_append(8, &entries[7..]).await.unwrap();
    assert_eq!(offsets(&mut tail, 2).await, [11, 12]);
}

#[tokio::test]
async fn a_tail_does_not_begin_beyond_the_end() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    bus.timeline_append(1, &Chain::new().entries(3))
        .await
        .unwrap();
    bus.tail(vec![], Start::After(3)).await.unwrap();
    for after in [4, u64::MAX] {
        let refused = bus.tail(vec![], Start::After(after)).await.err();
        assert!(
            matches!(refused, Some(Error::BeyondEnd { last: 3 })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_tail_that_ends_leaves_no_consumer() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    bus.timeline_append(1, &Chain::new().entries(1))
        .await
        .unwrap();
    let mut tail = bus.tail(vec![], Start::After(0)).await.unwrap();
    assert_eq!(offsets(&mut tail, 1).await, [1]);
    assert_eq!(consumers(&nats).await, 1);
    drop(tail);
    // What is sent later over the same connection is done later.
    bus.timeline_last().await.unwrap();
    deadline(SOON, async { while consumers(&nats).await > 0 {} }).await;
}

async fn consumers(nats: &Nats) -> u64 {
    let info = nats_cli(nats, &["stream", "info", "--json", "TIMELINE"]).await;
    let info: serde_json::Value = serde_json::from_str(&info.unwrap()).unwrap();
    info["state"]["consumer_count"].as_u64().unwrap()
}
