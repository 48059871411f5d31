//! What readiness may ask of a signer.

use tokio::sync::watch;

/// How the signer fares. A tenant whose log it refuses is an incident and a metric, and no fault of the signer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not yet following the timeline.
    Starting,
    /// Signing what is sealed.
    Active,
    /// Held up by what the sentence names; it goes on by itself.
    Degraded {
        /// What is missing; holds no content of any span.
        reason: String,
    },
}

/// The writing end. Unchanged values wake nobody.
#[derive(Clone, Debug)]
pub(crate) struct Monitor(watch::Sender<Health>);

impl Monitor {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Health::Starting))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }

    pub(crate) fn set(&self, health: Health) {
        self.0.send_if_modified(|current| {
            let changed = *current != health;
            if changed {
                *current = health;
            }
            changed
        });
    }

    pub(crate) fn degraded(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.set(Health::Degraded { reason });
    }
}
