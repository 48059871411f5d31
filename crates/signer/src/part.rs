//! Whom the signer signs, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use logline_bus::{Bus, News};
use logline_ledger as ledger;
use logline_span::{SigningKey, TenantId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::log::{Desk, Log};
use crate::trouble::{Fault, Trouble};
use crate::{incident, metric};

/// First and longest pause while bus or ledger are away.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// How the signer works.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long news are gathered before heads are signed: a busy tenant gets no more of them than this allows.
    pub gather: Duration,
    /// Logs kept at hand, under 3 KB each; the others are taken up again when they go on.
    pub logs_max: usize,
}

/// How the signer fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Every head is signed soon.
    Active,
    /// Held up by what the sentence names; it goes on by itself.
    Degraded {
        /// What is missing.
        reason: String,
    },
    /// So many tenants' logs do not go on from what was signed: a person must look at the incidents.
    Refusing {
        /// How many.
        tenants: usize,
    },
}

/// Signs the heads of all tenants' logs. Two of them do no harm: the bus takes one head after the other.
pub struct Signer {
    config: Config,
    bus: Bus,
    ledger: ledger::Signer,
    key: SigningKey,
    health: watch::Sender<Health>,
}

/// The logs at hand and those to be signed.
struct Round {
    desk: Desk,
    logs: BTreeMap<TenantId, Log>,
    pending: BTreeSet<TenantId>,
    /// Not signed any more, each with why; a log that is merely short is looked at again when it goes on.
    refused: BTreeMap<TenantId, Fault>,
}

impl Signer {
    /// A signer with the resources that it needs; nothing happens before [`Self::run`].
    #[must_use]
    pub fn new(config: Config, bus: Bus, ledger: ledger::Signer, key: SigningKey) -> Self {
        let health = watch::Sender::new(Health::Active);
        Self {
            config,
            bus,
            ledger,
            key,
            health,
        }
    }

    /// Follows how it fares.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Signs until `shutdown`, when it ends the round that it is in; whatever fails meanwhile is waited for.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut failures = 0;
        // `None` says that the process stops.
        while let Some(error) = self.follow(&shutdown, &mut failures).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "not signing");
            self.degraded(&error);
            failures += 1;
            if pause(failures, &shutdown).await.is_none() {
                break;
            }
        }
    }

    /// Signs what is new, round after round, until bus or ledger fail.
    async fn follow(&self, stop: &CancellationToken, failures: &mut u32) -> Option<Trouble> {
        let (mut round, mut news) = match stop.run_until_cancelled(self.begin()).await? {
            Ok(begun) => begun,
            Err(error) => return Some(error),
        };
        loop {
            if let Err(error) = round.sign().await {
                return Some(error);
            }
            *failures = 0;
            self.tell(&round);
            while round.logs.len() > self.config.logs_max {
                round.logs.pop_first();
            }
            let gathered = self.gather(&mut news, &mut round.pending);
            if let Err(error) = stop.run_until_cancelled(gathered).await? {
                return Some(error.into());
            }
        }
    }

    /// First listens, then looks: what is sealed in between is seen twice rather than not at all.
    async fn begin(&self) -> Result<(Round, News), Trouble> {
        let news = self.bus.news().await?;
        let desk = Desk {
            bus: self.bus.clone(),
            ledger: self.ledger.clone(),
            key: self.key.clone(),
            name: self.ledger.log_name().await?,
            keys: self.ledger.add_key(&self.key.public_key()).await?,
        };
        let round = Round {
            desk,
            logs: BTreeMap::new(),
            pending: self.ledger.ahead().await?.into_iter().collect(),
            refused: BTreeMap::new(),
        };
        Ok((round, news))
    }

    /// Waits for news, and a little longer for more.
    async fn gather(
        &self,
        news: &mut News,
        pending: &mut BTreeSet<TenantId>,
    ) -> Result<(), logline_bus::Error> {
        pending.insert(news.next().await?);
        let until = tokio::time::Instant::now() + self.config.gather;
        while let Ok(next) = tokio::time::timeout_at(until, news.next()).await {
            pending.insert(next?);
        }
        Ok(())
    }

    fn tell(&self, round: &Round) {
        let tenants = round.refused.len();
        metrics::gauge!(metric::REFUSED).set(tenants as f64);
        self.health.send_replace(if tenants == 0 {
            Health::Active
        } else {
            Health::Refusing { tenants }
        });
    }

    fn degraded(&self, error: &Trouble) {
        let reason = error.to_string();
        self.health.send_replace(Health::Degraded { reason });
    }
}

impl Round {
    /// Signs every head that is pending; what bus or ledger keep from being signed stays so.
    async fn sign(&mut self) -> Result<(), Trouble> {
        while let Some(tenant) = self.pending.first().cloned() {
            match self.sign_one(&tenant).await {
                Ok(()) => {}
                Err(Trouble::Fault(fault)) => self.refuse(&tenant, fault).await?,
                // The other one's head is the last now.
                Err(Trouble::Overtaken) => {
                    self.logs.remove(&tenant);
                    continue;
                }
                Err(error @ (Trouble::Origin(_) | Trouble::Tree(_))) => {
                    tracing::error!(%tenant, error = &error as &dyn std::error::Error, "a log cannot be signed");
                }
                Err(error @ (Trouble::Ledger(_) | Trouble::Bus(_))) => return Err(error),
            }
            self.pending.remove(&tenant);
        }
        Ok(())
    }

    async fn sign_one(&mut self, tenant: &TenantId) -> Result<(), Trouble> {
        match self.refused.get(tenant) {
            Some(Fault::Differs { .. } | Fault::Foreign { .. }) => return Ok(()),
            Some(Fault::Shorter { .. }) | None => {}
        }
        let mut log = match self.logs.remove(tenant) {
            Some(log) => log,
            None => self.desk.take_up(tenant).await?,
        };
        self.refused.remove(tenant);
        if self.desk.extend(tenant, &mut log).await? {
            metrics::counter!(metric::SIGNED).increment(1);
        }
        self.logs.insert(tenant.clone(), log);
        Ok(())
    }

    async fn refuse(&mut self, tenant: &TenantId, fault: Fault) -> Result<(), Trouble> {
        if self.refused.get(tenant) == Some(&fault) {
            return Ok(());
        }
        tracing::error!(%tenant, %fault, "the log is not signed any more");
        incident::publish(&self.desk.bus, tenant, &fault).await?;
        self.refused.insert(tenant.clone(), fault);
        Ok(())
    }
}

/// Waits after so many failures in a row, twice as long each time; `None` once `stop` is cancelled.
#[expect(
    clippy::disallowed_methods,
    reason = "bounded backoff towards a server that cannot announce its return"
)]
async fn pause(failures: u32, stop: &CancellationToken) -> Option<()> {
    let pause = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(failures.min(8)));
    stop.run_until_cancelled(tokio::time::sleep(pause.min(PAUSE_LONGEST)))
        .await
}
