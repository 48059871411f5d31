//! Where the bus and the ledger part (LED-17): the bus may forget its newest messages and give their numbers to others.

use logline_bus::{Error, Fingerprint, Incoming};
use logline_ledger::ShardState;
use tokio_util::sync::CancellationToken;

use crate::incident::Forgotten;
use crate::message::known_as;
use crate::retry::Backoff;
use crate::stage::Context;

/// The last message of `INGEST` that is sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    /// None where nothing was sealed yet, or the message is not kept.
    pub(crate) known: Option<Fingerprint>,
}

impl Mark {
    pub(crate) fn of(incoming: &Incoming, fingerprint: Fingerprint) -> Self {
        Self {
            seq: incoming.seq,
            known: Some(fingerprint),
        }
    }
}

impl Context {
    /// Whether the bus has not forgotten what was sealed up to there, as far as one message says.
    pub(crate) async fn keeps(&self, mark: &Mark) -> Result<bool, Error> {
        match &mark.known {
            Some(known) => self.bus.ingest_keeps(mark.seq, known).await,
            None => Ok(true),
        }
    }

    /// The last message that is sealed; `None` once `until` is cancelled.
    ///
    /// A number alone never says that a message is sealed: the message at the position must be the one that was.
    pub(crate) async fn last_sealed(
        &self,
        until: &CancellationToken,
        state: &ShardState,
    ) -> Option<Mark> {
        let mark = Mark {
            seq: state.ingest_seq,
            known: state.ingest.map(|known| Fingerprint {
                digest: known.digest,
                time_ns: known.time_ns,
            }),
        };
        if self.ask_bus(until, || self.keeps(&mark)).await? {
            return Some(mark);
        }
        self.monitor
            .degraded("the bus forgot messages that were sealed");
        let stream = self.ask_bus(until, || self.bus.ingest_state()).await?;
        // What was forgotten is an end: up to some number everything is sealed, beyond it nothing.
        let (mut low, mut high) = (stream.first, stream.last.min(state.ingest_seq) + 1);
        while low < high {
            let middle = low.midpoint(high);
            if self.is_sealed(until, middle).await? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        tracing::error!(
            sealed_through = state.ingest_seq,
            last = stream.last,
            sealing_from = low,
            "the bus forgot messages that were sealed and gave their numbers to others"
        );
        let forgotten = Forgotten {
            mark,
            stream,
            sealing_from: low,
        };
        self.report(until, &forgotten).await?;
        let seq = low.saturating_sub(1);
        let kept = self
            .ask_bus(until, || self.bus.ingest_at(seq.max(1)))
            .await?;
        let kept = kept.filter(|kept| kept.seq == seq);
        let known = kept.map(|kept| kept.fingerprint());
        Some(Mark { seq, known })
    }

    async fn is_sealed(&self, until: &CancellationToken, seq: u64) -> Option<bool> {
        let Some(kept) = self.ask_bus(until, || self.bus.ingest_at(seq)).await? else {
            return Some(true);
        };
        let fingerprint = known_as(kept.fingerprint());
        let outcome = self
            .ask(until, || self.writer.outcome(seq, fingerprint))
            .await?;
        Some(outcome.is_some())
    }

    /// Asks the bus until it answers; `None` once `until` is cancelled.
    pub(crate) async fn ask_bus<T, F>(
        &self,
        until: &CancellationToken,
        mut question: impl FnMut() -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut backoff = Backoff::new();
        loop {
            let error = match until.run_until_cancelled(question()).await? {
                Ok(answer) => return Some(answer),
                Err(error) => error,
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the bus did not answer"
            );
            self.monitor.degraded("the bus does not answer");
            backoff.pause(until).await?;
        }
    }
}
