//! The third stage: what is committed goes out, and the bus may forget it.

use logline_bus::{Acker, AppendError, Receipt, Subject, TimelineEntry};
use logline_ledger::Digest;
use logline_span::{Sealed, Timestamp};
use tokio::sync::mpsc;

use super::Context;
use crate::batch::{Prepared, receipt_again};
use crate::health::Health;
use crate::message::bus_time;
use crate::purge;
use crate::retry::Backoff;

/// Rows read from the ledger at a time when the timeline has lost some.
const MEND_ROWS: u32 = 500;

/// A batch that is committed.
pub(crate) struct Committed {
    pub(crate) prepared: Prepared,
    /// The place of its first row on `TIMELINE` (LED-12).
    pub(crate) timeline_first: u64,
}

pub(crate) struct Publish {
    pub(crate) context: Context,
    pub(crate) acker: Acker,
    pub(crate) input: mpsc::Receiver<Committed>,
    /// The last place on `TIMELINE` that is committed.
    pub(crate) timeline_seq: u64,
    /// The last message of `INGEST` that is committed and published.
    pub(crate) sealed: u64,
    pub(crate) purge: purge::Watch,
}

impl Publish {
    /// Runs until the stage before ends and everything is out, or the process stops while the bus is away.
    pub(crate) async fn run(mut self) {
        // The end of a run is the same to the caller, whether all is out or the process stops.
        let _ = self.go().await;
    }

    async fn go(&mut self) -> Option<()> {
        let mut connection = self.context.bus.connected();
        connection.mark_unchanged();
        self.mend(self.timeline_seq).await?;
        loop {
            let committed = tokio::select! {
                committed = self.input.recv() => committed?,
                changed = connection.changed() => {
                    changed.ok()?;
                    if connection.borrow_and_update().up {
                        // A server that came back may have forgotten the end of `TIMELINE`.
                        self.mend(self.timeline_seq).await?;
                        self.context.monitor.set(Health::Active);
                    } else {
                        self.context.monitor.degraded("the bus is away");
                    }
                    continue;
                }
            };
            self.deliver(committed).await?;
        }
    }

    async fn deliver(&mut self, committed: Committed) -> Option<()> {
        let Committed {
            prepared,
            timeline_first,
        } = committed;
        let delivering: Vec<_> = prepared
            .decided
            .iter()
            .filter_map(|decided| decided.trace.deliver())
            .collect();
        self.append(&prepared, timeline_first).await?;
        self.answer(&prepared).await?;
        drop(delivering);
        if let Some(last) = prepared.decided.last() {
            self.sealed = last.incoming.seq;
        }
        if let Err(error) = self.acker.ack_through(self.sealed).await {
            // It is delivered again then, and answered again.
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "messages not acknowledged"
            );
        }
        self.context.monitor.set(Health::Active);
        self.relieve(&prepared).await;
        Some(())
    }

    /// Puts the batch on `TIMELINE`, each span in its place and once (LED-12).
    async fn append(&mut self, prepared: &Prepared, first: u64) -> Option<()> {
        let entries: Vec<TimelineEntry> = prepared
            .sealed()
            .map(|(decided, sealed)| {
                let traceparent = decided.trace.traceparent(&decided.incoming);
                entry(sealed, traceparent, decided.incoming.depth.unwrap_or(0))
            })
            .collect();
        let mut rest = entries.as_slice();
        let mut next = first;
        while !rest.is_empty() {
            match self.context.bus.timeline_append(next, rest).await {
                Ok(()) => break,
                Err(error) => self.failed(&error),
            }
            let last = self.mend(first.saturating_sub(1)).await?;
            let there =
                usize::try_from(last.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
            rest = entries.get(there..).unwrap_or_default();
            next = last.saturating_add(1);
        }
        self.timeline_seq = self
            .timeline_seq
            .max(first.saturating_add(entries.len() as u64).saturating_sub(1));
        Some(())
    }

    /// Publishes from the ledger what `TIMELINE` lacks up to `through`; answers where it ends.
    async fn mend(&self, through: u64) -> Option<u64> {
        let mut backoff = Backoff::new();
        loop {
            match self.mend_some(through).await? {
                Ok(last) if last >= through => return Some(last),
                Ok(_) => {}
                Err(error) => {
                    self.failed(&error);
                    self.pause(&mut backoff).await?;
                }
            }
        }
    }

    /// Looks where `TIMELINE` ends and appends the next rows.
    async fn mend_some(&self, through: u64) -> Option<Result<u64, AppendError>> {
        let last = match self.context.bus.timeline_last().await {
            Ok(last) if last >= through => return Some(Ok(last)),
            Ok(last) => last,
            Err(error) => return Some(Err(error.into())),
        };
        let next = last.saturating_add(1);
        let context = &self.context;
        let rows = context
            .ask(&context.stop, || {
                context.writer.timeline_from(next, MEND_ROWS)
            })
            .await?;
        tracing::info!(
            first = next,
            rows = rows.len(),
            "publishing again what the timeline lacks"
        );
        let entries: Vec<TimelineEntry> = rows
            .iter()
            // INVARIANT (timeline order): without the row that comes next, nothing may go out.
            .zip(next..)
            .take_while(|((number, ..), wanted)| number == wanted && number <= &through)
            .map(|((_, sealed, depth), _)| entry(sealed, None, *depth))
            .collect();
        let appended = context.bus.timeline_append(next, &entries).await;
        Some(appended.map(|()| last.saturating_add(entries.len() as u64)))
    }

    /// Tells the publishers, those whose messages were delivered again too.
    async fn answer(&self, prepared: &Prepared) -> Option<()> {
        for decided in &prepared.decided {
            if let Some(reply) = &decided.incoming.receipt {
                self.send(reply, &decided.receipt()).await;
            }
        }
        let context = &self.context;
        for incoming in &prepared.again {
            let Some(reply) = &incoming.receipt else {
                continue;
            };
            let (seq, digest) = (incoming.seq, Digest(incoming.digest()));
            let outcome = context
                .ask(&context.stop, || context.writer.outcome(seq, digest))
                .await?;
            if let Some(receipt) = outcome.map(receipt_again) {
                self.send(reply, &receipt).await;
            }
        }
        Some(())
    }

    /// A receipt that cannot be sent is no failure: the ledger knows the answer.
    async fn send(&self, reply: &str, receipt: &Receipt) {
        if let Err(error) = self.context.bus.answer(reply, receipt).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "receipt not sent");
        }
    }

    /// Lets the bus forget what is sealed and either old or in the way (BUS-4).
    async fn relieve(&mut self, prepared: &Prepared) {
        let Some(newest) = prepared.decided.last() else {
            return;
        };
        let newest = bus_time(&newest.incoming);
        let bytes = prepared
            .decided
            .iter()
            .map(|decided| decided.incoming.body.len() as u64)
            .sum();
        if !self
            .purge
            .due(bytes, newest, self.context.config.ingest_keep)
        {
            return;
        }
        if let Err(error) = self.purge(newest).await {
            // The next look makes up for it.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sealed messages not purged"
            );
        }
    }

    async fn purge(&mut self, newest: Timestamp) -> Result<(), logline_bus::Error> {
        let bus = &self.context.bus;
        let stream = bus.ingest_state().await?;
        self.purge.looked(&stream, newest);
        let expiry = purge::expiry(newest, self.context.config.ingest_keep);
        let mut search = purge::Search::new(&stream, self.sealed);
        while let Some(seq) = search.next() {
            let is_old = bus
                .ingest_at(seq)
                .await?
                .is_none_or(|kept| bus_time(&kept) < expiry);
            search.found(seq, is_old);
        }
        let below = search.below().max(purge::relieve(&stream, self.sealed));
        if below > stream.first {
            tracing::debug!(below, "purging what is sealed");
            bus.purge_ingest(below).await?;
        }
        Ok(())
    }

    fn failed(&self, error: &AppendError) {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "the timeline was not appended to"
        );
        self.context
            .monitor
            .degraded("the bus does not take sealed spans");
    }

    /// Waits for the connection where it is away, else a little.
    async fn pause(&self, backoff: &mut Backoff) -> Option<()> {
        let mut connection = self.context.bus.connected();
        if connection.borrow().up {
            return backoff.pause(&self.context.stop).await;
        }
        self.context
            .stop
            .run_until_cancelled(connection.wait_for(|now| now.up))
            .await?
            .ok()?;
        Some(())
    }
}

fn entry(sealed: &Sealed, traceparent: Option<String>, depth: u16) -> TimelineEntry {
    TimelineEntry {
        subject: Subject::timeline(&sealed.span),
        body: sealed.to_json().into(),
        traceparent,
        depth,
    }
}
