//! Stops runs at their deadline, and sleeps until then.
//!
//! wasmtime interrupts an instance when its engine's epoch moves on. One thread moves it, at the earliest deadline of
//! the runs under way: each of them looks at the clock and goes on where its own is still ahead.
//! There is no tick: with no run under way the thread waits for one.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The set of deadlines, and the thread that minds them as long as this lives.
pub(crate) struct Deadlines {
    shared: Arc<Shared>,
}

/// Between two strikes for what is overdue.
const AGAIN: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ahead: BTreeSet<(Instant, u64)>,
    set: u64,
    /// When the thread wakes by itself.
    wakes_at: Option<Instant>,
    closed: bool,
}

/// One deadline; over with when dropped.
pub(crate) struct Deadline<'a> {
    shared: &'a Shared,
    key: (Instant, u64),
}

impl Deadlines {
    /// Calls `strike` when a deadline is reached, and again until it is dropped.
    pub(crate) fn start(strike: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let minded = Arc::clone(&shared);
        thread::Builder::new()
            .name("sandbox-deadline".to_owned())
            .spawn(move || minded.mind(strike))?;
        Ok(Self { shared })
    }

    pub(crate) fn set(&self, at: Instant) -> Deadline<'_> {
        let mut state = self.shared.lock();
        let key = (at, state.set);
        state.set += 1;
        state.ahead.insert(key);
        // Most runs have the same limits, so the thread is rarely woken: it sleeps towards an earlier one already.
        if state.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            self.shared.changed.notify_one();
        }
        Deadline {
            shared: &self.shared,
            key,
        }
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        self.shared.lock().ahead.remove(&self.key);
    }
}

impl Shared {
    fn mind(&self, strike: impl Fn()) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            state.wakes_at = state.ahead.first().map(|(at, _)| *at);
            if state.wakes_at.is_some_and(|at| at <= now) {
                strike();
                // A run that was just looking at its clock, for another's deadline, would miss a single strike.
                state.wakes_at = Some(now + AGAIN);
            }
            state = match state.wakes_at {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let ahead = at.saturating_duration_since(now);
                    self.changed
                        .wait_timeout(state, ahead)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_deadline_strikes_until_it_is_dropped_and_not_before_its_time() {
        let (struck, strikes) = mpsc::channel();
        let deadlines = Deadlines::start(move || struck.send(Instant::now()).unwrap()).unwrap();
        let at = Instant::now() + Duration::from_millis(20);
        let later = deadlines.set(at + Duration::from_secs(600));
        let deadline = deadlines.set(at);
        for _ in 0..3 {
            assert!(strikes.recv_timeout(PATIENCE).unwrap() >= at);
        }
        drop((later, deadline));
        drop(deadlines);
        // The thread ends, and the sender with it.
        assert!(strikes.iter().all(|struck| struck >= at));
    }

    #[test]
    fn a_deadline_that_is_over_does_not_strike() {
        let (struck, strikes) = mpsc::channel();
        let deadlines = Deadlines::start(move || struck.send(Instant::now()).unwrap()).unwrap();
        let start = Instant::now();
        drop(deadlines.set(start + Duration::from_millis(500)));
        let deadline = deadlines.set(start + Duration::from_millis(700));
        assert!(strikes.recv_timeout(PATIENCE).unwrap() >= start + Duration::from_millis(700));
        drop(deadline);
    }
}
