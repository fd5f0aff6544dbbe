//! An op log whose disk is slow and whose machine may lose power: what is not flushed is lost in a crash.

use std::collections::VecDeque;
use std::sync::Mutex;

use gangline_doc::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record};

#[derive(Default)]
pub(crate) struct SimLog {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    durable: Vec<LogEntry>,
    queued: VecDeque<(Vec<Record>, Done)>,
}

impl SimLog {
    /// Tells whether something waits for [`SimLog::flush`].
    pub(crate) fn is_dirty(&self) -> bool {
        !self.inner.lock().unwrap().queued.is_empty()
    }

    /// Makes the oldest `count` appends durable, and answers them.
    pub(crate) fn flush(&self, count: usize) {
        for _ in 0..count {
            let mut inner = self.inner.lock().unwrap();
            let Some((records, done)) = inner.queued.pop_front() else { return };
            for Record { change, received_at_ms, vouched } in records {
                let seq = LogSeq(inner.durable.len() as u64);
                inner.durable.push(LogEntry { seq, change, received_at_ms, vouched });
            }
            drop(inner);
            done(Ok(()));
        }
    }

    /// The power fails: what was not flushed is gone, and nobody is told.
    pub(crate) fn crash(&self) {
        let lost = std::mem::take(&mut self.inner.lock().unwrap().queued);
        lost.into_iter().for_each(|(_, done)| std::mem::forget(done));
    }
}

impl OpLog for SimLog {
    fn append(&self, records: Vec<Record>, done: Done) {
        self.inner.lock().unwrap().queued.push_back((records, done));
    }

    fn read(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<LogEntry>, OpLogError> {
        let inner = self.inner.lock().unwrap();
        let mut bytes = 0;
        let entries = inner.durable.iter().skip(from.0 as usize).take(limit.count).enumerate();
        let within = entries.take_while(|(index, entry)| {
            bytes += entry.change.bytes().len();
            *index == 0 || bytes <= limit.bytes
        });
        Ok(within.map(|(_, entry)| entry.clone()).collect())
    }

    fn len(&self) -> Result<u64, OpLogError> {
        Ok(self.inner.lock().unwrap().durable.len() as u64)
    }
}
