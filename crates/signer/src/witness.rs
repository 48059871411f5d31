//! Witnesses (C2SP `tlog-witness`): each newest head is submitted to all of them at once, and what they sign over it is kept and goes
//! out with the head. Signing never waits for them.
//!
//! A round is about one tenant and one head, so that the witnesses that answer have all signed the same one. Whose round it is, and which
//! witness is asked, says [`schedule`], which is pure.

mod post;
mod round;
mod schedule;

use std::sync::Arc;

use logline_proof::VerifierKey;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::config::Resources;
use crate::signer::{at, pause};
use round::{Ended, Table};
use schedule::Schedule;

/// Rounds under way at once: each holds one connection to each witness, and one to Postgres for a moment.
const ROUNDS_MAX: usize = 4;

/// Somebody who watches that the logs only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Where its `add-checkpoint` is, without that name.
    pub url: String,
    /// The key of its cosignatures, which has its name.
    pub key: VerifierKey,
}

/// Asks the witnesses until the process stops.
#[derive(Debug)]
pub(crate) struct Witnesses {
    table: Table,
    /// Heads that were kept, from the signer.
    kept: Arc<Board>,
    /// Heads that were cosigned, to it.
    cosigned: Arc<Board>,
}

impl Witnesses {
    pub(crate) fn new(
        witnesses: Vec<Witness>,
        resources: Resources,
        kept: Arc<Board>,
        cosigned: Arc<Board>,
    ) -> Self {
        Self {
            table: Table::new(witnesses, resources),
            kept,
            cosigned,
        }
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        // `None` says that the process stops.
        let _ = stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        self.survey().await;
        let mut schedule = Schedule::new(self.table.witnesses.len());
        let mut running = JoinSet::new();
        loop {
            let now = Instant::now();
            for (tenant, signed) in self.kept.drain() {
                schedule.want(tenant, signed, now);
            }
            while running.len() < ROUNDS_MAX
                && let Some(round) = schedule.take(now)
            {
                let table = self.table.clone();
                running.spawn(async move { table.round(round).await });
            }
            let has_room = running.len() < ROUNDS_MAX;
            let next = schedule.next_due().filter(|_| has_room);
            tokio::select! {
                () = self.kept.changed() => {}
                Some(ended) = running.join_next() => {
                    let ended = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                    self.end(&mut schedule, ended);
                }
                () = at(next) => {}
            }
        }
    }

    /// Puts the newest heads on the board that a crash, or a new witness, left without cosignatures.
    async fn survey(&self) {
        let keys: Vec<String> = self.table.keys();
        let mut failures = 0;
        let uncosigned = loop {
            match self.table.resources.ledger.uncosigned(&keys).await {
                Ok(uncosigned) => break uncosigned,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "heads without cosignatures are not known yet"
                    );
                    at(Some(Instant::now() + pause(failures))).await;
                }
            }
        };
        for (tenant, note) in uncosigned {
            if let Ok(signed) = note.parse() {
                self.kept.put(tenant, signed);
            }
        }
    }

    fn end(&self, schedule: &mut Schedule, ended: Ended) {
        let Ended {
            tenant,
            signed,
            outcomes,
        } = ended;
        let is_cosigned = outcomes.iter().any(|(_, outcome)| outcome.is_cosigned());
        if is_cosigned {
            self.cosigned.put(tenant.clone(), signed.clone());
        }
        schedule.end(&tenant, signed, &outcomes, Instant::now());
    }
}
