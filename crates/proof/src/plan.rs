//! Proofs in two steps: first say which tiles are needed, then compute from them. Between the two the caller
//! fetches, however it likes.

use std::ops::Range;

use crate::tile::{HEIGHT, Tile, WIDTH_MAX};
use crate::tree::{self, NodeHash, SIZE_MAX};

/// Which hashes make up a proof, and which tiles they come from.
///
/// ```
/// use logline_proof::{NodeHash, Plan, TreeHead, tree};
/// let leaves = [NodeHash::leaf(b"a"), NodeHash::leaf(b"b"), NodeHash::leaf(b"c")];
/// let plan = Plan::inclusion(2, 3).unwrap();
/// let paths: Vec<String> = plan.tiles().iter().map(ToString::to_string).collect();
/// assert_eq!(paths, ["tile/0/000.p/3"]);
/// let path = plan.compute(&[leaves.to_vec()]).unwrap();
/// let root = NodeHash::node(&NodeHash::node(&leaves[0], &leaves[1]), &leaves[2]);
/// assert_eq!(tree::verify_inclusion(&TreeHead { size: 3, root }, 2, &leaves[2], &path), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The subtrees below each hash of the proof, from left to right, the largest first.
    parts: Vec<Vec<Subtree>>,
    tiles: Vec<Tile>,
}

/// The tiles that came are not those that the plan named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tiles are not those of the plan")]
pub struct WrongTiles;

/// A complete subtree of 2^height leaves, with `index` such subtrees to the left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subtree {
    height: u8,
    index: u64,
}

impl Plan {
    /// The peaks of a tree of that size, for [`tree::Frontier::from_peaks`].
    pub fn frontier(size: u64) -> Option<Self> {
        let peaks = subtrees(0..size).map(|peak| vec![peak]);
        (size <= SIZE_MAX).then(|| Self::of(peaks.collect(), size))
    }

    /// The proof that a leaf is in a tree of that size, the leaf's sibling first (RFC 6962, section 2.1.1);
    /// nothing if it is not.
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        if index >= size || size > SIZE_MAX {
            return None;
        }
        let (mut siblings, _) = descend(size, |tree, middle| {
            (tree.end - tree.start > 1).then_some(index < middle)
        });
        siblings.reverse();
        Some(Self::of_ranges(siblings, size))
    }

    /// The proof that a tree of the new size begins with one of the old (RFC 6962, section 2.1.2); nothing if the
    /// tree has shrunk.
    pub fn consistency(old: u64, new: u64) -> Option<Self> {
        if old > new || new > SIZE_MAX {
            return None;
        }
        if old == 0 {
            return Some(Self::of_ranges(Vec::new(), new));
        }
        let (mut siblings, last) = descend(new, |tree, middle| {
            (tree.end != old).then_some(old <= middle)
        });
        // What the old tree ends with; if that is all of it, the verifier has its hash already.
        if last.start > 0 {
            siblings.push(last);
        }
        siblings.reverse();
        Some(Self::of_ranges(siblings, new))
    }

    /// The tiles to fetch, at most two of each level.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// The hashes of the proof. `tiles` are the hashes of [`Self::tiles`], each as wide as it says, in that order.
    pub fn compute(&self, tiles: &[Vec<NodeHash>]) -> Result<Vec<NodeHash>, WrongTiles> {
        if tiles.len() != self.tiles.len() {
            return Err(WrongTiles);
        }
        let part = |subtrees: &Vec<Subtree>| {
            let hashes: Option<Vec<_>> = subtrees
                .iter()
                .map(|subtree| self.hash(subtree, tiles))
                .collect();
            tree::fold(&hashes?)
        };
        let hashes: Option<Vec<_>> = self.parts.iter().map(part).collect();
        hashes.ok_or(WrongTiles)
    }

    fn hash(&self, subtree: &Subtree, tiles: &[Vec<NodeHash>]) -> Option<NodeHash> {
        let (level, tile_index, within) = subtree.place();
        let (_, hashes) = self
            .tiles
            .iter()
            .zip(tiles)
            .find(|(tile, _)| (tile.level(), tile.index()) == (level, tile_index))
            .filter(|(tile, hashes)| hashes.len() == usize::from(tile.width()))?;
        let mut row = hashes.get(within)?.to_vec();
        while row.len() > 1 {
            let (pairs, _) = row.as_chunks();
            row = pairs
                .iter()
                .map(|[left, right]| NodeHash::node(left, right))
                .collect();
        }
        row.first().copied()
    }

    fn of_ranges(ranges: Vec<Range<u64>>, size: u64) -> Self {
        let parts = ranges.into_iter().map(|range| subtrees(range).collect());
        Self::of(parts.collect(), size)
    }

    fn of(parts: Vec<Vec<Subtree>>, size: u64) -> Self {
        let tile = |subtree: &Subtree| {
            let (level, index, _) = subtree.place();
            Tile::in_tree(level, index, size)
        };
        let mut tiles: Vec<_> = parts.iter().flatten().filter_map(tile).collect();
        tiles.sort_unstable();
        tiles.dedup();
        Self { parts, tiles }
    }
}

impl Subtree {
    /// The level and the index of its tile, and which hashes there are below it.
    fn place(&self) -> (u8, u64, Range<usize>) {
        let (level, above) = (self.height / HEIGHT, self.height % HEIGHT);
        let (first, width) = (self.index << above, u64::from(WIDTH_MAX));
        let within = usize::try_from(first % width).unwrap_or(usize::MAX);
        (
            level,
            first / width,
            within..within.saturating_add(1 << above),
        )
    }
}

/// Goes down from the root of a tree of that size, to the left or to the right as `is_left` says of the tree
/// reached and of where its right half begins, until it says nothing. Gives the halves not taken, the largest
/// first, and the tree reached.
fn descend(
    size: u64,
    is_left: impl Fn(&Range<u64>, u64) -> Option<bool>,
) -> (Vec<Range<u64>>, Range<u64>) {
    let (mut tree, mut siblings) = (0..size, Vec::new());
    loop {
        let middle = tree.start + left_half(tree.end - tree.start);
        match is_left(&tree, middle) {
            Some(true) => {
                siblings.push(middle..tree.end);
                tree.end = middle;
            }
            Some(false) => {
                siblings.push(tree.start..middle);
                tree.start = middle;
            }
            None => return (siblings, tree),
        }
    }
}

/// The largest power of two below `leaves`; 1 where there is none.
fn left_half(leaves: u64) -> u64 {
    1 << leaves.saturating_sub(1).checked_ilog2().unwrap_or(0)
}

/// The complete subtrees that make up a subtree of RFC 6962, the largest first.
fn subtrees(range: Range<u64>) -> impl Iterator<Item = Subtree> {
    let mut start = range.start;
    (0..64_u8).rev().filter_map(move |height| {
        let leaves = range.end.saturating_sub(range.start) & (1 << height);
        let index = start >> height;
        start += leaves;
        (leaves != 0).then_some(Subtree { height, index })
    })
}
