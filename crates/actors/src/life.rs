//! What one life of a role has at the bus: its reader, and the messages taken and not yet acknowledged.
//!
//! Both outlive the role's actor, so that the supervisor gives them back when it crashes and nothing waits for the bus
//! to notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logline_bus::Delivery;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How long the bus may take to give the reader's place to another process.
const RELEASE_MAX: Duration = Duration::from_secs(1);

/// Shared by a role's actor, its reader and the supervisor.
#[derive(Clone)]
pub(crate) struct Life(Arc<Inner>);

struct Inner {
    readers: TaskTracker,
    stop: CancellationToken,
    /// By offset, so that they are handed back in the order in which they came; none once the role's life is over.
    messages: Mutex<Option<BTreeMap<u64, Arc<Delivery>>>>,
    filled: Notify,
}

impl Life {
    /// Of a role that begins.
    pub(crate) fn open() -> Self {
        Self(Arc::new(Inner {
            readers: TaskTracker::new(),
            stop: CancellationToken::new(),
            messages: Mutex::new(Some(BTreeMap::new())),
            filled: Notify::new(),
        }))
    }

    /// Reads from the bus until the life is over. The reader ends by itself when the guard is dropped.
    pub(crate) fn read<F>(&self, reader: impl FnOnce(CancellationToken) -> F) -> DropGuard
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.readers.spawn(reader(self.0.stop.clone()));
        self.0.stop.clone().drop_guard()
    }

    /// Holds a message; none where it is held already, because the bus delivered it again meanwhile.
    ///
    /// # Errors
    /// Gives the message back where the role's life is over.
    pub(crate) fn hold(&self, delivery: Delivery) -> Result<Option<Arc<Delivery>>, Arc<Delivery>> {
        let delivery = Arc::new(delivery);
        let mut messages = self.messages();
        let Some(messages) = messages.as_mut() else {
            return Err(delivery);
        };
        if messages.contains_key(&delivery.offset) {
            return Ok(None);
        }
        messages.insert(delivery.offset, Arc::clone(&delivery));
        self.0.filled.notify_one();
        Ok(Some(delivery))
    }

    /// Whether it was not handed back since.
    pub(crate) fn holds(&self, delivery: &Arc<Delivery>) -> bool {
        let messages = self.messages();
        let held = messages
            .as_ref()
            .and_then(|messages| messages.get(&delivery.offset));
        held.is_some_and(|held| Arc::ptr_eq(held, delivery))
    }

    /// It is about to be acknowledged or handed back: from here on it may come again.
    pub(crate) fn release(&self, delivery: &Delivery) {
        if let Some(messages) = self.messages().as_mut() {
            messages.remove(&delivery.offset);
        }
    }

    /// Gives all of them back to the bus, to be delivered again at once.
    pub(crate) async fn hand_back(&self) {
        let messages = self.messages().as_mut().map(std::mem::take);
        return_all(messages.unwrap_or_default()).await;
    }

    /// The end: lets go of the reader's place at the bus, then hands everything back.
    pub(crate) async fn end(&self) {
        self.0.stop.cancel();
        self.0.readers.close();
        if tokio::time::timeout(RELEASE_MAX, self.0.readers.wait())
            .await
            .is_err()
        {
            tracing::warn!("the bus did not answer; it notices the silence by itself");
        }
        let messages = self.messages().take();
        return_all(messages.unwrap_or_default()).await;
    }

    /// Tells the bus every `period` that what is held is being worked on, for as long as the role lives. Without
    /// messages nothing wakes.
    pub(crate) async fn keep(self, period: Duration) {
        loop {
            self.0.filled.notified().await;
            loop {
                lease(period).await;
                let messages: Vec<_> = match self.messages().as_ref() {
                    Some(messages) => messages.values().cloned().collect(),
                    None => return,
                };
                if messages.is_empty() {
                    break;
                }
                for delivery in messages {
                    // A lost sign of life costs a redelivery, which changes nothing.
                    let _ = delivery.in_progress().await;
                }
            }
        }
    }

    fn messages(&self) -> MutexGuard<'_, Option<BTreeMap<u64, Arc<Delivery>>>> {
        self.0
            .messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn return_all(messages: BTreeMap<u64, Arc<Delivery>>) {
    for delivery in messages.into_values() {
        // Where the bus is away, it delivers them again by itself when their time is over.
        let _ = delivery.retry_after(Duration::ZERO).await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a lease is renewed by time, and only while messages are held"
)]
async fn lease(period: Duration) {
    tokio::time::sleep(period).await;
}
