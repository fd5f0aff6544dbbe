//! Faults as a wrapper around a real log, each with a name (feature `fault`).
//!
//! A fault strikes at the nth append, counted from 0. What a real log does after a failure, the wrapper does
//! too: every later append is refused.

use std::sync::atomic::{AtomicU64, Ordering};

use gangline_doc::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record};

/// What goes wrong with one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and nothing of it lands, as on a full disk.
    Refuse,
    /// It lands, but fails nevertheless, as when the answer of a disk gets lost.
    LandThenFail,
    /// It is answered "durable" and is gone, and so is everything after it, as with a disk that lies about
    /// syncing. No replica can notice before it opens the log again.
    Lose,
    /// It is never answered: the callback is dropped, as by a backend with a bug.
    Forget,
}

/// A log that breaks at one append.
#[derive(Debug)]
pub struct FaultyOpLog<L> {
    inner: L,
    fault: Fault,
    at: u64,
    appends: AtomicU64,
}

impl<L: OpLog> FaultyOpLog<L> {
    /// Wraps `inner`; the fault strikes at append number `at`.
    pub fn new(inner: L, fault: Fault, at: u64) -> Self {
        Self { inner, fault, at, appends: AtomicU64::new(0) }
    }

    /// Returns whether the fault has struck.
    pub fn has_struck(&self) -> bool {
        self.appends.load(Ordering::SeqCst) > self.at
    }
}

impl<L: OpLog> OpLog for FaultyOpLog<L> {
    fn append(&self, records: Vec<Record>, done: Done) {
        let number = self.appends.fetch_add(1, Ordering::SeqCst);
        let fails_with = |done: Done, reason: &'static str| -> Done {
            Box::new(move |_| done(Err(OpLogError::Stopped { reason: reason.to_owned() })))
        };
        // An append of nothing keeps the answer in its turn.
        match self.fault {
            _ if number < self.at => self.inner.append(records, done),
            Fault::Lose => self.inner.append(Vec::new(), done),
            _ if number > self.at => self.inner.append(Vec::new(), fails_with(done, "an earlier fault")),
            Fault::Refuse => self.inner.append(Vec::new(), fails_with(done, "an injected fault")),
            Fault::LandThenFail => {
                self.inner.append(records, fails_with(done, "an injected fault after landing"));
            }
            Fault::Forget => drop(done),
        }
    }

    fn read(&self, from: LogSeq, limit: ReadLimit) -> Result<Vec<LogEntry>, OpLogError> {
        self.inner.read(from, limit)
    }

    fn len(&self) -> Result<u64, OpLogError> {
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use gangline_doc::conformance::records;

    use super::*;
    use crate::MemoryOpLog;

    /// What became of six appends of one record each, and how many entries are in the log then.
    fn check(fault: Fault, answers: [Option<bool>; 6], len: u64) {
        let log = FaultyOpLog::new(MemoryOpLog::new(), fault, 2);
        let found: Vec<Option<bool>> = records(6)
            .into_iter()
            .map(|record| {
                let (sender, receiver) = mpsc::channel();
                log.append(vec![record], Box::new(move |answer| sender.send(answer.is_ok()).unwrap()));
                receiver.recv().ok()
            })
            .collect();
        assert_eq!(found, answers, "{fault:?}");
        assert_eq!(log.len().unwrap(), len, "{fault:?}");
        assert!(log.has_struck());
    }

    #[test]
    fn each_fault_does_what_it_says() {
        let (yes, no) = (Some(true), Some(false));
        check(Fault::Refuse, [yes, yes, no, no, no, no], 2);
        check(Fault::LandThenFail, [yes, yes, no, no, no, no], 3);
        check(Fault::Lose, [yes, yes, yes, yes, yes, yes], 2);
        check(Fault::Forget, [yes, yes, None, no, no, no], 2);
    }
}
