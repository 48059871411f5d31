//! One tenant's log under the signer's hands.

use logline_bus::Bus;
use logline_ledger as ledger;
use logline_proof::tree::Completed;
use logline_proof::{
    Algorithm, Checkpoint, Frontier, KeyName, NodeHash, Origin, Plan, SignedCheckpoint, TreeHead,
    VerifierKey,
};
use logline_span::{PublicKey, SigningKey, TenantId};

use crate::trouble::{Fault, Place, Trouble};

/// Hashes read at once.
const HASHES_MAX: u32 = 10_000;

/// What every log is signed with.
pub(crate) struct Desk {
    pub(crate) bus: Bus,
    pub(crate) ledger: ledger::Signer,
    pub(crate) key: SigningKey,
    /// The log's name.
    pub(crate) name: String,
    /// Every key that the log has signed with.
    pub(crate) keys: Vec<PublicKey>,
}

/// A tenant's tree up to the last signed head.
///
/// INVARIANT (extends): the head was signed, is on the bus and in the ledger, and the ledger's rows led to it.
#[derive(Clone)]
pub(crate) struct Log {
    tree: Frontier,
    /// Number of the head's message on the bus.
    message: u64,
}

/// The tree, grown, with the nodes that became complete on the way.
struct Grown {
    tree: Frontier,
    nodes: Vec<Completed>,
}

impl Desk {
    /// Takes up a tenant's log at the larger of the heads on the bus and in the ledger, and brings both to it.
    pub(crate) async fn take_up(&self, tenant: &TenantId) -> Result<Log, Trouble> {
        let origin = self.origin(tenant)?;
        let published = self.bus.checkpoint(tenant).await?;
        let message = published.as_ref().map_or(0, |newest| newest.seq);
        let published = published
            .map(|newest| self.own(&origin, &newest.note, Place::Bus))
            .transpose()?;
        let stored = self.ledger.newest(tenant).await?;
        let stored = stored
            .map(|note| self.own(&origin, &note, Place::Ledger))
            .transpose()?;
        let size = |signed: &Option<SignedCheckpoint>| {
            signed.as_ref().map_or(0, |it| it.checkpoint().head.size)
        };
        let (on_bus, in_ledger) = (size(&published), size(&stored));

        // Nodes are stored with the head that they lie below, so up to the stored one they are all there.
        let tree = self.tree(tenant, in_ledger).await?;
        if let Some(stored) = &stored {
            same(&tree, stored)?;
        }
        let mut log = Log { tree, message };
        match published {
            Some(published) if on_bus > in_ledger => {
                let grown = self.grow(tenant, &log.tree, Some(on_bus)).await?;
                same(&grown.tree, &published)?;
                let note = published.to_string();
                self.ledger
                    .store(tenant, on_bus, &note, &grown.nodes)
                    .await?;
                log.tree = grown.tree;
            }
            Some(published) => {
                same(&self.tree(tenant, on_bus).await?, &published)?;
                if let Some(stored) = stored.filter(|_| on_bus < in_ledger) {
                    log.message = self.publish(tenant, &stored, message).await?;
                }
            }
            // The bus lost it.
            None => {
                if let Some(stored) = stored {
                    log.message = self.publish(tenant, &stored, message).await?;
                }
            }
        }
        Ok(log)
    }

    /// Signs the head of all that is sealed; says whether there was anything to sign.
    pub(crate) async fn extend(&self, tenant: &TenantId, log: &mut Log) -> Result<bool, Trouble> {
        let Grown { tree, nodes } = self.grow(tenant, &log.tree, None).await?;
        let head = tree.head();
        if head.size == log.tree.head().size {
            return Ok(false);
        }
        let signed = Checkpoint::new(self.origin(tenant)?, head).sign(&self.key)?;
        // The bus decides between signers, so it comes first; a head that is not stored yet is found there.
        let message = self.publish(tenant, &signed, log.message).await?;
        let note = signed.to_string();
        self.ledger.store(tenant, head.size, &note, &nodes).await?;
        *log = Log { tree, message };
        Ok(true)
    }

    async fn publish(
        &self,
        tenant: &TenantId,
        signed: &SignedCheckpoint,
        after: u64,
    ) -> Result<u64, Trouble> {
        let note = signed.to_string();
        Ok(self.bus.publish_checkpoint(tenant, &note, after).await?)
    }

    fn origin(&self, tenant: &TenantId) -> Result<Origin, Trouble> {
        Ok(format!("{}/{tenant}", self.name).parse()?)
    }

    /// The head of a note, if a key of this log has signed it as this tenant's.
    fn own(&self, origin: &Origin, note: &str, place: Place) -> Result<SignedCheckpoint, Fault> {
        let foreign = Fault::Foreign { place };
        let signed: SignedCheckpoint = note.parse().map_err(|_| foreign)?;
        let name: KeyName = origin.as_str().parse().map_err(|_| foreign)?;
        let keys: Vec<VerifierKey> = self
            .keys
            .iter()
            .map(|key| VerifierKey::new(name.clone(), Algorithm::Ed25519, *key))
            .collect();
        let is_own = signed.checkpoint().origin == *origin && signed.verify(&keys).is_ok();
        if is_own { Ok(signed) } else { Err(foreign) }
    }

    /// The tree of so many leaves, from the stored nodes and the rows at its edge.
    async fn tree(&self, tenant: &TenantId, size: u64) -> Result<Frontier, Trouble> {
        let shorter = Fault::Shorter { size };
        let plan = Plan::frontier(size).ok_or(shorter)?;
        let tiles = self.ledger.tiles(tenant, plan.tiles()).await?;
        let peaks = plan.compute(&tiles).map_err(|_| shorter)?;
        Ok(Frontier::from_peaks(size, peaks)?)
    }

    /// The tree with the rows that follow: up to `size` leaves, or all that there are.
    async fn grow(
        &self,
        tenant: &TenantId,
        tree: &Frontier,
        size: Option<u64>,
    ) -> Result<Grown, Trouble> {
        let mut grown = Grown {
            tree: tree.clone(),
            nodes: Vec::new(),
        };
        loop {
            let at = grown.tree.head().size;
            let left = size.map_or(u64::from(HASHES_MAX), |size| size.saturating_sub(at));
            let limit = u32::try_from(left).unwrap_or(HASHES_MAX).min(HASHES_MAX);
            let hashes = if limit == 0 {
                Vec::new()
            } else {
                self.ledger.hashes(tenant, at, limit).await?
            };
            for hash in &hashes {
                grown
                    .nodes
                    .extend(grown.tree.append(NodeHash::of_span(hash)));
            }
            if hashes.len() < HASHES_MAX as usize {
                break;
            }
        }
        match size {
            Some(size) if grown.tree.head().size < size => Err(Fault::Shorter { size }.into()),
            Some(_) | None => Ok(grown),
        }
    }
}

fn same(tree: &Frontier, signed: &SignedCheckpoint) -> Result<(), Fault> {
    let TreeHead { size, .. } = signed.checkpoint().head;
    if tree.head() == signed.checkpoint().head {
        Ok(())
    } else {
        Err(Fault::Differs { size })
    }
}
