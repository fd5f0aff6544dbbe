//! A set of small numbers that finds the next number that is *not* in it in a few steps, however far away.
//!
//! It holds what is hidden: deleting what is deleted already must cost nothing, or one author could make
//! every replica walk the same tombstones again with each op.

const WORD: u32 = u64::BITS;

/// Each word of a level has one bit in the level above, set once the word is full. What lies beyond a
/// level's end is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    levels: Vec<Vec<u64>>,
}

#[expect(clippy::indexing_slicing, reason = "levels and words are added before they are used")]
impl Bits {
    /// Adds `from..to`.
    pub(super) fn add(&mut self, from: u32, to: u32) {
        let mut at = from;
        while at < to {
            let (word, mask, next) = mask(at, to);
            self.add_to_word(word, mask);
            at = next;
        }
    }

    /// Takes `from..to` out.
    pub(super) fn remove(&mut self, from: u32, to: u32) {
        let mut at = from;
        while at < to {
            let (word, mask, next) = mask(at, to);
            self.remove_from_word(word, mask);
            at = next;
        }
    }

    /// The first number from `from` on that is not in the set.
    pub(super) fn next_absent(&self, from: u32) -> u32 {
        let word = |height: usize, word: u32| {
            self.levels.get(height).and_then(|level| level.get(word as usize)).copied().unwrap_or_default()
        };
        // Upwards past full words until one lacks a number at or behind the place, then down to the first
        // that it lacks.
        let mut at = from;
        let mut height = 0;
        loop {
            let lacking = !word(height, at / WORD) & (u64::MAX << (at % WORD));
            if lacking != 0 {
                at = at / WORD * WORD + lacking.trailing_zeros();
                break;
            }
            at = at / WORD + 1;
            height += 1;
        }
        while height > 0 {
            height -= 1;
            at = at * WORD + word(height, at).trailing_ones();
        }
        at
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let words: usize = self.levels.iter().map(Vec::capacity).sum();
        words * size_of::<u64>() + self.levels.capacity() * size_of::<Vec<u64>>()
    }

    fn add_to_word(&mut self, mut word: usize, mut mask: u64) {
        for height in 0.. {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[height];
            if level.len() <= word {
                level.resize(word + 1, 0);
            }
            level[word] |= mask;
            if level[word] != u64::MAX {
                return;
            }
            (word, mask) = (word / WORD as usize, 1 << (word as u32 % WORD));
        }
    }

    fn remove_from_word(&mut self, mut word: usize, mut mask: u64) {
        for level in &mut self.levels {
            let Some(bits) = level.get_mut(word) else { return };
            let was_full = *bits == u64::MAX;
            *bits &= !mask;
            if !was_full {
                return;
            }
            (word, mask) = (word / WORD as usize, 1 << (word as u32 % WORD));
        }
    }
}

/// The word that holds `at`, its bits in `at..to`, and the first number behind them.
fn mask(at: u32, to: u32) -> (usize, u64, u32) {
    let low = at % WORD;
    let count = (WORD - low).min(to - at);
    ((at / WORD) as usize, (u64::MAX >> (WORD - count)) << low, at + count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_plain_set(steps in prop::collection::vec((0u8..3, 0u32..20_000, 0u32..9_000), 1..40)) {
            let mut bits = Bits::default();
            let mut model = BTreeSet::new();
            for (kind, from, len) in steps {
                let len = if len % 3 == 0 { len } else { len % 70 };
                if kind > 0 {
                    bits.add(from, from + len);
                    model.extend(from..from + len);
                } else {
                    bits.remove(from, from + len);
                    model.retain(|member| !(from..from + len).contains(member));
                }
                let mut absent = 30_000;
                for at in (0..30_000).rev() {
                    absent = if model.contains(&at) { absent } else { at };
                    prop_assert_eq!(bits.next_absent(at), absent);
                }
            }
        }
    }
}
