//! Whose turn it is: pure, in memory, one entry a tenant. An entry is a few hundred bytes and lives as long as the process, so
//! that no tenant's tree is recomputed twice.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use logline_span::TenantId;
use tokio::time::Instant;

use crate::log::Log;

/// The tenants, and when each may be signed next.
#[derive(Debug)]
pub(crate) struct Agenda {
    interval: Duration,
    waiting: BTreeSet<(Instant, TenantId)>,
    tenants: HashMap<TenantId, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// What is known of its log; none before the first turn, after a failure that leaves it in doubt, and during a turn.
    log: Option<Box<Log>>,
    state: State,
    not_before: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All that was heard of is signed.
    Idle,
    /// Among those who wait.
    Waiting,
    /// Being signed; `again` says that more was heard of meanwhile.
    Running { again: bool },
    /// Never again in this process.
    Refused,
}

/// How a turn ended.
#[derive(Debug)]
pub(crate) enum Turn {
    /// All is signed that was there.
    Done(Box<Log>),
    /// There is more to sign.
    More(Box<Log>),
    /// It failed, and is tried again after a pause; with what is still certain of the log.
    Failed(Option<Box<Log>>, Duration),
    /// The log is not signed any more.
    Refused,
}

impl Agenda {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            waiting: BTreeSet::new(),
            tenants: HashMap::new(),
        }
    }

    /// Notes that a tenant's chain may have grown.
    pub(crate) fn wake(&mut self, tenant: &TenantId, now: Instant) {
        // Most words are about a tenant that waits already.
        if !self.tenants.contains_key(tenant) {
            let entry = Entry {
                log: None,
                state: State::Idle,
                not_before: now,
            };
            self.tenants.insert(tenant.clone(), entry);
        }
        let Some(entry) = self.tenants.get_mut(tenant) else {
            return;
        };
        match entry.state {
            State::Idle => {
                entry.state = State::Waiting;
                let due = entry.not_before.max(now);
                self.waiting.insert((due, tenant.clone()));
            }
            State::Running { .. } => entry.state = State::Running { again: true },
            State::Waiting | State::Refused => {}
        }
    }

    /// When the next tenant's turn is.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The tenant whose turn it is, and what is known of its log.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(TenantId, Option<Box<Log>>)> {
        let (due, tenant) = self.waiting.pop_first()?;
        if due > now {
            self.waiting.insert((due, tenant));
            return None;
        }
        let entry = self.tenants.get_mut(&tenant)?;
        entry.state = State::Running { again: false };
        entry.not_before = now + self.interval;
        Some((tenant, entry.log.take()))
    }

    /// Takes a turn's end.
    pub(crate) fn end(&mut self, tenant: &TenantId, turn: Turn, now: Instant) {
        let Some(entry) = self.tenants.get_mut(tenant) else {
            return;
        };
        let again = entry.state == State::Running { again: true };
        entry.state = State::Idle;
        let again = match turn {
            Turn::Done(log) => {
                entry.log = Some(log);
                again
            }
            Turn::More(log) => {
                entry.log = Some(log);
                entry.not_before = now;
                true
            }
            Turn::Failed(log, pause) => {
                entry.log = log;
                entry.not_before = now + pause;
                true
            }
            Turn::Refused => {
                entry.state = State::Refused;
                false
            }
        };
        if again {
            self.wake(tenant, now);
        }
    }

    /// How many tenants are refused.
    pub(crate) fn refused(&self) -> usize {
        let refused = |entry: &&Entry| entry.state == State::Refused;
        self.tenants.values().filter(refused).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    #[test]
    fn a_lone_word_is_followed_at_once_and_many_are_followed_together() {
        let (mut agenda, now) = (Agenda::new(INTERVAL), Instant::now());
        agenda.wake(&acme(), now);
        agenda.wake(&acme(), now);
        assert_eq!(agenda.next_due(), Some(now));
        let (tenant, log) = agenda.take(now).unwrap();
        assert_eq!((tenant, log.is_none()), (acme(), true));
        agenda.wake(&acme(), now);
        assert_eq!(agenda.next_due(), None, "its turn is not over");
        agenda.end(&acme(), Turn::Failed(None, INTERVAL), now);
        assert_eq!(agenda.next_due(), Some(now + INTERVAL));
        assert!(agenda.take(now).is_none());
        assert!(agenda.take(now + INTERVAL).is_some());
    }

    #[test]
    fn a_refused_tenant_has_no_turn_again() {
        let (mut agenda, now) = (Agenda::new(INTERVAL), Instant::now());
        agenda.wake(&acme(), now);
        agenda.take(now).unwrap();
        agenda.wake(&acme(), now);
        agenda.end(&acme(), Turn::Refused, now);
        agenda.wake(&acme(), now);
        assert_eq!((agenda.next_due(), agenda.refused()), (None, 1));
    }
}
