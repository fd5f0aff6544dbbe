//! Connections to somebody else's file: several that read and are kept, one that writes and is not.
//!
//! None of them sets anything that lasts: no journal mode, no page size, no version. The file is never made. If it is
//! replaced by another one (a backup that was copied over it under its name), connections to the old one are dropped.

use std::{
    fs::{self, Metadata},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};

use super::trouble::{Trouble, wants_recovery};

/// Connections that are kept for the next reader.
const IDLE_MAX: usize = 4;
/// Statements that each of them keeps ready.
const STATEMENTS_MAX: usize = 64;

pub(super) struct Connections {
    path: PathBuf,
    busy_timeout: Duration,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Which file the connections below belong to.
    file: Option<FileId>,
    /// Rises when the file is another one.
    generation: u32,
    pulse: Option<Connection>,
    /// How many connections the pulse was read from: what SQLite counts is each connection's own.
    pulses: u32,
    readers: Vec<Connection>,
}

/// What tells a file from the one that had its name before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl Connections {
    pub(super) fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self { path, busy_timeout, idle: Mutex::default() }
    }

    /// Has a job run in one snapshot.
    pub(super) fn read<T>(
        &self,
        mut job: impl FnMut(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.or_recovered(|| self.read_once(&mut job))
    }

    /// Tries again after SQLite could roll back what a writer that was killed has left behind.
    fn or_recovered<T>(&self, mut read: impl FnMut() -> Result<T, Trouble>) -> Result<T, Trouble> {
        match read() {
            Err(Trouble::Sqlite(error)) if wants_recovery(&error) => {
                self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?.query_row(
                    "SELECT count(*) FROM sqlite_schema",
                    [],
                    |_| Ok(()),
                )?;
                read()
            }
            other => other,
        }
    }

    fn read_once<T>(&self, job: &mut impl FnMut(&Connection) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let (mut connection, generation) = self.reader()?;
        let transaction = connection.transaction()?;
        let value = job(&transaction)?;
        transaction.commit()?;
        let mut idle = self.idle();
        if idle.generation == generation && idle.readers.len() < IDLE_MAX {
            idle.readers.push(connection);
        }
        Ok(value)
    }

    /// Has a job run in a transaction that holds the file against other writers, on a connection of its own.
    pub(super) fn write<T>(
        &self,
        job: impl FnOnce(Transaction<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Whatever the schema says about other rows holds for ours; SQLite leaves it off unless it is asked.
        connection.pragma_update(None, "foreign_keys", true)?;
        job(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Returns a number that rises when the file is another one.
    pub(super) fn generation(&self) -> u32 {
        self.idle().generation
    }

    /// Returns a number that rises when another connection has committed, the file is another one, or it could not be read.
    pub(super) fn pulse(&self) -> Result<u64, Trouble> {
        self.or_recovered(|| self.pulse_once())
    }

    fn pulse_once(&self) -> Result<u64, Trouble> {
        let mut idle = self.idle();
        self.look(&mut idle)?;
        let connection = match idle.pulse.take() {
            Some(connection) => connection,
            None => {
                idle.pulses = idle.pulses.wrapping_add(1);
                self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?
            }
        };
        let version: u32 = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        idle.pulse = Some(connection);
        Ok(u64::from(idle.pulses) << 32 | u64::from(version))
    }

    /// Takes a connection that reads, and tells which file it belongs to.
    fn reader(&self) -> Result<(Connection, u32), Trouble> {
        let mut idle = self.idle();
        self.look(&mut idle)?;
        let generation = idle.generation;
        let kept = idle.readers.pop();
        drop(idle);
        match kept {
            Some(connection) => Ok((connection, generation)),
            None => Ok((self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?, generation)),
        }
    }

    /// Forgets connections to a file that is no longer the one of this name.
    fn look(&self, idle: &mut Idle) -> Result<(), Trouble> {
        let file = fs::metadata(&self.path).ok().map(|metadata| FileId::of(&metadata));
        if idle.file != file {
            idle.readers.clear();
            idle.pulse = None;
            idle.generation = idle.generation.wrapping_add(u32::from(idle.file.is_some()));
            idle.file = file;
        }
        Ok(())
    }

    fn open(&self, access: OpenFlags) -> Result<Connection, Trouble> {
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE | access;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        // Without this a column that is gone would be read as a text that is its name.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(connection)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileId {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(metadata.dev(), metadata.ino())
    }

    #[cfg(not(unix))]
    fn of(_metadata: &Metadata) -> Self {
        Self(0, 0)
    }
}
