//! What the crate promises: other implementations agree with it, and whatever is changed is found.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute, not the helpers beside them"
)]

mod auditing;
mod files;
mod properties;
mod theirs;
mod vectors;
mod witnesses;

use logline_proof::{Checkpoint, Frontier, NodeHash, Plan, SignedCheckpoint, Tile, TreeHead};
use logline_span::{Hash, SigningKey};

const ORIGIN: &str = "logline.example/acme";

/// A tree stored as the ledger does: the leaves, and one row for each complete subtree of 256^level of them.
#[derive(Default)]
struct Log {
    frontier: Frontier,
    levels: Vec<Vec<NodeHash>>,
}

impl Log {
    fn of(leaves: impl IntoIterator<Item = NodeHash>) -> Self {
        let mut log = Self::default();
        log.levels.push(Vec::new());
        for leaf in leaves {
            log.append(leaf);
        }
        log
    }

    /// The tree over the hashes of 0 to `size` - 1, as if they were spans.
    fn of_numbers(size: u64) -> Self {
        Self::of((0..size).map(|number| NodeHash::of_span(&span(number))))
    }

    fn append(&mut self, leaf: NodeHash) {
        self.levels[0].push(leaf);
        for completed in self.frontier.append(leaf) {
            let level = usize::from(completed.level);
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            assert_eq!(self.levels[level].len() as u64, completed.index);
            self.levels[level].push(completed.hash);
        }
    }

    fn tile(&self, tile: &Tile) -> Vec<NodeHash> {
        let first = usize::try_from(tile.first()).unwrap();
        self.levels[usize::from(tile.level())][first..first + usize::from(tile.width())].to_vec()
    }

    fn compute(&self, plan: &Plan) -> Vec<NodeHash> {
        let tiles: Vec<_> = plan.tiles().iter().map(|tile| self.tile(tile)).collect();
        plan.compute(&tiles).unwrap()
    }

    /// The tree as it was when it had that size.
    fn head(&self, size: u64) -> TreeHead {
        let peaks = self.compute(&Plan::frontier(size).unwrap());
        Frontier::from_peaks(size, peaks).unwrap().head()
    }

    fn inclusion(&self, index: u64, size: u64) -> Vec<NodeHash> {
        self.compute(&Plan::inclusion(index, size).unwrap())
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<NodeHash> {
        self.compute(&Plan::consistency(old, new).unwrap())
    }

    fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        let origin = ORIGIN.parse().unwrap();
        Checkpoint::new(origin, self.head(size))
            .sign(&key(1))
            .unwrap()
    }
}

fn span(number: u64) -> Hash {
    Hash::of(&number.to_be_bytes())
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}
