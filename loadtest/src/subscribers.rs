//! Readers of the stream, each of which leaves again and again, and comes back with `Last-Event-ID`.
//!
//! Spans are numbered in the order in which they are sealed, so that each reader sees at once what is lost or repeated.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};

use crate::{
    scale::Scale,
    sse::Stream,
    stack::Addresses,
    table::{Level, Table},
    users::{self, Crowd, body, text},
};

/// P95 of catching up after a reconnect (the promise).
const CATCH_UP_P95_MS: f64 = 3000.0;

/// How long all readers may take to connect, and after the last span to see it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Spans for which a reader stays, and spans that it misses before it comes back: different for each.
const STAYS: u64 = 5;
const STAYS_SPREAD: u64 = 11;
const MISSES: u64 = 2;
const MISSES_SPREAD: u64 = 7;

/// What all readers share.
struct World {
    crowd: Arc<Crowd>,
    client: Client,
    total: u64,
    /// Numbers below this are sealed.
    sealed: watch::Receiver<u64>,
    /// Readers whose streams stand.
    connected: watch::Sender<usize>,
}

/// What one reader saw.
#[derive(Default)]
struct Reader {
    next: u64,
    lost: u64,
    repeated: u64,
    reconnects: u64,
    after: Option<String>,
    catch_ups: Vec<Duration>,
}

pub(crate) async fn run(addresses: &Addresses, scale: &Scale, table: &mut Table) -> Result<()> {
    let (seal, sealed) = watch::channel(0);
    let (connected, mut standing) = watch::channel(0);
    let world = Arc::new(World {
        crowd: Crowd::new(addresses),
        client: Client::new(),
        total: scale.streamed_spans,
        sealed,
        connected,
    });
    let mut readers = JoinSet::new();
    for index in 0..scale.subscribers {
        readers.spawn(read(Arc::clone(&world), u64::try_from(index)?));
    }
    let all = standing.wait_for(|count| *count >= scale.subscribers);
    let all = tokio::time::timeout(PATIENCE, all).await;
    let streams = *world.connected.borrow();
    if all.is_err() {
        world.crowd.fault(format!(
            "only {streams} of {} streams stood after {PATIENCE:?}",
            scale.subscribers
        ));
        readers.abort_all();
    }
    publish(&world, scale.streamed_every, &seal).await?;
    let seen = collect(&world.crowd, readers).await;
    report(scale, streams, seen, table);
    world
        .crowd
        .account(&format!("{} subscribers", scale.subscribers), table)
        .await
}

/// Numbers spans, and publishes each when the one before it is sealed.
async fn publish(world: &World, every: Duration, seal: &watch::Sender<u64>) -> Result<()> {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..world.total {
        tick.tick().await;
        let request = world
            .client
            .post(format!("{}/api/spans", world.crowd.addresses.api))
            .bearer_auth(&world.crowd.addresses.token)
            .json(&users::span(&world.crowd, &number.to_string()));
        let receipt = body(request.send().await?).await?;
        let id = text(&receipt, "id").context("a receipt without an id")?;
        world.crowd.accepted(id);
        seal.send_replace(number.saturating_add(1));
    }
    Ok(())
}

/// What the readers saw that came to their end.
async fn collect(crowd: &Crowd, mut readers: JoinSet<Result<Reader>>) -> Vec<Reader> {
    let mut seen = Vec::new();
    let all = async {
        while let Some(reader) = readers.join_next().await {
            match reader {
                Ok(Ok(reader)) => seen.push(reader),
                Ok(Err(error)) => crowd.fault(format!("{error:#}")),
                Err(error) => crowd.fault(format!("a reader was stopped: {error}")),
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        crowd.fault(format!(
            "{} readers have not seen the last span after {PATIENCE:?}",
            readers.len()
        ));
    }
    seen
}

fn report(scale: &Scale, streams: usize, seen: Vec<Reader>, table: &mut Table) {
    let name = format!("{} subscribers", scale.subscribers);
    let sum = |of: fn(&Reader) -> u64| {
        usize::try_from(seen.iter().map(of).sum::<u64>()).unwrap_or(usize::MAX)
    };
    let (lost, repeated) = (sum(|it| it.lost), sum(|it| it.repeated));
    let (reconnects, spans) = (sum(|it| it.reconnects), sum(|it| it.next));
    #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
    let wanted = scale.subscribers as f64;
    table.count(
        format!("{name}: streams at once"),
        Level::Least(wanted),
        streams,
    );
    table.count(
        format!("{name}: readers that saw the last span"),
        Level::Least(wanted),
        seen.len(),
    );
    table.count(format!("{name}: spans delivered"), Level::Told, spans);
    table.count(
        format!("{name}: reconnects"),
        Level::Least(wanted),
        reconnects,
    );
    table.count(
        format!("{name}: spans lost on a stream"),
        Level::Most(0.0),
        lost,
    );
    table.count(
        format!("{name}: spans repeated on a stream"),
        Level::Most(0.0),
        repeated,
    );
    let waits = seen.into_iter().flat_map(|it| it.catch_ups).collect();
    table.waits(
        &format!("{name}: catch-up after a reconnect"),
        Level::Most(CATCH_UP_P95_MS),
        waits,
    );
}

/// Reads until the last span is seen.
async fn read(world: Arc<World>, index: u64) -> Result<Reader> {
    let stays = STAYS.saturating_add(index % STAYS_SPREAD);
    let misses = MISSES.saturating_add(index % MISSES_SPREAD);
    let mut sealed = world.sealed.clone();
    let mut reader = Reader::default();
    reader.visit(&world, stays).await?;
    while reader.next < world.total {
        let wanted = reader.next.saturating_add(misses).min(world.total);
        sealed.wait_for(|sealed| *sealed >= wanted).await?;
        reader.reconnects = reader.reconnects.saturating_add(1);
        reader.visit(&world, stays).await?;
    }
    Ok(reader)
}

impl Reader {
    /// Connects, catches up with what is sealed by then, stays for some spans more, and leaves.
    async fn visit(&mut self, world: &World, stays: u64) -> Result<()> {
        let owed = *world.sealed.borrow();
        let leaves = owed.max(self.next).saturating_add(stays).min(world.total);
        let began = Instant::now();
        let mut stream = Stream::open(
            &world.client,
            &world.crowd.addresses,
            &world.crowd.entity_type,
            self.after.as_deref(),
        )
        .await?;
        let mut missed = self.next < owed;
        while self.next < leaves {
            let frame = stream.next().await?;
            if let Some(id) = frame.id {
                let is_first = self.after.replace(id).is_none();
                if is_first {
                    world.connected.send_modify(|count| *count += 1);
                }
            }
            match (frame.event.as_deref(), frame.data) {
                (Some("span"), Some(data)) => self.see(&data)?,
                (Some("end"), data) => anyhow::bail!("the server ended a stream: {data:?}"),
                _ => {}
            }
            if missed && self.next >= owed {
                missed = false;
                self.catch_ups.push(began.elapsed());
            }
        }
        Ok(())
    }

    fn see(&mut self, data: &str) -> Result<()> {
        let span: Value = serde_json::from_str(data).context("a frame that is no JSON")?;
        let this = text(&span, "this").context("a span without `this`")?;
        self.count(this.parse().context("a span that has no number")?);
        ensure!(self.after.is_some(), "a span without a resume token");
        Ok(())
    }

    fn count(&mut self, number: u64) {
        if number < self.next {
            self.repeated = self.repeated.saturating_add(1);
        } else {
            let lost = number.saturating_sub(self.next);
            self.lost = self.lost.saturating_add(lost);
            self.next = number.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_and_what_is_repeated_is_counted() {
        let mut reader = Reader::default();
        for number in [0, 1, 1, 4, 5, 3] {
            reader.count(number);
        }
        assert_eq!((reader.lost, reader.repeated, reader.next), (2, 2, 6));
    }
}
