//! A tenant's tree as its rows give it: pure, in memory, and no larger than its right edge.

use logline_ledger::Leaf;
use logline_proof::tree::Completed;
use logline_proof::{Frontier, NodeHash, TreeHead};

use crate::refusal::Refusal;

/// The right edge of the tree over the first rows of a chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    frontier: Frontier,
    /// The last row, by which a chain that was cut off and grown again is told from one that only grew.
    last: Option<NodeHash>,
}

impl Tree {
    pub(crate) fn size(&self) -> u64 {
        self.frontier.head().size
    }

    pub(crate) fn head(&self) -> TreeHead {
        self.frontier.head()
    }

    /// Where to read on: at the last row that is known, which must still be there.
    pub(crate) fn reads_from(&self) -> u64 {
        self.size().max(1)
    }

    /// Takes rows as read from [`Self::reads_from`] on; gives the nodes that they complete.
    pub(crate) fn extend(&mut self, rows: &[Leaf]) -> Result<Vec<Completed>, Refusal> {
        let mut rows = rows.iter();
        let size = self.size();
        if let Some(last) = self.last {
            match rows.next() {
                Some(row) if row.position != size => {
                    return Err(Refusal::Gap {
                        position: row.position,
                    });
                }
                Some(row) if NodeHash::of_span(&row.curr_hash) != last => {
                    return Err(Refusal::Row { position: size });
                }
                Some(_) => {}
                // Nothing is known of where the ledger ends, but that it does before.
                None => {
                    return Err(Refusal::Shorter {
                        sealed: size - 1,
                        signed: size,
                    });
                }
            }
        }
        let mut completed = Vec::new();
        for (row, wanted) in rows.zip(size + 1..) {
            if row.position != wanted {
                return Err(Refusal::Gap {
                    position: row.position,
                });
            }
            let leaf = NodeHash::of_span(&row.curr_hash);
            completed.extend(self.frontier.append(leaf));
            self.last = Some(leaf);
        }
        Ok(completed)
    }
}

#[cfg(test)]
mod tests {
    use logline_span::Hash;

    use super::*;

    fn rows(positions: std::ops::RangeInclusive<u64>) -> Vec<Leaf> {
        positions
            .map(|position| Leaf {
                position,
                curr_hash: Hash::of(&position.to_be_bytes()),
            })
            .collect()
    }

    fn tree(size: u64) -> Tree {
        let mut tree = Tree::default();
        tree.extend(&rows(1..=size)).unwrap();
        tree
    }

    #[test]
    fn a_tree_grown_in_steps_is_the_tree_grown_at_once() {
        let mut grown = Tree::default();
        let mut completed = Vec::new();
        for (from, to) in [(1, 1), (1, 7), (7, 255), (255, 256), (256, 700)] {
            assert_eq!(grown.reads_from(), from);
            completed.extend(grown.extend(&rows(from..=to)).unwrap());
        }
        assert_eq!(grown.head(), tree(700).head());
        let places: Vec<_> = completed.iter().map(|it| (it.level, it.index)).collect();
        assert_eq!(places, [(1, 0), (1, 1)]);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let mut other = rows(5..=6);
        other[0].curr_hash = Hash::of(b"other");
        for (read, refusal) in [
            (
                vec![],
                Refusal::Shorter {
                    sealed: 4,
                    signed: 5,
                },
            ),
            (rows(6..=6), Refusal::Gap { position: 6 }),
            (other, Refusal::Row { position: 5 }),
            (
                [rows(5..=6), rows(8..=8)].concat(),
                Refusal::Gap { position: 8 },
            ),
        ] {
            assert_eq!(tree(5).extend(&read), Err(refusal));
        }
        assert_eq!(
            Tree::default().extend(&rows(2..=2)),
            Err(Refusal::Gap { position: 2 })
        );
        assert_eq!(Tree::default().extend(&[]), Ok(vec![]));
    }
}
