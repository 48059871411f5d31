//! Keeps apart what takes workers down from what only waited beside it.
//!
//! The bus counts deliveries, not beginnings: everything that a dying process held has one more. So what was delivered
//! too often is a suspect, and suspects run alone, in the order in which they came. When a suspect takes the process
//! down, it is the first one in the next life, and the first one alone is ever given up: the others run.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So often a suspect is tried before it is given up as the first of a life.
const TRIALS: u64 = 3;

/// The places of one life of the worker.
pub(crate) struct Turns {
    /// Fair: who asked first goes first, so that a suspect is not kept waiting by what comes behind it.
    places: Arc<Semaphore>,
    count: u32,
    /// A request is a suspect beyond so many deliveries.
    deliveries_max: u64,
    /// Whether there was a suspect in this life.
    tried: bool,
}

/// The turn of one request.
pub(crate) struct Turn {
    places: Arc<Semaphore>,
    wanted: u32,
    /// It is not run any more.
    pub(crate) is_abandoned: bool,
}

impl Turns {
    pub(crate) fn new(places: usize, deliveries_max: u64) -> Self {
        let count = u32::try_from(places).unwrap_or(u32::MAX).max(1);
        Self {
            places: Arc::new(Semaphore::new(count as usize)),
            count,
            deliveries_max,
            tried: false,
        }
    }

    /// Takes a request in that was delivered so often; called in the order in which requests came.
    pub(crate) fn admit(&mut self, deliveries: u64) -> Turn {
        let suspect = deliveries > self.deliveries_max;
        let first = suspect && !std::mem::replace(&mut self.tried, true);
        Turn {
            places: Arc::clone(&self.places),
            wanted: if suspect { self.count } else { 1 },
            is_abandoned: first && deliveries > self.deliveries_max.saturating_add(TRIALS),
        }
    }
}

impl Turn {
    /// Waits until the request may run, which it may until the place is dropped.
    pub(crate) async fn come(&self) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.places);
        // It is never closed.
        places.acquire_many_owned(self.wanted).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The place of a request, where it need not wait.
    fn place(turns: &mut Turns, deliveries: u64) -> Option<OwnedSemaphorePermit> {
        let turn = turns.admit(deliveries);
        let mut context = Context::from_waker(Waker::noop());
        match pin!(turn.come()).poll(&mut context) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    #[test]
    fn suspects_run_alone() {
        let mut turns = Turns::new(2, 5);
        let (one, two) = (place(&mut turns, 1), place(&mut turns, 5));
        assert!(one.is_some() && two.is_some());
        assert!(place(&mut turns, 6).is_none());
        drop(one);
        assert!(place(&mut turns, 6).is_none());
        drop(two);
        let suspect = place(&mut turns, 6);
        assert!(suspect.is_some());
        assert!(place(&mut turns, 1).is_none(), "nothing runs beside it");
    }

    #[test]
    fn only_the_first_suspect_of_a_life_is_given_up_and_not_before_it_was_tried() {
        for deliveries in [1, 5, 6, 7, 8] {
            assert!(!Turns::new(2, 5).admit(deliveries).is_abandoned);
        }
        let mut turns = Turns::new(2, 5);
        assert!(!turns.admit(1).is_abandoned);
        assert!(turns.admit(9).is_abandoned);
        for innocent in [9, 50, 1] {
            assert!(!turns.admit(innocent).is_abandoned);
        }
    }
}
