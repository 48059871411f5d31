//! Who seals (LED-13): waits for the projector's place, takes the shard, runs legs until it is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use logline_bus::{Bus, Incoming, Intake, IntakeConfig};
use logline_ledger::{ShardState, Writer};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::batch::Prepared;
use crate::config::Config;
use crate::decide::State;
use crate::health::{Health, Monitor};
use crate::metric;
use crate::parting::Mark;
use crate::purge;
use crate::retry::{self, Backoff};
use crate::stage::Context;
use crate::stage::commit::{Commit, End, Undone};
use crate::stage::prepare::{Decider, Gathered, Left, Plan, Prepare};
use crate::stage::publish::{Halt, Publish};
use crate::step::{OnStep, Step};

/// Batches that wait between two stages. One is enough to keep the next stage busy, and what waits longer on the
/// bus goes into larger batches.
const BATCHES_WAITING: usize = 1;

/// How long the stages may take to finish what they hold when the process stops (EXE-9).
const GRACE: Duration = Duration::from_secs(5);

/// Seals what arrives on `INGEST`. One at a time per shard works; any others stand by.
pub struct Projector {
    bus: Bus,
    writer: Writer,
    config: Arc<Config>,
    monitor: Monitor,
    on_step: Option<OnStep>,
}

/// Why a projector gave its place up without being told to stop.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the bus does not serve the intake")]
    Intake(#[from] logline_bus::Error),
    #[error("another projector seals this shard")]
    Fenced,
    #[error("the bus gave the numbers of sealed messages to others")]
    Parted,
    #[error(
        "the timeline holds {told} messages and the ledger {committed} spans: if the ledger lost some, `logline restore` brings them \
         back; if somebody else published there, `logline republish` makes the timeline again"
    )]
    Behind { told: u64, committed: u64 },
    #[error("a stage ended before its time")]
    Stage,
}

/// A stage's result.
enum Done {
    Prepare(Left),
    Commit(Undone),
    Publish(Result<(), Halt>),
}

/// What a leg begins with.
struct Start {
    intake: Box<Intake>,
    state: ShardState,
    /// The last message that is sealed.
    sealed: Mark,
    /// The next message wanted from the bus.
    from: u64,
    /// Taken from the bus before.
    backlog: VecDeque<Incoming>,
    plan: Option<Plan>,
}

/// How the stages of a leg ended; none where one panicked or did not end in time.
#[derive(Default)]
struct Results {
    left: Option<Left>,
    undone: Option<Undone>,
    published: Option<Result<(), Halt>>,
}

impl Projector {
    /// A projector with the resources that it needs; nothing happens before [`Self::run`].
    #[must_use]
    pub fn new(config: Config, bus: Bus, writer: Writer) -> Self {
        Self {
            bus,
            writer,
            config: Arc::new(config),
            monitor: Monitor::new(),
            on_step: None,
        }
    }

    /// The same projector, which says at every step where it is: for tests that stop it there.
    #[must_use]
    pub fn observed(self, on_step: OnStep) -> Self {
        Self {
            on_step: Some(on_step),
            ..self
        }
    }

    /// Follows how it fares.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.monitor.watch()
    }

    /// Seals until `shutdown`; whatever fails meanwhile is waited for.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        // `None` says that the process stops.
        while let Some(lost) = self.tenure(&shutdown, &mut backoff).await {
            tracing::warn!(error = &lost as &dyn std::error::Error, "not sealing");
            self.monitor.set(match lost {
                Lost::Fenced => Health::Standby,
                Lost::Intake(logline_bus::Error::Forgotten { .. }) => {
                    Health::degraded(Lost::Parted.to_string())
                }
                Lost::Intake(_) | Lost::Parted | Lost::Behind { .. } | Lost::Stage => {
                    Health::degraded(lost.to_string())
                }
            });
            if backoff.pause(&shutdown).await.is_none() {
                break;
            }
        }
    }

    /// Waits for the projector's place and seals until it is lost.
    async fn tenure(&self, stop: &CancellationToken, backoff: &mut Backoff) -> Option<Lost> {
        let mut intake = match stop.run_until_cancelled(self.claim()).await? {
            Ok(intake) => intake,
            Err(error) => return Some(error.into()),
        };
        if let Some(lost) = self.behind(stop).await? {
            return Some(lost);
        }
        let acquired = tokio::select! {
            acquired = self.acquire(stop) => acquired,
            lost = intake.hold() => match lost { Err(error) => return Some(error.into()), Ok(never) => match never {} },
        };
        let (log, state, sealed) = acquired?;
        if let Some(known) = sealed.known {
            intake.anchor(sealed.seq, known);
        }
        tracing::info!(epoch = state.epoch, after = state.ingest_seq, "sealing");
        self.monitor.set(Health::Active);
        let mut start = Start {
            intake,
            state,
            sealed,
            from: sealed.seq.saturating_add(1),
            backlog: VecDeque::new(),
            plan: None,
        };
        let mut idle = Backoff::new();
        loop {
            let plan = start.plan;
            let mut results = self.leg(stop, &log, start).await;
            let is_further = results.undone.as_ref().is_some_and(|it| it.is_further);
            if is_further {
                *backoff = Backoff::new();
            }
            let lost = if stop.is_cancelled() {
                None
            } else {
                results.lost()
            };
            if stop.is_cancelled() || lost.is_some() {
                if let Some(Left::Over { intake, .. }) = results.left {
                    // Another projector need not wait until this one's silence is noticed.
                    let _ = tokio::time::timeout(GRACE, intake.release()).await;
                }
                return lost;
            }
            start = match next(plan, self.config.batch_max, results) {
                Ok(start) => start,
                Err(lost) => return Some(lost),
            };
            if is_further {
                idle = Backoff::new();
                continue;
            }
            tokio::select! {
                paused = idle.pause(stop) => paused?,
                lost = start.intake.hold() => match lost { Err(error) => return Some(error.into()), Ok(never) => match never {} },
            }
        }
    }

    async fn claim(&self) -> Result<Box<Intake>, logline_bus::Error> {
        let config = &self.config;
        let mut intake = self
            .bus
            .intake(IntakeConfig {
                take_over: config.take_over,
                ack_wait: config.ack_wait,
                max_ack_pending: config.ack_pending_max,
                batch_max: config.batch_max,
            })
            .await?;
        self.monitor.set(Health::Standby);
        intake.claim().await?;
        Ok(Box::new(intake))
    }

    /// Whether the ledger lacks what was sealed. Nothing is published that is not committed, so the timeline is never ahead of
    /// a ledger that lost nothing; sealing on would fork every chain that did.
    async fn behind(&self, stop: &CancellationToken) -> Option<Option<Lost>> {
        let context = self.context(stop.clone(), stop.clone());
        let told = context.ask_bus(stop, || self.bus.timeline_last()).await?;
        let committed = context
            .ask(stop, || self.writer.committed(self.config.shard))
            .await?;
        Some((told > committed).then_some(Lost::Behind { told, committed }))
    }

    /// Fences whoever sealed before; gives the log's name, how far the shard is, and the last message sealed.
    async fn acquire(&self, stop: &CancellationToken) -> Option<(Arc<str>, ShardState, Mark)> {
        let context = self.context(stop.clone(), stop.clone());
        let log = context.ask(stop, || self.writer.log_name()).await?;
        let state = context
            .ask(stop, || self.writer.acquire(self.config.shard))
            .await?;
        context.step(Step::Acquired);
        let sealed = context.last_sealed(stop, &state).await?;
        Some((log.into(), state, sealed))
    }

    fn context(&self, stop: CancellationToken, over: CancellationToken) -> Context {
        Context {
            bus: self.bus.clone(),
            writer: self.writer.clone(),
            config: Arc::clone(&self.config),
            monitor: self.monitor.clone(),
            on_step: self.on_step.clone(),
            stop,
            over,
        }
    }

    /// Runs the three stages until all have ended.
    async fn leg(&self, stop: &CancellationToken, log: &Arc<str>, start: Start) -> Results {
        metric::begin(start.backlog.len());
        let context = self.context(stop.clone(), stop.child_token());
        let (to_commit, from_prepare) = mpsc::channel(BATCHES_WAITING);
        let (to_publish, from_commit) = mpsc::channel(BATCHES_WAITING);
        let (commits, committed) = watch::channel(0);
        let publish = Publish {
            context: context.clone(),
            acker: start.intake.acker(),
            input: from_commit,
            timeline_seq: start.state.timeline_seq,
            sealed: start.sealed,
            verified: None,
            purge: purge::Watch::default(),
        };
        let commit = Commit {
            context: context.clone(),
            state: start.state,
            sealed: start.sealed,
            input: from_prepare,
            committed: commits,
            out: to_publish,
        };
        let decider = Decider {
            context: context.clone(),
            log: Arc::clone(log),
            state: State::new(start.state.sealed_through, self.config.tenants_cached_max),
            backlog: start.backlog,
            in_hand: Gathered::default(),
            from: start.from,
            plan: start.plan,
            number: 0,
            committed,
        };
        let prepare = Prepare {
            intake: start.intake,
            decider,
            out: to_commit,
        };
        let mut stages = JoinSet::new();
        stages.spawn(async { Done::Prepare(prepare.run().await) });
        stages.spawn(async { Done::Commit(commit.run().await) });
        stages.spawn(async { Done::Publish(publish.run().await) });
        finish(stages, stop).await
    }
}

/// Waits for the stages; once the process stops, not longer than [`GRACE`].
async fn finish(mut stages: JoinSet<Done>, stop: &CancellationToken) -> Results {
    let mut results = Results::default();
    let all = async {
        while let Some(done) = stages.join_next().await {
            match done {
                Ok(Done::Prepare(left)) => results.left = Some(left),
                Ok(Done::Commit(undone)) => results.undone = Some(undone),
                Ok(Done::Publish(published)) => results.published = Some(published),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "stage failed")
                }
            }
        }
    };
    let overdue = async {
        stop.cancelled().await;
        retry::grace(GRACE).await;
    };
    tokio::select! {
        () = all => {}
        () = overdue => tracing::warn!("stopping before everything taken is sealed"),
    }
    results
}

impl Results {
    /// Why the projector's place is to be given up, where the leg says so.
    fn lost(&mut self) -> Option<Lost> {
        if let Some(Left::Lost(_)) = &self.left {
            return match self.left.take() {
                Some(Left::Lost(error)) => Some(Lost::Intake(error)),
                Some(Left::Over { .. }) | None => None,
            };
        }
        let end = self.undone.as_ref().map(|undone| &undone.end);
        match (end, self.published) {
            (Some(End::Fenced), _) => Some(Lost::Fenced),
            (_, Some(Err(Halt::Parted))) => Some(Lost::Parted),
            // What it was to answer for is delivered again to whoever comes next.
            (_, Some(Err(Halt::Stopped)) | None) => Some(Lost::Stage),
            (Some(End::Stopped) | None, Some(Ok(()))) => Some(Lost::Stage),
            (Some(End::Conflict | End::Refused), Some(Ok(()))) => None,
        }
    }
}

/// What comes after a leg.
fn next(plan: Option<Plan>, batch_max: usize, results: Results) -> Result<Start, Lost> {
    let Results {
        left: Some(left),
        undone: Some(undone),
        ..
    } = results
    else {
        return Err(Lost::Stage);
    };
    let (intake, from, rest) = match left {
        Left::Over {
            intake,
            from,
            backlog,
        } => (intake, from, backlog),
        Left::Lost(error) => return Err(Lost::Intake(error)),
    };
    let plan = match undone.end {
        End::Stopped => return Err(Lost::Stage),
        End::Fenced => return Err(Lost::Fenced),
        End::Conflict | End::Refused => plan_for(plan, batch_max, &undone),
    };
    let raw = undone.batches.into_iter().flat_map(Prepared::into_raw);
    Ok(Start {
        intake,
        state: undone.state,
        sealed: undone.sealed,
        from,
        backlog: raw.chain(rest).collect(),
        plan,
    })
}

/// How the batch that failed is tried again: a conflict first with every id looked up, then in halves, and a
/// message that Postgres refuses by itself is refused (LED-16).
fn plan_for(before: Option<Plan>, batch_max: usize, undone: &Undone) -> Option<Plan> {
    let failed = &undone.batches.first()?.decided;
    let (last, count) = (failed.last()?.incoming.seq, failed.len());
    let before = before.filter(|before| last <= before.through);
    let careful = Plan {
        through: last,
        batch_max,
        condemned: None,
    };
    Some(match before {
        None if undone.end == End::Conflict => careful,
        // Alone in its batch, so that it is behind when the next one fails.
        None | Some(_) if count == 1 => Plan {
            condemned: Some(last),
            batch_max: 1,
            ..careful
        },
        None => Plan {
            batch_max: count.div_ceil(2),
            ..careful
        },
        Some(before) => Plan {
            batch_max: count.div_ceil(2),
            through: before.through,
            condemned: None,
        },
    })
}
