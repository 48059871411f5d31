//! The door of stock SQL clients (SQL-1): what they inserted waits in the ledger's outbox; the relay publishes it as theirs, and takes
//! it out once it knows what became of it.
//!
//! INVARIANT (nothing lost, nothing twice): a row leaves the outbox only after its receipt. Whatever happens before, it is published
//! again, and its idempotency key or, where it is signed, its version makes that harmless.

mod health;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::FuturesUnordered};
use logline_bus::{Awaited, Bus, Error as BusError, Outgoing, Receipt, Subject};
use logline_ledger::{Error as LedgerError, Notices, Outbox, Settled, Waiting, WaitingId};
use logline_span::{Code, Encoding, EntityType, Principal, Refusal, TenantId};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::health::Monitor;
pub use self::health::RelayHealth;
use crate::metric;

/// Rows that are published and wait for their receipt: enough to keep the projector's batches full.
const IN_FLIGHT_MAX: usize = 256;
/// Principals whose rows are published at the same time. Those of one principal go one after the other, in their order.
const PRINCIPALS_AT_ONCE: usize = 32;
/// First and longest pause before a server that is away is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// How long the relay waits. The wait for a receipt doubles while none comes, so that an outbox does not fill the bus with repeats while
/// nobody seals.
#[derive(Clone, Copy, Debug)]
pub struct RelayConfig {
    /// First wait for a receipt before the row is published again: far beyond what a projector takes that is there.
    pub receipt_wait: Duration,
    /// Longest such wait.
    pub receipt_wait_max: Duration,
}

impl RelayConfig {
    /// A receipt is lost with a connection alone, and that is noticed otherwise.
    pub const STANDARD: Self = Self {
        receipt_wait: Duration::from_secs(60),
        receipt_wait_max: Duration::from_secs(3600),
    };
}

/// What the relay works with.
#[derive(Clone)]
pub struct RelayResources {
    /// Where rows are published, for any principal but the system's.
    pub bus: Bus,
    /// Where they wait.
    pub outbox: Outbox,
    /// Called at every step, for tests that end the relay between two of them.
    pub on_step: Option<OnStep>,
}

/// A place in the way of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayStep {
    /// It was read from the outbox.
    Read,
    /// The bus has it.
    Published,
    /// Its receipt is here, and the outbox has it still.
    Answered,
    /// It is out of the outbox.
    Settled,
}

/// See [`RelayResources::on_step`].
pub type OnStep = Arc<dyn Fn(RelayStep) + Send + Sync>;

/// Publishes what waits in the outbox. A second one does no harm, and no good.
pub struct Relay {
    config: RelayConfig,
    resources: RelayResources,
    monitor: Monitor,
}

/// Why a leg ended.
enum End {
    Stopped,
    /// The bus was away: receipts may be lost.
    Reconnected,
    Ledger(LedgerError),
}

/// What became of a row that was to be published.
enum Sent {
    Awaited(WaitingId, Awaited),
    Refused(WaitingId, Refusal),
    Failed(BusError),
}

/// A row's end; no outcome where the receipt did not come.
type Outcome = (WaitingId, Option<Option<Refusal>>);

/// From one connection to the next: what is published, and what is known of it.
struct Leg<'a> {
    relay: &'a Relay,
    in_flight: FuturesUnordered<BoxFuture<'static, Outcome>>,
    ids: Vec<WaitingId>,
    /// Whether the outbox may hold more than was read.
    is_due: bool,
    receipt_wait: Duration,
    /// Attempts that the bus did not take in a row, and until when there is no other.
    failures: u32,
    paused_until: Option<Instant>,
}

impl Relay {
    /// Gets the relay ready; nothing happens before [`Relay::run`].
    #[must_use]
    pub fn new(config: RelayConfig, resources: RelayResources) -> Self {
        Self {
            config,
            resources,
            monitor: Monitor::new(),
        }
    }

    /// Follows how it fares.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<RelayHealth> {
        self.monitor.watch()
    }

    /// Relays until `shutdown`; whatever fails meanwhile is waited for.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut failures = 0;
        loop {
            match self.leg(&shutdown, &mut failures).await {
                End::Stopped => return,
                End::Reconnected => {}
                End::Ledger(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the outbox cannot be read"
                    );
                    metrics::counter!(metric::RELAY_FAILURES).increment(1);
                    self.monitor.degraded("the ledger does not answer");
                    failures += 1;
                    let paused = shutdown.run_until_cancelled(pause(failures));
                    if paused.await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Listens, looks once, and then wakes when it is told.
    async fn leg(&self, stop: &CancellationToken, failures: &mut u32) -> End {
        let mut connection = self.resources.bus.connected();
        connection.mark_unchanged();
        let notices = match stop
            .run_until_cancelled(self.resources.outbox.listen())
            .await
        {
            None => return End::Stopped,
            Some(Err(error)) => return End::Ledger(error),
            Some(Ok(notices)) => notices,
        };
        let filled = Notify::new();
        let listening = listen(notices, &filled);
        tokio::pin!(listening);
        let mut leg = Leg {
            relay: self,
            in_flight: FuturesUnordered::new(),
            ids: Vec::new(),
            is_due: true,
            receipt_wait: self.config.receipt_wait,
            failures: 0,
            paused_until: None,
        };
        loop {
            if leg.is_due && leg.paused_until.is_none() && leg.ids.len() < IN_FLIGHT_MAX {
                match stop.run_until_cancelled(leg.publish()).await {
                    None => return End::Stopped,
                    Some(Err(error)) => return End::Ledger(error),
                    Some(Ok(())) => *failures = 0,
                }
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                error = &mut listening => return End::Ledger(error),
                () = filled.notified() => leg.is_due = true,
                () = until(leg.paused_until) => leg.paused_until = None,
                changed = connection.changed() => {
                    if changed.is_err() {
                        return End::Stopped;
                    }
                    if connection.borrow_and_update().up {
                        return End::Reconnected;
                    }
                    self.monitor.degraded("the bus is away");
                }
                Some(first) = leg.in_flight.next() => {
                    if let Err(error) = leg.settle(first).await {
                        return End::Ledger(error);
                    }
                }
            }
        }
    }

    fn step(&self, step: RelayStep) {
        if let Some(on_step) = &self.resources.on_step {
            on_step(step);
        }
    }

    /// Publishes a row; a fault of its own is a refusal.
    async fn send(&self, row: Waiting) -> Sent {
        let (subject, body) = match address(&row) {
            Ok(subject) => (subject, Bytes::from(row.body)),
            Err(refusal) => return Sent::Refused(row.id, refusal),
        };
        let outgoing = Outgoing {
            body,
            encoding: Encoding::Json,
            traceparent: None,
            receipt: None,
            depth: None,
        };
        match self.resources.bus.publish_awaited(&subject, outgoing).await {
            Ok(awaited) => {
                self.step(RelayStep::Published);
                Sent::Awaited(row.id, awaited)
            }
            Err(BusError::TooLarge { .. }) => {
                let detail = "the span is longer than the bus takes";
                Sent::Refused(row.id, Refusal::new(Code::BodyTooLarge, detail))
            }
            Err(error) => Sent::Failed(error),
        }
    }

    /// Publishes the rows of one principal in their order, up to the first that the bus does not take.
    async fn send_in_order(&self, rows: Vec<Waiting>) -> Vec<Sent> {
        let mut sent = Vec::with_capacity(rows.len());
        for row in rows {
            let one = self.send(row).await;
            let is_over = matches!(one, Sent::Failed(_));
            sent.push(one);
            if is_over {
                break;
            }
        }
        sent
    }
}

impl Leg<'_> {
    /// Reads what waits and publishes it.
    async fn publish(&mut self) -> Result<(), LedgerError> {
        let room = IN_FLIGHT_MAX - self.ids.len();
        let outbox = &self.relay.resources.outbox;
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let waiting = outbox.waiting(&self.ids, limit).await?;
        self.is_due = !waiting.is_empty();
        if waiting.is_empty() {
            self.relay.monitor.set(RelayHealth::Active);
            return Ok(());
        }
        self.relay.step(RelayStep::Read);
        let sending = by_principal(waiting)
            .into_iter()
            .map(|rows| self.relay.send_in_order(rows));
        let sent: Vec<Vec<Sent>> = stream::iter(sending)
            .buffer_unordered(PRINCIPALS_AT_ONCE)
            .collect()
            .await;
        let mut failed = None;
        for sent in sent.into_iter().flatten() {
            match sent {
                Sent::Awaited(id, awaited) => {
                    let wait = self.receipt_wait;
                    self.ids.push(id);
                    self.in_flight.push(answer(id, awaited, wait).boxed());
                }
                Sent::Refused(id, refusal) => {
                    self.ids.push(id);
                    self.in_flight
                        .push(std::future::ready((id, Some(Some(refusal)))).boxed());
                }
                Sent::Failed(error) => failed = Some(error),
            }
        }
        match failed {
            None => self.failures = 0,
            Some(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the bus did not take a row of the outbox"
                );
                metrics::counter!(metric::RELAY_FAILURES).increment(1);
                self.relay
                    .monitor
                    .degraded("the bus does not take what waits");
                self.failures += 1;
                self.paused_until = Some(Instant::now() + pause_after(self.failures));
            }
        }
        Ok(())
    }

    /// Takes what is known by now out of the outbox.
    async fn settle(&mut self, first: Outcome) -> Result<(), LedgerError> {
        let mut outcomes = vec![first];
        while let Some(Some(next)) = self.in_flight.next().now_or_never() {
            outcomes.push(next);
        }
        self.ids
            .retain(|id| !outcomes.iter().any(|(known, _)| known == id));
        let count = outcomes.len();
        let settled: Vec<Settled> = outcomes
            .into_iter()
            .filter_map(|(id, outcome)| {
                Some(Settled {
                    id,
                    refusal: outcome?,
                })
            })
            .collect();
        let config = &self.relay.config;
        self.receipt_wait = if settled.is_empty() {
            (self.receipt_wait * 2).min(config.receipt_wait_max)
        } else {
            config.receipt_wait
        };
        // There is room again, or a receipt that has to be asked for once more.
        self.is_due |= count > settled.len() || self.ids.len() + count >= IN_FLIGHT_MAX;
        if settled.is_empty() {
            return Ok(());
        }
        self.relay.step(RelayStep::Answered);
        let refused = settled.iter().filter(|one| one.refusal.is_some()).count();
        self.relay.resources.outbox.settle(&settled).await?;
        metrics::counter!(metric::RELAYED).increment((settled.len() - refused) as u64);
        metrics::counter!(metric::RELAY_REFUSED).increment(refused as u64);
        self.relay.step(RelayStep::Settled);
        Ok(())
    }
}

/// Says when the outbox was filled, until the ledger is away.
async fn listen(mut notices: Notices, filled: &Notify) -> LedgerError {
    loop {
        match notices.filled().await {
            Ok(()) => filled.notify_one(),
            Err(error) => return error,
        }
    }
}

/// Rows grouped by whose they are, in their order.
fn by_principal(rows: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut groups: Vec<Vec<Waiting>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for row in rows {
        let place = *places
            .entry((row.tenant.clone(), row.owner.clone()))
            .or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// The address is the identity of the session that inserted the row (BUS-1).
fn address(row: &Waiting) -> Result<Subject, Refusal> {
    let tenant: TenantId = row.tenant.parse().map_err(at("/tenant_id"))?;
    let principal: Principal = row.owner.parse().map_err(at("/owner_id"))?;
    let entity_type: EntityType = row.entity_type.parse().map_err(at("/entity_type"))?;
    if principal.is_system() {
        let detail = "the principals of the system publish to the bus themselves";
        return Err(Refusal::new(Code::ReservedPrincipal, detail).at("/owner_id"));
    }
    Ok(Subject::Ingest {
        tenant,
        principal,
        entity_type,
    })
}

fn at(pointer: &'static str) -> impl FnOnce(Refusal) -> Refusal {
    move |refusal| refusal.at(pointer)
}

async fn answer(id: WaitingId, awaited: Awaited, wait: Duration) -> Outcome {
    let receipt = tokio::time::timeout(wait, awaited.receipt()).await;
    let outcome = receipt.ok().flatten().map(|receipt| match receipt {
        Receipt::Sealed { .. } => None,
        Receipt::Refused(refusal) => Some(refusal),
    });
    (id, outcome)
}

/// Waits after so many failures in a row, twice as long each time.
#[expect(
    clippy::disallowed_methods,
    reason = "bounded backoff towards a server that cannot announce its return"
)]
async fn pause(failures: u32) {
    tokio::time::sleep(pause_after(failures)).await;
}

fn pause_after(failures: u32) -> Duration {
    let doubled = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(PAUSE_LONGEST)
}

/// Waits until then; for ever, where there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
