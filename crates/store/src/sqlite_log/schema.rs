//! What is in the file, and the one place that knows its version.
//!
//! ```text
//! application_id  "GLOG", so that no other program's database is taken for one of ours
//! user_version    1; raised by one with each change of this schema, each with its migration
//!
//! space           one row per space
//!   name            text        its name
//!   incarnation     16 bytes    which life of its log
//!   epoch           integer     the highest that was sealed
//!   next, hash      integer, 32 bytes   where the log ends; compared and changed with every append
//!   access          text        whether it takes appends: `open`, `copy`, or `moved` and the place
//!
//! event           one row per event, by space and seq: 0, 1, 2 … without a gap
//! intent          one row per intent, for good: where it is and the digest of its content
//! lease           one row per space that was ever leased; it ends by the boot clock of `boot`
//! ```
//!
//! A file of leases only (application_id "GLEA") has the last of these tables alone; one of notes ("GNOT") a table of its
//! own: notes by source, kind and key.
//! Integers of 64 bits without a sign are stored as those with one that have the same bits.

use rusqlite::Connection;

use super::open::Kind;

impl Kind {
    /// "GLOG": events with their leases.
    pub(super) const LOG: Self = Self {
        name: "log.db",
        lock_name: "log.lock",
        application_id: 0x474c_4f47,
        version: 1,
        tables: &[EVENT_TABLES, LEASE_TABLE],
    };

    /// "GLEA": leases of spaces whose events are elsewhere.
    pub(super) const LEASES: Self = Self {
        name: "leases.db",
        lock_name: "leases.lock",
        application_id: 0x474c_4541,
        version: 1,
        tables: &[LEASE_TABLE],
    };

    /// "GNOT": what a node notes beside its documents.
    pub(crate) const NOTES: Self = Self {
        name: "notes.db",
        lock_name: "notes.lock",
        application_id: 0x474e_4f54,
        version: 1,
        tables: &[NOTE_TABLE],
    };
}

const EVENT_TABLES: &str = "
    CREATE TABLE space (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        incarnation BLOB NOT NULL,
        epoch INTEGER NOT NULL,
        next INTEGER NOT NULL,
        hash BLOB NOT NULL,
        access TEXT NOT NULL
    ) STRICT;
    CREATE TABLE event (
        space INTEGER NOT NULL REFERENCES space (id),
        seq INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        intent TEXT NOT NULL,
        author BLOB NOT NULL,
        holder BLOB NOT NULL,
        kind TEXT NOT NULL,
        payload BLOB NOT NULL,
        prev BLOB NOT NULL,
        hash BLOB NOT NULL,
        signature BLOB,
        PRIMARY KEY (space, seq)
    ) STRICT;
    CREATE TABLE intent (
        space INTEGER NOT NULL REFERENCES space (id),
        id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        hash BLOB NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (space, id)
    ) STRICT, WITHOUT ROWID;
";

const LEASE_TABLE: &str = "
    CREATE TABLE lease (
        space TEXT PRIMARY KEY,
        node BLOB NOT NULL,
        url TEXT,
        epoch INTEGER NOT NULL,
        boot TEXT NOT NULL,
        ends INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

const NOTE_TABLE: &str = "
    CREATE TABLE note (
        source TEXT NOT NULL,
        kind INTEGER NOT NULL,
        key TEXT NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (source, kind, key)
    ) STRICT, WITHOUT ROWID;
";

/// Makes everything in an empty file, in the caller's transaction.
pub(super) fn create(connection: &Connection, kind: &Kind) -> rusqlite::Result<()> {
    kind.tables.iter().try_for_each(|tables| connection.execute_batch(tables))?;
    connection.pragma_update(None, "application_id", kind.application_id)?;
    connection.pragma_update(None, "user_version", kind.version)
}
