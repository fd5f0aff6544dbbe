//! What is in the file, and the one place that knows its version.
//!
//! ```text
//! application_id  "GOPL", so that no other program's database is taken for one of ours
//! user_version    1; raised by one with each change of this schema, each with its migration
//!
//! meta            one row
//!   document        32 bytes    the id of the document whose changes these are
//!
//! entry           one row per change, in the order in which this node took them in
//!   seq             integer     0, 1, 2 … without a gap
//!   change          blob        the canonical encoding
//!   signature       64 bytes    Ed25519 over the change's digest
//!   received_at_ms  integer     when this node took it in, by its own clock
//!   vouched         0 or 1      whether the signature is known to be valid
//!   sum             8 bytes     over all of the above, see row.rs
//! ```

use rusqlite::{Connection, params};

use bft_json_crdt::DocumentId;

/// "GOPL".
pub(super) const APPLICATION_ID: i32 = 0x474f_504c;
/// The version that this program writes.
pub(super) const VERSION: i32 = 1;

const TABLES: &str = "
    CREATE TABLE meta (document BLOB NOT NULL) STRICT;
    CREATE TABLE entry (
        seq INTEGER PRIMARY KEY,
        change BLOB NOT NULL,
        signature BLOB NOT NULL,
        received_at_ms INTEGER NOT NULL,
        vouched INTEGER NOT NULL,
        sum BLOB NOT NULL
    ) STRICT;
";

/// Makes everything in an empty file.
pub(super) fn create(connection: &Connection, document: DocumentId) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(TABLES)?;
    connection.execute("INSERT INTO meta (document) VALUES (?1)", params![document.0])?;
    Ok(())
}
