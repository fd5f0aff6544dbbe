//! What can go wrong with a database, before it is known which one to name.

use std::sync::Arc;

use gangline_reconcile::{SourceError, TooLarge};
use rusqlite::{Error, ErrorCode};

/// A failure; [`Trouble::at`] says where.
#[derive(Debug)]
pub(super) enum Trouble {
    Sqlite(Error),
    /// It may have been committed.
    Unknown(Error),
    /// Table and column, and what is wrong with them.
    Schema(String),
    TooLarge {
        root: String,
        limit: TooLarge,
    },
}

impl Trouble {
    /// Names the database.
    pub(super) fn at(self, place: &str) -> SourceError {
        let place = place.to_owned();
        match self {
            Self::Sqlite(error) => match schema_fault(&error) {
                Some(what) => SourceError::Schema { place, what },
                None if is_busy(&error) => SourceError::Busy { place },
                None => SourceError::Unavailable { place, source: Arc::new(error) },
            },
            Self::Unknown(error) => SourceError::Unknown { place, source: Arc::new(error) },
            Self::Schema(what) => SourceError::Schema { place, what },
            Self::TooLarge { root, limit: TooLarge { limit, what } } => {
                SourceError::TooLarge { place, root, limit: limit as u64, what }
            }
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// What the database's schema has to do with it: a statement of ours names what is not there, or a view or trigger
/// does. SQLite names table and column; statements carry no values.
fn schema_fault(error: &Error) -> Option<String> {
    if let Error::SqlInputError { error, msg, .. } = error {
        return (error.code == ErrorCode::Unknown).then(|| msg.clone());
    }
    let Error::SqliteFailure(error, Some(message)) = error else { return None };
    let is_gone = error.code == ErrorCode::Unknown && message.starts_with("no such");
    (is_gone || error.code == ErrorCode::SchemaChanged).then(|| message.clone())
}

/// A journal is there that a connection which only reads may not roll back: its writer was killed.
pub(super) fn wants_recovery(error: &Error) -> bool {
    let Error::SqliteFailure(failure, _) = error else { return false };
    [rusqlite::ffi::SQLITE_READONLY_ROLLBACK, rusqlite::ffi::SQLITE_READONLY_RECOVERY]
        .contains(&failure.extended_code)
}
