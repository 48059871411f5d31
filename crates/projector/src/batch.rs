//! What the stages hand to each other.

use logline_bus::{Fingerprint, Incoming, Receipt};
use logline_ledger::StoredOutcome;
use logline_span::{Sealed, Timestamp};

use crate::decide::Verdict;
use crate::trace::Trace;

/// One message with what became of it.
///
/// The raw message is kept until it is published, so that a batch can be decided again without the bus.
pub(crate) struct Decided {
    pub(crate) incoming: Incoming,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) verdict: Verdict,
    pub(crate) trace: Trace,
}

/// A batch between two stages.
pub(crate) struct Prepared {
    /// Counts the batches of a leg from 1.
    pub(crate) number: u64,
    pub(crate) decided: Vec<Decided>,
    /// The shard's clock after it.
    pub(crate) clock: Timestamp,
    /// Messages of earlier batches that were delivered again: their receipts go out again.
    pub(crate) again: Vec<Incoming>,
}

impl Prepared {
    /// What was sealed, in order.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = (&Decided, &Sealed)> {
        self.decided
            .iter()
            .filter_map(|decided| match &decided.verdict {
                Verdict::Sealed { sealed, .. } => Some((decided, &**sealed)),
                Verdict::Repeat(_) | Verdict::Refused(_) => None,
            })
    }

    /// The messages, to be decided once more.
    pub(crate) fn into_raw(self) -> impl Iterator<Item = Incoming> {
        self.again
            .into_iter()
            .chain(self.decided.into_iter().map(|decided| decided.incoming))
    }
}

impl Decided {
    /// What the publisher is told.
    pub(crate) fn receipt(&self) -> Receipt {
        match &self.verdict {
            Verdict::Sealed { sealed, .. } => Receipt::Sealed {
                id: sealed.span.id,
                seq: sealed.span.seq,
                at: sealed.span.at,
                position: sealed.position,
                curr_hash: sealed.curr_hash,
                duplicate: false,
            },
            Verdict::Repeat(first) => Receipt::Sealed {
                id: first.id,
                seq: first.seq,
                at: first.at,
                position: first.position,
                curr_hash: first.curr_hash,
                duplicate: true,
            },
            Verdict::Refused(refusal) => Receipt::Refused(refusal.clone()),
        }
    }
}

/// What the publisher of a message that was handled before is told again.
pub(crate) fn receipt_again(outcome: StoredOutcome) -> Receipt {
    match outcome {
        StoredOutcome::Sealed {
            id,
            seq,
            at,
            position,
            curr_hash,
            duplicate,
        } => Receipt::Sealed {
            id,
            seq,
            at,
            position,
            curr_hash,
            duplicate,
        },
        StoredOutcome::Refused(refusal) => Receipt::Refused(refusal),
    }
}
