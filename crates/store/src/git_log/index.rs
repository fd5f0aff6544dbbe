//! Where intents and events are: an SQLite file that is never the truth. It is caught up with the very commit that
//! an append compares, and made anew whenever it is missing, damaged or of another history.
//!
//! Each process has a file of its own (`index-0.db`, `index-1.db` …, the first that nobody has locked), which it opens
//! exclusively, so that no process minds what becomes of another's. The file is written without a sync: after a loss
//! of power it may be behind, never wrong, because it remembers with each change which commit that belongs to.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use bft_json_crdt::Digest;
use gangline_lease::{Epoch, Event, IntentId, Placed, Seq, SpaceName};
use git2::Oid;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, config::DbConfig, params,
};

use super::repo::Repo;
use crate::worker::Failure;

/// Raised with each change of the tables: another version's file is made anew.
const VERSION: i32 = 1;
const SLOTS_MAX: u32 = 256;

const TABLES: &str = "
    CREATE TABLE space (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        tip BLOB NOT NULL
    ) STRICT;
    CREATE TABLE batch (
        space INTEGER NOT NULL,
        first INTEGER NOT NULL,
        oid BLOB NOT NULL,
        PRIMARY KEY (space, first)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE intent (
        space INTEGER NOT NULL,
        id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        hash BLOB NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (space, id)
    ) STRICT, WITHOUT ROWID;
";

/// One process's.
pub(super) struct Index {
    connection: Connection,
    /// The file and what keeps others from it; none in memory.
    slot: Option<Slot>,
}

struct Slot {
    path: PathBuf,
    _lock: File,
}

/// Why something was not found out.
enum Trouble {
    /// The index is of no more use.
    Index(rusqlite::Error),
    Git(Failure),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error)
    }
}

impl Index {
    /// Opens a file in `dir`, or makes one. If none can be had, the index is in memory.
    pub(super) fn open(dir: &Path) -> rusqlite::Result<Self> {
        let Some(slot) = Slot::take(dir) else { return Self::in_memory() };
        let opened = open_file(&slot.path).or_else(|error| {
            tracing::warn!(file = %slot.path.display(), %error, "the index is made anew");
            slot.clear();
            open_file(&slot.path)
        });
        match opened {
            Ok(connection) => Ok(Self { connection, slot: Some(slot) }),
            Err(error) => {
                tracing::warn!(file = %slot.path.display(), %error, "the index is kept in memory");
                Self::in_memory()
            }
        }
    }

    /// Makes one that goes with the process.
    pub(super) fn in_memory() -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(TABLES)?;
        Ok(Self { connection, slot: None })
    }

    /// Returns where intents are, as of a commit: by their place in `ids`.
    pub(super) fn find<'a>(
        &mut self,
        repo: &mut Repo,
        space: &SpaceName,
        tip: Oid,
        ids: impl Iterator<Item = &'a IntentId> + Clone,
    ) -> Result<Vec<(usize, Placed)>, Failure> {
        self.with(repo, space, tip, |connection, row| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, epoch, hash, content FROM intent WHERE space = ?1 AND id = ?2",
            )?;
            let mut found = Vec::new();
            for (at, id) in ids.clone().enumerate() {
                let placed = statement.query_row(params![row, id.as_str()], |row| {
                    Ok(Placed {
                        seq: Seq(row.get::<_, i64>(0)?.cast_unsigned()),
                        epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
                        hash: Digest(row.get(2)?),
                        content: Digest(row.get(3)?),
                    })
                });
                found.extend(placed.optional()?.map(|placed| (at, placed)));
            }
            Ok(found)
        })
    }

    /// Returns batches, as of a commit, in order: from the one that has event `from`, at most `count`.
    pub(super) fn batches(
        &mut self,
        repo: &mut Repo,
        space: &SpaceName,
        tip: Oid,
        from: Seq,
        count: usize,
    ) -> Result<Vec<Oid>, Failure> {
        let Ok(from) = i64::try_from(from.0) else { return Ok(Vec::new()) };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.with(repo, space, tip, |connection, row| {
            let mut statement = connection.prepare_cached(
                "SELECT oid FROM batch WHERE space = ?1 AND first >= coalesce(
                     (SELECT max(first) FROM batch WHERE space = ?1 AND first <= ?2), 0)
                 ORDER BY first LIMIT ?3",
            )?;
            let mut rows = statement.query(params![row, from, count])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let oid = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                found.push(Oid::from_bytes(oid).map_err(|_| rusqlite::Error::InvalidQuery)?);
            }
            Ok(found)
        })
    }

    /// Notes commits that were just put on a space's log, each with its events. Whoever reads may have been faster.
    pub(super) fn note(&mut self, space: &SpaceName, before: Option<Oid>, commits: &[(Oid, &[Event])]) {
        let Some((tip, _)) = commits.last() else { return };
        let note = || -> rusqlite::Result<()> {
            let transaction = begin(&self.connection)?;
            let known = known(&transaction, space)?;
            let row = match (&known, before) {
                (None, None) => put_space(&transaction, space, *tip)?,
                (Some((row, known)), Some(before)) if *known == before.as_bytes() => {
                    put_space(&transaction, space, *tip)?;
                    *row
                }
                // It is behind, or ahead: that is found out when it is asked.
                _ => return Ok(()),
            };
            commits.iter().try_for_each(|(oid, events)| insert(&transaction, row, *oid, events))?;
            transaction.commit()
        };
        if let Err(error) = note() {
            self.renew(&error);
        }
    }

    /// Asks, with the index caught up to a commit. If it is out of order, it is made anew.
    fn with<T>(
        &mut self,
        repo: &mut Repo,
        space: &SpaceName,
        tip: Oid,
        ask: impl Fn(&Connection, i64) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        for _ in 0..3 {
            let caught_up = catch_up(&self.connection, repo, space, tip);
            match caught_up.and_then(|row| ask(&self.connection, row).map_err(Trouble::Index)) {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Git(failure)) => return Err(failure),
                Err(Trouble::Index(error)) => self.renew(&error),
            }
        }
        Err(Failure::refused("no index can be made"))
    }

    /// Begins anew: in the file, or in memory if that was of no use.
    fn renew(&mut self, error: &rusqlite::Error) {
        tracing::warn!(%error, "the index is made anew");
        let Ok(memory) = Self::in_memory() else { return };
        let before = std::mem::replace(self, memory);
        drop(before.connection);
        let Some(slot) = before.slot else { return };
        slot.clear();
        match open_file(&slot.path) {
            Ok(connection) => *self = Self { connection, slot: Some(slot) },
            Err(error) => tracing::warn!(%error, "the index is kept in memory"),
        }
    }
}

impl Slot {
    fn take(dir: &Path) -> Option<Self> {
        (0..SLOTS_MAX).find_map(|slot| {
            let lock = dir.join(format!("index-{slot}.lock"));
            let lock = OpenOptions::new().write(true).create(true).truncate(false).open(lock).ok()?;
            lock.try_lock().ok()?;
            Some(Self { path: dir.join(format!("index-{slot}.db")), _lock: lock })
        })
    }

    /// Takes the files away; whoever still has them open keeps what it has.
    fn clear(&self) {
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.path.clone().into_os_string();
            name.push(end);
            // What is not there is gone.
            let _gone = fs::remove_file(PathBuf::from(name));
        }
    }
}

fn open_file(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE
        | OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags(path, flags)?;
    // Nothing is shared, so that nothing can be pulled from under anybody: no shared memory, and the last to close
    // takes away no file that has meanwhile become another's.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(16);
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == VERSION {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        return if verdict == "ok" { Ok(connection) } else { Err(rusqlite::Error::InvalidQuery) };
    }
    let transaction = begin(&connection)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(connection)
}

fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
}

/// A space's row, and the commit that it was caught up to.
fn known(connection: &Connection, space: &SpaceName) -> rusqlite::Result<Option<(i64, Vec<u8>)>> {
    let mut statement = connection.prepare_cached("SELECT id, tip FROM space WHERE name = ?1")?;
    statement.query_row(params![space.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn put_space(transaction: &Connection, space: &SpaceName, tip: Oid) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO space (name, tip) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET tip = ?2 RETURNING id",
        )?
        .query_row(params![space.as_str(), tip.as_bytes()], |row| row.get(0))
}

fn insert(transaction: &Connection, space: i64, oid: Oid, events: &[Event]) -> rusqlite::Result<()> {
    let Some(first) = events.first() else { return Ok(()) };
    transaction
        .prepare_cached("INSERT OR REPLACE INTO batch (space, first, oid) VALUES (?1, ?2, ?3)")?
        .execute(params![space, first.seq.0.cast_signed(), oid.as_bytes()])?;
    // Whatever a log says twice counts where it stands first.
    let mut statement = transaction.prepare_cached(
        "INSERT INTO intent (space, id, seq, epoch, hash, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (space, id) DO UPDATE SET seq = ?3, epoch = ?4, hash = ?5, content = ?6 WHERE ?3 < seq",
    )?;
    for event in events {
        let placed = event.placed();
        statement.execute(params![
            space,
            event.id.as_str(),
            placed.seq.0.cast_signed(),
            placed.epoch.0.cast_signed(),
            placed.hash.0,
            placed.content.0,
        ])?;
    }
    Ok(())
}

/// Walks from a commit back to the one that is known and takes up what is between; all of it, if that is not among
/// its ancestors. Returns the space's row.
fn catch_up(connection: &Connection, repo: &mut Repo, space: &SpaceName, tip: Oid) -> Result<i64, Trouble> {
    let before = known(connection, space)?;
    if let Some((row, known)) = &before
        && *known == tip.as_bytes()
    {
        return Ok(*row);
    }
    let transaction = begin(connection)?;
    let row = put_space(&transaction, space, tip)?;
    let known = before.map(|(_, known)| known);
    if !walk(&transaction, repo, space, row, tip, known.as_deref())? {
        tracing::warn!(%space, "the log has another history than its index, which is made anew");
        transaction.execute("DELETE FROM batch WHERE space = ?1", params![row])?;
        transaction.execute("DELETE FROM intent WHERE space = ?1", params![row])?;
        walk(&transaction, repo, space, row, tip, None)?;
    }
    transaction.commit()?;
    Ok(row)
}

/// Returns whether it has come to the commit that is known, or nothing is known and it has come to the first.
fn walk(
    transaction: &Connection,
    repo: &mut Repo,
    space: &SpaceName,
    row: i64,
    tip: Oid,
    known: Option<&[u8]>,
) -> Result<bool, Trouble> {
    let mut at = Some(tip);
    while let Some(oid) = at {
        if Some(oid.as_bytes()) == known {
            return Ok(true);
        }
        let record = repo.record(space, oid).map_err(Trouble::Git)?;
        insert(transaction, row, oid, &record.events)?;
        at = record.parent;
    }
    Ok(known.is_none())
}
