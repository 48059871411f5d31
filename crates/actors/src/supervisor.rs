//! The supervision tree: one supervisor, one child per role (EXE-5).
//!
//! A role that crashes comes back after a pause, its messages handed back to the bus meanwhile, so that its offset is
//! what the bus holds. One that keeps crashing stops, with an incident. A lost bus or ledger is no crash: the roles
//! wait for it themselves.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::health::State as RoleState;
use crate::life::Life;
use crate::observer::actor::Observer;
use crate::outbox::Context;
use crate::worker::actor::Worker;
use crate::written::{self, Writer};
use crate::{Role, STOP_MAX, Shared, metric};

/// Longest sentence about a crash that health repeats.
const REASON_CHARS_MAX: usize = 500;

pub(crate) struct Supervisor;

pub(crate) struct Start(Role);

/// What a role's actor is given.
#[derive(Clone)]
pub(crate) struct Charge {
    pub(crate) shared: Arc<Shared>,
    pub(crate) life: Life,
}

pub(crate) struct Tree {
    shared: Arc<Shared>,
    children: HashMap<ActorId, (Role, ActorCell)>,
    /// Of the present life of each role.
    lives: BTreeMap<Role, Life>,
    crashes: BTreeMap<Role, VecDeque<Instant>>,
    /// Incidents on their way out, and the wait for the sandbox; they end with the supervisor.
    tasks: JoinSet<()>,
}

impl Actor for Supervisor {
    type Msg = Start;
    type State = Tree;
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        myself: ActorRef<Start>,
        shared: Arc<Shared>,
    ) -> Result<Tree, ActorProcessingErr> {
        let mut tasks = JoinSet::new();
        for role in &shared.config.roles {
            match role {
                Role::Observer => myself.send_message(Start(*role))?,
                Role::Worker => {
                    tasks.spawn(when_sandbox_is_ready(myself.clone(), Arc::clone(&shared)));
                }
            }
        }
        Ok(Tree {
            lives: BTreeMap::new(),
            shared,
            children: HashMap::new(),
            crashes: BTreeMap::new(),
            tasks,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Start>,
        Start(role): Start,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        match tree.spawn(role, myself.get_cell()).await {
            Ok(child) => {
                tree.children.insert(child.get_id(), (role, child));
                tree.shared.monitor.set(role, RoleState::Running);
            }
            Err(error) => tree.crashed(&myself, role, error.to_string()).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Start>,
        event: SupervisionEvent,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        let (child, reason) = match event {
            SupervisionEvent::ActorFailed(child, error) => (child, error.to_string()),
            SupervisionEvent::ActorTerminated(child, _, reason) => {
                (child, reason.unwrap_or_default())
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        if let Some((role, _)) = tree.children.remove(&child.get_id()) {
            tree.crashed(&myself, role, reason).await;
        }
        Ok(())
    }

    /// Told to stop: so are the roles, all at once (EXE-9).
    async fn post_stop(
        &self,
        _: ActorRef<Start>,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        let mut stops = JoinSet::new();
        for (role, child) in std::mem::take(&mut tree.children).into_values() {
            let shared = Arc::clone(&tree.shared);
            stops.spawn(async move {
                if child.stop_and_wait(None, Some(STOP_MAX)).await.is_err() {
                    tracing::error!(%role, "the role did not stop in time");
                }
                shared.monitor.set(
                    role,
                    RoleState::Stopped {
                        reason: "told to stop".to_owned(),
                    },
                );
            });
        }
        stops.join_all().await;
        for life in tree.lives.values() {
            life.end().await;
        }
        Ok(())
    }
}

/// A worker that cannot run anything takes no requests: it would keep them from a process that can.
async fn when_sandbox_is_ready(supervisor: ActorRef<Start>, shared: Arc<Shared>) {
    match shared.resources.sandbox.ready().await {
        // It fails where the supervisor is gone.
        Ok(()) => drop(supervisor.send_message(Start(Role::Worker))),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "no function can run: the worker does not start"
            );
            let reason = error.to_string().chars().take(REASON_CHARS_MAX).collect();
            shared
                .monitor
                .set(Role::Worker, RoleState::Stopped { reason });
        }
    }
}

impl Tree {
    async fn spawn(&mut self, role: Role, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
        let life = Life::open();
        self.lives.insert(role, life.clone());
        let shared = Arc::clone(&self.shared);
        let charge = Charge { shared, life };
        let child = match role {
            Role::Observer => Actor::spawn_linked(None, Observer, charge, supervisor)
                .await?
                .0
                .get_cell(),
            Role::Worker => Actor::spawn_linked(None, Worker, charge, supervisor)
                .await?
                .0
                .get_cell(),
        };
        Ok(child)
    }

    async fn crashed(&mut self, supervisor: &ActorRef<Start>, role: Role, reason: String) {
        metrics::counter!(metric::CRASHES, "role" => role.as_str()).increment(1);
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        let config = &self.shared.config;
        let crashes = self.crashes.entry(role).or_default();
        let now = Instant::now();
        crashes.push_back(now);
        crashes.retain(|crash| now.duration_since(*crash) <= config.crash_window);
        let count = crashes.len();
        if let Some(life) = self.lives.remove(&role) {
            life.end().await;
        }
        if count > config.crashes_max {
            tracing::error!(%role, count, reason, "role keeps crashing and is stopped");
            self.shared.monitor.set(
                role,
                RoleState::Stopped {
                    reason: format!("kept crashing: {reason}"),
                },
            );
            self.report(role, count);
            return;
        }
        let pause = config.backoff.after(count as u64);
        tracing::error!(%role, count, ?pause, reason, "role crashed and is restarted");
        self.shared.monitor.set(role, RoleState::Restarting);
        supervisor.send_after(pause, move || Start(role));
    }

    /// Publishes the incident, for as long as it takes the bus to have it.
    fn report(&mut self, role: Role, count: usize) {
        let writer = match role {
            Role::Observer => Writer::Observer,
            Role::Worker => Writer::Worker,
        };
        // No span caused this: the incident is named by its own occasion.
        let occasion = Uuid::now_v7();
        let detail =
            format!("the role crashed {count} times in a row and has stopped in one process");
        let written = written::role_stopped(writer, role, occasion, &detail);
        let signed = self.shared.outbox.sign(written);
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let context = Context { depth: 0, traceparent: None };
            let mut failures = 0;
            while let Err(error) = shared.outbox.publish(&signed, &context).await {
                failures += 1;
                tracing::warn!(%role, error = &error as &dyn std::error::Error, "incident not yet published");
                shared.config.backoff.wait(failures).await;
            }
        });
    }
}
