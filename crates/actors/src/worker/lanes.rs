//! First come, first served for each function; different functions side by side.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What waits, by lane, and which lanes are busy.
///
/// INVARIANT (one at a time): a lane that `next` handed out is not handed out again before `finished` names it.
#[derive(Debug)]
pub(crate) struct Lanes<K, T> {
    lanes: HashMap<K, VecDeque<T>>,
    /// Lanes with work that are not busy, in the order in which they became so.
    ready: VecDeque<K>,
    busy: usize,
    busy_max: usize,
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    pub(crate) fn new(busy_max: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            busy: 0,
            busy_max,
        }
    }

    /// Takes work in. A lane exists exactly while it waits or is busy.
    pub(crate) fn push(&mut self, lane: K, work: T) {
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            waiting.push_back(work);
        } else {
            self.lanes.insert(lane.clone(), VecDeque::from([work]));
            self.ready.push_back(lane);
        }
    }

    /// The next work that may begin, if a place is free.
    pub(crate) fn next(&mut self) -> Option<(K, T)> {
        if self.busy >= self.busy_max {
            return None;
        }
        let lane = self.ready.pop_front()?;
        let work = self.lanes.get_mut(&lane)?.pop_front()?;
        self.busy += 1;
        Some((lane, work))
    }

    /// The lane's work has ended.
    pub(crate) fn finished(&mut self, lane: K) {
        let Some(waiting) = self.lanes.get(&lane) else {
            return;
        };
        self.busy = self.busy.saturating_sub(1);
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.ready.push_back(lane);
        }
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_first_come_first_served_and_never_twice_busy() {
        let mut lanes = Lanes::new(8);
        for work in 0..3 {
            lanes.push("f", work);
        }
        assert_eq!(lanes.next(), Some(("f", 0)));
        assert_eq!(lanes.next(), None);
        lanes.push("f", 3);
        lanes.finished("f");
        for work in 1..=3 {
            assert_eq!(lanes.next(), Some(("f", work)));
            lanes.finished("f");
        }
        assert_eq!(lanes.next(), None);
        assert!(lanes.lanes.is_empty(), "an idle lane takes no memory");
    }

    #[test]
    fn lanes_run_side_by_side_up_to_the_bound_and_take_turns() {
        let mut lanes = Lanes::new(2);
        for lane in ["f", "g", "h"] {
            lanes.push(lane, 1);
            lanes.push(lane, 2);
        }
        assert_eq!(lanes.next(), Some(("f", 1)));
        assert_eq!(lanes.next(), Some(("g", 1)));
        assert_eq!(lanes.next(), None);
        lanes.finished("f");
        assert_eq!(
            lanes.next(),
            Some(("h", 1)),
            "a lane that waited longer goes first"
        );
        assert_eq!(lanes.busy(), 2);
    }
}
