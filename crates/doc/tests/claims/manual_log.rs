//! A log in memory whose answers the test gives: at once, later, never, out of order, or with a failure.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use gangline_doc::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record};

#[derive(Clone, Default)]
pub(crate) struct ManualLog {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    is_prompt: bool,
    entries: Vec<LogEntry>,
    waiting: VecDeque<(Vec<Record>, Done)>,
    reads: usize,
}

impl ManualLog {
    /// Answers from inside `append`.
    pub(crate) fn prompt() -> Self {
        let log = Self::default();
        log.lock().is_prompt = true;
        log
    }

    /// Answers when the test says so.
    pub(crate) fn slow() -> Self {
        Self::default()
    }

    /// A log of what is durable in this one: what a node finds after a crash.
    pub(crate) fn after_a_crash(&self) -> Self {
        let log = Self::slow();
        log.lock().entries = self.lock().entries.clone();
        log
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Entries appended so far, answered or not.
    pub(crate) fn appended(&self) -> LogSeq {
        let inner = self.lock();
        let waiting: usize = inner.waiting.iter().map(|(records, _)| records.len()).sum();
        LogSeq((inner.entries.len() + waiting) as u64)
    }

    pub(crate) fn durable(&self) -> Vec<LogEntry> {
        self.lock().entries.clone()
    }

    /// How often the log was read.
    pub(crate) fn reads(&self) -> usize {
        self.lock().reads
    }

    /// Makes the next append durable and says so.
    pub(crate) fn answer_one(&self) -> bool {
        let Some((records, done)) = self.lock().waiting.pop_front() else { return false };
        self.store(records);
        done(Ok(()));
        true
    }

    pub(crate) fn answer_all(&self) {
        while self.answer_one() {}
    }

    /// Makes all appends durable and says so in the wrong order, which no log should do.
    pub(crate) fn answer_all_backwards(&self) {
        let waiting: Vec<_> = self.lock().waiting.drain(..).collect();
        let mut answers = Vec::new();
        for (records, done) in waiting {
            self.store(records);
            answers.push(done);
        }
        while let Some(done) = answers.pop() {
            done(Ok(()));
        }
    }

    /// Fails the next append and all that wait behind it.
    pub(crate) fn fail(&self) {
        loop {
            let Some((_, done)) = self.lock().waiting.pop_front() else { return };
            done(Err(OpLogError::Stopped { reason: "the disk burned".to_owned() }));
        }
    }

    /// Drops the next append without an answer.
    pub(crate) fn forget_one(&self) {
        let forgotten = self.lock().waiting.pop_front();
        drop(forgotten);
    }

    fn store(&self, records: Vec<Record>) {
        let mut inner = self.lock();
        for Record { change, received_at_ms, vouched } in records {
            let seq = LogSeq(inner.entries.len() as u64);
            inner.entries.push(LogEntry { seq, change, received_at_ms, vouched });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl OpLog for ManualLog {
    fn append(&self, records: Vec<Record>, done: Done) {
        if self.lock().is_prompt {
            self.store(records);
            done(Ok(()));
        } else {
            self.lock().waiting.push_back((records, done));
        }
    }

    fn read(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<LogEntry>, OpLogError> {
        let mut inner = self.lock();
        inner.reads += 1;
        let mut bytes = 0_usize;
        let all = inner.entries.iter().skip(from.0.try_into().unwrap()).take(limit.count.max(1));
        let fits = |entry: &&LogEntry| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(entry.change.bytes().len());
            is_first || bytes <= limit.bytes
        };
        Ok(all.take_while(fits).cloned().collect())
    }

    fn len(&self) -> Result<u64, OpLogError> {
        Ok(self.lock().entries.len() as u64)
    }
}
