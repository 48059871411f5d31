//! LED-12: the n-th sealed span is the timeline's message n.

use logline_bus::{AppendError, TimelineEntry};
use logline_testkit::{Nats, deadline};

use crate::support::{Chain, SOON, connect, entry, migrated};

#[tokio::test]
async fn entries_take_the_places_that_they_were_given() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    assert_eq!(bus.timeline_last().await.unwrap(), 0);
    let mut chain = Chain::new();
    let sealed = chain.seal("shop.sale", Some("active"));
    let mut entries: Vec<TimelineEntry> = vec![entry(&sealed)];
    entries.extend(chain.entries(1999));
    deadline(SOON, bus.timeline_append(1, &entries))
        .await
        .unwrap();
    assert_eq!(bus.timeline_last().await.unwrap(), 2000);
    assert_eq!(bus.timeline_at(1).await.unwrap(), Some(sealed));
    assert_eq!(bus.timeline_at(2001).await.unwrap(), None);
    bus.timeline_append(2001, &chain.entries(1)).await.unwrap();
    bus.timeline_append(2002, &[]).await.unwrap();
}

#[tokio::test]
async fn a_stale_writer_is_refused_and_told_where_the_timeline_ends() {
    let nats = Nats::start().await;
    let (bus, other) = (migrated(&nats).await, connect(&nats).await);
    let mut chain = Chain::new();
    let entries = chain.entries(10);
    bus.timeline_append(1, &entries[..6]).await.unwrap();
    // Asleep since before, it publishes what it thinks is next.
    for first in [1_usize, 3] {
        let stale = other
            .timeline_append(first as u64, &entries[first - 1..6])
            .await;
        assert!(
            matches!(stale, Err(AppendError::Stale { last: 6 })),
            "{first}: {stale:?}"
        );
    }
    assert_eq!(bus.timeline_last().await.unwrap(), 6);
    // What reaches beyond the end takes its own place, which no other message may have.
    let beyond = other.timeline_append(5, &entries[4..8]).await;
    assert!(
        matches!(beyond, Err(AppendError::Stale { last: 8 })),
        "{beyond:?}"
    );
    other.timeline_append(9, &entries[8..]).await.unwrap();
    for (n, entry) in (1..).zip(&entries) {
        let sealed = bus.timeline_at(n).await.unwrap().unwrap();
        assert_eq!(sealed.to_json().as_bytes(), entry.body, "{n}");
    }
}

#[tokio::test]
async fn a_timeline_that_lost_its_tail_says_so() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut chain = Chain::new();
    bus.timeline_append(1, &chain.entries(3)).await.unwrap();
    let behind = bus.timeline_append(6, &chain.entries(2)).await;
    assert!(
        matches!(behind, Err(AppendError::Behind { last: 3 })),
        "{behind:?}"
    );
    assert_eq!(bus.timeline_last().await.unwrap(), 3);
}
