//! The causal past of a change: per branch, the highest seq that it reaches.
//!
//! A persistent 16-way trie: a change without deps shares its predecessor's, a merge copies only the paths
//! that differ. So a past costs O(log branches) per merge, however many authors a document has.

use std::sync::Arc;

const FAN: usize = 16;

/// A map from branch to the highest seq contained; 0 for none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    root: Option<Arc<Node>>,
    /// How many levels of inner nodes are above the leaves.
    height: u32,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf([u32; FAN]),
    Inner([Option<Arc<Node>>; FAN]),
}

fn digit(key: u32, height: u32) -> usize {
    ((key >> (4 * height)) & 15) as usize
}

impl Past {
    pub(crate) fn seq_of(&self, branch: u32) -> u32 {
        if u64::from(branch) >> (4 * (self.height + 1)) != 0 {
            return 0;
        }
        let mut height = self.height;
        let mut node = self.root.as_deref();
        loop {
            match node {
                None => return 0,
                Some(Node::Leaf(seqs)) => return seqs.get(digit(branch, 0)).copied().unwrap_or(0),
                Some(Node::Inner(children)) => {
                    node = children.get(digit(branch, height)).and_then(Option::as_deref);
                    height = height.saturating_sub(1);
                }
            }
        }
    }

    /// Raises `branch` to at least `seq`.
    pub(crate) fn raise(&mut self, branch: u32, seq: u32) {
        if self.seq_of(branch) >= seq {
            return;
        }
        while u64::from(branch) >> (4 * (self.height + 1)) != 0 {
            self.grow();
        }
        raise(&mut self.root, self.height, branch, seq);
    }

    /// Takes in all that `other` contains.
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.height < other.height {
            self.grow();
        }
        while other.height < self.height {
            other.grow();
        }
        merge(&mut self.root, other.root);
    }

    fn grow(&mut self) {
        self.height += 1;
        if let Some(root) = self.root.take() {
            let mut children: [Option<Arc<Node>>; FAN] = Default::default();
            if let Some(first) = children.first_mut() {
                *first = Some(root);
            }
            self.root = Some(Arc::new(Node::Inner(children)));
        }
    }
}

fn raise(slot: &mut Option<Arc<Node>>, height: u32, branch: u32, seq: u32) {
    let node = slot.get_or_insert_with(|| {
        Arc::new(if height == 0 { Node::Leaf([0; FAN]) } else { Node::Inner(Default::default()) })
    });
    match Arc::make_mut(node) {
        Node::Leaf(seqs) => {
            if let Some(at) = seqs.get_mut(digit(branch, 0)) {
                *at = seq.max(*at);
            }
        }
        Node::Inner(children) => {
            if let Some(child) = children.get_mut(digit(branch, height)) {
                raise(child, height - 1, branch, seq);
            }
        }
    }
}

fn merge(ours: &mut Option<Arc<Node>>, theirs: Option<Arc<Node>>) {
    let Some(theirs) = theirs else { return };
    let Some(mine) = ours else {
        *ours = Some(theirs);
        return;
    };
    if Arc::ptr_eq(mine, &theirs) {
        return;
    }
    match (&**mine, &*theirs) {
        (Node::Leaf(a), Node::Leaf(b)) => {
            if b.iter().zip(a).all(|(b, a)| b <= a) {
                return;
            }
            if a.iter().zip(b).all(|(a, b)| a <= b) {
                *mine = theirs;
                return;
            }
            let mut seqs = *a;
            for (at, b) in seqs.iter_mut().zip(b) {
                *at = (*at).max(*b);
            }
            *mine = Arc::new(Node::Leaf(seqs));
        }
        (Node::Inner(_), Node::Inner(b)) => {
            let b = b.clone();
            if let Node::Inner(a) = Arc::make_mut(mine) {
                for (a, b) in a.iter_mut().zip(b) {
                    merge(a, b);
                }
            }
        }
        // Equal heights have equal kinds of nodes.
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::Past;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn agrees_with_a_plain_map(
            a in prop::collection::vec((0u32..5_000, 1u32..50), 0..40),
            b in prop::collection::vec((0u32..300, 1u32..50), 0..40),
        ) {
            let build = |entries: &[(u32, u32)]| {
                let mut past = Past::default();
                let mut model = BTreeMap::new();
                for (branch, seq) in entries {
                    past.raise(*branch, *seq);
                    let at = model.entry(*branch).or_insert(0);
                    *at = (*seq).max(*at);
                }
                (past, model)
            };
            let (mut left, mut model) = build(&a);
            let (right, other) = build(&b);
            left.merge(&right);
            for (branch, seq) in other {
                let at = model.entry(branch).or_insert(0);
                *at = seq.max(*at);
            }
            for branch in (0..5_200).chain([u32::MAX]) {
                prop_assert_eq!(left.seq_of(branch), model.get(&branch).copied().unwrap_or(0));
            }
        }
    }
}
