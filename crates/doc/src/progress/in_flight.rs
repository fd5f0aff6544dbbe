//! Appends that the log has not answered yet, in order.

use std::{collections::VecDeque, sync::Arc};

use super::Progress;
use crate::{
    entry::Entry,
    op_log::{Done, OpLogError},
};

/// What stands between the document and the log.
#[derive(Default)]
pub(super) struct Groups {
    next_id: u64,
    groups: VecDeque<Group>,
    count: usize,
    bytes: usize,
}

struct Group {
    id: u64,
    entries: Vec<Arc<Entry>>,
    is_durable: bool,
}

impl Groups {
    pub(super) fn push(&mut self, entries: Vec<Arc<Entry>>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.count += entries.len();
        self.bytes += bytes(&entries);
        self.groups.push_back(Group { id, entries, is_durable: false });
        id
    }

    /// Marks one append as durable; returns what is thereby durable without a gap before it.
    ///
    /// Logs answer in order; should one not, nothing is told before all that stands in front of it.
    pub(super) fn settle(&mut self, id: u64) -> Vec<Vec<Arc<Entry>>> {
        if let Some(group) = self.groups.iter_mut().find(|group| group.id == id) {
            group.is_durable = true;
        }
        let mut settled = Vec::new();
        while self.groups.front().is_some_and(|group| group.is_durable) {
            if let Some(group) = self.groups.pop_front() {
                self.count -= group.entries.len();
                self.bytes -= bytes(&group.entries);
                settled.push(group.entries);
            }
        }
        settled
    }

    pub(super) fn clear(&mut self) {
        *self = Self { next_id: self.next_id, ..Self::default() };
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn bytes(entries: &[Arc<Entry>]) -> usize {
    entries.iter().map(|entry| entry.change().bytes().len()).sum()
}

/// One append whose answer is owed.
pub(crate) struct InFlight {
    progress: Option<Arc<Progress>>,
    id: u64,
}

impl InFlight {
    pub(super) fn new(progress: Arc<Progress>, id: u64) -> Self {
        Self { progress: Some(progress), id }
    }

    /// Returns the callback for [`crate::OpLog::append`].
    pub(crate) fn into_done(mut self) -> Done {
        Box::new(move |answer| {
            if let Some(progress) = self.progress.take() {
                progress.answer(self.id, answer);
            }
        })
    }
}

/// A log that forgets an append must not leave its callers waiting.
impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(progress) = self.progress.take() {
            let reason = "it dropped an append without an answer".to_owned();
            progress.answer(self.id, Err(OpLogError::Stopped { reason }));
        }
    }
}
