//! Cloudflare's `tlog_tiles` beside ours: the same proofs of any tree, and the same judgement of any forgery.

use std::sync::LazyLock;

use logline_proof::tree::{verify_consistency, verify_inclusion};
use logline_proof::{NodeHash, Tile, TreeHead};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tlog_tiles::{
    Error, Hash, HashReader, check_record, check_tree, prove_record, prove_tree, stored_hashes,
    tree_hash,
};

use crate::{Log, ORIGIN, span};

/// Larger than a tile of level 1.
const LEAVES: u64 = 66_000;

static OURS: LazyLock<Log> = LazyLock::new(|| Log::of_numbers(LEAVES));

/// Every hash of the tree, as theirs are stored.
static THEIRS: LazyLock<Stored> = LazyLock::new(|| {
    let mut stored = Stored(Vec::new());
    for number in 0..LEAVES {
        let more = stored_hashes(number, span(number).as_bytes(), &stored).unwrap();
        stored.0.extend(more);
    }
    stored
});

struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hash = |index: &u64| self.0[usize::try_from(*index).unwrap()];
        Ok(indexes.iter().map(hash).collect())
    }
}

fn their(hash: &NodeHash) -> Hash {
    Hash(*hash.as_bytes())
}

fn theirs(hashes: &[NodeHash]) -> Vec<Hash> {
    hashes.iter().map(their).collect()
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![1..20_u64, 250..260_u64, 65_530..65_540_u64, 1..=LEAVES]
}

/// A path with hashes changed, doubled, swapped or taken away.
fn forge(path: &[NodeHash], edits: &[(u8, Index)]) -> Vec<NodeHash> {
    let mut path = path.to_vec();
    for (way, at) in edits {
        let place = at.index(path.len() + 1);
        match (way % 4, path.get(place).copied()) {
            (0, Some(hash)) => path[place] = NodeHash::node(&hash, &hash),
            (1, Some(_)) => drop(path.remove(place)),
            (2, Some(_)) => path.swap(0, place),
            (_, Some(hash)) => path.insert(place, hash),
            (_, None) => path.push(NodeHash::empty()),
        }
    }
    path
}

proptest! {
    #[test]
    fn inclusion_is_proved_and_judged_alike(
        size in size(), at in any::<Index>(), other in any::<Index>(), edits in vec((any::<u8>(), any::<Index>()), 0..3),
    ) {
        let index = at.index(size as usize) as u64;
        let head = OURS.head(size);
        prop_assert_eq!(tree_hash(size, &*THEIRS).unwrap(), their(&head.root));
        let path = OURS.inclusion(index, size);
        prop_assert_eq!(prove_record(size, index, &*THEIRS).unwrap(), theirs(&path));

        let forged = forge(&path, &edits);
        for claimed in [index, other.index(size as usize) as u64] {
            let leaf = NodeHash::of_span(&span(index));
            let ours = verify_inclusion(&head, claimed, &leaf, &forged).is_ok();
            let judged = check_record(&theirs(&forged), size, their(&head.root), claimed, their(&leaf)).is_ok();
            prop_assert_eq!(ours, judged);
            prop_assert_eq!(ours, claimed == index && forged == path);
        }
    }

    #[test]
    fn growth_is_proved_and_judged_alike(
        one in size(), other in size(), third in size(), edits in vec((any::<u8>(), any::<Index>()), 0..3),
    ) {
        let (old, new) = (one.min(other), one.max(other));
        let (old_head, new_head) = (OURS.head(old), OURS.head(new));
        let path = OURS.consistency(old, new);
        prop_assert_eq!(prove_tree(new, old, &*THEIRS).unwrap(), theirs(&path));

        let forged = forge(&path, &edits);
        for size in [old, third.min(new)] {
            let claimed = TreeHead { size, ..old_head };
            let ours = verify_consistency(&claimed, &new_head, &forged).is_ok();
            let judged = check_tree(&theirs(&forged), new, their(&new_head.root), size, their(&old_head.root)).is_ok();
            prop_assert_eq!(ours, judged, "{} {}", size, new);
        }
    }

    #[test]
    fn tiles_have_the_same_paths_and_hashes(size in size(), at in any::<Index>()) {
        let tiles: Vec<Tile> = Tile::all(size).collect();
        let tile = at.get(&tiles);
        let their_tile = tlog_tiles::Tile::new(8, tile.level(), tile.index(), tile.width().into(), false);
        // Theirs names the height too, as the checksum database of Go does.
        prop_assert_eq!(their_tile.path().replacen("tile/8/", "tile/", 1), tile.to_string());
        prop_assert_eq!(their_tile.read_data(&*THEIRS).unwrap(), Tile::bytes(&OURS.tile(tile)));
    }

    #[test]
    fn checkpoints_are_read_as_they_were_meant(size in 1..=LEAVES) {
        let ours = OURS.checkpoint(size);
        let text = ours.note().text().as_str();
        let read = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();
        prop_assert_eq!((read.origin(), read.size()), (ORIGIN, size));
        prop_assert_eq!(*read.hash(), their(&ours.checkpoint().head.root));
        prop_assert_eq!(read.to_bytes(), text.as_bytes());
    }
}
