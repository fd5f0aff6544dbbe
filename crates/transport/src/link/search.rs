//! Where two nodes' copies of one author's chain part: the last change that both hold, found by asking for samples.
//!
//! Each round asks for up to 16 changes of each of up to 8 chains, evenly spaced between what the peer is known to
//! hold and the first that it is known to lack. So a chain of n changes takes log₁₇ n rounds: five for a million.

use bft_json_crdt::{AuthorId, Digest};

/// Most chains that one round asks about.
const CHAINS_MAX: usize = 8;
/// Most samples of one chain in a round.
const SAMPLES_MAX: u64 = 16;

/// The search on one author's chains.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) author: AuthorId,
    /// Chains of this node's, by their tips, that were not searched yet.
    waiting: Vec<(u64, Digest)>,
    chains: Vec<Chain>,
    /// What the round asks for: chain and seq.
    points: Vec<(usize, u64)>,
    asked: Vec<Option<Digest>>,
    common: Vec<Digest>,
}

#[derive(Debug)]
struct Chain {
    tip: Digest,
    /// The peer holds the change with this seq; 0 for none.
    held: u64,
    held_digest: Option<Digest>,
    /// The peer lacks the change with this seq.
    lacked: u64,
}

impl Search {
    /// Begins with this node's tips of an author's chains.
    pub(super) fn new(author: AuthorId, tips: Vec<(u64, Digest)>) -> Self {
        let mut search = Self {
            author,
            waiting: tips,
            chains: Vec::new(),
            points: Vec::new(),
            asked: Vec::new(),
            common: Vec::new(),
        };
        search.plan();
        search
    }

    /// The points of the chains that the round needs; none if the search is over.
    pub(super) fn points(&self) -> Vec<(Digest, u64)> {
        let point = |(chain, seq): &(usize, u64)| Some((self.chains.get(*chain)?.tip, *seq));
        self.points.iter().filter_map(point).collect()
    }

    /// Takes the changes at the points, and gives what is to be asked.
    pub(super) fn ask(&mut self, digests: Vec<Option<Digest>>) -> Vec<Digest> {
        self.asked = digests;
        self.asked.iter().flatten().copied().collect()
    }

    /// Takes the answer. False if it does not fit what was asked.
    pub(super) fn answered(&mut self, held: &[bool]) -> bool {
        if held.len() != self.asked.iter().flatten().count() {
            return false;
        }
        let mut answers = held.iter();
        for ((chain, seq), digest) in self.points.drain(..).zip(self.asked.drain(..)) {
            let Some(chain) = self.chains.get_mut(chain) else { continue };
            match digest {
                Some(digest) if answers.next() == Some(&true) => {
                    if seq > chain.held {
                        (chain.held, chain.held_digest) = (seq, Some(digest));
                    }
                }
                // Not on this chain any more, or not held.
                Some(_) | None => chain.lacked = chain.lacked.min(seq),
            }
        }
        // A peer that contradicts itself is taken at its better word: then it is given less.
        for chain in &mut self.chains {
            chain.lacked = chain.lacked.max(chain.held + 1);
        }
        self.plan();
        true
    }

    /// What the peer holds, once the search is over.
    pub(super) fn common(self) -> Vec<Digest> {
        self.common
    }

    fn plan(&mut self) {
        loop {
            self.points.clear();
            for (number, chain) in self.chains.iter().enumerate() {
                let between = chain.lacked - chain.held - 1;
                let count = between.min(SAMPLES_MAX);
                // Evenly, and the last of them just before what is lacked.
                let seqs = (1..=count).map(|n| chain.held + (between * n).div_ceil(count));
                self.points.extend(seqs.map(|seq| (number, seq)));
            }
            if !self.points.is_empty() {
                return;
            }
            self.common.extend(self.chains.drain(..).filter_map(|chain| chain.held_digest));
            if self.waiting.is_empty() {
                return;
            }
            let next = self.waiting.split_off(self.waiting.len().saturating_sub(CHAINS_MAX));
            self.chains = next
                .into_iter()
                .map(|(seq, tip)| Chain { tip, held: 0, held_digest: None, lacked: seq.saturating_add(1) })
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The change at a seq of a chain; chains share what is below their fork.
    fn at(chain: u8, fork: u64, seq: u64) -> Digest {
        let owner = if seq <= fork { 0 } else { chain };
        let mut digest = [owner; 32];
        digest[..8].copy_from_slice(&seq.to_le_bytes());
        Digest(digest)
    }

    proptest! {
        #[test]
        fn finds_the_last_that_both_hold_in_few_rounds(
            len in 1u64..1_000_000, share in 0.0f64..=1.0, forks in 1u8..12,
        ) {
            let fork = ((len as f64) * share) as u64;
            let tips: Vec<_> = (1..=forks).map(|chain| (len, at(chain, fork, len))).collect();
            let mut search = Search::new(AuthorId([1; 32]), tips.clone());
            let mut rounds = 0;
            loop {
                let points = search.points();
                if points.is_empty() { break; }
                prop_assert!(points.len() <= CHAINS_MAX * SAMPLES_MAX as usize);
                rounds += 1;
                let digests = points.iter().map(|(tip, seq)| {
                    let chain = tips.iter().position(|(_, known)| known == tip).unwrap() as u8 + 1;
                    Some(at(chain, fork, *seq))
                }).collect();
                // The peer holds what is below the fork.
                let asked = search.ask(digests);
                let held: Vec<bool> =
                    asked.iter().map(|digest| digest.0[8] == 0 && fork > 0).collect();
                prop_assert!(search.answered(&held));
            }
            let common = search.common();
            if fork == 0 {
                prop_assert!(common.is_empty());
            } else {
                prop_assert!(common.iter().all(|digest| *digest == at(0, fork, fork)));
                prop_assert!(!common.is_empty());
            }
            prop_assert!(rounds <= 6 * usize::from(forks.div_ceil(CHAINS_MAX as u8)), "{rounds} rounds");
        }
    }

    #[test]
    fn an_answer_of_another_length_is_refused() {
        let mut search = Search::new(AuthorId([1; 32]), vec![(3, at(1, 0, 3))]);
        let points = search.points();
        search.ask(points.iter().map(|_| Some(Digest([1; 32]))).collect());
        assert!(!search.answered(&[true]));
    }
}
