//! A ramp of publishers by HTTP, each of which publishes once a second and waits for the receipt.

use std::time::Duration;

use anyhow::Result;
use goose::goose::Scenario;

use crate::{
    scale::Scale,
    stack::Addresses,
    table::{Level, Table},
    users::{self, Attack, Crowd, INGEST_P95_MS, publish, step},
};

/// Between two spans of one publisher.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_millis(1500);

pub(crate) async fn run(addresses: &Addresses, scale: &Scale, table: &mut Table) -> Result<()> {
    let crowd = Crowd::new(addresses);
    let scenario = Scenario::new("publishers")
        .register_transaction(step(&crowd, |user, crowd| {
            Box::pin(async move { publish(user, crowd).await.map(drop) })
        }))
        .set_wait_time(PAUSE_MIN, PAUSE_MAX)?;
    let attack = Attack {
        users: scale.publishers,
        ramp_s: scale.ramp_s,
        run_s: scale.publishing_s,
        iterations: 0,
    };
    users::attack(&crowd, &attack, scenario).await?;
    let name = format!("{} publishers", scale.publishers);
    table.waits(
        &format!("{name}: publish to receipt"),
        Level::Most(INGEST_P95_MS),
        crowd.waits("publish"),
    );
    crowd.account(&name, table).await?;
    at_once(addresses, scale, table).await
}

/// As many requests at the same moment.
async fn at_once(addresses: &Addresses, scale: &Scale, table: &mut Table) -> Result<()> {
    let crowd = Crowd::new(addresses);
    let client = reqwest::Client::new();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..scale.publishers {
        let (crowd, client) = (crowd.clone(), client.clone());
        requests.spawn(async move {
            let began = std::time::Instant::now();
            let request = client
                .post(format!("{}/api/spans", crowd.addresses.api))
                .bearer_auth(&crowd.addresses.token)
                .json(&users::span(&crowd, "gate"));
            let receipt = match request.send().await {
                Ok(response) => users::body(response).await,
                Err(error) => Err(error.into()),
            };
            crowd.waited("at once", began.elapsed());
            match receipt.map(|receipt| users::text(&receipt, "id")) {
                Ok(Some(id)) => crowd.accepted(id),
                Ok(None) => crowd.fault("a receipt without an id".to_owned()),
                Err(error) => crowd.fault(format!("{error:#}")),
            }
        });
    }
    requests.join_all().await;
    let name = format!("{} requests at once", scale.publishers);
    table.waits(&name, Level::Told, crowd.waits("at once"));
    crowd.account(&name, table).await
}
