//! The third stage: what is committed goes out, and the bus may forget it.

use logline_bus::{Acker, AppendError, Incoming, Receipt, Subject, TimelineEntry};
use logline_ledger::StoredOutcome;
use logline_span::{Hash, Sealed, Timestamp};
use tokio::sync::mpsc;

use super::Context;
use crate::batch::{Prepared, receipt_again};
use crate::health::Health;
use crate::message::{bus_time, known_as};
use crate::parting::Mark;
use crate::purge;
use crate::retry::Backoff;
use crate::step::Step;

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
    pub(crate) sealed: Mark,
    /// The connection over which `INGEST` was seen to hold that message.
    pub(crate) verified: Option<u64>,
    pub(crate) purge: purge::Watch,
}

/// Why the stage ended before everything was out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The process stops or the leg is over.
    Stopped,
    /// The bus gave numbers of sealed messages to others (LED-17).
    Parted,
}

impl Publish {
    /// Runs until the stage before ends and everything is out, or the process stops while the bus is away.
    pub(crate) async fn run(mut self) -> Result<(), Halt> {
        let ended = self.go().await;
        if ended.is_err() {
            self.context.over.cancel();
        }
        ended
    }

    async fn go(&mut self) -> Result<(), Halt> {
        let mut connection = self.context.bus.connected();
        connection.mark_unchanged();
        self.verify().await?;
        self.restore().await?;
        self.context.step(Step::Mended);
        // A full stream brings nothing that would make room (BUS-4).
        if let Some(known) = self.sealed.known {
            self.relieve(Timestamp::from_nanos_truncating(known.time_ns))
                .await;
        }
        loop {
            let committed = tokio::select! {
                committed = self.input.recv() => match committed {
                    Some(committed) => committed,
                    None => return Ok(()),
                },
                changed = connection.changed() => {
                    changed.map_err(|_| Halt::Stopped)?;
                    if connection.borrow_and_update().up {
                        self.verify().await?;
                        // A server that came back may have forgotten the end of `TIMELINE`.
                        self.restore().await?;
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

    /// Makes sure that `INGEST` still holds what was sealed last under its number. Asked anew on every connection, before
    /// anything is acknowledged or purged: a number alone never says "already sealed" (LED-17).
    async fn verify(&mut self) -> Result<(), Halt> {
        let mut backoff = Backoff::new();
        loop {
            let connection = *self.context.bus.connected().borrow();
            if connection.up && self.verified == Some(connection.made) {
                return Ok(());
            }
            let context = &self.context;
            let asked = context
                .stop
                .run_until_cancelled(context.keeps(&self.sealed));
            match asked.await.ok_or(Halt::Stopped)? {
                Ok(true) => self.verified = Some(connection.made),
                Ok(false) => {
                    tracing::error!(
                        sealed_through = self.sealed.seq,
                        "the bus does not hold what was sealed last: nothing is acknowledged"
                    );
                    let reason = "the bus gave the numbers of sealed messages to others";
                    context.monitor.degraded(reason);
                    return Err(Halt::Parted);
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the bus did not say what it holds"
                    );
                    context.monitor.degraded("the bus does not answer");
                    self.pause(&mut backoff).await.ok_or(Halt::Stopped)?;
                }
            }
        }
    }

    /// Gives `TIMELINE` back what it lost, and compares the end of what it has.
    async fn restore(&self) -> Result<(), Halt> {
        let through = self.timeline_seq;
        self.mend(through).await.ok_or(Halt::Stopped)?;
        if through == 0 {
            return Ok(());
        }
        let context = &self.context;
        let sealed = context
            .ask(&context.over, || context.writer.timeline_hash(through))
            .await
            .ok_or(Halt::Stopped)?;
        match sealed {
            Some(curr_hash) => self.compare(through, curr_hash).await,
            None => self.stand(through).await,
        }
    }

    /// Takes the message of `TIMELINE` with this number for the span, if it is.
    async fn compare(&self, number: u64, curr_hash: Hash) -> Result<(), Halt> {
        let mut backoff = Backoff::new();
        let mut is_known = false;
        let context = &self.context;
        loop {
            let asked = context
                .over
                .run_until_cancelled(context.bus.timeline_page(number, 1));
            let is_there = match asked.await.ok_or(Halt::Stopped)? {
                Ok(page) => page
                    .first()
                    .filter(|told| told.number == number)
                    .and_then(|told| Sealed::from_json(&told.body).ok())
                    .is_some_and(|found| found.curr_hash == curr_hash),
                Err(error) => {
                    self.failed(&error.into());
                    self.pause(&mut backoff).await.ok_or(Halt::Stopped)?;
                    continue;
                }
            };
            if is_there {
                return Ok(());
            }
            // It may be made again meanwhile.
            if !is_known {
                self.complain(number);
                is_known = true;
            }
            self.pause(&mut backoff).await.ok_or(Halt::Stopped)?;
            self.mend(number).await.ok_or(Halt::Stopped)?;
        }
    }

    /// Stands still, saying so, until the leg is over: an operator must look.
    async fn stand(&self, number: u64) -> Result<(), Halt> {
        self.complain(number);
        self.context.over.cancelled().await;
        Err(Halt::Stopped)
    }

    fn complain(&self, number: u64) {
        tracing::error!(number, "TIMELINE holds what the ledger does not say");
        let reason = format!(
            "message {number} of TIMELINE is not what the ledger says: `logline republish` makes the timeline again"
        );
        self.context.monitor.degraded(reason);
    }

    async fn deliver(&mut self, committed: Committed) -> Result<(), Halt> {
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
        self.context.step(Step::Appended);
        self.answer(&prepared).await?;
        self.context.step(Step::Answered);
        drop(delivering);
        if let Some(last) = prepared.decided.last() {
            self.sealed = Mark::of(&last.incoming, last.fingerprint);
        }
        self.verify().await?;
        if let Err(error) = self.acker.ack_through(self.sealed.seq).await {
            // It is delivered again then, and answered again.
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "messages not acknowledged"
            );
        }
        self.context.step(Step::Acknowledged);
        self.context.monitor.set(Health::Active);
        if let Some(newest) = prepared.decided.last() {
            let newest = bus_time(&newest.incoming);
            let stored = prepared.decided.iter().map(|it| it.incoming.stored_bytes);
            let keep = self.context.config.ingest_keep;
            if self.purge.due(stored.sum(), newest, keep) {
                self.relieve(newest).await;
            }
        }
        Ok(())
    }

    /// Puts the batch on `TIMELINE`, each span in its place and once (LED-12).
    async fn append(&mut self, prepared: &Prepared, first: u64) -> Result<(), Halt> {
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
            let last = self
                .mend(first.saturating_sub(1))
                .await
                .ok_or(Halt::Stopped)?;
            let there =
                usize::try_from(last.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
            // What lies at our numbers already is ours only if it is the same.
            if let Some(((_, sealed), number)) = prepared.sealed().zip(first..).take(there).last() {
                self.compare(number, sealed.curr_hash).await?;
            }
            rest = entries.get(there..).unwrap_or_default();
            next = last.saturating_add(1);
        }
        self.timeline_seq = self
            .timeline_seq
            .max(first.saturating_add(entries.len() as u64).saturating_sub(1));
        Ok(())
    }

    /// Publishes from the ledger what `TIMELINE` lacks up to `through`; answers where it ends.
    async fn mend(&self, through: u64) -> Option<u64> {
        let mut backoff = Backoff::new();
        let mut before = None;
        loop {
            match self.mend_some(through).await? {
                Ok(last) if last >= through => return Some(last),
                Ok(last) if before != Some(last) => before = Some(last),
                Ok(last) => {
                    tracing::error!(after = last, through, "the ledger lacks what comes next");
                    self.context
                        .monitor
                        .degraded("the ledger lacks what TIMELINE lost");
                    self.pause(&mut backoff).await?;
                }
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
    async fn answer(&mut self, prepared: &Prepared) -> Result<(), Halt> {
        for decided in &prepared.decided {
            if let Some(reply) = &decided.incoming.receipt {
                self.send(reply, &decided.receipt()).await;
            }
        }
        for incoming in &prepared.again {
            let outcome = self.outcome(incoming).await?;
            if let (Some(reply), Some(receipt)) = (&incoming.receipt, outcome.map(receipt_again)) {
                self.send(reply, &receipt).await;
            }
        }
        Ok(())
    }

    /// What became of a message that was delivered again; none where the ledger cannot read what it stored.
    ///
    /// INVARIANT (no ack unsealed): it does not return for a message that the ledger does not know.
    async fn outcome(&mut self, incoming: &Incoming) -> Result<Option<StoredOutcome>, Halt> {
        let (seq, fingerprint) = (incoming.seq, known_as(incoming.fingerprint()));
        let mut backoff = Backoff::new();
        loop {
            let context = &self.context;
            let asked =
                context.ask_about(&context.over, || context.writer.outcome(seq, fingerprint));
            match asked.await.ok_or(Halt::Stopped)? {
                Ok(Some(outcome)) => return Ok(Some(outcome)),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        seq,
                        "a stored outcome cannot be read"
                    );
                    return Ok(None);
                }
            }
            self.verified = None;
            self.verify().await?;
            tracing::error!(
                seq,
                "a message counts as sealed that the ledger does not know"
            );
            let reason = format!("message {seq} counts as sealed, but the ledger does not know it");
            self.context.monitor.degraded(reason);
            backoff
                .pause(&self.context.over)
                .await
                .ok_or(Halt::Stopped)?;
        }
    }

    /// A receipt that cannot be sent is no failure: the ledger knows the answer.
    async fn send(&self, reply: &str, receipt: &Receipt) {
        if let Err(error) = self.context.bus.answer(reply, receipt).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "receipt not sent");
        }
    }

    /// Lets the bus forget what is sealed and either old or in the way (BUS-4).
    async fn relieve(&mut self, newest: Timestamp) {
        if let Err(error) = self.purge(newest).await {
            // The next look makes up for it.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sealed messages not purged"
            );
        }
        self.context.step(Step::Purged);
    }

    async fn purge(&mut self, newest: Timestamp) -> Result<(), logline_bus::Error> {
        if !self.context.keeps(&self.sealed).await? {
            return Ok(());
        }
        let bus = &self.context.bus;
        let stream = bus.ingest_state().await?;
        self.purge.looked(&stream, newest);
        let expiry = purge::expiry(newest, self.context.config.ingest_keep);
        let mut search = purge::Search::new(&stream, self.sealed.seq);
        while let Some(seq) = search.next() {
            let is_old = bus
                .ingest_at(seq)
                .await?
                .is_none_or(|kept| bus_time(&kept) < expiry);
            search.found(seq, is_old);
        }
        let below = search.below().max(purge::relieve(&stream, self.sealed.seq));
        let connection = *bus.connected().borrow();
        // After a lost connection the numbers may be others', and the request would wait for the next one.
        let is_same = connection.up && self.verified == Some(connection.made);
        if below > stream.first && is_same {
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

/// A sealed span as the timeline tells of it.
pub(crate) fn entry(sealed: &Sealed, traceparent: Option<String>, depth: u16) -> TimelineEntry {
    TimelineEntry {
        subject: Subject::timeline(&sealed.span),
        body: sealed.to_json().into(),
        traceparent,
        depth,
    }
}
