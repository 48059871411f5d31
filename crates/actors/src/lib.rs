//! The actors: supervised roles that react to sealed spans (EXE-5 to EXE-9, EXE-12).
//!
//! The observer turns functions sealed as scheduled into requests; the worker runs requests and reports executions.
//! What they decide is pure (`observer.rs`, `worker.rs`) and what they write is in one place (`written.rs`);
//! the actors around it only fetch, call, publish and acknowledge.
//!
//! This crate alone names the actor library. It never touches the ledger but to look functions up, never seals, and
//! keeps no state that the bus or the ledger does not hold: any process may be killed at any time.
//!
//! Start at [`Actors`], then `observer.rs`.

mod observer;
mod schedule;
mod worker;

mod author;
mod foreign;
mod outbox;
mod written;

mod supervisor;

mod backoff;
mod health;
mod life;
mod pump;

pub mod metric;

#[cfg(test)]
mod sample;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use logline_bus::Bus;
use logline_sandbox::Sandbox;
use logline_span::SigningKey;
use ractor::{Actor, ActorCell};
use tokio_util::sync::CancellationToken;

use author::Author;
pub use backoff::Backoff;
use health::Monitor;
pub use health::{Health, State};
use outbox::Outbox;
use supervisor::Supervisor;

/// Longest chain of causes (EXE-8): what a span of this depth would cause is an incident instead.
pub const DEPTH_MAX: u16 = 16;

/// How long running work may take to end once the actors are told to stop; what remains is handed back (EXE-9).
const GRACE: Duration = Duration::from_secs(8);
/// The actors are gone after this long, whatever hangs (EXE-9).
const STOP_MAX: Duration = Duration::from_secs(10);

/// A part that reacts to sealed spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Turns scheduled functions into requests.
    Observer,
    /// Runs requests.
    Worker,
}

impl Role {
    /// The role's name in configuration, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observer => "observer",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the actors of one process work.
#[derive(Debug, Clone)]
pub struct Config {
    /// The roles that this process plays.
    pub roles: Vec<Role>,
    /// An execution that took longer than this is labelled slow.
    pub slow_ms: u64,
    /// A function is stopped after this long; its `metadata.timeout_ms` may lower it.
    pub timeout_ms: u64,
    /// Functions that run side by side.
    pub concurrency_max: usize,
    /// Messages that a role holds at most; the bound of its mailbox.
    pub in_flight_max: usize,
    /// How long the bus waits for a sign of life before it delivers a message again.
    pub ack_wait: Duration,
    /// How long the bus waits for a silent worker before another process takes over.
    pub take_over: Duration,
    /// Deliveries of one request after which it runs alone, and is reported as abandoned where it takes workers down
    /// then too. The bus counts every delivery, also those to a process that stopped or died while the request waited.
    pub deliveries_max: u64,
    /// Pauses between attempts, where bus or ledger are away and between restarts of a role.
    pub backoff: Backoff,
    /// A role that crashes more often than this within `crash_window` stops (EXE-5).
    pub crashes_max: usize,
    /// See `crashes_max`.
    pub crash_window: Duration,
    /// Memory of one run of a function.
    pub memory_bytes_max: usize,
    /// Bounds of what the actors write.
    pub limits: logline_span::Limits,
}

/// What the actors work with; made and owned by the caller.
#[derive(Clone)]
pub struct Resources {
    /// Where sealed spans come from and what is written goes to.
    pub bus: Bus,
    /// Where functions are looked up.
    pub ledger: logline_ledger::Actors,
    /// Where functions run.
    pub sandbox: Sandbox,
    /// The process's key: signs what the actors write.
    pub signing_key: SigningKey,
    /// Called at every step, for tests that stop a role between two of them.
    pub on_step: Option<OnStep>,
}

/// A place in the handling of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A message was taken from the bus.
    Taken,
    /// What it causes is accepted by the bus, and it is not acknowledged yet.
    Published,
}

/// See [`Resources::on_step`].
pub type OnStep = Arc<dyn Fn(Role, Step) + Send + Sync>;

/// Why the actors could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supervisor did not start.
    #[error("the supervisor of the actors did not start")]
    Start(#[source] Box<ractor::SpawnErr>),
    /// The supervisor ended without being told to.
    #[error("the supervisor of the actors ended by itself")]
    Ended,
}

/// The actors of one process.
pub struct Actors {
    shared: Arc<Shared>,
}

/// What the supervisor and every role see.
struct Shared {
    config: Config,
    resources: Resources,
    outbox: Outbox,
    monitor: Monitor,
}

impl Shared {
    fn step(&self, role: Role, step: Step) {
        if let Some(on_step) = &self.resources.on_step {
            on_step(role, step);
        }
    }
}

impl Actors {
    /// Gets the actors ready; nothing happens before [`Actors::run`].
    #[must_use]
    pub fn new(config: Config, resources: Resources) -> Self {
        let author = Author::new(resources.signing_key.clone(), config.limits);
        let outbox = Outbox::new(resources.bus.clone(), author);
        let monitor = Monitor::new(&config.roles);
        Self {
            shared: Arc::new(Shared {
                config,
                resources,
                outbox,
                monitor,
            }),
        }
    }

    /// How the roles fare, for readiness.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.monitor.health()
    }

    /// Plays the roles until `shutdown`; then no new work is taken, and what runs ends or is handed back (EXE-9).
    ///
    /// # Errors
    /// When the supervisor does not start, or ends without being told to: both are bugs.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let (supervisor, mut ended) = Actor::spawn(None, Supervisor, Arc::clone(&self.shared))
            .await
            .map_err(|error| Error::Start(Box::new(error)))?;
        let plug = Plug(supervisor.get_cell());
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = &mut ended => return Err(Error::Ended),
        }
        plug.0.stop(None);
        if tokio::time::timeout(STOP_MAX, ended).await.is_err() {
            tracing::error!("the actors did not stop in time and are given up");
        }
        Ok(())
    }
}

/// Actors do not outlive the future that runs them.
struct Plug(ActorCell);

impl Drop for Plug {
    fn drop(&mut self) {
        self.0.kill();
    }
}
