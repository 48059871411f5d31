//! C2SP's `tlog-tiles`: the tree cut into tiles of 256 hashes, eight levels high, each under a path of its own.

use std::fmt;
use std::str::FromStr;

use logline_span::Hash;

use crate::line::decimal;
use crate::tree::NodeHash;

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH_MAX: u16 = 256;
/// Levels of the tree that a tile spans.
pub(crate) const HEIGHT: u8 = 8;
/// The highest level that a path can name; no tree of 2^63 leaves has one above 7.
const LEVEL_MAX: u8 = 63;

/// Up to 256 hashes side by side, each of a complete subtree of 256^level leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// Up to 256 entries side by side: what the leaves of a tile of level 0 are the hashes of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryBundle {
    index: u64,
    width: u16,
}

/// What a path below a log's prefix names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `tile/<level>/<index>`: hashes.
    Tile(Tile),
    /// `tile/entries/<index>`: entries.
    Entries(EntryBundle),
}

/// Not a path of `tlog-tiles`, or not its only spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path names no tile")]
pub struct NoTile;

/// Not the bytes of a tile or a bundle of that width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tile has not the bytes of its width")]
pub struct WrongBytes;

impl Tile {
    /// The tile with these coordinates, if a path can name it.
    pub fn new(level: u8, index: u64, width: u16) -> Option<Self> {
        let named = level <= LEVEL_MAX && (1..=WIDTH_MAX).contains(&width);
        named.then_some(Self {
            level,
            index,
            width,
        })
    }

    /// The tile with this place in a tree of that size, partial at its right edge; nothing if it would be empty.
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let before = index.checked_mul(u64::from(WIDTH_MAX))?;
        let hashes = complete(level, size).checked_sub(before)?;
        let width = hashes.min(u64::from(WIDTH_MAX));
        Self::new(level, index, u16::try_from(width).ok()?)
    }

    /// All tiles of a tree of that size, by level and index.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..=LEVEL_MAX)
            .take_while(move |level| complete(*level, size) > 0)
            .flat_map(move |level| {
                let tiles = complete(level, size).div_ceil(u64::from(WIDTH_MAX));
                (0..tiles).filter_map(move |index| Self::in_tree(level, index, size))
            })
    }

    /// The level, counted in tiles; level 0 holds leaves.
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The place in the level, counted in full tiles.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes it holds, from 1 to 256.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// How many subtrees of its level are to the left of its first hash.
    pub const fn first(&self) -> u64 {
        self.index.saturating_mul(WIDTH_MAX as u64)
    }

    /// Whether a tree of that size has all its hashes. A partial tile stays one when the tree has grown past it.
    pub fn is_within(&self, size: u64) -> bool {
        Self::in_tree(self.level, self.index, size).is_some_and(|tile| tile.width >= self.width)
    }

    /// What is served under its path.
    pub fn bytes(hashes: &[NodeHash]) -> Vec<u8> {
        hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    /// Reads what is served under its path.
    pub fn read(&self, bytes: &[u8]) -> Result<Vec<NodeHash>, WrongBytes> {
        let (chunks, rest) = bytes.as_chunks();
        if chunks.len() != usize::from(self.width) || !rest.is_empty() {
            return Err(WrongBytes);
        }
        Ok(chunks.iter().copied().map(NodeHash::from_bytes).collect())
    }
}

impl EntryBundle {
    /// The bundle with these coordinates, if a path can name it.
    pub fn new(index: u64, width: u16) -> Option<Self> {
        Tile::new(0, index, width).map(Self::below)
    }

    /// The bundle with the entries of a tile of leaves.
    const fn below(tile: Tile) -> Self {
        let Tile { index, width, .. } = tile;
        Self { index, width }
    }

    /// The tile of level 0 with the hashes of the entries.
    pub const fn tile(&self) -> Tile {
        let Self { index, width } = *self;
        Tile {
            level: 0,
            index,
            width,
        }
    }

    /// What is served under its path: the `curr_hash` of every span, each after its length.
    pub fn bytes(entries: &[Hash]) -> Vec<u8> {
        let entry = |entry: &Hash| ENTRY_LENGTH.into_iter().chain(*entry.as_bytes());
        entries.iter().flat_map(entry).collect()
    }

    /// Reads what is served under its path.
    pub fn read(&self, bytes: &[u8]) -> Result<Vec<Hash>, WrongBytes> {
        let (entries, rest) = bytes.as_chunks::<34>();
        if entries.len() != usize::from(self.width) || !rest.is_empty() {
            return Err(WrongBytes);
        }
        let entry = |entry: &[u8; 34]| {
            let hash = entry.strip_prefix(ENTRY_LENGTH.as_slice())?;
            hash.try_into().ok().map(Hash::from_bytes)
        };
        entries
            .iter()
            .map(|bytes| entry(bytes).ok_or(WrongBytes))
            .collect()
    }
}

/// Every entry is a hash of 32 bytes.
const ENTRY_LENGTH: [u8; 2] = 32_u16.to_be_bytes();

/// How many complete subtrees of 256^level leaves a tree of that size has.
fn complete(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(HEIGHT))
        .unwrap_or(0)
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        place(f, self.index, self.width)
    }
}

impl fmt::Display for EntryBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        place(f, self.index, self.width)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tile(tile) => tile.fmt(f),
            Self::Entries(bundle) => bundle.fmt(f),
        }
    }
}

/// `x001/x234/067`, and `.p/<width>` where the tile is partial.
fn place(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    let mut unit = 1_u64;
    while let Some(next) = unit.checked_mul(1000).filter(|next| *next <= index) {
        unit = next;
    }
    while unit > 1 {
        write!(f, "x{:03}/", index / unit % 1000)?;
        unit /= 1000;
    }
    write!(f, "{:03}", index % 1000)?;
    if width < WIDTH_MAX {
        write!(f, ".p/{width}")?;
    }
    Ok(())
}

impl FromStr for Resource {
    type Err = NoTile;

    fn from_str(path: &str) -> Result<Self, NoTile> {
        let parse = || {
            let (level, place) = path.strip_prefix("tile/")?.split_once('/')?;
            let (index, width) = match place.split_once(".p/") {
                Some((index, width)) => (index, width.parse().ok()?),
                None => (place, WIDTH_MAX),
            };
            let index = index_of(index)?;
            if level == "entries" {
                return EntryBundle::new(index, width).map(Self::Entries);
            }
            let level = decimal(level).and_then(|level| u8::try_from(level).ok())?;
            Tile::new(level, index, width).map(Self::Tile)
        };
        // What prints otherwise has superfluous zeros or elements.
        parse()
            .filter(|resource| resource.to_string() == path)
            .ok_or(NoTile)
    }
}

fn index_of(path: &str) -> Option<u64> {
    path.split('/').try_fold(0_u64, |index, element| {
        let digits = element.strip_prefix('x').unwrap_or(element);
        let digits = digits.parse::<u64>().ok().filter(|_| digits.len() == 3)?;
        index.checked_mul(1000)?.checked_add(digits)
    })
}
