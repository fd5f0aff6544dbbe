//! Which changes touched which list elements: an index over the log, made when first asked for.
//!
//! It costs nothing until then, and about 8 bytes per change from then on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bft_json_crdt::{BaseCrdt, CrdtNode, OpId, json_crdt::Edit};

use crate::{
    entry::Entry,
    op_log::{LogSeq, OpLogError, ReadLimit},
    replica::Replica,
};

/// A change that touched an element, and how.
#[derive(Clone, Debug)]
pub struct Touch {
    /// The entry of the log.
    pub entry: Arc<Entry>,
    /// Those of its edits that touched the elements asked for.
    pub edits: Vec<Edit>,
}

#[derive(Default)]
pub(crate) struct HistoryIndex {
    next: LogSeq,
    by_element: BTreeMap<OpId, Vec<LogSeq>>,
}

impl HistoryIndex {
    /// Indexes what has become durable since.
    pub(crate) fn catch_up<T: CrdtNode>(&mut self, replica: &Replica<T>) -> Result<(), OpLogError> {
        loop {
            let entries = replica.entries(self.next, ReadLimit::default())?;
            if entries.is_empty() {
                return Ok(());
            }
            for (entry, edits) in with_edits(replica, entries) {
                let touched: BTreeSet<OpId> = edits.iter().filter_map(|edit| edit.element).collect();
                for element in touched {
                    self.by_element.entry(element).or_default().push(entry.seq());
                }
                self.next = entry.seq().plus(1);
            }
        }
    }

    /// Reads the changes that touched any of `elements`.
    pub(crate) fn read<T: CrdtNode>(
        &self,
        replica: &Replica<T>,
        elements: &[OpId],
    ) -> Result<Vec<Touch>, OpLogError> {
        let seqs: BTreeSet<LogSeq> =
            elements.iter().filter_map(|element| self.by_element.get(element)).flatten().copied().collect();
        let mut entries = Vec::with_capacity(seqs.len());
        for seq in seqs {
            entries.extend(replica.entries(seq, ReadLimit { count: 1, bytes: 0 })?);
        }
        Ok(with_edits(replica, entries)
            .into_iter()
            .map(|(entry, mut edits)| {
                edits.retain(|edit| edit.element.is_some_and(|element| elements.contains(&element)));
                Touch { entry, edits }
            })
            .collect())
    }
}

fn with_edits<T: CrdtNode>(replica: &Replica<T>, entries: Vec<Arc<Entry>>) -> Vec<(Arc<Entry>, Vec<Edit>)> {
    let read = |base: &BaseCrdt<T>| {
        entries.iter().map(|entry| (Arc::clone(entry), base.effects(entry.change()))).collect()
    };
    replica.read(read).0
}
