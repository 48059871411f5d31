//! The observer's actor: functions one after the other, and beside them the timers that fire.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use logline_bus::{ConsumerSpec, Delivery, Filter, Schedule, Timer, TimerDelivery, Token, trace};
use logline_ledger::Disposition;
use logline_span::{Refusal, Sealed, Seq, SpanId, TenantId, Timestamp};
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
    PumpEnded,
}

pub(crate) struct State {
    charge: Charge,
    _reader: DropGuard,
    /// Timers and signs of life; they end with the actor.
    _tasks: JoinSet<()>,
}

/// Whose timer it is about, and where that is in its chain of causes.
struct Place<'a> {
    tenant: &'a TenantId,
    function: SpanId,
    depth: u16,
    context: Context,
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
        let fired = Arc::new(charge.clone());
        tasks.spawn(pump::timers(
            bus.clone(),
            Role::Observer,
            (TIMERS, token(KIND)?),
            config.backoff,
            tether(),
            move |timer| {
                let fired = Arc::clone(&fired);
                async move { fired.timer(&timer).await }
            },
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
        let place = Place {
            tenant: &function.span.tenant_id,
            function: function.span.id,
            depth: delivery.depth,
            context: Context::of_cause(delivery.depth, delivery.traceparent.clone()),
        };
        let done = self.perform(&place, Some(function.span.seq), actions).await;
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
        let span = tracing::info_span!(
            "process timer.due.{tenant}.{kind}.{id}",
            role = "observer",
            id = %timer.id,
        );
        trace::extract(timer, &span);
        let told = match self.outcome(self.due(timer).instrument(span).await) {
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
        let place = Place {
            tenant: &timer.tenant,
            function: id,
            depth: alarm.depth,
            context: Context::of_cause(alarm.depth, timer.traceparent.clone()),
        };
        match self.latest(&place).await? {
            Some(latest) => {
                let seen = latest.as_ref().map(|latest| latest.span.seq);
                let actions = super::due(alarm, now(), latest.as_ref());
                self.perform(&place, seen, actions).await
            }
            None => {
                let actions = super::unreadable(alarm, &timer.tenant, id);
                self.perform(&place, None, actions).await
            }
        }
    }

    /// A function's latest version, if there is one; nothing where it cannot be read.
    async fn latest(&self, place: &Place<'_>) -> Result<Option<Option<Sealed>>, Later> {
        let ledger = &self.shared.resources.ledger;
        match ledger.latest(place.tenant, place.function).await {
            Ok(latest) => Ok(Some(latest)),
            Err(error) => match error.disposition() {
                Disposition::Retry => Err(error.into()),
                Disposition::Refuse => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, function = %place.function, "the function cannot be read");
                    Ok(None)
                }
            },
        }
    }

    /// In order: a request is on the bus before the timer moves on. `seen` is the version that they were decided upon.
    async fn perform(
        &self,
        place: &Place<'_>,
        mut seen: Option<Seq>,
        actions: Vec<Action>,
    ) -> Result<(), Later> {
        for action in actions {
            let writes_timer = match &action {
                Action::Publish(_) => false,
                Action::Arm(_) | Action::Disarm => true,
            };
            self.act(place, action).await?;
            // INVARIANT (last look)
            while writes_timer
                && let Some(latest) = self.latest(place).await?
                && let latest_seq = latest.as_ref().map(|latest| latest.span.seq)
                && latest_seq != seen
            {
                seen = latest_seq;
                self.act(place, super::timer(latest.as_ref(), place.depth))
                    .await?;
            }
        }
        Ok(())
    }

    async fn act(&self, place: &Place<'_>, action: Action) -> Result<(), Later> {
        let outbox = &self.shared.outbox;
        match action {
            Action::Publish(written) => {
                outbox
                    .publish(&outbox.sign(*written), &place.context)
                    .await?;
            }
            Action::Arm(alarm) => outbox.bus().set_timer(&timer(place, &alarm)?).await?,
            Action::Disarm => {
                let id = token(&place.function.to_string())?;
                outbox
                    .bus()
                    .cancel_timer(place.tenant, &token(KIND)?, &id)
                    .await?;
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

fn timer(place: &Place<'_>, alarm: &Alarm) -> Result<Timer, Later> {
    Ok(Timer {
        tenant: place.tenant.clone(),
        kind: token(KIND)?,
        id: token(&place.function.to_string())?,
        schedule: Schedule::At(alarm.due),
        body: serde_json::to_vec(alarm)?.into(),
        traceparent: place.context.traceparent.clone(),
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
