//! The port to a database: what is read from it, and what is written back.
//!
//! What a source promises (checked for every backend by the `conformance` feature):
//!
//! - **Snapshots.** All rows and the version of one [`RowSource::read`] are of one moment; so are those of a scan.
//! - **A bad row is its own.** A value that a document cannot have (an invalid text, a blob, a number that the column's
//!   type cannot have, NaN, a key that is null) makes its row a [`crate::BadRow`]; all others are read.
//! - **Saving is one transaction**, and compares every mapped column with what the caller expected before it writes.
//! - **Writers are never failed.** Reading holds no lock that a writer of the database waits for; triggers that were
//!   installed only insert into a table of their own.
//! - **Secrets.** Columns that the shape does not name are never read. Values are in no error and no log line;
//!   passwords of database URLs are masked everywhere.
//!
//! Calls wait for the database: they are for a thread that may.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use bft_json_crdt::JsonValue;

use crate::rows::{BadRow, Rows, RowsDigest};
use crate::schema::{Schema, Shape};

/// A database that documents follow.
pub trait RowSource: Send + Sync {
    /// Names the database for people, without its password.
    fn place(&self) -> &str;

    /// Returns the tables.
    ///
    /// # Errors
    /// [`SourceError`]
    fn schema(&self) -> Result<Schema, SourceError>;

    /// Reads the rows of one root in one snapshot. A root that is not there has neither root row nor others.
    ///
    /// # Errors
    /// [`SourceError`]
    fn read(&self, shape: &Shape, root: &str) -> Result<Rows, SourceError>;

    /// Returns keys of roots after one, ascending by their text's bytes.
    ///
    /// # Errors
    /// [`SourceError`]
    fn roots(&self, shape: &Shape, after: Option<&str>, limit: usize) -> Result<Vec<String>, SourceError>;

    /// Visits every root with the digest that [`Rows::digest`] gives of what [`RowSource::read`] returns, in one
    /// snapshot and in any order. Memory does not grow with the number of roots. A root that is
    /// [too large](SourceError::TooLarge) is visited with a digest that no rows have: who reads it is told.
    ///
    /// # Errors
    /// [`SourceError`]; what was visited before stands.
    fn scan(&self, shape: &Shape, visit: &mut dyn FnMut(&str, RowsDigest)) -> Result<Scanned, SourceError>;

    /// Returns a number that differs from the last one when anybody else has committed to the database since. Cheap.
    ///
    /// # Errors
    /// [`SourceError`]
    fn pulse(&self) -> Result<u64, SourceError>;

    /// Returns the statements that [`RowSource::install`] executes.
    ///
    /// # Errors
    /// [`SourceError`]
    fn install_sql(&self, shape: &Shape) -> Result<Vec<String>, SourceError>;

    /// Adds an outbox and triggers that note in it which roots any writer touches. What is there already stays.
    ///
    /// # Errors
    /// [`SourceError`]
    fn install(&self, shape: &Shape) -> Result<(), SourceError>;

    /// Returns the statements that [`RowSource::uninstall`] executes; none where nothing is installed.
    ///
    /// # Errors
    /// [`SourceError`]
    fn uninstall_sql(&self, shape: &Shape) -> Result<Vec<String>, SourceError>;

    /// Removes exactly what [`RowSource::install`] added.
    ///
    /// # Errors
    /// [`SourceError`]
    fn uninstall(&self, shape: &Shape) -> Result<(), SourceError>;

    /// Returns which roots were touched after a position; none where no outbox is installed for this shape.
    ///
    /// Without a position, or unless it goes on [whole](Continuity::Whole), it returns no roots and the end of the
    /// outbox: take that position, then scan.
    ///
    /// # Errors
    /// [`SourceError`]
    fn outbox(
        &self,
        shape: &Shape,
        after: Option<OutboxPosition>,
        limit: usize,
    ) -> Result<Option<OutboxRead>, SourceError>;

    /// Removes rows of the outbox that are older than 7 days, and all but the last 100,000.
    ///
    /// # Errors
    /// [`SourceError`]
    fn prune(&self, shape: &Shape) -> Result<(), SourceError>;

    /// Writes what a document has into its rows: in one transaction, if the rows are those that the caller expects.
    ///
    /// The order of the writes is a proposal: whatever state the schema takes in the end is reached, also where values
    /// that are unique move from row to row. As long as a column can hold a value that no row has, that is: a source may
    /// write one in between, and triggers see it.
    ///
    /// Rows that either side could not read are not compared, and a write to one is refused. The version is raised by 1
    /// if there are any writes. To delete a row that an earlier write took along (a cascade) is no mistake; an update or
    /// a delete that finds no row otherwise has [moved](SaveOutcome::Moved).
    ///
    /// # Errors
    /// [`SourceError`]; nothing was written unless it is [`SourceError::Unknown`].
    fn save(&self, shape: &Shape, request: &SaveRequest) -> Result<SaveOutcome, SourceError>;

    /// Tells whether a save was committed, by its id; none where no outbox keeps ids.
    ///
    /// # Errors
    /// [`SourceError`]
    fn was_saved(&self, shape: &Shape, save_id: &str) -> Result<Option<bool>, SourceError>;
}

/// What a scan found beside the roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// How many rows of the root table have a key that can be none, by what is wrong with it: no document follows them.
    pub nameless: BTreeMap<String, usize>,
}

/// A place in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxPosition {
    /// Which outbox it is, drawn when that was installed, and which entry: for the source alone to compare.
    pub incarnation: u64,
    /// The last entry that was read.
    pub seq: i64,
}

/// Entries of an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRead {
    /// Roots that were touched, each once.
    pub roots: Vec<String>,
    /// What to ask with the next time.
    pub position: OutboxPosition,
    /// There are more entries.
    pub is_more: bool,
    /// How it goes on from where the caller was.
    pub continuity: Continuity,
}

/// Whether an outbox says everything that happened since a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It does.
    Whole,
    /// Entries are missing: pruned, or the outbox was installed anew. Scan.
    Gap,
    /// It ends before the position: the database was put back from a backup.
    Restored,
}

/// What a document wants to have written.
#[derive(Clone, Debug, PartialEq)]
pub struct SaveRequest {
    /// The root row's key.
    pub root: String,
    /// Names this save for ever: kept beside the rows where an outbox is installed.
    pub save_id: String,
    /// What the rows are believed to be. The version is not compared.
    pub expected: Rows,
    /// What to write: in this order as far as the schema takes it.
    pub writes: Vec<Write>,
}

/// One row to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The list; none for the root.
    pub list: Option<usize>,
    /// The row's key. An insert sets it, and in lists the parent column too.
    pub key: String,
    /// What to do.
    pub action: WriteAction,
}

/// What to do with a row.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteAction {
    /// Insert it with these fields, by their places in the shape; others get the schema's defaults.
    Insert(Vec<(usize, JsonValue)>),
    /// Change these fields.
    Update(Vec<(usize, JsonValue)>),
    /// Delete it.
    Delete,
}

/// What became of a save.
#[derive(Clone, Debug, PartialEq)]
pub enum SaveOutcome {
    /// It is committed; these are the rows now, the raised version and what the database changed on the way included.
    Saved(Rows),
    /// The rows are not those that were expected but these. Nothing was written.
    Moved(Rows),
    /// The schema refuses a row. Nothing was written.
    Refused(BadRow),
}

/// Why a source does not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Somebody else has the database locked, or it is slow. Nothing was written; try again later.
    #[error("{place} is locked by another program")]
    Busy {
        /// The database.
        place: String,
    },
    /// A table or column of the mapping is gone or has changed. Change the mapping, or put it back.
    #[error("{place} does not fit the mapping: {what}")]
    Schema {
        /// The database.
        place: String,
        /// Table and column, and what is wrong with them.
        what: String,
    },
    /// It cannot be reached, read or written. Nothing was written; try again later.
    #[error("{place} cannot be used")]
    Unavailable {
        /// The database.
        place: String,
        /// What the driver said.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// It may have been written: the answer was lost. Ask [`RowSource::was_saved`], or read the rows.
    #[error("{place} did not say whether it has committed")]
    Unknown {
        /// The database.
        place: String,
        /// What the driver said.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// A root has more than one document can hold. Nothing was read.
    #[error("{place}: root {root:?} has more than {limit} {what}")]
    TooLarge {
        /// The database.
        place: String,
        /// The root's key.
        root: String,
        /// How many are allowed.
        limit: u64,
        /// Of what: rows or bytes.
        what: &'static str,
    },
}
