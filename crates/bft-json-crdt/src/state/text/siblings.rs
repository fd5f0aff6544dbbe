//! The characters that hang on one side of one parent, in order.
//!
//! Mostly there is one. Where there are very many, they stand in blocks, so that adding one moves no more
//! than a block.

use super::CharIx;

const BLOCK_MAX: usize = 512;

#[derive(Clone, Debug)]
pub(super) enum Siblings {
    One(CharIx),
    /// No block is empty.
    #[expect(clippy::box_collection, reason = "nearly all siblings are only ones: keep those small")]
    Many(Box<Vec<Vec<CharIx>>>),
}

/// What stands on either side of one sibling, or of the place of a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Neighbours {
    pub(super) before: Option<CharIx>,
    pub(super) after: Option<CharIx>,
}

#[expect(clippy::indexing_slicing, reason = "no block is empty, and places are found here only")]
impl Siblings {
    /// Adds `new` behind those for which `stands_before` holds, which are the first ones.
    pub(super) fn insert(&mut self, new: CharIx, stands_before: impl Fn(CharIx) -> bool) -> Neighbours {
        let blocks = match self {
            Self::One(only) => {
                let only = *only;
                let (pair, neighbours) = if stands_before(only) {
                    (vec![only, new], Neighbours { before: Some(only), after: None })
                } else {
                    (vec![new, only], Neighbours { before: None, after: Some(only) })
                };
                *self = Self::Many(Box::new(vec![pair]));
                return neighbours;
            }
            Self::Many(blocks) => blocks,
        };
        let block = blocks.partition_point(|block| stands_before(block[0])).saturating_sub(1);
        let at = blocks[block].partition_point(|other| stands_before(*other));
        let neighbours = Neighbours {
            before: at.checked_sub(1).map(|before| blocks[block][before]),
            after: blocks[block].get(at).or_else(|| blocks.get(block + 1)?.first()).copied(),
        };
        blocks[block].insert(at, new);
        if blocks[block].len() > BLOCK_MAX {
            let behind = blocks[block].split_off(BLOCK_MAX / 2);
            blocks.insert(block + 1, behind);
        }
        neighbours
    }

    /// Takes `old` out; `None` once nothing is left. Walks the siblings, since it does not know their order.
    pub(super) fn remove(self, old: CharIx) -> (Option<Self>, Neighbours) {
        let mut blocks = match self {
            Self::One(only) if only == old => return (None, Neighbours::default()),
            Self::One(_) => return (Some(self), Neighbours::default()),
            Self::Many(blocks) => blocks,
        };
        let found = blocks.iter().enumerate().find_map(|(block, siblings)| {
            siblings.iter().position(|sibling| *sibling == old).map(|at| (block, at))
        });
        let Some((block, at)) = found else { return (Some(Self::Many(blocks)), Neighbours::default()) };
        let last_before = || blocks[..block].last()?.last().copied();
        let neighbours = Neighbours {
            before: at.checked_sub(1).map(|before| blocks[block][before]).or_else(last_before),
            after: blocks[block].get(at + 1).or_else(|| blocks.get(block + 1)?.first()).copied(),
        };
        blocks[block].remove(at);
        if blocks[block].is_empty() {
            blocks.remove(block);
        }
        match blocks.as_slice() {
            [] => (None, neighbours),
            [block] if block.len() == 1 => (Some(Self::One(block[0])), neighbours),
            _ => (Some(Self::Many(blocks)), neighbours),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(blocks) => {
                let inside: usize = blocks.iter().map(|block| block.capacity() * size_of::<CharIx>()).sum();
                inside + (1 + blocks.capacity()) * size_of::<Vec<CharIx>>()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_stay_in_order_and_know_their_neighbours() {
        let mut siblings = Siblings::One(5_000);
        let mut model = vec![5_000];
        for new in (0..5_000).map(|i| (i * 7919) % 5_000) {
            let found = siblings.insert(new, |other| other < new);
            let at = model.partition_point(|other| *other < new);
            assert_eq!(found.before, at.checked_sub(1).map(|before| model[before]));
            assert_eq!(found.after, model.get(at).copied());
            model.insert(at, new);
        }
        for old in (0..5_000).map(|i| (i * 4801) % 5_000) {
            let at = model.partition_point(|other| *other < old);
            let (left, found) = siblings.remove(old);
            assert_eq!(found.before, at.checked_sub(1).map(|before| model[before]));
            assert_eq!(found.after, model.get(at + 1).copied());
            model.remove(at);
            siblings = left.unwrap();
        }
        assert!(matches!(siblings, Siblings::One(5_000)));
        assert!(siblings.remove(5_000).0.is_none());
    }
}
