//! Rows one after the other: what each must link to, and what lies between them.

use logline_span::Hash;

use super::judge::{Judged, Marks};
use super::{Range, same};
use crate::{Failure, Part, Report};

/// The state of a walk along a chain.
pub(super) struct Walk {
    range: Range,
    before: Option<Before>,
    /// The next position that must be there.
    next: i64,
    checked: u64,
    failures: Vec<Failure>,
}

/// The row before the one at hand.
struct Before {
    position: i64,
    /// The hashes that its successor may name: the stored one and the one that its columns give, of which one is right.
    stored: Option<Hash>,
    expected: Option<Hash>,
    /// Its columns do not give its hash, nothing else is wrong with it, and its successor will tell which of the two was altered.
    undecided: Option<Marks>,
}

impl Walk {
    /// `genesis` is what position 1 links to.
    pub(super) fn new(range: Range, genesis: Option<Hash>) -> Self {
        let before = genesis.map(|hash| Before {
            position: 0,
            stored: Some(hash),
            expected: None,
            undecided: None,
        });
        Self {
            next: range.first,
            range,
            before,
            checked: 0,
            failures: Vec::new(),
        }
    }

    /// Takes the next row, in the order of positions.
    pub(super) fn step(&mut self, judged: Judged) {
        let Judged {
            position,
            marks,
            found,
            expected,
            whole,
        } = judged;
        if position < self.range.first {
            self.before = Some(Before {
                position,
                stored: marks.curr_hash,
                expected,
                undecided: None,
            });
            return;
        }
        let before = self.before.take();
        let (neighbour, named) = match &before {
            Some(before) if before.position == position.saturating_sub(1) => {
                (Some(before), marks.prev_hash)
            }
            _ => (None, None),
        };
        let links = neighbour.is_none_or(|before| before.accepts(marks.prev_hash));
        if let Some(before) = before {
            self.decide(&before, named);
        }
        if position > self.range.last {
            return;
        }
        self.gap_before(position);
        self.next = position.saturating_add(1);
        self.checked += 1;

        let unfound = found.is_empty();
        for (part, detail) in found {
            self.fail(position, Some(marks), part, detail.to_owned());
        }
        // A prev_hash that cannot be decoded has been reported.
        let broken = !links && marks.prev_hash.is_some();
        if broken {
            self.fail(
                position,
                Some(marks),
                Part::Link,
                "prev_hash is not the curr_hash of the row before".to_owned(),
            );
        }
        let undecided = (!whole && unfound && !broken).then_some(marks);
        self.before = Some(Before {
            position,
            stored: marks.curr_hash,
            expected,
            undecided,
        });
    }

    /// The rows checked and what failed.
    pub(super) fn finish(mut self) -> (u64, Vec<Failure>) {
        if let Some(before) = self.before.take() {
            self.decide(&before, None);
        }
        self.gap_before(self.range.last.saturating_add(1));
        (self.checked, self.failures)
    }

    /// Where the successor names the hash that the columns give, the stored hash was altered; else one of the columns was.
    fn decide(&mut self, before: &Before, named: Option<Hash>) {
        let Some(marks) = before.undecided else {
            return;
        };
        let (part, detail) = if same(named, before.expected) {
            (
                Part::Link,
                "curr_hash is not the hash that the row after links to",
            )
        } else {
            (
                Part::Content,
                "position, time, publisher or proof is not what was sealed",
            )
        };
        self.fail(before.position, Some(marks), part, detail.to_owned());
    }

    fn gap_before(&mut self, position: i64) {
        if position > self.next {
            let detail = format!("missing up to position {}", position - 1);
            self.fail(self.next, None, Part::Gap, detail);
        }
    }

    fn fail(&mut self, position: i64, marks: Option<Marks>, part: Part, detail: String) {
        if self.failures.len() < Report::FAILURES_MAX {
            self.failures.push(Failure {
                tenant: self.range.tenant.clone(),
                position,
                id: marks.and_then(|marks| marks.id),
                seq: marks.and_then(|marks| marks.seq),
                part,
                detail,
            });
        }
    }
}

impl Before {
    fn accepts(&self, named: Option<Hash>) -> bool {
        // Where the stored hash cannot be decoded nor the row, nothing can be said; that row is reported.
        let unknown = self.stored.is_none() && self.expected.is_none();
        unknown || same(named, self.stored) || same(named, self.expected)
    }
}
