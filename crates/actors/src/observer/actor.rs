//! The observer's actor: one message after the other, so that a function's versions keep their order.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use logline_bus::{ConsumerSpec, Delivery, Filter, Schedule, Timer, TimerDelivery, Token, trace};
use logline_ledger::Disposition;
use logline_span::{Refusal, SpanId, TenantId, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;
use tracing::Instrument;

use super::{Action, Alarm};
use crate::outbox::Context;
use crate::pump::{self, DELIVERIES_MAX, Pump, Tether};
use crate::supervisor::Charge;
use crate::{Role, Step, metric};

const FUNCTIONS: &str = "actors-observer";
const TIMERS: &str = "actors-observer-timers";
/// The kind in the address of a function's timer.
const KIND: &str = "function";

pub(crate) struct Observer;

pub(crate) enum Msg {
    Function(Arc<Delivery>),
    Due(Box<TimerDelivery>),
    PumpEnded,
}

pub(crate) struct State {
    charge: Charge,
    _reader: DropGuard,
    /// Timers and signs of life; they end with the actor.
    _tasks: JoinSet<()>,
}

/// Why something could not be done now; it is delivered again later.
#[derive(Debug, thiserror::Error)]
enum Later {
    #[error("the bus did not take it")]
    Bus(#[from] logline_bus::Error),
    #[error("the function could not be looked up")]
    Ledger(#[from] logline_ledger::Error),
    #[error("the timer has no address")]
    Address,
    #[error("the timer has no body")]
    Body(#[from] serde_json::Error),
}

impl Actor for Observer {
    type Msg = Msg;
    type State = State;
    type Arguments = Charge;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        charge: Charge,
    ) -> Result<State, ActorProcessingErr> {
        let config = &charge.shared.config;
        let bus = charge.shared.outbox.bus();
        let tether = || Tether {
            actor: myself.clone(),
            ended: || Msg::PumpEnded,
        };
        let spec = ConsumerSpec {
            durable: FUNCTIONS,
            filters: vec![functions()?],
            max_ack_pending: config.in_flight_max,
            ack_wait: config.ack_wait,
            max_deliver: DELIVERIES_MAX,
            backoff: Vec::new(),
            exclusive: None,
        };
        let pump = Pump {
            bus: bus.clone(),
            role: Role::Observer,
            spec,
            backoff: config.backoff,
            life: charge.life.clone(),
            tether: tether(),
            arrived: Msg::Function,
            displaced: || Msg::PumpEnded,
        };
        let reader = charge.life.read(|stop| pump.run(stop));
        let mut tasks = JoinSet::new();
        let timers = (TIMERS, token(KIND)?);
        tasks.spawn(pump::timers(
            bus.clone(),
            Role::Observer,
            timers,
            config.backoff,
            tether(),
            Msg::Due,
        ));
        tasks.spawn(charge.life.clone().keep(config.ack_wait / 3));
        Ok(State {
            charge,
            _reader: reader,
            _tasks: tasks,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Function(delivery) => {
                let span = tracing::info_span!(
                    "process timeline.{tenant}.{visibility}.{owner}.{status}.{entity_type}",
                    role = "observer",
                    id = %delivery.sealed.span.id,
                    seq = %delivery.sealed.span.seq,
                );
                trace::extract(&*delivery, &span);
                state.charge.function(&delivery).instrument(span).await;
            }
            Msg::Due(timer) => {
                let span = tracing::info_span!(
                    "process timer.due.{tenant}.{kind}.{id}",
                    role = "observer",
                    id = %timer.id,
                );
                trace::extract(&*timer, &span);
                state.charge.timer(&timer).instrument(span).await;
            }
            Msg::PumpEnded => return Err("the bus is no longer read".into()),
        }
        Ok(())
    }
}

impl Charge {
    async fn function(&self, delivery: &Delivery) {
        self.shared.step(Role::Observer, Step::Taken);
        let function = &delivery.sealed;
        let actions = super::sealed(function, delivery.depth);
        let context = Context::of_cause(delivery.depth, delivery.traceparent.clone());
        let done = self
            .perform(
                &function.span.tenant_id,
                function.span.id,
                actions,
                &context,
            )
            .await;
        if done.is_ok() {
            self.shared.step(Role::Observer, Step::Published);
        }
        self.life.release(delivery);
        let told = match self.outcome(done) {
            Ok(()) => delivery.ack().await,
            Err(()) => {
                delivery
                    .retry_after(self.shared.config.backoff.after(delivery.deliveries))
                    .await
            }
        };
        unheard(told);
    }

    async fn timer(&self, timer: &TimerDelivery) {
        let told = match self.outcome(self.due(timer).await) {
            Ok(()) => timer.ack().await,
            Err(()) => {
                timer
                    .retry_after(self.shared.config.backoff.after(timer.deliveries))
                    .await
            }
        };
        unheard(told);
    }

    async fn due(&self, timer: &TimerDelivery) -> Result<(), Later> {
        let id: Option<SpanId> = timer.id.as_str().parse().ok();
        let alarm: Option<Alarm> = serde_json::from_slice(&timer.body).ok();
        let (Some(id), Some(alarm)) = (id, alarm) else {
            tracing::error!("a timer that the observer did not set is passed over");
            return Ok(());
        };
        let context = Context::of_cause(alarm.depth, timer.traceparent.clone());
        let actions = match self.shared.resources.ledger.latest(&timer.tenant, id).await {
            Ok(latest) => super::due(alarm, now(), latest.as_ref()),
            Err(error) => match error.disposition() {
                Disposition::Retry => return Err(error.into()),
                Disposition::Refuse => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, function = %id, "the function cannot be read");
                    super::unreadable(alarm, &timer.tenant, id)
                }
            },
        };
        self.perform(&timer.tenant, id, actions, &context).await
    }

    /// In order: a request is on the bus before the timer moves on.
    async fn perform(
        &self,
        tenant: &TenantId,
        function: SpanId,
        actions: Vec<Action>,
        context: &Context,
    ) -> Result<(), Later> {
        let outbox = &self.shared.outbox;
        for action in actions {
            match action {
                Action::Publish(written) => outbox.publish(&outbox.sign(*written), context).await?,
                Action::Arm(alarm) => {
                    outbox
                        .bus()
                        .set_timer(&timer(tenant, function, &alarm, context)?)
                        .await?
                }
                Action::Disarm => {
                    outbox
                        .bus()
                        .cancel_timer(tenant, &token(KIND)?, &token(&function.to_string())?)
                        .await?
                }
            }
        }
        Ok(())
    }

    fn outcome(&self, done: Result<(), Later>) -> Result<(), ()> {
        let outcome = if done.is_ok() { "done" } else { "later" };
        metrics::counter!(metric::HANDLED, "role" => "observer", "outcome" => outcome).increment(1);
        done.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "comes again later"
            );
        })
    }
}

/// Every function sealed as scheduled.
fn functions() -> Result<Filter, Refusal> {
    Ok(Filter::timeline()
        .status(Some("scheduled".parse()?))
        .entity_type("function".parse()?))
}

fn timer(
    tenant: &TenantId,
    function: SpanId,
    alarm: &Alarm,
    context: &Context,
) -> Result<Timer, Later> {
    Ok(Timer {
        tenant: tenant.clone(),
        kind: token(KIND)?,
        id: token(&function.to_string())?,
        schedule: Schedule::At(alarm.due),
        body: serde_json::to_vec(alarm)?.into(),
        traceparent: context.traceparent.clone(),
    })
}

fn token(text: &str) -> Result<Token, Later> {
    text.parse().map_err(|_| Later::Address)
}

/// This machine's clock: it tells missed runs from punctual ones, and nothing that is sealed depends on it.
#[expect(
    clippy::disallowed_methods,
    reason = "the bus does not say when a timer fired"
)]
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Where the bus was not told, it delivers again, which changes nothing.
fn unheard(told: Result<(), logline_bus::Error>) {
    if let Err(error) = told {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the bus was not told and delivers again"
        );
    }
}
