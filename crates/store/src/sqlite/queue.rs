//! The queue between callers and the worker: ordered, bounded in bytes, never waiting for IO.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use bft_json_crdt::DocumentId;
use gangline_doc::{Done, OpLogError, Record};

/// What a record takes in memory beside its encoded change, roughly.
const RECORD_BYTES: u64 = 256;
/// Most bytes in one transaction, so that answers come steadily while much is waiting.
const GROUP_BYTES_MAX: u64 = 16 << 20;

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    document: DocumentId,
    bytes_max: u64,
}

#[derive(Default)]
struct State {
    appends: VecDeque<Append>,
    /// Of what is queued and of what the worker has taken and not settled.
    count: usize,
    bytes: u64,
    /// The first append that was refused; the rest is refused too, or the log would have a hole.
    refusal: Option<OpLogError>,
    is_closed: bool,
}

pub(super) struct Append {
    pub(super) work: Work,
    pub(super) done: Done,
    bytes: u64,
}

pub(super) enum Work {
    Write(Vec<Record>),
    /// It does not belong here, or came when the queue was full; its answer has its turn nevertheless.
    Refuse(OpLogError),
}

impl Queue {
    pub(super) fn new(document: DocumentId, bytes_max: u64) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), document, bytes_max }
    }

    pub(super) fn push(&self, records: Vec<Record>, done: Done) {
        let mut state = self.lock();
        let mut bytes =
            records.iter().map(|record| RECORD_BYTES + record.change.bytes().len() as u64).sum::<u64>();
        if state.refusal.is_none() {
            state.refusal = self.refusal(&records, state.bytes.saturating_add(bytes));
        }
        let work = match &state.refusal {
            Some(refusal) => {
                bytes = 0;
                Work::Refuse(refusal.clone())
            }
            None => Work::Write(records),
        };
        state.bytes += bytes;
        state.count += 1;
        state.appends.push_back(Append { work, done, bytes });
        drop(state);
        self.changed.notify_one();
    }

    fn refusal(&self, records: &[Record], bytes: u64) -> Option<OpLogError> {
        if bytes > self.bytes_max {
            return Some(OpLogError::QueueFull { bytes, bytes_max: self.bytes_max });
        }
        let found = records.iter().map(|record| record.change.document()).find(|of| *of != self.document)?;
        Some(OpLogError::OtherDocument { found, expected: self.document })
    }

    /// Waits for appends and takes those for one transaction; `None` when the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Append>> {
        let mut state = self.lock();
        loop {
            if !state.appends.is_empty() {
                break;
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let fits = |append: &&Append| {
            bytes += append.bytes;
            bytes <= GROUP_BYTES_MAX
        };
        let count = state.appends.iter().take_while(fits).count().max(1);
        Some(state.appends.drain(..count).collect())
    }

    /// Counts appends that were taken as no longer waiting.
    pub(super) fn settle(&self, appends: &[Append]) {
        let mut state = self.lock();
        state.count -= appends.len();
        state.bytes -= appends.iter().map(|append| append.bytes).sum::<u64>();
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Returns how many appends wait for an answer, and what they take.
    pub(super) fn waiting(&self) -> (usize, u64) {
        let state = self.lock();
        (state.count, state.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
