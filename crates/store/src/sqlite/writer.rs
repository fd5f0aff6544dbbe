//! The worker: everything that gathered while it was busy becomes one transaction, then is answered.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use gangline_doc::{Done, LogSeq, OpLogError, Record};
use rusqlite::{Connection, TransactionBehavior};

use super::{
    Shared,
    queue::{Append, Work},
    row::{self, RowError},
};
use crate::dir_lock::DirLock;

pub(super) struct Writer {
    path: PathBuf,
    connection: Connection,
    shared: Arc<Shared>,
    /// What every append after the first failure is answered.
    failure: Option<OpLogError>,
    /// Held until the connection is closed, hence after it.
    _lock: Arc<DirLock>,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        connection: Connection,
        shared: Arc<Shared>,
        lock: Arc<DirLock>,
    ) -> Self {
        Self { path, connection, shared, failure: None, _lock: lock }
    }

    pub(super) fn run(mut self) {
        while let Some(appends) = self.shared.queue.take() {
            let durable = self.write(&appends);
            self.shared.queue.settle(&appends);
            for (n, append) in appends.into_iter().enumerate() {
                let answer = match &self.failure {
                    Some(failure) if n >= durable => Err(failure.clone()),
                    _ => Ok(()),
                };
                answer_one(append.done, answer);
            }
        }
    }

    /// Writes appends durably and returns how many, from the front; if not all, the failure is noted.
    fn write(&mut self, appends: &[Append]) -> usize {
        if self.failure.is_some() {
            return 0;
        }
        let mut writable: Vec<&Record> = Vec::new();
        let mut count = 0;
        for append in appends {
            match &append.work {
                Work::Write(records) => writable.extend(records),
                Work::Refuse(error) => {
                    self.stop(error.clone());
                    break;
                }
            }
            count += 1;
        }
        match self.commit(&writable) {
            Ok(()) => count,
            Err(error) => {
                self.stop(error.at(&self.path));
                0
            }
        }
    }

    fn stop(&mut self, error: OpLogError) {
        let path = self.path.display();
        tracing::error!(%path, error = &error as &dyn std::error::Error, "the op log has stopped");
        self.failure = Some(error);
    }

    fn commit(&mut self, records: &[&Record]) -> Result<(), RowError> {
        if records.is_empty() {
            return Ok(());
        }
        let start = LogSeq(self.shared.len.load(Ordering::Acquire));
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut statement = row::prepare_insert(&transaction)?;
            for (n, record) in records.iter().enumerate() {
                row::insert(&mut statement, start.plus(n), record)?;
            }
        }
        transaction.commit()?;
        self.shared.len.store(start.plus(records.len()).0, Ordering::Release);
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A caller's panic is the caller's: the log goes on for the others.
fn answer_one(done: Done, answer: Result<(), OpLogError>) {
    if catch_unwind(AssertUnwindSafe(|| done(answer))).is_err() {
        tracing::error!("an answer of the op log ended in a panic");
    }
}
