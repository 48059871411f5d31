//! Where the bus and the ledger part (LED-17): the bus may forget its newest messages and give their numbers to others.

use logline_bus::Error;
use logline_ledger::{Digest, ShardState};
use tokio_util::sync::CancellationToken;

use crate::retry::Backoff;
use crate::stage::Context;

impl Context {
    /// The first message that is not sealed; `None` once `until` is cancelled.
    ///
    /// A number alone never says that a message is sealed: the message at the position must be the one that was.
    pub(crate) async fn first_unsealed(
        &self,
        until: &CancellationToken,
        state: &ShardState,
    ) -> Option<u64> {
        let next = state.ingest_seq.saturating_add(1);
        let Some(sealed) = state.ingest_digest else {
            return Some(next);
        };
        let kept = self
            .ask_bus(until, || self.bus.ingest_at(state.ingest_seq))
            .await?;
        let stream = self.ask_bus(until, || self.bus.ingest_state()).await?;
        match kept {
            Some(kept) if Digest(kept.digest()) == sealed => return Some(next),
            // An operator purged more than the projector does.
            None if stream.last >= state.ingest_seq => return Some(next),
            Some(_) | None => {}
        }
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
        Some(low)
    }

    async fn is_sealed(&self, until: &CancellationToken, seq: u64) -> Option<bool> {
        let Some(kept) = self.ask_bus(until, || self.bus.ingest_at(seq)).await? else {
            return Some(true);
        };
        let digest = Digest(kept.digest());
        let outcome = self.ask(until, || self.writer.outcome(seq, digest)).await?;
        Some(outcome.is_some())
    }

    /// Asks the bus until it answers; `None` once `until` is cancelled.
    async fn ask_bus<T, F>(
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
