//! Compiled functions, as what compiling leaves in an instance's memory.
//!
//! Compiling depends on the source alone and runs nothing of it, so its traces may stand in for it: a fresh instance
//! with the delta applied is, byte for byte, one in which the source was compiled. Nothing of any run is in it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// Differences are kept in pieces of this size: small enough not to drag much along, large enough to be few.
const PIECE_BYTES: usize = 64;
/// All deltas together; one of a small function has about 30 KiB.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// How memory differs from that of a fresh instance.
pub(crate) struct Delta {
    /// The size that memory has grown to.
    pub(crate) memory_bytes: usize,
    /// Runs of bytes with their places, one after the other.
    runs: Vec<(usize, usize)>,
    bytes: Vec<u8>,
}

impl Delta {
    pub(crate) fn between(fresh: &[u8], compiled: &[u8]) -> Self {
        let mut delta = Self {
            memory_bytes: compiled.len(),
            runs: Vec::new(),
            bytes: Vec::new(),
        };
        let grown = std::iter::repeat(&[0; PIECE_BYTES][..]);
        let pieces = compiled
            .chunks(PIECE_BYTES)
            .zip(fresh.chunks(PIECE_BYTES).chain(grown));
        for (index, (new, _)) in pieces.enumerate().filter(|(_, (new, old))| new != old) {
            let at = index * PIECE_BYTES;
            match delta.runs.last_mut() {
                Some((start, length)) if *start + *length == at => *length += new.len(),
                _ => delta.runs.push((at, new.len())),
            }
            delta.bytes.extend_from_slice(new);
        }
        delta
    }

    /// Gives false where memory is smaller than it was.
    #[must_use]
    pub(crate) fn apply(&self, memory: &mut [u8]) -> bool {
        let mut rest = &self.bytes[..];
        for &(at, length) in &self.runs {
            let Some((run, after)) = rest.split_at_checked(length) else {
                return false;
            };
            let Some(place) = memory.get_mut(at..at + length) else {
                return false;
            };
            place.copy_from_slice(run);
            rest = after;
        }
        true
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.runs.len() * size_of::<(usize, usize)>()
    }
}

/// The deltas of the functions compiled last.
#[derive(Default)]
pub(crate) struct Deltas(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_source: HashMap<blake3::Hash, Arc<Delta>>,
    oldest_first: VecDeque<blake3::Hash>,
    bytes: usize,
}

impl Deltas {
    pub(crate) fn get(&self, source: &blake3::Hash) -> Option<Arc<Delta>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_source
            .get(source)
            .cloned()
    }

    pub(crate) fn keep(&self, source: blake3::Hash, delta: Delta) {
        let size = delta.size();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if size > CACHE_BYTES_MAX / 4 || kept.by_source.contains_key(&source) {
            return;
        }
        while kept.bytes + size > CACHE_BYTES_MAX {
            let Some(oldest) = kept.oldest_first.pop_front() else {
                break;
            };
            if let Some(gone) = kept.by_source.remove(&oldest) {
                kept.bytes -= gone.size();
            }
        }
        kept.bytes += size;
        kept.oldest_first.push_back(source);
        kept.by_source.insert(source, Arc::new(delta));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delta_makes_of_the_fresh_memory_the_compiled_one(
            fresh in proptest::collection::vec(any::<u8>(), 4 * PIECE_BYTES..=4 * PIECE_BYTES),
            changes in proptest::collection::vec((0..8 * PIECE_BYTES, any::<u8>()), 0..20),
            grown in 0_usize..=4,
        ) {
            let mut memory = fresh.clone();
            memory.resize((4 + grown) * PIECE_BYTES, 0);
            let mut compiled = memory.clone();
            for (at, byte) in changes {
                if let Some(place) = compiled.get_mut(at) {
                    *place = byte;
                }
            }
            let delta = Delta::between(&fresh, &compiled);
            prop_assert_eq!(delta.memory_bytes, compiled.len());
            prop_assert!(delta.apply(&mut memory));
            prop_assert_eq!(memory, compiled);
        }
    }

    #[test]
    fn the_oldest_deltas_make_room() {
        let deltas = Deltas::default();
        let hash = |n: u8| blake3::hash(&[n]);
        let delta = || Delta::between(&[], &[1; CACHE_BYTES_MAX / 4 - 64]);
        for n in 0..6 {
            deltas.keep(hash(n), delta());
        }
        let there: Vec<_> = (0..6).map(|n| deltas.get(&hash(n)).is_some()).collect();
        assert_eq!(there, [false, false, true, true, true, true]);
        deltas.keep(hash(9), Delta::between(&[], &[1; CACHE_BYTES_MAX / 2]));
        assert!(deltas.get(&hash(9)).is_none());
    }
}
