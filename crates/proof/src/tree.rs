//! The Merkle tree of RFC 6962 with SHA-256, as RFC 9162 verifies it.
//!
//! Leaf n is the span at position n + 1, and holds the 32 bytes of its `curr_hash`.

use std::fmt;
use std::str::FromStr;

use logline_span::Hash;
use sha2::{Digest as _, Sha256};

use crate::line;

/// The largest tree, in leaves: other implementations count with signed numbers of 64 bits.
pub const SIZE_MAX: u64 = (1 << 63) - 1;

const LEAF_PREFIX: [u8; 1] = [0];
const NODE_PREFIX: [u8; 1] = [1];

/// The hash of a leaf or of the nodes below it; its text form is base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeHash([u8; 32]);

/// Not the base64 of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hash is not the base64 of 32 bytes")]
pub struct NotAHash;

impl NodeHash {
    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The root of the tree without leaves.
    pub fn empty() -> Self {
        Self(Sha256::new().finalize().into())
    }

    /// The hash of a leaf with this content.
    pub fn leaf(content: &[u8]) -> Self {
        let hasher = Sha256::new().chain_update(LEAF_PREFIX);
        Self(hasher.chain_update(content).finalize().into())
    }

    /// The leaf of a sealed span.
    pub fn of_span(curr_hash: &Hash) -> Self {
        Self::leaf(curr_hash.as_bytes())
    }

    /// The hash of the node above these two.
    pub fn node(left: &Self, right: &Self) -> Self {
        let hasher = Sha256::new().chain_update(NODE_PREFIX).chain_update(left.0);
        Self(hasher.chain_update(right.0).finalize().into())
    }
}

impl fmt::Display for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line::encode(&self.0))
    }
}

impl FromStr for NodeHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let bytes = line::decode(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(NotAHash)
    }
}

/// What a log commits to: so many leaves under this root. One says nothing without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of leaves.
    pub size: u64,
    /// The hash above all of them.
    pub root: NodeHash,
}

/// The right edge of a tree: enough to extend it and to know its root, and no more.
///
/// ```
/// use logline_proof::{Frontier, NodeHash};
/// let mut tree = Frontier::new();
/// let (left, right) = (NodeHash::leaf(b"a"), NodeHash::leaf(b"b"));
/// tree.append(left);
/// tree.append(right);
/// assert_eq!(tree.head().root, NodeHash::node(&left, &right));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// INVARIANT (peaks): one hash for each bit of `size` that is set, the highest first, of the complete subtree
    /// with that many leaves.
    peaks: Vec<NodeHash>,
}

/// A subtree of 256^level leaves that has just become complete. The ledger stores those of level 1 and above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The level, counted in tiles; 0 is the leaf itself.
    pub level: u8,
    /// How many such subtrees are to the left of it.
    pub index: u64,
    /// Its hash.
    pub hash: NodeHash,
}

/// Why no frontier can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// Not one hash for each set bit of the size.
    #[error("tree of {size} leaves has not {peaks} peaks")]
    Peaks {
        /// The size.
        size: u64,
        /// How many hashes came.
        peaks: usize,
    },
    /// Beyond [`SIZE_MAX`].
    #[error("tree is larger than 2^63-1 leaves")]
    Size,
}

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl Frontier {
    /// The tree without leaves.
    pub const fn new() -> Self {
        let peaks = Vec::new();
        Self { size: 0, peaks }
    }

    /// The tree with these complete subtrees, the largest first, as [`crate::Plan::frontier`] computes them.
    pub fn from_peaks(size: u64, peaks: Vec<NodeHash>) -> Result<Self, FrontierError> {
        if size > SIZE_MAX {
            return Err(FrontierError::Size);
        }
        if u64::from(size.count_ones()) != peaks.len() as u64 {
            let peaks = peaks.len();
            return Err(FrontierError::Peaks { size, peaks });
        }
        Ok(Self { size, peaks })
    }

    /// The complete subtrees, the largest first.
    pub fn peaks(&self) -> &[NodeHash] {
        &self.peaks
    }

    /// Adds a leaf; gives the subtrees of 256^level leaves that it completes, the leaf itself left out.
    ///
    /// # Panics
    /// When the tree is full, after [`SIZE_MAX`] leaves: chains end long before, at 2^53-1.
    pub fn append(&mut self, leaf: NodeHash) -> Vec<Completed> {
        assert!(
            self.size < SIZE_MAX,
            "INVARIANT (peaks): the size stays below 2^63"
        );
        self.size += 1;
        let (mut hash, mut completed) = (leaf, Vec::new());
        // As many peaks end with this leaf as the size now has zeros at its end.
        for height in 1..=self.size.trailing_zeros() {
            if let Some(left) = self.peaks.pop() {
                hash = NodeHash::node(&left, &hash);
            }
            if let (0, Ok(level)) = (height % 8, u8::try_from(height / 8)) {
                let index = (self.size >> height) - 1;
                completed.push(Completed { level, index, hash });
            }
        }
        self.peaks.push(hash);
        completed
    }

    /// The size and the root.
    pub fn head(&self) -> TreeHead {
        TreeHead {
            size: self.size,
            root: fold(&self.peaks).unwrap_or_else(NodeHash::empty),
        }
    }
}

/// The hash above complete subtrees that lie side by side, the largest first.
pub(crate) fn fold(peaks: &[NodeHash]) -> Option<NodeHash> {
    let above = |right, left: &NodeHash| NodeHash::node(left, &right);
    let (last, before) = peaks.split_last()?;
    Some(before.iter().rfold(*last, above))
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No leaf has this index in a tree of this size.
    #[error("leaf is not in the tree")]
    Index,
    /// The later tree has fewer leaves.
    #[error("tree has shrunk")]
    Shrunk,
    /// Too few or too many hashes for these sizes.
    #[error("proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("proof leads to another root")]
    Root,
}

/// Whether the leaf with this hash has this index in the tree (RFC 9162, section 2.1.3.2).
///
/// The number of hashes depends on the size, but not every other size is found out: only the size and the root
/// together, as a checkpoint signs them, mean a tree.
pub fn verify_inclusion(
    head: &TreeHead,
    index: u64,
    leaf: &NodeHash,
    path: &[NodeHash],
) -> Result<(), Invalid> {
    if index >= head.size {
        return Err(Invalid::Index);
    }
    let mut walk = Walk::new(index, head.size - 1);
    let mut root = *leaf;
    for sibling in path {
        root = match walk.step()? {
            Side::Left => NodeHash::node(sibling, &root),
            Side::Right => NodeHash::node(&root, sibling),
        };
    }
    walk.end()?;
    equal(&root, &head.root)
}

/// Whether the later tree begins with all leaves of the earlier one (RFC 9162, section 2.1.4.2). Every tree begins
/// with the empty one, which needs no proof, as a tree needs none for itself.
pub fn verify_consistency(
    old: &TreeHead,
    new: &TreeHead,
    path: &[NodeHash],
) -> Result<(), Invalid> {
    if old.size > new.size {
        return Err(Invalid::Shrunk);
    }
    if old.size == 0 || old.size == new.size {
        let expected = if old.size == new.size {
            new.root
        } else {
            NodeHash::empty()
        };
        return if path.is_empty() {
            equal(&old.root, &expected)
        } else {
            Err(Invalid::Length)
        };
    }
    let mut walk = Walk::new(old.size - 1, new.size - 1);
    walk.skip(|place| place & 1 == 1);
    // A complete old tree is itself the first node, and the path leaves it out.
    let (first, path) = if old.size.is_power_of_two() {
        (&old.root, path)
    } else {
        path.split_first().ok_or(Invalid::Length)?
    };
    let (mut old_root, mut new_root) = (*first, *first);
    for sibling in path {
        match walk.step()? {
            Side::Left => {
                old_root = NodeHash::node(sibling, &old_root);
                new_root = NodeHash::node(sibling, &new_root);
            }
            Side::Right => new_root = NodeHash::node(&new_root, sibling),
        }
    }
    walk.end()?;
    equal(&old_root, &old.root)?;
    equal(&new_root, &new.root)
}

/// Where a sibling is.
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root: `fn` and `sn` of RFC 9162.
struct Walk {
    place: u64,
    last: u64,
}

impl Walk {
    const fn new(place: u64, last: u64) -> Self {
        Self { place, last }
    }

    /// Where the next sibling is; then goes up to where another one is needed.
    fn step(&mut self) -> Result<Side, Invalid> {
        if self.last == 0 {
            return Err(Invalid::Length);
        }
        let side = if self.place & 1 == 1 || self.place == self.last {
            self.skip(|place| place & 1 == 0 && place != 0);
            Side::Left
        } else {
            Side::Right
        };
        self.up();
        Ok(side)
    }

    fn skip(&mut self, without_sibling: impl Fn(u64) -> bool) {
        while without_sibling(self.place) {
            self.up();
        }
    }

    fn up(&mut self) {
        self.place >>= 1;
        self.last >>= 1;
    }

    fn end(&self) -> Result<(), Invalid> {
        if self.last == 0 {
            Ok(())
        } else {
            Err(Invalid::Length)
        }
    }
}

fn equal(root: &NodeHash, expected: &NodeHash) -> Result<(), Invalid> {
    if root == expected {
        Ok(())
    } else {
        Err(Invalid::Root)
    }
}
