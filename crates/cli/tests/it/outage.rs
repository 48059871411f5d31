//! Postgres away under load: publishing goes on, nothing is lost, all is sealed afterwards (BUS-5, API-4).
//!
//! `LOGLINE_OUTAGE_S` makes the outage as long as one likes.

use std::{collections::HashSet, time::Duration};

use logline_bus::{Filter, Start, Subject};
use logline_span::SpanId;
use logline_testkit::deadline;
use serde_json::json;

use crate::system::{Part, System, outgoing};

/// Length of the outage in the suite.
const OUTAGE_S: u64 = 5;
/// Spans per second meanwhile.
const RATE: u64 = 200;
const RECOVERY_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn publishing_goes_on_while_postgres_is_away() {
    let seconds = std::env::var("LOGLINE_OUTAGE_S")
        .ok()
        .map_or(OUTAGE_S, |text| text.parse().unwrap());
    let system = System::start().await;
    let _projector = Part::start(system.directory.path(), "projector");
    let subject = Subject::ingest(
        &"t".parse().unwrap(),
        &"p".parse().unwrap(),
        &"activity".parse().unwrap(),
    );
    let mut published = HashSet::new();
    let publish = async |number: u64| {
        let id = SpanId::from_uuid(uuid::Uuid::now_v7());
        let span = json!({"id": id.to_string(), "who": "p", "this": number.to_string()});
        system
            .bus
            .publish(&subject, outgoing(&span.to_string()))
            .await
            .unwrap();
        id
    };
    published.insert(publish(0).await);
    let mut tail = system
        .bus
        .tail(vec![Filter::timeline()], Start::After(0))
        .await
        .unwrap();
    assert_eq!(deadline(RECOVERY_MAX, tail.next()).await.unwrap().0, 1);

    system.postgres.stop().await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / RATE));
    for number in 1..=seconds * RATE {
        tick.tick().await;
        published.insert(publish(number).await);
    }
    assert_eq!(
        system.bus.timeline_last().await.unwrap(),
        1,
        "nothing is sealed without Postgres"
    );
    system.postgres.restart().await.unwrap();

    let mut missing = published.clone();
    let mut last = 1;
    while last < published.len() as u64 {
        let (offset, sealed) = deadline(RECOVERY_MAX, tail.next()).await.unwrap();
        assert_eq!(offset, last + 1);
        assert!(
            missing.remove(&sealed.span.id),
            "sealed twice: {}",
            sealed.span.id
        );
        last = offset;
    }
    assert_eq!(
        missing.len(),
        1,
        "all but the one that was seen before the outage"
    );
}
