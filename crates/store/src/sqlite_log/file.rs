//! One SQLite file with two threads, each with a connection of its own: one writes, one reads.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
};

use gangline_lease::StoreError;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::open::{self, Kind, OpenLogError};
use crate::{
    sqlite_commit::certainly_not_committed,
    worker::{Asked, Failure, Worker},
};

/// Dropping it finishes what was asked for, then closes the file.
#[derive(Debug)]
pub(super) struct SqliteFile {
    path: PathBuf,
    writer: Worker<Writer>,
    reader: Worker<Connection>,
}

struct Writer {
    connection: Connection,
    /// A commit failed: what the disk holds is not known before the file is opened again.
    has_failed: bool,
}

impl SqliteFile {
    pub(super) fn open(dir: &Path, kind: &Kind) -> Result<Self, OpenLogError> {
        let opened = open::open(dir, kind)?;
        let path = opened.path;
        let io_error = |source| OpenLogError::Io { path: path.clone(), source };
        let writer = Writer { connection: opened.writer, has_failed: false };
        let writer = Worker::spawn("log-writer", writer).map_err(io_error)?;
        let reader = Worker::spawn("log-reader", opened.reader).map_err(io_error)?;
        Ok(Self { path, writer, reader })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn store_error(&self, failure: Failure) -> StoreError {
        failure.at(self.path.display().to_string())
    }

    /// Has a transaction run that holds the file against all other writers. It is committed if the job returns
    /// `Ok`, and the answer comes when that is durable.
    pub(super) fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Asked<T> {
        self.writer.ask(move |Writer { connection, has_failed }| {
            if *has_failed {
                return Err(Failure::refused("an earlier commit failed; open the file again"));
            }
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = job(&transaction)?;
            match transaction.commit() {
                Ok(()) => Ok(value),
                Err(error) if certainly_not_committed(&error) => Err(error.into()),
                Err(error) => {
                    *has_failed = true;
                    tracing::error!(error = &error as &dyn Error, "the log has stopped");
                    Err(Failure::Unknown(Arc::new(error)))
                }
            }
        })
    }

    /// Has a read run.
    pub(super) fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Asked<T> {
        self.reader.ask(move |connection| job(connection))
    }
}
