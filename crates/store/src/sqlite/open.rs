//! Making a file, and everything that is checked before an existing one is trusted.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bft_json_crdt::DocumentId;
use gangline_doc::{LogSeq, ReadLimit};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    SqliteSettings,
    row::{self, RowError},
    schema::{self, APPLICATION_ID, VERSION},
};
use crate::dir_lock::{DirLockError, sync_dir};

/// How long to wait for a program that reads the file for a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a log cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be had; see there.
    #[error(transparent)]
    Lock(#[from] DirLockError),
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
    /// The log of another document. Move it away, or use another directory.
    #[error("{} is the log of another document, {found}", .path.display())]
    OtherDocument {
        /// The file.
        path: PathBuf,
        /// Whose log it is.
        found: DocumentId,
    },
    /// What it holds is not what was written. Restore a backup; or move it away and start with a new key,
    /// since the old key's chain has gone on elsewhere.
    #[error(
        "{} is damaged: {what}; restore a backup, or move it away together with the node's key and start anew",
        .path.display()
    )]
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

pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    pub(super) len: u64,
}

pub(super) fn open(dir: &Path, settings: &SqliteSettings) -> Result<Opened, OpenError> {
    let path = dir.join(file_name(settings.document));
    let io_error = |source| OpenError::Io { path: path.clone(), source };
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() == 0 => {
            return Err(OpenError::Damaged { path, what: "it is empty".to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, &path, settings.document)?,
        Err(error) => return Err(io_error(error)),
    }
    let at = |error| sqlite_error(&path, error);
    let no_create = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let writer =
        Connection::open_with_flags(&path, no_create | OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(at)?;
    check_whose(&path, &writer, settings.document)?;
    if !prepare(&writer, settings).map_err(at)? {
        return Err(OpenError::NoWal { path });
    }
    check_pages(&path, &writer)?;
    let len = count_entries(&path, &writer)?;
    if settings.check_entries {
        check_entries(&path, &writer, settings.document, LogSeq(len))?;
    }
    let reader =
        Connection::open_with_flags(&path, no_create | OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(at)?;
    reader.busy_timeout(BUSY_TIMEOUT).map_err(at)?;
    Ok(Opened { path, writer, reader, len })
}

pub(super) fn file_name(document: DocumentId) -> String {
    if document == DocumentId::DEFAULT { "board.db".to_owned() } else { format!("document-{document}.db") }
}

/// Makes a file under another name and renames it when it is complete and durable.
fn create(dir: &Path, path: &Path, document: DocumentId) -> Result<(), OpenError> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    for suffix in ["-wal", "-journal"] {
        if beside(suffix).exists() {
            let what = format!("it is gone, but its {suffix} file is there");
            return Err(OpenError::Damaged { path: path.to_owned(), what });
        }
    }
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    let unfinished = beside(".new");
    for suffix in [".new", ".new-wal", ".new-shm", ".new-journal"] {
        match fs::remove_file(beside(suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
            _ => {}
        }
    }
    let connection = Connection::open(&unfinished).map_err(|error| sqlite_error(path, error))?;
    schema::create(&connection, document).map_err(|error| sqlite_error(path, error))?;
    connection.close().map_err(|(_, error)| sqlite_error(path, error))?;
    File::open(&unfinished).and_then(|file| file.sync_all()).map_err(io_error)?;
    fs::rename(&unfinished, path).map_err(io_error)?;
    sync_dir(dir).map_err(io_error)
}

/// Refuses what this program did not write, or cannot understand, before anything is changed.
fn check_whose(path: &Path, connection: &Connection, document: DocumentId) -> Result<(), OpenError> {
    let at = |error| sqlite_error(path, error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let version = pragma("user_version").map_err(at)?;
    if pragma("application_id").map_err(at)? != APPLICATION_ID || version < 1 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if version > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    let found: [u8; 32] =
        connection.query_row("SELECT document FROM meta", [], |row| row.get(0)).map_err(|error| {
            OpenError::Damaged { path: path.to_owned(), what: format!("whose log it is: {error}") }
        })?;
    if found != document.0 {
        return Err(OpenError::OtherDocument { path: path.to_owned(), found: DocumentId(found) });
    }
    Ok(())
}

/// Sets what is not kept in the file; returns whether it is in WAL mode, as it must be.
fn prepare(connection: &Connection, settings: &SqliteSettings) -> rusqlite::Result<bool> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Where fsync alone does not reach the disk (macOS); elsewhere without effect.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    if let Some(bytes_max) = settings.file_bytes_max {
        let page: u64 =
            connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs();
        let pages = i64::try_from(bytes_max / page.max(1)).unwrap_or(i64::MAX).max(1);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(mode == "wal")
}

/// Has SQLite go over every page.
fn check_pages(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| sqlite_error(path, error))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), what: verdict.replace('\n', " ") })
}

/// Returns how many entries there are, and refuses gaps.
fn count_entries(path: &Path, connection: &Connection) -> Result<u64, OpenError> {
    let (count, last): (i64, Option<i64>) = connection
        .query_row("SELECT count(*), max(seq) FROM entry", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|error| sqlite_error(path, error))?;
    let len = last.map_or(0, |last| last.saturating_add(1));
    if count != len {
        let what = format!("it has {count} entries up to number {}", len.saturating_sub(1));
        return Err(OpenError::Damaged { path: path.to_owned(), what });
    }
    Ok(len.unsigned_abs())
}

/// Reads every entry.
fn check_entries(
    path: &Path,
    connection: &Connection,
    document: DocumentId,
    end: LogSeq,
) -> Result<(), OpenError> {
    let damaged = |what| OpenError::Damaged { path: path.to_owned(), what };
    let mut next = LogSeq::START;
    while next < end {
        let entries =
            row::read(connection, next, end, ReadLimit::default()).map_err(|error| match error {
                RowError::Damaged(what) => damaged(what),
                RowError::Sqlite(source) => sqlite_error(path, source),
            })?;
        if let Some(entry) = entries.iter().find(|entry| entry.change.document() != document) {
            return Err(damaged(format!("entry {} belongs to another document", entry.seq)));
        }
        next = next.plus(entries.len());
    }
    Ok(())
}

fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path, what: source.to_string() }
        }
        _ => OpenError::Sqlite { path, source },
    }
}
