//! A publisher on the bus, at fixed rates and without a pause; what became of its spans is read from the timeline.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use logline_bus::{Bus, Config, Filter, Outgoing, Secret, Start, Subject, Tail};
use logline_span::{Encoding, EntityType, TenantId};
use reqwest::Url;
use serde_json::json;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    scale::Scale,
    stack::Addresses,
    table::{Level, Table},
    users::{self, INGEST_P95_MS},
};

/// A span that is not on the timeline so long after the last one was published counts as lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// Spans on their way to the bus at once, where there is no pause.
const IN_FLIGHT: usize = 512;

/// A publisher whose spans have a type of their own.
#[derive(Clone)]
struct Publisher {
    bus: Bus,
    subject: Subject,
}

/// When each number was due.
type Times = Vec<Instant>;

pub(crate) async fn run(addresses: &Addresses, scale: &Scale, table: &mut Table) -> Result<()> {
    let bus = Bus::connect(&login(addresses)?).await?;
    for rate in scale.bus_rates {
        fixed(&bus, addresses, *rate, scale.bus_s, table).await?;
    }
    saturated(&bus, addresses, scale.bus_saturated, table).await?;
    bus.close().await;
    Ok(())
}

/// As the login that the address names.
fn login(addresses: &Addresses) -> Result<Config> {
    let address: Url = addresses
        .nats_admin
        .parse()
        .context("`nats_admin` is no address")?;
    let password = address.password().map(Secret::new);
    Ok(Config {
        url: addresses.nats_admin.clone(),
        connection_name: "logline-loadtest".to_owned(),
        replicas: 1,
        ingest_bytes_max: -1,
        user_password: password.map(|password| (address.username().to_owned(), password)),
        ca_file: None,
        open_inboxes: false,
    })
}

/// At a fixed rate: what is late counts from when it was due, so that a stall is seen in all that it delays.
async fn fixed(
    bus: &Bus,
    addresses: &Addresses,
    rate: u32,
    seconds: u32,
    table: &mut Table,
) -> Result<()> {
    let (publisher, tail) = Publisher::new(bus, addresses).await?;
    let count = rate.saturating_mul(seconds);
    let (due, seen) = tokio::try_join!(publisher.at_rate(rate, count), follow(tail, count))?;
    let name = format!("bus at {rate} a second");
    report(&name, &due, &seen, Level::Most(INGEST_P95_MS), table);
    Ok(())
}

/// As fast as the bus takes them. The waits tell how far sealing falls behind, for which there is no level.
async fn saturated(bus: &Bus, addresses: &Addresses, count: u32, table: &mut Table) -> Result<()> {
    let (publisher, tail) = Publisher::new(bus, addresses).await?;
    let (due, seen) = tokio::try_join!(publisher.without_pause(count), follow(tail, count))?;
    report("bus, saturated", &due, &seen, Level::Told, table);
    Ok(())
}

impl Publisher {
    /// With the timeline of its spans, from now on.
    async fn new(bus: &Bus, addresses: &Addresses) -> Result<(Self, Tail)> {
        let tenant: TenantId = addresses.tenant.parse()?;
        let entity_type: EntityType = users::entity_type().parse()?;
        let subject = Subject::ingest(&tenant, &addresses.principal.parse()?, &entity_type);
        let filter = Filter::timeline().tenant(tenant).entity_type(entity_type);
        let tail = bus.tail(vec![filter], Start::Latest).await?;
        let bus = bus.clone();
        Ok((Self { bus, subject }, tail))
    }

    async fn at_rate(&self, rate: u32, count: u32) -> Result<Times> {
        let period = Duration::from_secs(1)
            .checked_div(rate)
            .context("a rate is at least 1")?;
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut publishing = JoinSet::new();
        let mut due = Vec::new();
        for number in 0..count {
            due.push(tick.tick().await.into_std());
            let publisher = self.clone();
            publishing.spawn(async move { publisher.publish(number).await });
        }
        while let Some(published) = publishing.join_next().await {
            published??;
        }
        Ok(due)
    }

    async fn without_pause(&self, count: u32) -> Result<Times> {
        stream::iter(0..count)
            .map(async |number| {
                let began = Instant::now();
                self.publish(number).await.map(|()| began)
            })
            .buffered(IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn publish(&self, number: u32) -> Result<()> {
        let id = uuid::Uuid::now_v7();
        let span =
            json!({"id": id, "who": "loadtest", "did": "measured", "this": number.to_string()});
        let outgoing = Outgoing {
            body: span.to_string().into(),
            encoding: Encoding::Json,
            traceparent: None,
            receipt: None,
            depth: None,
        };
        self.bus.publish(&self.subject, outgoing).await?;
        Ok(())
    }
}

/// When each number came on the timeline; those that do not come are missing.
async fn follow(mut tail: Tail, count: u32) -> Result<Vec<(usize, Instant)>> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let Ok(next) = tokio::time::timeout(PATIENCE, tail.next()).await else {
            break;
        };
        let (_, sealed) = next?;
        let this = sealed.span.this.as_str();
        let number = this.parse().context("a span that has no number")?;
        seen.push((number, Instant::now()));
    }
    Ok(seen)
}

fn report(name: &str, due: &Times, seen: &[(usize, Instant)], p95: Level, table: &mut Table) {
    let distinct: HashSet<usize> = seen.iter().map(|(number, _)| *number).collect();
    table.count(
        format!("{name}: spans lost"),
        Level::Most(0.0),
        due.len().saturating_sub(distinct.len()),
    );
    table.count(
        format!("{name}: spans doubled"),
        Level::Most(0.0),
        seen.len().saturating_sub(distinct.len()),
    );
    if let (Some(first), Some((_, last))) = (due.first(), seen.last()) {
        let seconds = last.duration_since(*first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
        let rate = distinct.len() as f64 / seconds;
        table.add(format!("{name}: sealed a second"), Level::Told, rate);
    }
    let waits = seen
        .iter()
        .filter_map(|(number, at)| Some(at.duration_since(*due.get(*number)?)))
        .collect();
    table.waits(&format!("{name}: publish to timeline"), p95, waits);
}
