//! An op log whose disk is slow and whose machine may lose power: what is not flushed is lost in a crash.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bft_json_crdt::Digest;
use gangline_doc::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record};

#[derive(Default)]
pub(crate) struct SimLog {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    durable: Vec<LogEntry>,
    held: BTreeSet<Digest>,
    queued: VecDeque<(Vec<Record>, Done)>,
}

impl SimLog {
    /// Tells whether something waits for [`SimLog::flush`].
    pub(crate) fn is_dirty(&self) -> bool {
        !self.lock().queued.is_empty()
    }

    /// Makes the oldest `count` appends durable, and answers them.
    pub(crate) fn flush(&self, count: usize) {
        for _ in 0..count {
            let done = {
                let mut inner = self.lock();
                let Some((records, done)) = inner.queued.pop_front() else { return };
                inner.write(records);
                done
            };
            done(Ok(()));
        }
    }

    /// Tells whether a change is on the disk.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.lock().held.contains(digest)
    }

    /// The power fails. Of what was queued, `written` appends are on the disk although nobody was told; the rest
    /// is gone. The caller drops what comes back when nobody who waits for it is left.
    pub(crate) fn crash(&self, written: usize) -> Vec<Done> {
        let mut inner = self.lock();
        let queued = std::mem::take(&mut inner.queued);
        let mut owed = Vec::with_capacity(queued.len());
        for (n, (records, done)) in queued.into_iter().enumerate() {
            if n < written {
                inner.write(records);
            }
            owed.push(done);
        }
        owed
    }

    /// An older copy of the disk is put back: what no honest machine does.
    pub(crate) fn roll_back(&self, length: usize) {
        let mut inner = self.lock();
        inner.durable.truncate(length);
        inner.held = inner.durable.iter().map(|entry| entry.change.digest()).collect();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, records: Vec<Record>) {
        for Record { change, received_at_ms, vouched } in records {
            let seq = LogSeq(self.durable.len() as u64);
            self.held.insert(change.digest());
            self.durable.push(LogEntry { seq, change, received_at_ms, vouched });
        }
    }
}

impl OpLog for SimLog {
    fn append(&self, records: Vec<Record>, done: Done) {
        self.lock().queued.push_back((records, done));
    }

    fn read(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<LogEntry>, OpLogError> {
        let inner = self.lock();
        let mut bytes = 0;
        let from = usize::try_from(from.0).unwrap_or(usize::MAX);
        let entries = inner.durable.iter().skip(from).take(limit.count.max(1)).enumerate();
        let within = entries.take_while(|(index, entry)| {
            bytes += entry.change.bytes().len();
            *index == 0 || bytes <= limit.bytes
        });
        Ok(within.map(|(_, entry)| entry.clone()).collect())
    }

    fn len(&self) -> Result<u64, OpLogError> {
        Ok(self.lock().durable.len() as u64)
    }
}
