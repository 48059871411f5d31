//! What readiness may ask of a projector.

use tokio::sync::watch;

/// How the projector fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not leading: another projector seals, or nothing has arrived since the start.
    Standby,
    /// Leading and sealing.
    Active,
    /// Leading, but held up by what the sentence names; it goes on by itself.
    Degraded {
        /// What is missing; holds no content of any span.
        reason: String,
    },
}

impl Health {
    pub(crate) fn degraded(reason: impl Into<String>) -> Self {
        Self::Degraded {
            reason: reason.into(),
        }
    }

    /// Whether spans that arrive are sealed without delay, here or by another projector.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Standby | Self::Active => true,
            Self::Degraded { .. } => false,
        }
    }
}

/// The writing end, shared by the stages. Unchanged values wake nobody.
#[derive(Clone)]
pub(crate) struct Monitor(watch::Sender<Health>);

impl Monitor {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Health::Standby))
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
        self.set(Health::degraded(reason));
    }
}
