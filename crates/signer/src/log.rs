//! One tenant's log: recomputed from the ledger before the first signature, extended from then on (LED-8).

use std::sync::Arc;

use logline_bus::{CheckpointError, PublishedCheckpoint};
use logline_ledger::Error as LedgerError;
use logline_proof::tree::Completed;
use logline_proof::{
    Algorithm, Checkpoint, KeyName, Origin, SignedCheckpoint, TreeHead, VerifierKey,
};
use logline_span::TenantId;

use crate::board::Board;
use crate::config::Resources;
use crate::metric;
use crate::refusal::{Place, Refusal};
use crate::tree::Tree;

/// Rows read at once: some milliseconds of hashing, which hold up nobody else.
const ROWS: u32 = 4096;
/// Reads between two heads of a log that is far behind: bounds what one head completes, and what is lost with a crash.
const READS_MAX: u32 = 64;

/// What this process knows of a tenant's log, all of it verified.
#[derive(Debug)]
pub(crate) struct Log {
    tenant: TenantId,
    origin: Origin,
    /// The keys whose heads are believed: this signer's, and those that the ledger names.
    keys: Vec<VerifierKey>,
    /// INVARIANT (extends only): the tree at the newest head, which every later one extends.
    tree: Tree,
    /// Number of the newest head on the bus; 0 where there is none.
    seq: u64,
    /// The newest head, while the ledger may not have it.
    unkept: Option<Unkept>,
}

#[derive(Debug)]
struct Unkept {
    signed: SignedCheckpoint,
    nodes: Vec<Completed>,
}

/// What signs, and what it works with. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) resources: Resources,
    pub(crate) log_name: Arc<str>,
    /// Where heads go that are kept, for the witnesses; none where there are no witnesses.
    pub(crate) kept: Option<Arc<Board>>,
    /// Where they come back with cosignatures.
    pub(crate) cosigned: Arc<Board>,
}

/// Why a turn did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the bus does not serve the signer")]
    Bus(#[from] logline_bus::Error),
    #[error("the ledger does not serve the signer")]
    Ledger(#[source] LedgerError),
    /// What is known of the log is not all that there is: it is opened again.
    #[error("another head than the newest known was found on the bus")]
    Doubtful,
    #[error("the log is not signed any more")]
    Refused(#[from] Refusal),
}

impl From<LedgerError> for Failed {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Undecodable { position, .. } => Refusal::Unreadable { position }.into(),
            LedgerError::Url(_)
            | LedgerError::Unavailable(_)
            | LedgerError::Refused(_)
            | LedgerError::NotYetSealed { .. }
            | LedgerError::Fenced
            | LedgerError::NotAClient
            | LedgerError::NotProvisioned => Self::Ledger(error),
        }
    }
}

/// A tree that was extended.
struct Step {
    tree: Tree,
    nodes: Vec<Completed>,
    /// Whether there may be more rows.
    more: bool,
}

impl Desk {
    /// Takes up a log where its newest head left it, wherever that is: on the bus, in the ledger, or in both.
    ///
    /// Every row below it is read again, and must give each root that was signed and each node that is stored. What a crash left
    /// in one place is brought to the other.
    pub(crate) async fn open(&self, tenant: &TenantId) -> Result<Log, Failed> {
        let Resources { bus, ledger, key } = &self.resources;
        let named = format!("{}/{tenant}", self.log_name).parse::<KeyName>();
        let name = named.map_err(|_| Refusal::Name)?;
        let own = VerifierKey::new(name.clone(), Algorithm::Ed25519, key.public_key());
        let mut log = Log {
            tenant: tenant.clone(),
            origin: name.into(),
            keys: vec![own.clone()],
            tree: Tree::default(),
            seq: 0,
            unkept: None,
        };
        let known = ledger.keys(tenant).await?;
        let is_known = known.contains(&own.to_string());
        log.keys
            .extend(known.iter().filter_map(|key| key.parse().ok()));

        let kept = ledger.newest(tenant).await?;
        let kept = kept
            .map(|note| log.believe(&note, Place::Ledger))
            .transpose()?;
        let published = bus.checkpoint(tenant).await?;
        log.seq = published.as_ref().map_or(0, |published| published.seq);
        let published =
            published.map(|PublishedCheckpoint { note, .. }| log.believe(&note, Place::Bus));
        let published = published.transpose()?;

        let mut missing = Vec::new();
        let mut signed: Vec<_> = [&kept, &published].into_iter().flatten().collect();
        signed.sort_by_key(|signed| signed.checkpoint().head.size);
        for signed in &signed {
            let head = signed.checkpoint().head;
            missing.extend(self.recompute(&mut log, head).await?);
        }
        if !is_known {
            ledger.add_key(tenant, &own).await?;
        }
        let Some(newest) = signed.last().map(|&newest| newest.clone()) else {
            return Ok(log);
        };
        let is_newest = |place: &Option<SignedCheckpoint>| {
            place
                .as_ref()
                .is_some_and(|signed| signed.checkpoint().head == newest.checkpoint().head)
        };
        if !is_newest(&published) {
            log.seq = match bus
                .publish_checkpoint(tenant, &newest.to_string(), log.seq)
                .await
            {
                Ok(seq) => seq,
                Err(CheckpointError::Stale) => return Err(Failed::Doubtful),
                Err(CheckpointError::Bus(error)) => return Err(error.into()),
            };
        }
        if !is_newest(&kept) || !missing.is_empty() {
            log.unkept = Some(Unkept {
                signed: newest,
                nodes: missing,
            });
            self.keep(&mut log).await?;
        }
        Ok(log)
    }

    /// Signs what was sealed since the newest head; says whether there is more.
    pub(crate) async fn sign(&self, log: &mut Log) -> Result<bool, Failed> {
        self.keep(log).await?;
        let Step { tree, nodes, more } = self.read(log, log.tree.clone(), None).await?;
        if tree.size() == log.tree.size() {
            return self.republish(log).await;
        }
        let Resources { bus, key, .. } = &self.resources;
        let checkpoint = Checkpoint::new(log.origin.clone(), tree.head());
        let signed = checkpoint.sign(key).map_err(|_| Refusal::Name)?;
        let note = signed.to_string();
        let published = bus.publish_checkpoint(&log.tenant, &note, log.seq).await;
        match published {
            Ok(seq) => log.follow(tree, seq, Unkept { signed, nodes }),
            Err(CheckpointError::Stale) => return self.adopt(log).await,
            Err(CheckpointError::Bus(error)) => return Err(error.into()),
        }
        self.keep(log).await?;
        metrics::counter!(metric::CHECKPOINTS).increment(1);
        Ok(more)
    }

    /// Publishes the newest head again where witnesses have cosigned it since; an older one stays as it was published. Says whether
    /// there is more.
    async fn republish(&self, log: &mut Log) -> Result<bool, Failed> {
        let cosigned = self.cosigned.take(&log.tenant);
        let Some(cosigned) = cosigned.filter(|it| it.checkpoint().head == log.tree.head()) else {
            return Ok(false);
        };
        let bus = &self.resources.bus;
        let note = cosigned.to_string();
        match bus.publish_checkpoint(&log.tenant, &note, log.seq).await {
            Ok(seq) => log.seq = seq,
            Err(CheckpointError::Stale) => return self.adopt(log).await,
            Err(CheckpointError::Bus(error)) => {
                self.cosigned.put(log.tenant.clone(), cosigned);
                return Err(error.into());
            }
        }
        Ok(false)
    }

    /// Follows a head that another signer published, or this one before it lost the answer.
    async fn adopt(&self, log: &mut Log) -> Result<bool, Failed> {
        let Some(published) = self.resources.bus.checkpoint(&log.tenant).await? else {
            return Err(Failed::Doubtful);
        };
        let signed = log.believe(&published.note, Place::Bus)?;
        let head = signed.checkpoint().head;
        if head.size < log.tree.size() {
            return Err(Failed::Doubtful);
        }
        let mut nodes = Vec::new();
        let mut tree = log.tree.clone();
        while tree.size() < head.size {
            let step = self.read(log, tree, Some(head.size)).await?;
            nodes.extend(step.nodes);
            tree = step.tree;
            if !step.more {
                break;
            }
        }
        compare(&tree, head)?;
        log.follow(tree, published.seq, Unkept { signed, nodes });
        self.keep(log).await?;
        metrics::counter!(metric::ADOPTED).increment(1);
        Ok(true)
    }

    /// Keeps the newest head in the ledger, if it is not known to be there.
    async fn keep(&self, log: &mut Log) -> Result<(), Failed> {
        let Some(Unkept { signed, nodes }) = &log.unkept else {
            return Ok(());
        };
        let stands = self
            .resources
            .ledger
            .store(&log.tenant, signed, nodes)
            .await?;
        if !stands {
            let size = signed.checkpoint().head.size;
            return Err(Refusal::Kept { size }.into());
        }
        if let (Some(board), Some(Unkept { signed, .. })) = (&self.kept, log.unkept.take()) {
            board.put(log.tenant.clone(), signed);
        }
        Ok(())
    }

    /// Grows the log's tree to a signed head, row by row; gives the nodes that are not stored.
    async fn recompute(&self, log: &mut Log, head: TreeHead) -> Result<Vec<Completed>, Failed> {
        let mut missing = Vec::new();
        while log.tree.size() < head.size {
            let tree = std::mem::take(&mut log.tree);
            let step = self.read(log, tree, Some(head.size)).await?;
            log.tree = step.tree;
            let stored = self
                .resources
                .ledger
                .nodes(&log.tenant, &step.nodes)
                .await?;
            for (node, stored) in step.nodes.into_iter().zip(stored) {
                let Completed { level, index, hash } = node;
                match stored {
                    None => missing.push(node),
                    Some(stored) if stored == hash => {}
                    Some(_) => return Err(Refusal::Node { level, index }.into()),
                }
            }
            if !step.more {
                break;
            }
        }
        compare(&log.tree, head)?;
        Ok(missing)
    }

    /// Extends a tree by the rows that are there, up to a size where one is given.
    async fn read(&self, log: &Log, mut tree: Tree, until: Option<u64>) -> Result<Step, Failed> {
        let mut nodes = Vec::new();
        for _ in 0..READS_MAX {
            let from = tree.reads_from();
            let left = until.map_or(u64::MAX, |until| until.saturating_sub(from) + 1);
            let wanted = u32::try_from(left).unwrap_or(ROWS).min(ROWS);
            let rows = self
                .resources
                .ledger
                .leaves(&log.tenant, from, wanted)
                .await?;
            let is_full = rows.len() as u64 == u64::from(wanted);
            let before = tree.size();
            nodes.extend(tree.extend(&rows)?);
            metrics::counter!(metric::LEAVES).increment(tree.size() - before);
            if !is_full || until.is_some_and(|until| tree.size() >= until) {
                let more = false;
                return Ok(Step { tree, nodes, more });
            }
        }
        let more = true;
        Ok(Step { tree, nodes, more })
    }
}

impl Log {
    fn follow(&mut self, tree: Tree, seq: u64, newest: Unkept) {
        self.tree = tree;
        self.seq = seq;
        self.unkept = Some(newest);
    }

    /// Reads a signed head, if a key of this log has signed it as this log's.
    fn believe(&self, note: &str, place: Place) -> Result<SignedCheckpoint, Refusal> {
        let signed: SignedCheckpoint = note.parse().map_err(|_| Refusal::Untrusted { place })?;
        let is_ours = signed.checkpoint().origin == self.origin;
        if !is_ours || signed.verify(&self.keys).is_err() {
            return Err(Refusal::Untrusted { place });
        }
        Ok(signed)
    }
}

/// Whether a tree is the one that was signed.
fn compare(tree: &Tree, head: TreeHead) -> Result<(), Refusal> {
    if tree.size() < head.size {
        return Err(Refusal::Shorter {
            sealed: tree.size(),
            signed: head.size,
        });
    }
    if tree.head() != head {
        return Err(Refusal::Root { size: head.size });
    }
    Ok(())
}
