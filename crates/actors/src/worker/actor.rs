//! The worker's actor: keeps the lanes; each request runs in a job beside it.

use std::sync::Arc;

use logline_bus::{ConsumerSpec, Delivery, Filter};
use logline_span::{Refusal, SpanId, TenantId};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;

use super::job::Job;
use super::lanes::Lanes;
use super::turns::Turns;
use crate::pump::{DELIVERIES_MAX, Pump, Tether};
use crate::supervisor::Charge;
use crate::{GRACE, Role, Step, metric};

const REQUESTS: &str = "actors-worker";

/// A function; a request that names none waits for no other.
type Lane = (TenantId, SpanId);

pub(crate) struct Worker;

pub(crate) enum Msg {
    Request(Arc<Delivery>),
    Finished {
        era: u64,
        lane: Lane,
        crashed: bool,
    },
    /// Another process has taken over.
    Displaced,
    PumpEnded,
}

pub(crate) struct State {
    charge: Charge,
    lanes: Lanes<Lane, Arc<Delivery>>,
    turns: Turns,
    jobs: JoinSet<()>,
    /// Counts displacements: jobs of an earlier era no longer count.
    era: u64,
    _reader: DropGuard,
    /// Signs of life for what is held.
    _lease: JoinSet<()>,
}

impl Actor for Worker {
    type Msg = Msg;
    type State = State;
    type Arguments = Charge;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        charge: Charge,
    ) -> Result<State, ActorProcessingErr> {
        let config = &charge.shared.config;
        let pump = Pump {
            bus: charge.shared.outbox.bus().clone(),
            role: Role::Worker,
            spec: ConsumerSpec {
                durable: REQUESTS,
                filters: vec![requests()?],
                max_ack_pending: config.in_flight_max,
                ack_wait: config.ack_wait,
                max_deliver: DELIVERIES_MAX,
                backoff: Vec::new(),
                exclusive: Some(config.take_over),
            },
            backoff: config.backoff,
            life: charge.life.clone(),
            tether: Tether {
                actor: myself,
                ended: || Msg::PumpEnded,
            },
            arrived: Msg::Request,
            displaced: || Msg::Displaced,
        };
        let reader = charge.life.read(|stop| pump.run(stop));
        let lease = JoinSet::from_iter([charge.life.clone().keep(config.ack_wait / 3)]);
        let lanes = Lanes::new(config.concurrency_max);
        let turns = Turns::new(config.concurrency_max, config.deliveries_max);
        Ok(State {
            charge,
            lanes,
            turns,
            jobs: JoinSet::new(),
            era: 0,
            _reader: reader,
            _lease: lease,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // It may have been handed back while it waited here.
            Msg::Request(delivery) if !state.charge.life.holds(&delivery) => {}
            Msg::Request(delivery) => {
                state.charge.shared.step(Role::Worker, Step::Taken);
                let span = &delivery.sealed.span;
                let function = span.parent_id.unwrap_or(span.id);
                state
                    .lanes
                    .push((span.tenant_id.clone(), function), delivery);
            }
            Msg::Finished { era, .. } if era != state.era => {}
            Msg::Finished { crashed: true, .. } => return Err("a job crashed".into()),
            Msg::Finished { lane, .. } => state.lanes.finished(lane),
            Msg::Displaced => state.give_way().await,
            Msg::PumpEnded => return Err("the bus is no longer read".into()),
        }
        state.begin(&myself);
        Ok(())
    }

    /// What runs may end; what waits is handed back by the supervisor (EXE-9). Until then the reader holds its place
    /// at the bus, which keeps other processes from running the same functions meanwhile.
    async fn post_stop(
        &self,
        _: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let ended = async { while state.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!(jobs = state.jobs.len(), "running requests are handed back");
            state.jobs.shutdown().await;
        }
        Ok(())
    }
}

/// Every request sealed as scheduled.
fn requests() -> Result<Filter, Refusal> {
    Ok(Filter::timeline()
        .status(Some("scheduled".parse()?))
        .entity_type("request".parse()?))
}

impl State {
    /// Begins what may begin.
    fn begin(&mut self, myself: &ActorRef<Msg>) {
        // Ended jobs leave the set, so that it holds the running ones alone.
        while self.jobs.try_join_next().is_some() {}
        while let Some((lane, delivery)) = self.lanes.next() {
            let finish = Finish {
                actor: myself.clone(),
                era: self.era,
                lane: Some(lane),
            };
            let job = Job {
                charge: self.charge.clone(),
                turn: self.turns.admit(delivery.deliveries),
                delivery,
            };
            self.jobs.spawn(async move {
                let _finish = finish;
                job.serve().await;
            });
        }
        metrics::gauge!(metric::RUNNING).set(self.lanes.busy() as f64);
    }

    /// Stops everything in favour of the process that has taken over.
    async fn give_way(&mut self) {
        tracing::warn!("another process runs the requests; what is held here is handed back");
        self.jobs.shutdown().await;
        self.era += 1;
        self.lanes = Lanes::new(self.charge.shared.config.concurrency_max);
        self.charge.life.hand_back().await;
    }
}

/// Tells the actor that a job ended, even where it panicked.
struct Finish {
    actor: ActorRef<Msg>,
    era: u64,
    lane: Option<Lane>,
}

impl Drop for Finish {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            let finished = Msg::Finished {
                era: self.era,
                lane,
                crashed: std::thread::panicking(),
            };
            // It fails where the actor is gone, and the lanes with it.
            let _ = self.actor.send_message(finished);
        }
    }
}
