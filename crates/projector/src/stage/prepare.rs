//! The first stage: takes messages, asks the ledger, decides.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use logline_bus::{Incoming, Intake};
use logline_ledger::Existing;
use logline_span::{Head, TenantId};
use tokio::sync::{mpsc, watch};

use super::Context;
use crate::batch::Prepared;
use crate::decide::{self, State, Versions};
use crate::message::{Message, Reading, internal};
use crate::metric;
use crate::step::Step;

/// How the messages that a leg left undone are to be treated, up to one of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The last message that the plan is for.
    pub(crate) through: u64,
    /// Batches hold no more messages than this: so the one that Postgres refuses is found.
    pub(crate) batch_max: usize,
    /// The message that Postgres refused by itself.
    pub(crate) condemned: Option<u64>,
}

/// The stage: the bus's side, and what decides.
pub(crate) struct Prepare {
    pub(crate) intake: Box<Intake>,
    pub(crate) decider: Decider,
    pub(crate) out: mpsc::Sender<Prepared>,
}

/// How the stage ended.
pub(crate) enum Left {
    /// The leg is over; what was taken from the bus and not decided.
    Over {
        intake: Box<Intake>,
        /// The next message wanted from the bus.
        from: u64,
        backlog: VecDeque<Incoming>,
    },
    /// The bus gave the projector's place to another one, or failed.
    Lost(logline_bus::Error),
}

impl Prepare {
    /// Runs until the leg is over or the intake is lost.
    pub(crate) async fn run(mut self) -> Left {
        let over = self.decider.context.over.clone();
        match over.run_until_cancelled(self.go()).await {
            // Messages whose batch was being decided when the leg ended lie in `in_hand`.
            None | Some(Ok(())) => Left::Over {
                intake: self.intake,
                from: self.decider.from,
                backlog: self.decider.undone(),
            },
            Some(Err(error)) => {
                // The stages behind may stand still, and would wait for the end of the leg.
                over.cancel();
                Left::Lost(error)
            }
        }
    }

    async fn go(&mut self) -> Result<(), logline_bus::Error> {
        let Self {
            intake,
            decider,
            out,
        } = self;
        loop {
            // A place in the next stage comes first: what arrives meanwhile joins the batch.
            let place = tokio::select! {
                place = out.reserve() => place,
                lost = intake.hold() => match lost? {},
            };
            let Ok(place) = place else { return Ok(()) };
            decider.gather(intake).await?;
            decider.context.step(Step::Taken);
            let prepared = tokio::select! {
                prepared = decider.prepare() => prepared,
                lost = intake.hold() => match lost? {},
            };
            let Some(prepared) = prepared else {
                return Ok(());
            };
            decider.context.step(Step::Decided);
            place.send(prepared);
        }
    }
}

/// What goes from batch to batch.
pub(crate) struct Decider {
    pub(crate) context: Context,
    /// The log's name, with which every tenant's origin begins.
    pub(crate) log: Arc<str>,
    pub(crate) state: State,
    /// Taken from the bus, for later batches.
    pub(crate) backlog: VecDeque<Incoming>,
    /// The messages of the batch that is being prepared.
    pub(crate) in_hand: Gathered,
    /// The next message wanted from the bus.
    pub(crate) from: u64,
    pub(crate) plan: Option<Plan>,
    /// Number of the last batch handed on.
    pub(crate) number: u64,
    /// Number of the last batch committed.
    pub(crate) committed: watch::Receiver<u64>,
}

/// Messages for one batch.
#[derive(Default)]
pub(crate) struct Gathered {
    fresh: Vec<Message>,
    again: Vec<Incoming>,
    bytes: usize,
}

/// What the ledger answered about a batch.
struct Answers {
    existing: Existing,
    versions: Versions,
}

impl Decider {
    /// Takes what is ready, and more while the next stage is busy: it could not begin sooner.
    async fn gather(&mut self, intake: &mut Intake) -> Result<(), logline_bus::Error> {
        self.refill();
        while self.in_hand.is_empty() {
            self.receive(intake).await?;
            self.refill();
        }
        let mut committed = self.committed.clone();
        while *committed.borrow_and_update() < self.number && self.has_room() {
            tokio::select! {
                biased;
                changed = committed.changed() => if changed.is_err() { break },
                received = self.receive(intake) => received?,
            }
            self.refill();
        }
        Ok(())
    }

    async fn receive(&mut self, intake: &mut Intake) -> Result<(), logline_bus::Error> {
        let missing = self
            .batch_max()
            .saturating_sub(self.in_hand.fresh.len())
            .max(1);
        let messages = intake.next(missing, Duration::ZERO, self.from).await?;
        let now = metric::now();
        for incoming in messages {
            if !incoming.again {
                self.from = incoming.seq.saturating_add(1);
                metric::ingested(&incoming, now);
            }
            self.backlog.push_back(incoming);
        }
        Ok(())
    }

    /// Moves messages from the backlog into the batch, reading each.
    fn refill(&mut self) {
        let limits = self.context.config.limits;
        let condemned = self.plan.and_then(|plan| plan.condemned);
        while self.has_room()
            && let Some(incoming) = self.backlog.pop_front()
        {
            self.in_hand.bytes = self.in_hand.bytes.saturating_add(incoming.body.len());
            if incoming.again {
                self.in_hand.again.push(incoming);
            } else {
                let is_condemned = condemned == Some(incoming.seq);
                self.in_hand
                    .fresh
                    .push(Message::read(incoming, &limits, is_condemned));
            }
        }
    }

    fn has_room(&self) -> bool {
        self.in_hand.fresh.len() < self.batch_max()
            && self.in_hand.again.len() < self.context.config.batch_max
            && self.in_hand.bytes < self.context.config.batch_bytes_max
    }

    fn batch_max(&self) -> usize {
        let max = self.context.config.batch_max;
        self.plan.map_or(max, |plan| plan.batch_max.clamp(1, max))
    }

    /// Decides the batch in hand; `None` when the leg is over before the ledger answers.
    async fn prepare(&mut self) -> Option<Prepared> {
        let validating: Vec<_> = self
            .in_hand
            .fresh
            .iter()
            .filter_map(|message| message.trace.validate())
            .collect();
        let answers = self.ask().await?;
        drop(validating);
        let Gathered { fresh, again, .. } = std::mem::take(&mut self.in_hand);
        let last = fresh.last().map(|message| message.incoming.seq);
        self.plan = self
            .plan
            .filter(|plan| last.is_none_or(|last| last < plan.through));
        self.number += 1;
        let Answers { existing, versions } = answers;
        let limits = self.context.config.limits;
        let decided = decide::decide(
            &mut self.state,
            self.number,
            fresh,
            &existing,
            &versions,
            &limits,
        );
        Some(Prepared {
            number: self.number,
            decided,
            clock: self.state.clock,
            again,
        })
    }

    /// Asks the ledger for all that the batch depends on.
    async fn ask(&mut self) -> Option<Answers> {
        // INVARIANT (overlay)
        let committed = *self.committed.borrow();
        self.state.overlay.forget_through(committed);
        self.state.heads.trim(committed);
        self.load_heads().await?;
        let existing = self.existing().await?;
        let versions = self.versions(&existing).await?;
        Some(Answers { existing, versions })
    }

    /// The sealed versions that the batch names again; one by one where the ledger refuses to look.
    async fn versions(&mut self, existing: &Existing) -> Option<Versions> {
        let wanted = decide::repeated(&self.in_hand.fresh, existing);
        let mut versions = Versions::new();
        if wanted.is_empty() {
            return Some(versions);
        }
        let context = &self.context;
        let asked = context.ask_about(&context.over, || context.writer.versions(&wanted));
        if let Ok(all) = asked.await? {
            return Some(all);
        }
        for named in wanted {
            let context = &self.context;
            let one = std::slice::from_ref(&named);
            let asked = context.ask_about(&context.over, || context.writer.versions(one));
            match asked.await? {
                Ok(found) => versions.extend(found),
                Err(error) => {
                    self.condemn(&error, |it| it.tenant == named.0 && it.id == named.1);
                }
            }
        }
        Some(versions)
    }

    /// What is there of the ids and keys that the batch names; message by message where the ledger refuses to look.
    async fn existing(&mut self) -> Option<Existing> {
        let careful = self.plan.is_some();
        let wanted = decide::wanted(&self.in_hand.fresh, careful);
        let mut existing = Existing::default();
        if wanted.is_empty() {
            return Some(existing);
        }
        let context = &self.context;
        let asked = context.ask_about(&context.over, || context.writer.existing(&wanted));
        if let Ok(all) = asked.await? {
            return Some(all);
        }
        for wanted in wanted {
            let context = &self.context;
            let one = std::slice::from_ref(&wanted);
            let asked = context.ask_about(&context.over, || context.writer.existing(one));
            match asked.await? {
                Ok(found) => {
                    existing.by_id.extend(found.by_id);
                    existing.by_key.extend(found.by_key);
                }
                Err(error) => {
                    self.condemn(&error, |it| {
                        it.tenant == wanted.tenant && it.id == wanted.id
                    });
                }
            }
        }
        Some(existing)
    }

    /// Puts aside the messages whose look-up the ledger refuses, so that the others go on (LED-16).
    fn condemn(&mut self, error: &logline_ledger::Error, is_meant: impl Fn(&Reading) -> bool) {
        for message in &mut self.in_hand.fresh {
            if message.reading.as_ref().is_ok_and(&is_meant) {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    seq = message.incoming.seq,
                    "the ledger refuses what the message needs to be decided"
                );
                message.reading = Err(internal());
            }
        }
    }

    async fn load_heads(&mut self) -> Option<()> {
        let readings = self
            .in_hand
            .fresh
            .iter()
            .filter_map(|message| message.reading.as_ref().ok());
        let missing: HashSet<&TenantId> = readings
            .map(|reading| &reading.tenant)
            .filter(|tenant| !self.state.heads.knows(tenant))
            .collect();
        if missing.is_empty() {
            return Some(());
        }
        let missing: Vec<TenantId> = missing.into_iter().cloned().collect();
        let context = &self.context;
        let asked = context.ask_about(&context.over, || context.writer.heads(&missing));
        let asked = asked.await?;
        let is_refused = asked.is_err();
        let mut found = asked.unwrap_or_default();
        for tenant in missing {
            let context = &self.context;
            // One by one where the ledger refuses to say all.
            if is_refused {
                let one = std::slice::from_ref(&tenant);
                match context
                    .ask_about(&context.over, || context.writer.heads(one))
                    .await?
                {
                    Ok(head) => found.extend(head),
                    Err(error) => {
                        self.condemn(&error, |it| it.tenant == tenant);
                        continue;
                    }
                }
            }
            let head = found
                .remove(&tenant)
                .unwrap_or_else(|| Head::genesis(&format!("{}/{tenant}", self.log)));
            self.state.heads.load(tenant, head, self.number);
        }
        Some(())
    }

    /// Everything taken from the bus and not decided, in order.
    fn undone(self) -> VecDeque<Incoming> {
        let Gathered { fresh, again, .. } = self.in_hand;
        let fresh = fresh.into_iter().map(|message| message.incoming);
        again.into_iter().chain(fresh).chain(self.backlog).collect()
    }
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.again.is_empty()
    }
}
