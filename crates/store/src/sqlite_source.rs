//! Rows of an SQLite file that belongs to somebody else: the application whose data documents follow.
//!
//! Nothing in the file is changed but by [`RowSource::save`], [`RowSource::install`], [`RowSource::uninstall`] and
//! [`RowSource::prune`], which open a connection for the call; everything else goes through connections that cannot
//! write. No setting that lasts is touched, the journal mode above all, and a file that is not there is not made.
//!
//! - **Reading beside writers.** In WAL mode neither waits for the other. In rollback mode SQLite has no snapshots: a
//!   writer that commits waits until those who read are done (a scan of 10,000 rows: some 11 ms), and fails at once if
//!   it has no busy timeout, as with any reader. Applications that others read are better off in WAL mode.
//! - **Pulse.** It rises with the commits of any other connection. Saves of this source come over a connection of their
//!   own, so they show in it too.
//! - **What is somebody's word.** Values are what the storage class says, not the declared type: what does not fit is a
//!   bad row. Texts of databases in UTF-16 arrive in UTF-8.
//!
//! A writer that was killed in rollback mode leaves a journal behind, which only a connection that may write can roll
//! back: then one is opened for that, as any other program would. A database in WAL mode wants its directory writable
//! (or its `-wal` and `-shm` files there) also for reading.

mod connect;
mod outbox;
mod read;
mod save;
mod scan;
mod schema;
mod sql;
mod trouble;
mod value;

use std::{fmt, path::Path, time::Duration};

use gangline_reconcile::{
    OutboxPosition, OutboxRead, RowSource, Rows, RowsDigest, SaveOutcome, SaveRequest, Scanned, Schema,
    Shape, SourceError,
};

use rusqlite::Connection;

use self::{connect::Connections, trouble::Trouble};

/// How long a call waits for another program that has the database locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads and writes the rows of an SQLite file.
pub struct SqliteSource {
    place: String,
    connections: Connections,
    outbox: outbox::Found,
}

impl SqliteSource {
    /// Names a file, which need not be there yet: calls say [`SourceError::Unavailable`] until it is.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self::with_busy_timeout(path, BUSY_TIMEOUT)
    }

    /// As [`SqliteSource::new`], with calls that wait this long for another program that has the database locked.
    #[must_use]
    pub fn with_busy_timeout(path: &Path, busy_timeout: Duration) -> Self {
        let place = format!("sqlite:{}", path.display());
        let connections = Connections::new(path.to_owned(), busy_timeout);
        Self { place, connections, outbox: outbox::Found::default() }
    }

    /// Since when the outbox is installed for a shape.
    fn installed(&self, connection: &Connection, shape: &Shape) -> Result<Option<i64>, Trouble> {
        self.outbox.installed(connection, self.connections.generation(), shape)
    }

    fn at<T>(&self, result: Result<T, Trouble>) -> Result<T, SourceError> {
        result.map_err(|trouble| trouble.at(&self.place))
    }
}

impl RowSource for SqliteSource {
    fn place(&self) -> &str {
        &self.place
    }

    fn schema(&self) -> Result<Schema, SourceError> {
        self.at(self.connections.read(schema::read))
    }

    fn read(&self, shape: &Shape, root: &str) -> Result<Rows, SourceError> {
        self.at(self.connections.read(|connection| read::rows(connection, shape, root)))
    }

    fn roots(&self, shape: &Shape, after: Option<&str>, limit: usize) -> Result<Vec<String>, SourceError> {
        self.at(self.connections.read(|connection| read::roots(connection, shape, after, limit)))
    }

    fn scan(&self, shape: &Shape, visit: &mut dyn FnMut(&str, RowsDigest)) -> Result<Scanned, SourceError> {
        self.at(self.connections.read(|connection| scan::scan(connection, shape, &mut *visit)))
    }

    fn pulse(&self) -> Result<u64, SourceError> {
        self.at(self.connections.pulse())
    }

    fn install_sql(&self, shape: &Shape) -> Result<Vec<String>, SourceError> {
        self.at(self.connections.read(|connection| outbox::install_sql(connection, shape)))
    }

    fn install(&self, shape: &Shape) -> Result<(), SourceError> {
        self.at(self.connections.write(|transaction| {
            outbox::install(&transaction, shape)?;
            Ok(transaction.commit()?)
        }))
    }

    fn uninstall_sql(&self, shape: &Shape) -> Result<Vec<String>, SourceError> {
        self.at(self.connections.read(|connection| outbox::uninstall_sql(connection, shape)))
    }

    fn uninstall(&self, shape: &Shape) -> Result<(), SourceError> {
        self.at(self.connections.write(|transaction| {
            outbox::uninstall(&transaction, shape)?;
            Ok(transaction.commit()?)
        }))
    }

    fn outbox(
        &self,
        shape: &Shape,
        after: Option<OutboxPosition>,
        limit: usize,
    ) -> Result<Option<OutboxRead>, SourceError> {
        self.at(self.connections.read(|connection| {
            let Some(incarnation) = self.installed(connection, shape)? else { return Ok(None) };
            outbox::read(connection, shape, incarnation, after, limit).map(Some)
        }))
    }

    fn prune(&self, _shape: &Shape) -> Result<(), SourceError> {
        while self.at(self.connections.read(outbox::has_prunable))? {
            self.at(self.connections.write(|transaction| {
                outbox::prune_some(&transaction)?;
                Ok(transaction.commit()?)
            }))?;
        }
        Ok(())
    }

    fn save(&self, shape: &Shape, request: &SaveRequest) -> Result<SaveOutcome, SourceError> {
        let is_installed = |connection: &Connection| Ok(self.installed(connection, shape)?.is_some());
        self.at(self.connections.write(|transaction| save::save(transaction, shape, request, &is_installed)))
    }

    fn was_saved(&self, shape: &Shape, save_id: &str) -> Result<Option<bool>, SourceError> {
        self.at(self.connections.read(|connection| match self.installed(connection, shape)? {
            Some(_) => outbox::has_save(connection, shape, save_id).map(Some),
            None => Ok(None),
        }))
    }
}

impl fmt::Debug for SqliteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSource").field("place", &self.place).finish_non_exhaustive()
    }
}
