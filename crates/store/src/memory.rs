//! An op log in memory: a real one, which just does not outlive its process.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gangline_doc::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record};

/// Keeps entries in memory. Clones are handles on the same log.
///
/// It answers from inside `append`, so that a test which drives everything from one thread sees the same
/// order every time.
#[derive(Clone, Default)]
pub struct MemoryOpLog {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<LogEntry>,
    answers: VecDeque<Done>,
    is_answering: bool,
}

impl MemoryOpLog {
    /// Returns an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers, in order and unlocked, unless another thread, or a caller further up in this one, is doing so.
    fn answer(&self) {
        loop {
            let done = {
                let mut inner = self.lock();
                if inner.is_answering {
                    return;
                }
                let Some(done) = inner.answers.pop_front() else { return };
                inner.is_answering = true;
                done
            };
            let _answering = Answering(self);
            done(Ok(()));
        }
    }
}

impl OpLog for MemoryOpLog {
    fn append(&self, records: Vec<Record>, done: Done) {
        let mut inner = self.lock();
        for Record { change, received_at_ms, vouched } in records {
            let seq = LogSeq(inner.entries.len() as u64);
            inner.entries.push(LogEntry { seq, change, received_at_ms, vouched });
        }
        inner.answers.push_back(done);
        drop(inner);
        self.answer();
    }

    fn read(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<LogEntry>, OpLogError> {
        let inner = self.lock();
        let Ok(from) = usize::try_from(from.0) else { return Ok(Vec::new()) };
        let mut bytes = 0_usize;
        let mut found = Vec::new();
        for entry in inner.entries.iter().skip(from).take(limit.count.max(1)) {
            bytes = bytes.saturating_add(entry.change.bytes().len());
            if bytes > limit.bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn len(&self) -> Result<u64, OpLogError> {
        Ok(self.lock().entries.len() as u64)
    }
}

/// Lets others answer again, also after a panic in an answer.
struct Answering<'a>(&'a MemoryOpLog);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.lock().is_answering = false;
    }
}

impl std::fmt::Debug for MemoryOpLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryOpLog").field("len", &self.lock().entries.len()).finish_non_exhaustive()
    }
}
