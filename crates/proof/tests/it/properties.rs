//! What holds for any tree, any file and any bytes.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::LazyLock;

use logline_proof::note::{Text, signature_lines};
use logline_proof::tile::Resource;
use logline_proof::tree::{Invalid, verify_consistency, verify_inclusion};
use logline_proof::witness::Answer;
use logline_proof::{
    Algorithm, Checkpoint, ConsistencyProof, EntryBundle, Frontier, InclusionProof, NodeHash, Note,
    Plan, SignatureLine, SignedCheckpoint, Tile, TreeHead, VerifierKey,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::files::{chain, policy, proof};
use crate::{Log, key, span};

/// Larger than a tile of level 1, so that proofs cross two levels of tiles and their edges.
const LEAVES: u64 = 70_000;

static LOG: LazyLock<Log> = LazyLock::new(|| Log::of_numbers(LEAVES));
static CHAIN: LazyLock<Log> = LazyLock::new(|| chain(700));

/// Sizes at the edges of tiles, small ones, and any.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..20_u64,
        250..260_u64,
        510..520_u64,
        65_530..65_540_u64,
        1..=LEAVES
    ]
}

fn flip(hash: &NodeHash, bit: &Index) -> NodeHash {
    let mut bytes = *hash.as_bytes();
    let bit = bit.index(256);
    bytes[bit / 8] ^= 1 << (bit % 8);
    NodeHash::from_bytes(bytes)
}

/// The text with one bit turned, which may be UTF-8 no longer.
fn turned(text: &str, bit: &Index) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let bit = bit.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    String::from_utf8(bytes).ok()
}

fn prints_what_it_read<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

fn parse_all(text: &str) {
    prints_what_it_read::<Checkpoint>(text);
    prints_what_it_read::<SignedCheckpoint>(text);
    prints_what_it_read::<Note>(text);
    prints_what_it_read::<SignatureLine>(text);
    prints_what_it_read::<VerifierKey>(text);
    prints_what_it_read::<InclusionProof>(text);
    prints_what_it_read::<ConsistencyProof>(text);
    prints_what_it_read::<Resource>(text);
    prints_what_it_read::<NodeHash>(text);
    let _ = signature_lines(text);
    for status in [200, 409] {
        let _ = Answer::read(status, Some("text/x.tlog.size"), text);
    }
}

proptest! {
    #[test]
    fn every_leaf_is_proved_and_every_change_found(
        size in size(), at in any::<Index>(), bit in any::<Index>(), which in any::<Index>(),
    ) {
        let index = at.index(size as usize) as u64;
        let (head, path) = (LOG.head(size), LOG.inclusion(index, size));
        let leaf = NodeHash::of_span(&span(index));
        prop_assert_eq!(verify_inclusion(&head, index, &leaf, &path), Ok(()));

        prop_assert_eq!(verify_inclusion(&head, index, &flip(&leaf, &bit), &path), Err(Invalid::Root));
        let forged = TreeHead { root: flip(&head.root, &bit), ..head };
        prop_assert_eq!(verify_inclusion(&forged, index, &leaf, &path), Err(Invalid::Root));
        let elsewhere = index ^ (1 << bit.index(64));
        prop_assert!(verify_inclusion(&head, elsewhere, &leaf, &path).is_err());
        if !path.is_empty() {
            let mut forged = path.clone();
            let place = which.index(path.len());
            forged[place] = flip(&path[place], &bit);
            prop_assert_eq!(verify_inclusion(&head, index, &leaf, &forged), Err(Invalid::Root));
            forged.truncate(place);
            prop_assert_eq!(verify_inclusion(&head, index, &leaf, &forged), Err(Invalid::Length));
        }
        for longer in [[path.as_slice(), &[leaf]], [&[leaf], path.as_slice()]] {
            prop_assert_eq!(verify_inclusion(&head, index, &leaf, &longer.concat()), Err(Invalid::Length));
        }
    }

    #[test]
    fn every_growth_is_proved_and_every_change_found(
        one in size(), other in size(), bit in any::<Index>(), which in any::<Index>(),
    ) {
        let (old, new) = (one.min(other), one.max(other));
        let (old_head, new_head) = (LOG.head(old), LOG.head(new));
        let path = LOG.consistency(old, new);
        prop_assert_eq!(verify_consistency(&old_head, &new_head, &path), Ok(()));

        for (forged_old, forged_new) in [
            (TreeHead { root: flip(&old_head.root, &bit), ..old_head }, new_head),
            (old_head, TreeHead { root: flip(&new_head.root, &bit), ..new_head }),
        ] {
            prop_assert_eq!(verify_consistency(&forged_old, &forged_new, &path), Err(Invalid::Root));
        }
        if old < new {
            prop_assert_eq!(verify_consistency(&new_head, &old_head, &path), Err(Invalid::Shrunk));
            let mut forged = path.clone();
            let place = which.index(path.len());
            forged[place] = flip(&path[place], &bit);
            prop_assert_eq!(verify_consistency(&old_head, &new_head, &forged), Err(Invalid::Root));
            forged.truncate(place);
            prop_assert!(verify_consistency(&old_head, &new_head, &forged).is_err());
        }
        let longer = [path.as_slice(), &[new_head.root]].concat();
        prop_assert_eq!(verify_consistency(&old_head, &new_head, &longer), Err(Invalid::Length));

        let nothing = TreeHead { size: 0, root: NodeHash::empty() };
        prop_assert_eq!(verify_consistency(&nothing, &new_head, &[]), Ok(()));
        prop_assert_eq!(verify_consistency(&nothing, &new_head, &longer), Err(Invalid::Length));
    }

    #[test]
    fn a_restored_frontier_grows_like_the_first(size in 0..LEAVES - 300, more in 0..300_u64) {
        let peaks = LOG.compute(&Plan::frontier(size).unwrap());
        let mut frontier = Frontier::from_peaks(size, peaks).unwrap();
        for number in size..size + more {
            frontier.append(NodeHash::of_span(&span(number)));
        }
        prop_assert_eq!(frontier.head(), LOG.head(size + more));
        let shorter = frontier.peaks().get(1..).unwrap_or(&[]).to_vec();
        let is_empty = frontier.peaks().is_empty();
        prop_assert_eq!(Frontier::from_peaks(size + more, shorter).is_ok(), is_empty);
    }

    #[test]
    fn a_plan_asks_for_two_tiles_a_level_and_for_no_others(size in size(), at in any::<Index>()) {
        let index = at.index(size as usize) as u64;
        for plan in [
            Plan::inclusion(index, size).unwrap(),
            Plan::consistency(index, size).unwrap(),
            Plan::frontier(size).unwrap(),
        ] {
            for tile in plan.tiles() {
                let same_level = plan.tiles().iter().filter(|other| other.level() == tile.level());
                prop_assert!(tile.is_within(size) && same_level.count() <= 2);
            }
            let mut tiles: Vec<_> = plan.tiles().iter().map(|tile| LOG.tile(tile)).collect();
            prop_assert!(plan.compute(&tiles).is_ok());
            if let Some(last) = tiles.last_mut() {
                last.pop();
                prop_assert!(plan.compute(&tiles).is_err());
                tiles.pop();
                prop_assert!(plan.compute(&tiles).is_err());
            }
        }
    }

    #[test]
    fn plans_of_any_size_are_made(index in any::<u64>(), size in any::<u64>()) {
        let is_possible = size < 1 << 63;
        prop_assert_eq!(Plan::frontier(size).is_some(), is_possible);
        prop_assert_eq!(Plan::inclusion(index, size).is_some(), is_possible && index < size);
        prop_assert_eq!(Plan::consistency(index, size).is_some(), is_possible && index <= size);
    }

    #[test]
    fn no_bit_of_a_proof_file_can_be_turned(
        size in 1..=700_u64, at in any::<Index>(), bits in vec(any::<Index>(), 16),
    ) {
        let good = proof(&CHAIN, at.index(size as usize) as u64, size);
        let file = good.to_string();
        prop_assert_eq!(file.parse::<InclusionProof>(), Ok(good));
        for bit in &bits {
            let Some(file) = turned(&file, bit) else { continue };
            prints_what_it_read::<InclusionProof>(&file);
            if let Ok(forged) = file.parse::<InclusionProof>() {
                prop_assert!(forged.verify_link(&policy()).is_err(), "{}", file);
            }
        }
    }

    #[test]
    fn no_bit_of_a_signed_note_can_be_turned(
        lines in vec("[^\\x00-\\x1f]{0,12}", 1..6), at_s in 0..u64::MAX / 2, bits in vec(any::<Index>(), 16),
    ) {
        let text: Text = (lines.join("\n") + "\n").parse().unwrap();
        let name = "example.com/key".parse().unwrap();
        for (line, algorithm) in [
            (SignatureLine::sign(&text, &name, &key(5)), Algorithm::Ed25519),
            (SignatureLine::cosign(&text, &name, &key(5), at_s), Algorithm::CosignatureV1),
        ] {
            let keys = [VerifierKey::new(name.clone(), algorithm, key(5).public_key())];
            let note = Note::new(text.clone(), line);
            prop_assert_eq!(note.to_string().parse::<Note>(), Ok(note.clone()));
            prop_assert_eq!(note.verify(&keys).unwrap().len(), 1);
            for bit in &bits {
                let forged = turned(&note.to_string(), bit);
                let forged = forged.and_then(|text| text.parse::<Note>().ok());
                prop_assert!(forged.is_none_or(|note| note.verify(&keys).is_err()));
            }
        }
    }

    #[test]
    fn requests_are_read_as_they_were_printed(one in 0..=700_u64, other in 1..=700_u64) {
        let (old_size, size) = (one.min(other), one.max(other));
        let path = CHAIN.consistency(old_size, size);
        let request = ConsistencyProof { old_size, path, checkpoint: CHAIN.checkpoint(size) };
        prop_assert_eq!(request.to_string().parse::<ConsistencyProof>(), Ok(request));
    }

    #[test]
    fn paths_are_read_as_they_were_printed(level in any::<u8>(), index in any::<u64>(), width in 0..=300_u16) {
        let tile = Tile::new(level, index, width);
        prop_assert_eq!(tile.is_some(), level <= 63 && (1..=256).contains(&width));
        if let Some(tile) = tile {
            prop_assert_eq!(tile.to_string().parse(), Ok(Resource::Tile(tile)));
            let bundle = EntryBundle::new(index, width).unwrap();
            prop_assert_eq!(bundle.to_string().parse(), Ok(Resource::Entries(bundle)));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300), text in "(\\PC|\n|[0-9A+/= x]){0,60}") {
        parse_all(&String::from_utf8_lossy(&bytes));
        parse_all(&text);
        for width in [1, 2, 256] {
            let _ = Tile::new(0, 0, width).unwrap().read(&bytes);
            let _ = EntryBundle::new(0, width).unwrap().read(&bytes);
        }
    }

    #[test]
    fn damaged_files_are_read_or_refused(
        at in any::<Index>(), length in 0..40_usize, patch in "(\\PC|\n|[0-9A+/= x]){0,6}",
    ) {
        let file = proof(&CHAIN, 5, 700).to_string();
        let request = format!("old 0\n\n{}", CHAIN.checkpoint(700));
        let checkpoint = CHAIN.checkpoint(700).to_string();
        for text in [file, request, checkpoint, "tile/3/x001/x234/067.p/45".to_owned()] {
            let mut characters: Vec<char> = text.chars().collect();
            let start = at.index(characters.len());
            let end = (start + length).min(characters.len());
            characters.splice(start..end, patch.chars());
            parse_all(&characters.into_iter().collect::<String>());
        }
    }
}
