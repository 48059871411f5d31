//! The messages that a role holds: taken from the bus, not yet acknowledged.
//!
//! They outlive the role's actor, so that the supervisor hands them back when it crashes and nothing waits for the
//! bus to notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logline_bus::Delivery;
use tokio::sync::Notify;

#[derive(Clone, Default)]
pub(crate) struct Held(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// By offset, so that they are handed back in the order in which they came.
    messages: Mutex<BTreeMap<u64, Arc<Delivery>>>,
    filled: Notify,
}

impl Held {
    /// Holds a message; none where it is held already, because the bus delivered it again meanwhile.
    pub(crate) fn hold(&self, delivery: Delivery) -> Option<Arc<Delivery>> {
        let delivery = Arc::new(delivery);
        let mut messages = self.messages();
        if messages.contains_key(&delivery.offset) {
            return None;
        }
        messages.insert(delivery.offset, Arc::clone(&delivery));
        self.0.filled.notify_one();
        Some(delivery)
    }

    /// It was acknowledged or handed back.
    pub(crate) fn release(&self, delivery: &Delivery) {
        self.messages().remove(&delivery.offset);
    }

    /// Gives all of them back to the bus, to be delivered again at once.
    pub(crate) async fn hand_back(&self) {
        let messages = std::mem::take(&mut *self.messages());
        for delivery in messages.into_values() {
            // Where the bus is away, it delivers them again by itself when their time is over.
            let _ = delivery.retry_after(Duration::ZERO).await;
        }
    }

    /// Tells the bus every `period` that what is held is being worked on, for as long as the role lives. Without
    /// messages nothing wakes.
    pub(crate) async fn keep(self, period: Duration) {
        loop {
            self.0.filled.notified().await;
            while !self.messages().is_empty() {
                lease(period).await;
                let messages: Vec<_> = self.messages().values().cloned().collect();
                for delivery in messages {
                    // A lost sign of life costs a redelivery, which changes nothing.
                    let _ = delivery.in_progress().await;
                }
            }
        }
    }

    fn messages(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Delivery>>> {
        self.0
            .messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a lease is renewed by time, and only while messages are held"
)]
async fn lease(period: Duration) {
    tokio::time::sleep(period).await;
}
