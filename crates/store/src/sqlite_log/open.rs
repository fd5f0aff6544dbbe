//! Making a file, and what is checked before an existing one is trusted.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::schema;
use crate::dir_lock::sync_dir;

/// How long to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a log cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenLogError {
    /// A newer program wrote it, and this one would not understand it. Use that version or a later one.
    #[error(
        "{} was written by a newer version (format {found}, this one knows up to {known}); install that \
         version or a later one",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i32,
        /// The newest format that this program knows.
        known: i32,
    },
    /// Another program's database. Move it away, or use another directory.
    #[error("{} is another program's database; move it away, or use another data directory", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// What it holds is not what was written. Restore a backup.
    #[error("{} is damaged: {what}; restore a backup", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Its file system cannot hold it. Use a directory on a local disk.
    #[error("{} is on a file system without shared memory; use a data directory on a local disk", .path.display())]
    NoWal {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written. Check owner, permissions and the disk.
    #[error("{} cannot be used", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// It cannot be read or written. Check owner, permissions and the disk.
    #[error("{} cannot be used", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What sort of file it is.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Keeps processes that open the same file at the same time apart, until it is complete.
    pub(crate) lock_name: &'static str,
    pub(crate) application_id: i32,
    pub(crate) version: i32,
    pub(crate) tables: &'static [&'static str],
}

pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) writer: Connection,
    pub(crate) reader: Connection,
}

pub(crate) fn open(dir: &Path, kind: &Kind) -> Result<Opened, OpenLogError> {
    let path = dir.join(kind.name);
    let io_error = |source| OpenLogError::Io { path: path.clone(), source };
    fs::create_dir_all(dir).map_err(io_error)?;
    let lock_file =
        OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(kind.lock_name));
    // Released when the file is closed, at the end of this function or of the process.
    let lock: File = lock_file.map_err(io_error)?;
    lock.lock().map_err(io_error)?;
    let at = |error| sqlite_error(&path, error);
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE
        | OpenFlags::SQLITE_OPEN_READ_WRITE;
    let mut writer = Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_CREATE).map_err(at)?;
    writer.busy_timeout(BUSY_TIMEOUT).map_err(at)?;
    let is_new = check_whose(&path, kind, &writer)?;
    if !prepare(&writer).map_err(at)? {
        return Err(OpenLogError::NoWal { path });
    }
    if is_new {
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at)?;
        schema::create(&transaction, kind).map_err(at)?;
        transaction.commit().map_err(at)?;
        sync_dir(dir).map_err(io_error)?;
    }
    check_pages(&path, &writer)?;
    let reader = Connection::open_with_flags(&path, flags).map_err(at)?;
    reader.busy_timeout(BUSY_TIMEOUT).map_err(at)?;
    reader.pragma_update(None, "query_only", true).map_err(at)?;
    Ok(Opened { path, writer, reader })
}

/// Refuses what this program did not write, or cannot understand, before anything is changed. Returns whether the
/// file is empty.
fn check_whose(path: &Path, kind: &Kind, connection: &Connection) -> Result<bool, OpenLogError> {
    let at = |error| sqlite_error(path, error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id").map_err(at)?, pragma("user_version").map_err(at)?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(at)?;
    if (application, version, tables) == (0, 0, 0) {
        return Ok(true);
    }
    if application != kind.application_id || version < 1 {
        return Err(OpenLogError::Foreign { path: path.to_owned() });
    }
    if version > kind.version {
        return Err(OpenLogError::Newer { path: path.to_owned(), found: version, known: kind.version });
    }
    Ok(false)
}

/// Sets what is not kept in the file; returns whether it is in WAL mode, as it must be.
fn prepare(connection: &Connection) -> rusqlite::Result<bool> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Where fsync alone does not reach the disk (macOS); elsewhere without effect.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(mode == "wal")
}

/// Has SQLite go over every page.
fn check_pages(path: &Path, connection: &Connection) -> Result<(), OpenLogError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| sqlite_error(path, error))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(OpenLogError::Damaged { path: path.to_owned(), what: verdict.replace('\n', " ") })
}

fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenLogError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenLogError::Damaged { path, what: source.to_string() }
        }
        _ => OpenLogError::Sqlite { path, source },
    }
}
