//! What a document takes up in memory, by part: what grows with its content, and what with its history.

use crate::state::State;
use crate::state::nodes::Nodes;

/// Bytes on the heap, counted by capacity, without the allocator's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Nodes, registers, lists, maps and counters: grows with what was ever inserted.
    pub nodes: usize,
    /// Texts: some ten bytes for each character that was ever typed.
    pub texts: usize,
    /// The values of registers. Overwritten ones go when the document is compacted.
    pub values: usize,
    /// What edits and merges need of each change: about 60 bytes.
    pub changes: usize,
    /// Digests, signatures and ops of changes that are not compressed yet.
    pub hot_history: usize,
    /// The same of changes that are.
    pub cold_history: usize,
    /// Changes that wait for others, by their encoded bytes.
    pub queue: usize,
}

impl MemoryUse {
    /// All of it.
    pub fn total(&self) -> usize {
        let content = self.nodes + self.texts + self.values;
        content + self.changes + self.hot_history + self.cold_history + self.queue
    }
}

impl State {
    /// Counts what the document takes up. O(containers).
    pub(crate) fn memory(&self) -> MemoryUse {
        let nodes: &Nodes = &self.nodes;
        let (changes, hot_history, cold_history) = self.history.memory();
        MemoryUse {
            nodes: nodes.heap_bytes() + self.ids.heap_bytes(),
            texts: nodes.texts().iter().map(|text| text.heap_bytes()).sum(),
            values: self.values.capacity(),
            changes,
            hot_history,
            cold_history,
            queue: self.queue.stats().bytes,
        }
    }
}
