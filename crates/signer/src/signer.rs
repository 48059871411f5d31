//! Who is signed when: hears of news, gives turns, and waits while a server is away.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use logline_bus::PublishedCheckpoint;
use logline_ledger::Ends;
use logline_proof::SignedCheckpoint;
use logline_span::TenantId;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agenda::{Agenda, Turn};
use crate::board::Board;
use crate::config::{Config, Resources};
use crate::health::{Health, Monitor};
use crate::incident::{self, Finding};
use crate::log::{Desk, Failed, Log};
use crate::metric;
use crate::witness::Witnesses;

/// First and longest pause before what is away is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// How long the turns that are under way may take when the process stops (EXE-9).
const GRACE: Duration = Duration::from_secs(5);

/// Signs the logs of all tenants. Several may run at once: the bus takes one head after another, and each signer checks and
/// follows those of the others.
#[derive(Debug)]
pub struct Signer {
    config: Config,
    resources: Resources,
    monitor: Monitor,
}

/// How a turn ended, with what is still certain of the log.
type Ended = (TenantId, Option<Box<Log>>, Result<bool, Failed>);

/// The turns of one run.
struct Turns {
    desk: Desk,
    parallel_max: usize,
    monitor: Monitor,
    agenda: Agenda,
    running: JoinSet<Ended>,
    /// Whose turn each task is: a task that panicked does not say.
    tenants: HashMap<Id, TenantId>,
    /// Turns that failed in a row because a server is away, and until when no other begins.
    failures: u32,
    pause_until: Option<Instant>,
}

impl Signer {
    /// A signer with the resources that it needs; nothing happens before [`Self::run`].
    #[must_use]
    pub fn new(config: Config, resources: Resources) -> Self {
        let monitor = Monitor::new();
        Self {
            config,
            resources,
            monitor,
        }
    }

    /// Follows how it fares.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.monitor.watch()
    }

    /// Signs until `shutdown`; whatever fails meanwhile is waited for.
    pub async fn run(self, shutdown: CancellationToken) {
        // `None` says that the process stops.
        let _ = self.work(&shutdown).await;
    }

    async fn work(&self, stop: &CancellationToken) -> Option<()> {
        let Resources { bus, ledger, .. } = &self.resources;
        let log_name = self.ask(stop, || ledger.log_name()).await?;
        // Before the survey, so that what is sealed after it is heard of.
        let mut news = self.ask(stop, || bus.news()).await?;
        let due = self.ask(stop, || self.survey()).await?;
        let (kept, cosigned) = <(Arc<Board>, Arc<Board>)>::default();
        let has_witnesses = !self.config.witnesses.is_empty();
        let mut beside = JoinSet::new();
        if has_witnesses {
            let witnesses = Witnesses::new(
                self.config.witnesses.clone(),
                self.resources.clone(),
                Arc::clone(&kept),
                Arc::clone(&cosigned),
            );
            beside.spawn(witnesses.run(stop.clone()));
        }
        let mut turns = Turns {
            desk: Desk {
                resources: self.resources.clone(),
                log_name: log_name.into(),
                kept: has_witnesses.then_some(kept),
                cosigned: Arc::clone(&cosigned),
            },
            parallel_max: self.config.parallel_max,
            monitor: self.monitor.clone(),
            agenda: Agenda::new(self.config.interval),
            running: JoinSet::new(),
            tenants: HashMap::new(),
            failures: 0,
            pause_until: None,
        };
        let now = Instant::now();
        due.iter().for_each(|tenant| turns.agenda.wake(tenant, now));
        self.monitor.set(Health::Active);
        loop {
            let next = turns.begin(Instant::now());
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = turns.running.join_next_with_id() => turns.end(ended, Instant::now()),
                heard = news.next() => match heard {
                    Ok(tenant) => turns.agenda.wake(&tenant, Instant::now()),
                    // It fails only where the connection was closed by this process.
                    Err(error) => {
                        self.monitor.degraded(error.to_string());
                        break;
                    }
                },
                () = cosigned.changed() => {
                    let now = Instant::now();
                    cosigned.tenants().iter().for_each(|tenant| turns.agenda.wake(tenant, now));
                }
                () = at(next) => {}
            }
        }
        let rest = async { while turns.running.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            tracing::warn!("stopping before every head that was begun is kept");
        }
        None
    }

    /// The tenants of which something is unsigned, or known in one place only.
    async fn survey(&self) -> Result<Vec<TenantId>, Failed> {
        let published = self.resources.bus.checkpoints().await?;
        let ends = self.resources.ledger.ends().await?;
        Ok(unsettled(&ends, &published))
    }

    /// Asks until there is an answer; `None` once `stop` is cancelled.
    async fn ask<T, E, F>(
        &self,
        stop: &CancellationToken,
        mut question: impl FnMut() -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, E>>,
        E: StdError + 'static,
    {
        let mut failures = 0;
        loop {
            match stop.run_until_cancelled(question()).await? {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        error = &error as &dyn StdError,
                        "the signer cannot begin yet"
                    );
                    self.monitor.degraded(error.to_string());
                    let waited = at(Some(Instant::now() + pause(failures)));
                    stop.run_until_cancelled(waited).await?;
                }
            }
        }
    }
}

impl Turns {
    /// Begins every turn that is due and has room; says when the next one is.
    fn begin(&mut self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.pause_until.filter(|until| *until > now) {
            return Some(until);
        }
        while self.running.len() < self.parallel_max
            && let Some((tenant, log)) = self.agenda.take(now)
        {
            let turn = turn(self.desk.clone(), tenant.clone(), log);
            self.tenants.insert(self.running.spawn(turn).id(), tenant);
        }
        // Where there is no room, the end of a turn says when there is.
        let has_room = self.running.len() < self.parallel_max;
        self.agenda.next_due().filter(|_| has_room)
    }

    fn end(&mut self, ended: Result<(Id, Ended), JoinError>, now: Instant) {
        let (tenant, turn) = match ended {
            Ok((id, (tenant, log, result))) => {
                self.tenants.remove(&id);
                let turn = self.judge(&tenant, log, result, now);
                (tenant, turn)
            }
            Err(error) => {
                let Some(tenant) = self.tenants.remove(&error.id()) else {
                    return;
                };
                tracing::error!(error = &error as &dyn StdError, %tenant, "signing a head failed");
                (tenant, Turn::Failed(None, PAUSE_LONGEST))
            }
        };
        let is_refused = matches!(turn, Turn::Refused);
        self.agenda.end(&tenant, turn, now);
        if is_refused {
            metrics::gauge!(metric::REFUSED).set(self.agenda.refused() as f64);
        }
    }

    fn judge(
        &mut self,
        tenant: &TenantId,
        log: Option<Box<Log>>,
        result: Result<bool, Failed>,
        now: Instant,
    ) -> Turn {
        match (result, log) {
            (Ok(more), Some(log)) => {
                self.failures = 0;
                self.pause_until = None;
                self.monitor.set(Health::Active);
                if more {
                    Turn::More(log)
                } else {
                    Turn::Done(log)
                }
            }
            (Err(Failed::Refused(_)), _) => Turn::Refused,
            (Err(Failed::Doubtful), _) | (Ok(_), None) => Turn::Failed(None, PAUSE_FIRST),
            (Err(error @ (Failed::Bus(_) | Failed::Ledger(_))), log) => {
                self.failures = self.failures.saturating_add(1);
                let pause = pause(self.failures);
                self.pause_until = Some(now + pause);
                metrics::counter!(metric::FAILURES).increment(1);
                self.monitor.degraded(error.to_string());
                tracing::warn!(error = &error as &dyn StdError, %tenant, ?pause, "a head is not signed yet");
                Turn::Failed(log, pause)
            }
        }
    }
}

/// One tenant's turn.
async fn turn(desk: Desk, tenant: TenantId, log: Option<Box<Log>>) -> Ended {
    let opened = match log {
        Some(log) => Ok(log),
        None => desk.open(&tenant).await.map(Box::new),
    };
    let (log, result) = match opened {
        Ok(mut log) => {
            let result = desk.sign(&mut log).await;
            (Some(log), result)
        }
        Err(error) => (None, Err(error)),
    };
    if let Err(Failed::Refused(refusal)) = &result {
        incident::report(&desk.resources, &tenant, &Finding::refused(refusal)).await;
    }
    (tenant, log, result)
}

/// The tenants whose newest head does not cover their chain, or is not the same in both places.
fn unsettled(ends: &[Ends], published: &[PublishedCheckpoint]) -> Vec<TenantId> {
    let size = |head: &PublishedCheckpoint| {
        let signed: Option<SignedCheckpoint> = head.note.parse().ok();
        signed.map_or(0, |signed| signed.checkpoint().head.size)
    };
    let published: BTreeMap<_, _> = published.iter().map(|it| (&it.tenant, size(it))).collect();
    let known: BTreeMap<_, _> = ends.iter().map(|it| (&it.tenant, it)).collect();
    let lost = published
        .keys()
        .filter(|tenant| !known.contains_key(*tenant));
    let is_settled = |it: &Ends| {
        let published = published.get(&it.tenant).copied().unwrap_or(0);
        it.sealed == it.signed && it.signed == published
    };
    let behind = ends
        .iter()
        .filter(|it| !is_settled(it))
        .map(|it| &it.tenant);
    behind.chain(lost.copied()).cloned().collect()
}

pub(crate) fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(PAUSE_LONGEST)
}

/// Waits until then; for ever where there is no such time.
pub(crate) async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unsigned_or_in_one_place_is_looked_at() {
        let ends = |tenant: &str, sealed, signed| Ends {
            tenant: tenant.parse().unwrap(),
            sealed,
            signed,
        };
        let published = |tenant: &str, note: &str| PublishedCheckpoint {
            tenant: tenant.parse().unwrap(),
            seq: 1,
            note: note.to_owned(),
        };
        let note =
            "log/a\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} log/a AAAAAAA=\n";
        let all = [
            ends("settled", 1, 1),
            ends("new", 1, 0),
            ends("unpublished", 1, 1),
            ends("cut", 0, 1),
        ];
        let on_the_bus = [
            published("settled", note),
            published("cut", note),
            published("lost", note),
        ];
        let found = unsettled(&all, &on_the_bus);
        let found: Vec<_> = found.iter().map(TenantId::as_str).collect();
        assert_eq!(found, ["new", "unpublished", "cut", "lost"]);
    }
}
