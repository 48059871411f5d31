//! One head before its witnesses.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use logline_ledger::Cosignature;
use logline_proof::witness::{Answer, cosignature};
use logline_proof::{ConsistencyProof, Plan, SignatureLine, SignedCheckpoint};
use logline_span::TenantId;

use super::Witness;
use super::post::{CallError, Caller};
use super::schedule::{Outcome, Round};
use crate::config::Resources;
use crate::incident::{self, Finding};
use crate::metric;

/// Submissions of one head to one witness: what is known of it may be wrong once, and another signer's may come between.
const ATTEMPTS: u32 = 3;

/// The witnesses, and what the rounds work with. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) witnesses: Arc<[Witness]>,
    pub(super) resources: Resources,
    caller: Caller,
    /// What has been reported already, by tenant and witness: the finding does not change by being found again.
    reported: Arc<Mutex<BTreeSet<(TenantId, usize)>>>,
}

/// A round that is over.
pub(super) struct Ended {
    pub(super) tenant: TenantId,
    /// The head with all the cosignatures that it has.
    pub(super) signed: SignedCheckpoint,
    pub(super) outcomes: Vec<(usize, Outcome)>,
}

/// What one witness said.
enum Said {
    Cosigned { line: SignatureLine, at_s: u64 },
    Refused { known: Option<u64> },
    Unreachable,
}

impl Table {
    pub(super) fn new(witnesses: Vec<Witness>, resources: Resources) -> Self {
        Self {
            witnesses: witnesses.into(),
            resources,
            caller: Caller::new(),
            reported: Arc::default(),
        }
    }

    /// The keys of the witnesses, in the form of signed notes.
    pub(super) fn keys(&self) -> Vec<String> {
        let key = |witness: &Witness| witness.key.to_string();
        self.witnesses.iter().map(key).collect()
    }

    /// Submits a head to everyone at once, and keeps what they sign.
    pub(super) async fn round(&self, round: Round) -> Ended {
        let Round {
            tenant,
            mut signed,
            asked,
        } = round;
        let ask = |&(number, known): &(usize, u64)| {
            let (tenant, signed) = (&tenant, &signed);
            async move {
                let witness = self.witnesses.get(number)?;
                let said = self.ask(tenant, signed, number, witness, known).await;
                Some((number, witness, said))
            }
        };
        let answers = join_all(asked.iter().map(ask)).await;
        let (mut outcomes, mut won) = (Vec::new(), Vec::new());
        for (number, witness, said) in answers.into_iter().flatten() {
            let outcome = match said {
                Said::Cosigned { line, at_s } if signed.add(line.clone()).is_ok() => {
                    won.push(Cosignature {
                        witness: witness.key.to_string(),
                        line: line.to_string(),
                        at_s,
                    });
                    Outcome::Cosigned
                }
                Said::Cosigned { .. } => Outcome::Refused { known: None },
                Said::Refused { known } => Outcome::Refused { known },
                Said::Unreachable => Outcome::Unreachable,
            };
            outcomes.push((number, outcome));
        }
        let size = signed.checkpoint().head.size;
        if let Err(error) = self.resources.ledger.cosign(&tenant, size, &won).await {
            tracing::warn!(error = &error as &dyn StdError, %tenant, "cosignatures are not kept yet");
            // Asked again, a witness signs the same head again.
            for (_, outcome) in &mut outcomes {
                if outcome.is_cosigned() {
                    *outcome = Outcome::Refused { known: Some(size) };
                }
            }
        } else {
            metrics::counter!(metric::COSIGNATURES).increment(won.len() as u64);
        }
        Ended {
            tenant,
            signed,
            outcomes,
        }
    }

    async fn ask(
        &self,
        tenant: &TenantId,
        signed: &SignedCheckpoint,
        number: usize,
        witness: &Witness,
        mut known: u64,
    ) -> Said {
        let name = witness.key.name();
        let size = signed.checkpoint().head.size;
        for _ in 0..ATTEMPTS {
            let Some(proof) = self.prove(tenant, signed, known).await else {
                return Said::Refused { known: Some(known) };
            };
            let answer = match self.caller.add_checkpoint(&witness.url, &proof).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.failed(tenant, witness, &error);
                    return match error {
                        CallError::Unreachable(_) => Said::Unreachable,
                        CallError::Unusable(_) => Said::Refused { known: None },
                    };
                }
            };
            match answer {
                Answer::Cosigned(lines) => {
                    return match cosignature(signed, &lines, &witness.key) {
                        Ok((line, at_s)) => Said::Cosigned { line, at_s },
                        Err(error) => {
                            self.failed(tenant, witness, &error);
                            Said::Refused { known: None }
                        }
                    };
                }
                Answer::Knows { size: other } if other <= size && other != known => known = other,
                Answer::Knows { size: other } => {
                    if other > size && !self.is_published(tenant, other).await {
                        let finding = Finding {
                            code: "witness_ahead",
                            detail: format!(
                                "the witness {name} has cosigned {other} spans of this log, and the newest head here is of {size}"
                            ),
                        };
                        self.report(tenant, number, &finding).await;
                    }
                    tracing::warn!(%tenant, witness = %name, knows = other, size, "a head is not cosigned");
                    return Said::Refused { known: None };
                }
                Answer::Forked | Answer::BadProof => {
                    let finding = Finding {
                        code: "witness_disagrees",
                        detail: format!(
                            "the witness {name} has cosigned another log than the one that the head of {size} spans extends"
                        ),
                    };
                    self.report(tenant, number, &finding).await;
                    return Said::Refused { known: Some(known) };
                }
                Answer::UnknownKey | Answer::UnknownLog | Answer::Refused { .. } => {
                    tracing::warn!(%tenant, witness = %name, ?answer, "a head is not cosigned");
                    metrics::counter!(metric::WITNESS_FAILURES).increment(1);
                    return Said::Refused { known: None };
                }
            }
        }
        Said::Refused { known: Some(known) }
    }

    /// That the log has only grown since what a witness knows; none while the ledger does not serve.
    async fn prove(
        &self,
        tenant: &TenantId,
        signed: &SignedCheckpoint,
        old_size: u64,
    ) -> Option<ConsistencyProof> {
        let plan = Plan::consistency(old_size, signed.checkpoint().head.size)?;
        let tiles = match self.resources.ledger.tiles(tenant, plan.tiles()).await {
            Ok(tiles) => tiles,
            Err(error) => {
                tracing::warn!(error = &error as &dyn StdError, %tenant, "a head is not submitted yet");
                return None;
            }
        };
        Some(ConsistencyProof {
            old_size,
            path: plan.compute(&tiles).ok()?,
            checkpoint: signed.clone(),
        })
    }

    /// Whether a head of that size or more is on the bus: then another signer was faster.
    async fn is_published(&self, tenant: &TenantId, size: u64) -> bool {
        match self.resources.bus.checkpoint(tenant).await {
            Ok(Some(published)) => {
                let signed: Option<SignedCheckpoint> = published.note.parse().ok();
                signed.is_some_and(|signed| signed.checkpoint().head.size >= size)
            }
            Ok(None) => false,
            // Nothing is known, and so nothing is said.
            Err(_) => true,
        }
    }

    fn failed(&self, tenant: &TenantId, witness: &Witness, error: &(dyn StdError + 'static)) {
        metrics::counter!(metric::WITNESS_FAILURES).increment(1);
        tracing::warn!(error, %tenant, witness = %witness.key.name(), "a head is not cosigned yet");
    }

    /// Says once in the tenant's chain what a witness knows better.
    async fn report(&self, tenant: &TenantId, number: usize, finding: &Finding) {
        metrics::counter!(metric::WITNESS_FAILURES).increment(1);
        let is_new = self
            .reported
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((tenant.clone(), number));
        if is_new {
            incident::report(&self.resources, tenant, finding).await;
        }
    }
}
