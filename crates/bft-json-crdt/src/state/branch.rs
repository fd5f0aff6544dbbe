//! One line of an author's changes, and what its op numbers made.

use crate::state::history::ChangeIx;
use crate::state::nodes::{NO_NODE, NodeIx};

/// One line of an author who never forked; each fork begins a branch of its own.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) author: u32,
    /// The branch and seq that it forked from.
    pub(crate) parent: Option<(u32, u32)>,
    pub(crate) first_seq: u32,
    pub(crate) changes: Vec<ChangeIx>,
    /// The first op number of each change.
    first_counters: Vec<u64>,
    /// Nodes by the op number that made them.
    pub(crate) nodes: NodeNumbers,
}

impl Branch {
    pub(crate) fn new(author: u32, parent: Option<(u32, u32)>, first_seq: u32) -> Self {
        Self {
            author,
            parent,
            first_seq,
            changes: Vec::new(),
            first_counters: Vec::new(),
            nodes: NodeNumbers::default(),
        }
    }

    /// Appends a change; op numbers rise along the branch.
    pub(crate) fn push(&mut self, change: ChangeIx, first_counter: u64) {
        self.changes.push(change);
        self.first_counters.push(first_counter);
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let segments =
            self.nodes.segments.iter().map(|segment| size_of::<Segment>() + segment.nodes.capacity() * 4);
        self.changes.capacity() * 4 + self.first_counters.capacity() * 8 + segments.sum::<usize>()
    }

    pub(crate) fn last_seq(&self) -> u32 {
        (self.first_seq + self.changes.len() as u32).saturating_sub(1)
    }

    /// The last change whose op numbers begin at `counter` or before.
    pub(crate) fn claimant(&self, counter: u64) -> Option<ChangeIx> {
        let (first, last) = (*self.first_counters.first()?, *self.first_counters.last()?);
        if counter < first {
            return None;
        }
        // Changes of one size, the common case, are found where a straight line says; else near it.
        let len = self.first_counters.len();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a guess, of what is not negative"
        )]
        let guess = {
            let share = (counter - first) as f64 / (last - first).max(1) as f64;
            ((share * (len - 1) as f64) as usize).min(len - 1)
        };
        let is_before = |at: usize| self.first_counters.get(at).is_some_and(|first| *first <= counter);
        let (mut low, mut high) = (guess, guess + 1);
        let mut step = 1;
        if is_before(guess) {
            while is_before(high) {
                low = high;
                high = (high + step).min(len);
                step *= 2;
            }
        } else {
            while !is_before(low) {
                high = low;
                low = low.saturating_sub(step);
                step *= 2;
            }
        }
        let between = self.first_counters.get(low..high)?;
        let after = low + between.partition_point(|first| *first <= counter);
        self.changes.get(after.checked_sub(1)?).copied()
    }
}

/// Gaps up to here are filled; longer ones begin a new segment.
const GAP_MAX: u64 = 64;

/// A map from rising op numbers to nodes: found in O(log segments), four bytes for each number.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeNumbers {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
struct Segment {
    first: u64,
    nodes: Vec<NodeIx>,
}

impl Segment {
    fn end(&self) -> u64 {
        self.first + self.nodes.len() as u64
    }
}

impl NodeNumbers {
    pub(crate) fn find(&self, counter: u64) -> Option<NodeIx> {
        let after = self.segments.partition_point(|segment| segment.first <= counter);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let node = *segment.nodes.get(usize::try_from(counter - segment.first).ok()?)?;
        (node != NO_NODE).then_some(node)
    }

    /// Notes that `counter`, which is above all before it, made `node`.
    pub(crate) fn push(&mut self, counter: u64, node: NodeIx) {
        if let Some(last) = self.segments.last_mut()
            && counter >= last.end()
            && counter - last.end() <= GAP_MAX
        {
            last.nodes.resize((counter - last.first) as usize, NO_NODE);
            last.nodes.push(node);
        } else {
            self.segments.push(Segment { first: counter, nodes: vec![node] });
        }
    }

    /// Forgets what the numbers from `from` up to `to` made.
    pub(crate) fn forget(&mut self, from: u64, to: u64) {
        for segment in self.segments.iter_mut().rev().take_while(|segment| segment.end() > from) {
            let (first, end) = (segment.first, segment.end());
            let range = (from.max(first) - first) as usize..(to.clamp(first, end) - first) as usize;
            if let Some(nodes) = segment.nodes.get_mut(range) {
                nodes.fill(NO_NODE);
            }
            while segment.nodes.last() == Some(&NO_NODE) {
                segment.nodes.pop();
            }
        }
        self.segments.retain(|segment| !segment.nodes.is_empty());
    }

    /// All numbers and their nodes, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, NodeIx)> + '_ {
        let each =
            self.segments.iter().flat_map(|segment| (segment.first..).zip(segment.nodes.iter().copied()));
        each.filter(|(_, node)| *node != NO_NODE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn numbers_find_their_nodes(
            gaps in prop::collection::vec(prop_oneof![4 => 1u64..3, 1 => 1u64..200, 1 => any::<u32>().prop_map(u64::from)], 1..80),
            forgotten in prop::collection::vec((any::<prop::sample::Index>(), 0u64..100), 0..4),
        ) {
            let mut numbers = NodeNumbers::default();
            let mut model = BTreeMap::new();
            let mut counter = 0;
            for (node, gap) in (0..).zip(&gaps) {
                counter += gap;
                numbers.push(counter, node);
                model.insert(counter, node);
            }
            for (at, len) in forgotten {
                let from = *model.keys().nth(at.index(model.len().max(1))).unwrap_or(&0);
                numbers.forget(from, from + len);
                model.retain(|counter, _| *counter < from || *counter >= from + len);
            }
            prop_assert_eq!(numbers.iter().collect::<Vec<_>>(), model.clone().into_iter().collect::<Vec<_>>());
            for counter in model.keys().flat_map(|counter| [counter - 1, *counter, counter + 1]) {
                prop_assert_eq!(numbers.find(counter), model.get(&counter).copied());
            }
        }

        #[test]
        fn a_claimant_is_the_last_that_begins_before(
            gaps in prop::collection::vec(prop_oneof![8 => 0u64..3, 1 => any::<u32>().prop_map(u64::from)], 1..200),
            looks in prop::collection::vec(any::<prop::sample::Index>(), 20),
        ) {
            let mut branch = Branch::new(0, None, 1);
            let mut firsts = Vec::new();
            let mut counter = 1;
            for (change, gap) in (0..).zip(&gaps) {
                counter += gap;
                branch.push(change, counter);
                firsts.push(counter);
            }
            for look in looks {
                for counter in [look.index(counter as usize + 5) as u64, firsts[look.index(firsts.len())]] {
                    let expected = firsts.iter().rposition(|first| *first <= counter).map(|at| at as u32);
                    prop_assert_eq!(branch.claimant(counter), expected);
                }
            }
        }
    }
}
