//! A ring of the last durable entries, so that live readers never touch the disk.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    entry::Entry,
    op_log::{LogSeq, ReadLimit},
};

/// What an entry costs beside its encoded change: the signature, the v1 frame (hex and JSON), bookkeeping.
const OVERHEAD_BYTES: usize = 512;
/// How much larger a v1 frame is than the change it carries, at most.
const V1_FACTOR: usize = 3;

pub(super) struct Recent {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
}

impl Recent {
    pub(super) fn new(max_count: usize, max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, max_count, max_bytes }
    }

    /// Adds the entry that follows the last one.
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += cost(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > self.max_count || self.bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= cost(&oldest);
        }
    }

    /// Returns entries from `from` on, or `None` where the ring does not reach back that far.
    pub(super) fn read(&self, from: LogSeq, limit: ReadLimit) -> Option<Vec<Arc<Entry>>> {
        let first = self.entries.front()?.seq();
        let skip = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in self.entries.iter().skip(skip).take(limit.count.max(1)) {
            bytes += entry.change().bytes().len();
            if bytes > limit.bytes && !found.is_empty() {
                break;
            }
            found.push(Arc::clone(entry));
        }
        Some(found)
    }

    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(entry: &Entry) -> usize {
    OVERHEAD_BYTES + (1 + V1_FACTOR) * entry.change().bytes().len()
}
