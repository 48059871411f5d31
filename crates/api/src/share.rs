//! Shares of what there is little of: nobody can take all streams or connections.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// How much each has taken. Who has taken nothing is not in it, so it is bounded by what there is to take.
pub(crate) struct Shares<K: Hash + Eq + Clone>(Mutex<HashMap<K, usize>>);

/// One taken; given back when it is dropped.
pub(crate) struct Share<K: Hash + Eq + Clone> {
    shares: Arc<Shares<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(HashMap::new())))
    }

    /// Takes one more, of `most`.
    pub(crate) fn take(self: &Arc<Self>, key: K, most: usize) -> Option<Share<K>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&key).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        taken.insert(key.clone(), count + 1);
        let shares = Arc::clone(self);
        Some(Share { shares, key })
    }
}

impl<K: Hash + Eq + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_bounded_and_comes_back() {
        let shares = Shares::new();
        let first = shares.take("a", 2);
        let second = shares.take("a", 2);
        assert!(first.is_some() && second.is_some() && shares.take("a", 2).is_none());
        assert!(shares.take("b", 2).is_some(), "another has another share");
        drop(first);
        assert!(shares.take("a", 2).is_some());
        drop(second);
        assert!(shares.0.lock().unwrap().is_empty(), "nothing stays");
    }
}
