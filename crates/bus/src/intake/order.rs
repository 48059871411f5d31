//! The order in which messages are handed out: by number, whatever order they come in.

use std::collections::BTreeMap;

use crate::Incoming;

/// INVARIANT (intake order): since `since`, every message up to `expected` was handed out once, in order, or is not kept.
pub(super) struct Order {
    buffer: BTreeMap<u64, Incoming>,
    /// Delivered again after they were handed out and acknowledged.
    again: BTreeMap<u64, Incoming>,
    /// The number to hand out next.
    expected: u64,
    /// Where handing out began.
    since: u64,
    /// The highest number that came.
    received: u64,
    /// Up to here, what is not in the buffer is not kept.
    known: u64,
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            buffer: BTreeMap::new(),
            again: BTreeMap::new(),
            expected: 0,
            since: 0,
            received: 0,
            known: 0,
        }
    }

    /// Sets what is wanted next; says whether that is not what would have come.
    pub(super) fn want(&mut self, from: u64) -> bool {
        if from == self.expected {
            return false;
        }
        self.expected = from;
        self.since = from;
        self.known = 0;
        true
    }

    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    /// The lowest number that has not come.
    pub(super) fn unseen(&self) -> u64 {
        self.expected.max(self.received + 1)
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len() + self.again.len()
    }

    pub(super) fn handed_out(&self, seq: u64) -> bool {
        (self.since..self.expected).contains(&seq)
    }

    pub(super) fn put(&mut self, message: Incoming) {
        self.received = self.received.max(message.seq);
        self.buffer.insert(message.seq, message);
    }

    /// Takes a message that was handed out before and is to be handed out again.
    pub(super) fn put_again(&mut self, mut message: Incoming) {
        message.again = true;
        self.again.insert(message.seq, message);
    }

    /// Takes fetched messages; says how many were new.
    pub(super) fn fill(&mut self, messages: impl Iterator<Item = Incoming>, known: u64) -> u64 {
        let mut filled = 0;
        for message in messages {
            filled += u64::from(self.buffer.insert(message.seq, message).is_none());
        }
        self.known = known;
        filled
    }

    /// Messages up to a number were delivered to someone: what did not come here is to be fetched.
    pub(super) fn delivered(&mut self, through: u64) {
        self.received = self.received.max(through);
    }

    /// Forgets what has not been handed out.
    pub(super) fn forget(&mut self) {
        self.buffer.clear();
        self.again.clear();
        self.received = 0;
        self.known = 0;
    }

    /// The next message to hand out.
    pub(super) fn next(&mut self) -> Option<Incoming> {
        if let Some((_, message)) = self.again.pop_first() {
            return Some(message);
        }
        loop {
            let stop = self.stop();
            if stop > self.expected {
                if self.expected > self.known {
                    return None;
                }
                // What did not come up to there is not kept.
                self.expected = stop.min(self.known + 1);
                continue;
            }
            let (seq, mut message) = self.buffer.pop_first()?;
            if seq == self.expected {
                self.expected += 1;
            } else if self.handed_out(seq) {
                continue;
            } else {
                message.again = true;
            }
            return Some(message);
        }
    }

    /// Numbers that may be kept but did not come, from and through, where [`Order::next`] has nothing because of them.
    pub(super) fn hole(&self) -> Option<(u64, u64)> {
        let stop = self.stop();
        (self.expected < stop && self.expected > self.known).then(|| (self.expected, stop - 1))
    }

    /// Everything below should have come.
    fn stop(&self) -> u64 {
        let first = self.buffer.first_key_value().map(|(&seq, _)| seq);
        first.unwrap_or(self.received + 1)
    }
}
