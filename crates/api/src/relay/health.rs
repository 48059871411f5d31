//! What readiness may ask of the relay.

use tokio::sync::watch;

/// How the relay fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayHealth {
    /// It has not looked into the outbox yet.
    Starting,
    /// It publishes what waits, as soon as it waits.
    Active,
    /// Held up by what the sentence names; it goes on by itself.
    Degraded {
        /// What is missing; holds no content of any span.
        reason: String,
    },
}

/// The writing end. Unchanged values wake nobody.
pub(super) struct Monitor(watch::Sender<RelayHealth>);

impl Monitor {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(RelayHealth::Starting))
    }

    pub(super) fn watch(&self) -> watch::Receiver<RelayHealth> {
        self.0.subscribe()
    }

    pub(super) fn set(&self, health: RelayHealth) {
        self.0.send_if_modified(|current| {
            let changed = *current != health;
            if changed {
                *current = health;
            }
            changed
        });
    }

    pub(super) fn degraded(&self, reason: &str) {
        self.set(RelayHealth::Degraded {
            reason: reason.to_owned(),
        });
    }
}
