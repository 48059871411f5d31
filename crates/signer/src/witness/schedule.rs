//! Whose head is submitted when, and to whom: pure, in memory, one entry a tenant.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use logline_proof::SignedCheckpoint;
use logline_span::TenantId;
use tokio::time::Instant;

/// The least time between two rounds of one tenant: what is signed meanwhile is cosigned together.
const INTERVAL: Duration = Duration::from_secs(1);
/// First and longest pause before a witness is asked again that failed, twice as long each time.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(300);

/// The tenants, and what each witness has of theirs.
#[derive(Debug)]
pub(super) struct Schedule {
    waiting: BTreeSet<(Instant, TenantId)>,
    tenants: HashMap<TenantId, Entry>,
    /// How each witness fares as such, whatever the log is.
    reached: Vec<Patience>,
}

#[derive(Debug)]
struct Entry {
    /// What is to be cosigned, with the cosignatures that it has.
    signed: SignedCheckpoint,
    /// A larger one that came during the round.
    newer: Option<SignedCheckpoint>,
    state: State,
    not_before: Instant,
    progress: Vec<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Waiting(Instant),
    Running,
}

/// What one witness has of one log.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The size that it has cosigned last, as far as this process knows.
    known: u64,
    /// Whether it has cosigned the head at hand.
    is_done: bool,
    patience: Patience,
}

/// Waits longer after each failure in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Patience {
    failures: u32,
    until: Option<Instant>,
}

/// One head, and the witnesses that it is submitted to with the size that each is thought to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) tenant: TenantId,
    pub(super) signed: SignedCheckpoint,
    pub(super) asked: Vec<(usize, u64)>,
}

/// What became of asking one witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has cosigned the head.
    Cosigned,
    /// It answered, and not with a cosignature; it may have said what it knows.
    Refused { known: Option<u64> },
    /// No answer came.
    Unreachable,
}

impl Outcome {
    pub(super) fn is_cosigned(self) -> bool {
        self == Self::Cosigned
    }
}

impl Patience {
    fn failed(&mut self, now: Instant) {
        let pause = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause.min(PAUSE_LONGEST));
    }

    fn later(self, other: Self) -> Option<Instant> {
        self.until.max(other.until)
    }
}

impl Schedule {
    pub(super) fn new(witnesses: usize) -> Self {
        Self {
            waiting: BTreeSet::new(),
            tenants: HashMap::new(),
            reached: vec![Patience::default(); witnesses],
        }
    }

    /// Notes a head; one that is no larger than what is known already is not.
    pub(super) fn want(&mut self, tenant: TenantId, signed: SignedCheckpoint, now: Instant) {
        let size = |signed: &SignedCheckpoint| signed.checkpoint().head.size;
        let Some(entry) = self.tenants.get_mut(&tenant) else {
            let entry = Entry {
                signed,
                newer: None,
                state: State::Idle,
                not_before: now,
                progress: vec![Progress::default(); self.reached.len()],
            };
            self.tenants.insert(tenant.clone(), entry);
            self.arrange(&tenant, now);
            return;
        };
        if size(&signed) <= size(entry.newer.as_ref().unwrap_or(&entry.signed)) {
            return;
        }
        if entry.state == State::Running {
            entry.newer = Some(signed);
        } else {
            entry.renew(signed);
            self.arrange(&tenant, now);
        }
    }

    /// When the next round is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The round that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Round> {
        let (due, _) = self.waiting.first()?;
        if *due > now {
            return None;
        }
        let (_, tenant) = self.waiting.pop_first()?;
        let entry = self.tenants.get_mut(&tenant)?;
        entry.state = State::Running;
        entry.not_before = now + INTERVAL;
        let asked = entry.progress.iter().zip(&self.reached).enumerate();
        let asked = asked.filter(|(_, (progress, reached))| {
            let until = progress.patience.later(**reached);
            !progress.is_done && until.is_none_or(|until| until <= now)
        });
        Some(Round {
            asked: asked
                .map(|(witness, (progress, _))| (witness, progress.known))
                .collect(),
            signed: entry.signed.clone(),
            tenant,
        })
    }

    /// Takes a round's end; `signed` is its head with the cosignatures that it has won.
    pub(super) fn end(
        &mut self,
        tenant: &TenantId,
        signed: SignedCheckpoint,
        outcomes: &[(usize, Outcome)],
        now: Instant,
    ) {
        let Some(entry) = self.tenants.get_mut(tenant) else {
            return;
        };
        entry.state = State::Idle;
        let size = signed.checkpoint().head.size;
        entry.signed = signed;
        for (witness, outcome) in outcomes {
            let (Some(progress), Some(reached)) = (
                entry.progress.get_mut(*witness),
                self.reached.get_mut(*witness),
            ) else {
                continue;
            };
            match outcome {
                Outcome::Cosigned => {
                    *reached = Patience::default();
                    *progress = Progress {
                        known: size,
                        is_done: true,
                        patience: Patience::default(),
                    };
                }
                Outcome::Refused { known } => {
                    *reached = Patience::default();
                    progress.known = known.unwrap_or(progress.known);
                    progress.patience.failed(now);
                }
                Outcome::Unreachable => reached.failed(now),
            }
        }
        if let Some(newer) = entry.newer.take() {
            entry.renew(newer);
        }
        self.arrange(tenant, now);
    }

    /// Lets a tenant wait for the first witness that may be asked again.
    fn arrange(&mut self, tenant: &TenantId, now: Instant) {
        let Some(entry) = self.tenants.get_mut(tenant) else {
            return;
        };
        if let State::Waiting(due) = entry.state {
            self.waiting.remove(&(due, tenant.clone()));
        }
        let open = entry.progress.iter().zip(&self.reached);
        let due = open
            .filter(|(progress, _)| !progress.is_done)
            .map(|(progress, reached)| progress.patience.later(*reached).unwrap_or(now))
            .min();
        entry.state = match due {
            None => State::Idle,
            Some(due) => {
                let due = due.max(entry.not_before).max(now);
                self.waiting.insert((due, tenant.clone()));
                State::Waiting(due)
            }
        };
    }
}

impl Entry {
    fn renew(&mut self, signed: SignedCheckpoint) {
        self.signed = signed;
        for progress in &mut self.progress {
            progress.is_done = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use logline_proof::{Checkpoint, NodeHash, TreeHead};
    use logline_span::SigningKey;

    use super::*;

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    fn head(size: u64) -> SignedCheckpoint {
        let root = NodeHash::leaf(&size.to_be_bytes());
        let checkpoint = Checkpoint::new("log.test/acme".parse().unwrap(), TreeHead { size, root });
        checkpoint.sign(&SigningKey::from_seed(&[1; 32])).unwrap()
    }

    fn sizes(round: &Round) -> (u64, Vec<(usize, u64)>) {
        (round.signed.checkpoint().head.size, round.asked.clone())
    }

    #[test]
    fn all_witnesses_are_asked_about_the_newest_head_and_no_older_one() {
        let (mut schedule, now) = (Schedule::new(2), Instant::now());
        schedule.want(acme(), head(3), now);
        schedule.want(acme(), head(5), now);
        schedule.want(acme(), head(4), now);
        let round = schedule.take(now).unwrap();
        assert_eq!(sizes(&round), (5, vec![(0, 0), (1, 0)]));
        assert!(schedule.take(now).is_none() && schedule.next_due().is_none());

        // What came meanwhile has its turn a second later, from what each has cosigned.
        schedule.want(acme(), head(8), now);
        schedule.want(acme(), head(9), now);
        let outcomes = [
            (0, Outcome::Cosigned),
            (1, Outcome::Refused { known: Some(2) }),
        ];
        schedule.end(&acme(), round.signed, &outcomes, now);
        assert_eq!(schedule.next_due(), Some(now + INTERVAL));
        let round = schedule.take(now + INTERVAL).unwrap();
        assert_eq!(sizes(&round), (9, vec![(0, 5), (1, 2)]));
        let outcomes = [(0, Outcome::Cosigned), (1, Outcome::Cosigned)];
        schedule.end(&acme(), round.signed, &outcomes, now + INTERVAL);
        assert!(schedule.next_due().is_none(), "all is cosigned");
        schedule.want(acme(), head(9), now);
        assert!(schedule.next_due().is_none(), "and stays so");
    }

    #[test]
    fn who_does_not_answer_is_asked_less_and_less_about_any_log() {
        let (mut schedule, mut now) = (Schedule::new(2), Instant::now());
        let beta: TenantId = "beta".parse().unwrap();
        schedule.want(acme(), head(1), now);
        let mut pauses = Vec::new();
        for _ in 0..11 {
            let round = schedule.take(now).unwrap();
            let outcomes: Vec<_> = round
                .asked
                .iter()
                .map(|(witness, _)| match witness {
                    0 => (0, Outcome::Cosigned),
                    _ => (1, Outcome::Unreachable),
                })
                .collect();
            schedule.end(&acme(), round.signed, &outcomes, now);
            let due = schedule.next_due().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        let just_before = now - Duration::from_millis(1);
        schedule.want(beta.clone(), head(1), just_before);
        let round = schedule.take(just_before).unwrap();
        assert_eq!((round.tenant, round.asked), (beta, vec![(0, 0)]));
    }

    #[test]
    fn who_refuses_one_log_is_still_asked_about_another() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        schedule.want(acme(), head(1), now);
        let round = schedule.take(now).unwrap();
        schedule.end(
            &acme(),
            round.signed,
            &[(0, Outcome::Refused { known: None })],
            now,
        );
        schedule.want("beta".parse().unwrap(), head(1), now);
        let round = schedule.take(now).unwrap();
        assert_eq!(round.asked, [(0, 0)]);
        assert_eq!(schedule.next_due(), Some(now + PAUSE_FIRST));
    }
}
