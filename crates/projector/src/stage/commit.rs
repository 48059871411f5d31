//! The second stage: one batch, one transaction.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use logline_bus::{Bus, Error, Quarantined};
use logline_ledger::{Batch, CommitError, Outcome, OutcomeKind, Row, ShardState};
use tokio::sync::{mpsc, watch};

use super::Context;
use super::publish::Committed;
use crate::batch::{Decided, Prepared};
use crate::decide::Verdict;
use crate::message::{address, known_as};
use crate::metric;
use crate::parting::Mark;
use crate::retry::Backoff;
use crate::step::Step;

/// Refusals on their way into quarantine at once.
const QUARANTINED_AT_ONCE: usize = 64;

/// Why a leg ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process stops, or the stage before ended.
    Stopped,
    /// Another projector seals this shard (LED-13).
    Fenced,
    /// A row is there already: the batch is to be decided again.
    Conflict,
    /// Postgres refuses the batch, and would again.
    Refused,
}

/// How a leg ended.
pub(crate) struct Undone {
    pub(crate) end: End,
    /// Not committed, in order; the first is the one that ended the leg.
    pub(crate) batches: Vec<Prepared>,
    /// What is committed.
    pub(crate) state: ShardState,
    /// The last message that is sealed.
    pub(crate) sealed: Mark,
    /// Whether any batch was committed.
    pub(crate) is_further: bool,
}

pub(crate) struct Commit {
    pub(crate) context: Context,
    pub(crate) state: ShardState,
    /// The last message that is sealed.
    pub(crate) sealed: Mark,
    pub(crate) input: mpsc::Receiver<Prepared>,
    /// Number of the last batch committed.
    pub(crate) committed: watch::Sender<u64>,
    pub(crate) out: mpsc::Sender<Committed>,
}

impl Commit {
    /// Runs until the stage before ends, or a batch ends the leg.
    pub(crate) async fn run(mut self) -> Undone {
        let before = self.state.ingest_seq;
        let mut batches = Vec::new();
        let mut end = End::Stopped;
        while let Some(prepared) = self.input.recv().await {
            let timeline_first = self.state.timeline_seq.saturating_add(1);
            // Without messages of its own it only carries receipts that go out again.
            if let Some(mut batch) = self.batch(&prepared)
                && let Err(why) = self.commit(&prepared, &mut batch).await
            {
                end = why;
                batches.push(prepared);
                break;
            }
            self.committed.send_replace(prepared.number);
            if self
                .out
                .send(Committed {
                    prepared,
                    timeline_first,
                })
                .await
                .is_err()
            {
                break;
            }
        }
        self.context.over.cancel();
        self.input.close();
        while let Some(prepared) = self.input.recv().await {
            batches.push(prepared);
        }
        Undone {
            end,
            batches,
            is_further: self.state.ingest_seq != before,
            state: self.state,
            sealed: self.sealed,
        }
    }

    fn batch(&self, prepared: &Prepared) -> Option<Batch> {
        let last = prepared.decided.last()?;
        let mut batch = Batch {
            shard: self.context.config.shard,
            epoch: self.state.epoch,
            after_ingest_seq: self.state.ingest_seq,
            through_ingest_seq: last.incoming.seq,
            through: Some(known_as(last.fingerprint)),
            sealed_through: prepared.clock,
            timeline_first: self.state.timeline_seq.saturating_add(1),
            rows: Vec::with_capacity(prepared.decided.len()),
            answered: Vec::new(),
        };
        for decided in &prepared.decided {
            let ingest_seq = decided.incoming.seq;
            let fingerprint = known_as(decided.fingerprint);
            let result = match &decided.verdict {
                Verdict::Sealed {
                    sealed,
                    content_hash,
                } => {
                    batch.rows.push(Row {
                        sealed: Arc::clone(sealed),
                        content_hash: *content_hash,
                        depth: decided.incoming.depth.unwrap_or(0),
                        ingest_seq,
                        fingerprint,
                    });
                    continue;
                }
                Verdict::Repeat(first) => OutcomeKind::Repeat(first.position),
                Verdict::Refused(refusal) => OutcomeKind::Refused(refusal.clone()),
            };
            let address = address(&decided.incoming).ok();
            let (tenant, owner) = address.map(|(tenant, owner, _)| (tenant, owner)).unzip();
            batch.answered.push(Outcome {
                ingest_seq,
                fingerprint,
                tenant,
                owner,
                result,
            });
        }
        Some(batch)
    }

    async fn commit(&mut self, prepared: &Prepared, batch: &mut Batch) -> Result<(), End> {
        let sealing: Vec<_> = prepared
            .decided
            .iter()
            .filter_map(|decided| decided.trace.seal())
            .collect();
        self.quarantine(prepared).await.ok_or(End::Stopped)?;
        self.context.step(Step::SetAside);
        let mut backoff = Backoff::new();
        while let Err(error) = self.context.writer.commit(batch).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                messages = prepared.decided.len(),
                "batch not committed"
            );
            match error {
                CommitError::Fenced => return Err(End::Fenced),
                CommitError::Conflict(_) => return Err(End::Conflict),
                CommitError::Refused(_) => return Err(End::Refused),
                CommitError::Unavailable(_) => {}
            }
            self.context.monitor.degraded("the ledger does not answer");
            backoff
                .pause(&self.context.stop)
                .await
                .ok_or(End::Stopped)?;
            if self.is_committed(batch, &mut backoff).await? {
                break;
            }
        }
        self.context.step(Step::Committed);
        self.state.ingest_seq = batch.through_ingest_seq;
        self.state.ingest = batch.through;
        self.state.sealed_through = batch.sealed_through;
        self.state.timeline_seq += batch.rows.len() as u64;
        if let Some(last) = prepared.decided.last() {
            self.sealed = Mark::of(&last.incoming, last.fingerprint);
        }
        drop(sealing);
        Self::count(prepared);
        Ok(())
    }

    /// Whether the transaction whose outcome is unknown was committed after all. Its epoch is over either way.
    async fn is_committed(
        &mut self,
        batch: &mut Batch,
        backoff: &mut Backoff,
    ) -> Result<bool, End> {
        loop {
            let resumed = self
                .context
                .writer
                .resume(batch.shard, self.state.epoch)
                .await;
            let error = match resumed {
                Ok(found) => {
                    self.state.epoch = found.epoch;
                    batch.epoch = found.epoch;
                    // The number alone would not say so where the bus gave it a second time (LED-17).
                    let through = (batch.through_ingest_seq, batch.through);
                    return Ok((found.ingest_seq, found.ingest) == through);
                }
                Err(logline_ledger::Error::Fenced) => return Err(End::Fenced),
                Err(error) => error,
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the shard was not taken up again"
            );
            backoff
                .pause(&self.context.stop)
                .await
                .ok_or(End::Stopped)?;
        }
    }

    /// Puts the refused messages aside (LED-14), before the commit that says so: none can be lost between the two,
    /// and the message's key keeps a second attempt from storing it twice.
    async fn quarantine(&self, prepared: &Prepared) -> Option<()> {
        let mut rest: Vec<Quarantined> = prepared.decided.iter().filter_map(quarantined).collect();
        let mut backoff = Backoff::new();
        while !rest.is_empty() {
            let bus = &self.context.bus;
            let failed = stream::iter(rest)
                .map(|refused| put_aside(bus, refused))
                .buffer_unordered(QUARANTINED_AT_ONCE)
                .filter_map(std::future::ready);
            rest = failed.collect().await;
            if !rest.is_empty() {
                self.context
                    .monitor
                    .degraded("the bus does not take refused messages");
                backoff.pause(&self.context.stop).await?;
            }
        }
        Some(())
    }

    fn count(prepared: &Prepared) {
        let now = metric::now();
        metric::committed(prepared.decided.len());
        for decided in &prepared.decided {
            match &decided.verdict {
                Verdict::Sealed { sealed, .. } => {
                    metric::counted(&sealed.span.entity_type);
                    metric::sealed(&decided.incoming, now);
                }
                Verdict::Repeat(_) => {}
                Verdict::Refused(refusal) => metric::rejected(refusal.code),
            }
        }
    }
}

fn quarantined(decided: &Decided) -> Option<Quarantined> {
    match &decided.verdict {
        Verdict::Refused(refusal) => Some(Quarantined::incoming(&decided.incoming, refusal)),
        Verdict::Sealed { .. } | Verdict::Repeat(_) => None,
    }
}

/// Gives the message back where the bus may take it later.
async fn put_aside(bus: &Bus, refused: Quarantined) -> Option<Quarantined> {
    let error = bus.quarantine(&refused).await.err()?;
    let is_final = matches!(error, Error::TooLarge { .. });
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        key = refused.key,
        code = refused.code.as_str(),
        is_final,
        "refused message not put aside"
    );
    // LED-14: what the bus will never take is told by digest and code in the ledger; for room the projector waits.
    (!is_final).then_some(refused)
}
