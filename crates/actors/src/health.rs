//! What readiness may ask of the actors.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::Role;

/// How one role fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not yet begun; the worker waits for the sandbox.
    Starting,
    /// Taking messages.
    Running,
    /// It crashed and comes back by itself after a pause.
    Restarting,
    /// It does not run: it kept crashing, the sandbox cannot be loaded, or it was told to stop.
    Stopped {
        /// Why; holds no content of any span.
        reason: String,
    },
}

/// A view of all roles of one process, always current.
#[derive(Debug, Clone)]
pub struct Health(watch::Receiver<BTreeMap<Role, State>>);

impl Health {
    /// Every role of this process and how it fares.
    pub fn roles(&self) -> BTreeMap<Role, State> {
        self.0.borrow().clone()
    }

    /// Whether every role runs.
    pub fn is_ready(&self) -> bool {
        self.0
            .borrow()
            .values()
            .all(|state| *state == State::Running)
    }

    /// Waits until `wanted` holds; false when the actors ended before it did.
    pub async fn wait_for(&mut self, wanted: impl FnMut(&BTreeMap<Role, State>) -> bool) -> bool {
        self.0.wait_for(wanted).await.is_ok()
    }
}

/// The writing end, held by the supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Monitor(watch::Sender<BTreeMap<Role, State>>);

impl Monitor {
    pub(crate) fn new(roles: &[Role]) -> Self {
        Self(watch::Sender::new(
            roles.iter().map(|role| (*role, State::Starting)).collect(),
        ))
    }

    pub(crate) fn health(&self) -> Health {
        Health(self.0.subscribe())
    }

    pub(crate) fn set(&self, role: Role, state: State) {
        self.0.send_modify(|roles| {
            roles.insert(role, state);
        });
    }
}
