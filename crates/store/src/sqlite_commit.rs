//! What a commit that failed has left behind.

use rusqlite::{Error, ErrorCode, ffi::SQLITE_IOERR_WRITE};

/// Whether a commit that failed has left nothing behind: it waited for another process in vain, or what it writes did
/// not fit, so that the file has no whole commit of it. After any other failure (of fsync above all) nobody knows.
pub(crate) fn certainly_not_committed(error: &Error) -> bool {
    let Error::SqliteFailure(failure, _) = error else { return false };
    matches!(failure.code, ErrorCode::DatabaseBusy | ErrorCode::DiskFull)
        || failure.extended_code == SQLITE_IOERR_WRITE
}
