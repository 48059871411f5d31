//! Feeds a role's actor from the bus.
//!
//! The bus hands out no more than `max_ack_pending` messages that are not acknowledged: that bounds the mailbox.

use std::sync::Arc;
use std::time::Duration;

use logline_bus::{Bus, ConsumerSpec, Deliveries, Delivery, Error, TimerDelivery, Token};
use ractor::{ActorRef, Message};
use tokio_util::sync::CancellationToken;

use crate::life::Life;
use crate::{Backoff, Role, metric};

/// Nothing becomes a dead letter: what cannot be done yet is done later, and what takes a role down with it stops the
/// role visibly.
pub(crate) const DELIVERIES_MAX: u32 = u32::MAX;

/// What comes after a role's end waits until the bus has let its reader go.
const LATE_PAUSE: Duration = Duration::from_secs(1);

/// Tells the actor when its pump ends, however it does: without a pump a role is dead.
pub(crate) struct Tether<M: Message> {
    pub(crate) actor: ActorRef<M>,
    pub(crate) ended: fn() -> M,
}

impl<M: Message> Tether<M> {
    fn send(&self, message: M) {
        // A role that is stopping takes no more; what is held is handed back at its end.
        let _ = self.actor.send_message(message);
    }
}

impl<M: Message> Drop for Tether<M> {
    fn drop(&mut self) {
        self.send((self.ended)());
    }
}

/// One durable reader of the timeline and where its messages go.
pub(crate) struct Pump<M: Message> {
    pub(crate) bus: Bus,
    pub(crate) role: Role,
    pub(crate) spec: ConsumerSpec,
    pub(crate) backoff: Backoff,
    pub(crate) life: Life,
    pub(crate) tether: Tether<M>,
    pub(crate) arrived: fn(Arc<Delivery>) -> M,
    /// What to say when another process has taken over.
    pub(crate) displaced: fn() -> M,
}

impl<M: Message> Pump<M> {
    /// Takes deliveries until `stop`; a lost bus is waited for.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let error = match self.bus.consume(self.spec.clone()).await {
                Ok(mut deliveries) => {
                    let Some(ended) = stop
                        .run_until_cancelled(self.feed(&mut deliveries, &mut failures))
                        .await
                    else {
                        return self.release(deliveries).await;
                    };
                    ended
                }
                Err(error) => error,
            };
            failures += 1;
            lost(self.role, &error);
            if stop
                .run_until_cancelled(self.backoff.wait(failures))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// Passes on what comes until the bus fails.
    async fn feed(&self, deliveries: &mut Deliveries, failures: &mut u64) -> Error {
        loop {
            match deliveries.next().await {
                Ok(delivery) => {
                    *failures = 0;
                    // Held from here on, so that a crash loses nothing that waits in the mailbox.
                    match self.life.hold(delivery) {
                        Ok(Some(delivery)) => self.tether.send((self.arrived)(delivery)),
                        Ok(None) => {}
                        Err(late) => {
                            // Where the bus is not told, it delivers again by itself.
                            let _ = late.retry_after(LATE_PAUSE).await;
                        }
                    }
                }
                Err(Error::PinLost) => self.tether.send((self.displaced)()),
                Err(error) => return error,
            }
        }
    }

    async fn release(&self, deliveries: Deliveries) {
        if self.spec.exclusive.is_some() {
            // First what is held: the next process gets it before what comes behind it.
            self.life.hand_back().await;
            // Where it fails, the next process waits until the silence is long enough.
            let _ = deliveries.release().await;
        }
    }
}

/// Handles fired timers one after the other for as long as the actor lives, which hears where that ends; a lost bus is
/// waited for. What is not handled yet stays with the bus: a mailbox would grow by every redelivery.
pub(crate) async fn timers<M: Message, F: Future<Output = ()>>(
    bus: Bus,
    role: Role,
    (durable, kind): (&'static str, Token),
    backoff: Backoff,
    _tether: Tether<M>,
    handle: impl Fn(TimerDelivery) -> F,
) {
    let mut failures = 0;
    loop {
        let error = match bus.due(durable, &kind).await {
            Ok(mut timers) => loop {
                match timers.next().await {
                    Ok(timer) => {
                        failures = 0;
                        handle(timer).await;
                    }
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        failures += 1;
        lost(role, &error);
        backoff.wait(failures).await;
    }
}

fn lost(role: Role, error: &Error) {
    metrics::counter!(metric::WAITS, "role" => role.as_str()).increment(1);
    tracing::warn!(%role, error = error as &dyn std::error::Error, "waiting for the bus");
}
