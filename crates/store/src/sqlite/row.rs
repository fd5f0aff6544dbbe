//! Entries as rows: the one place that writes and reads them, with the sum that guards each.

use std::{path::Path, sync::Arc};

use bft_json_crdt::Change;
use gangline_doc::{LogEntry, LogSeq, OpLogError, ReadLimit, Record};
use rusqlite::{CachedStatement, Connection, ErrorCode, Row, params};
use sha2::{Digest as _, Sha256};

/// A failure before it is known which file to name.
#[derive(Debug)]
pub(super) enum RowError {
    Sqlite(rusqlite::Error),
    /// A row is not what was written.
    Damaged(String),
}

impl RowError {
    /// Sorts a failure by what can be done about it.
    pub(super) fn at(self, path: &Path) -> OpLogError {
        let place = path.display().to_string();
        match self {
            Self::Damaged(what) => OpLogError::Damaged { place, what },
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => OpLogError::NoSpace { place, source: Arc::new(error) },
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    OpLogError::Damaged { place, what: error.to_string() }
                }
                _ => OpLogError::Io { place, source: Arc::new(error) },
            },
        }
    }
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

pub(super) fn prepare_insert(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(
        "INSERT INTO entry (seq, change, signature, received_at_ms, vouched, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
}

pub(super) fn insert(
    statement: &mut CachedStatement<'_>,
    seq: LogSeq,
    record: &Record,
) -> rusqlite::Result<()> {
    let Record { change, received_at_ms, vouched } = record;
    statement.execute(params![
        seq.0.cast_signed(),
        change.bytes(),
        change.signature(),
        received_at_ms.cast_signed(),
        vouched,
        sum(seq, change, *received_at_ms, *vouched),
    ])?;
    Ok(())
}

/// Reads entries from `from` up to `end`, within the limit but at least one.
pub(super) fn read(
    connection: &Connection,
    from: LogSeq,
    end: LogSeq,
    limit: ReadLimit,
) -> Result<Vec<LogEntry>, RowError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, change, signature, received_at_ms, vouched, sum FROM entry
         WHERE seq >= ?1 AND seq < ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![from.0.cast_signed(), end.0.cast_signed()])?;
    let mut bytes = 0_usize;
    let mut entries = Vec::new();
    let mut next = from;
    while let Some(row) = rows.next()? {
        bytes = bytes.saturating_add(blob(row, 1)?.len());
        if !entries.is_empty() && (entries.len() >= limit.count || bytes > limit.bytes) {
            return Ok(entries);
        }
        entries.push(entry(row, next)?);
        next = next.plus(1);
    }
    if next != end {
        return Err(RowError::Damaged(format!("entry {next} is missing")));
    }
    Ok(entries)
}

fn entry(row: &Row<'_>, expected: LogSeq) -> Result<LogEntry, RowError> {
    let seq = LogSeq(row.get::<_, i64>(0)?.cast_unsigned());
    if seq != expected {
        return Err(RowError::Damaged(format!("entry {expected} is missing")));
    }
    let signature = blob(row, 2)?
        .try_into()
        .map_err(|_| RowError::Damaged(format!("entry {seq} has a signature of a wrong length")))?;
    let change = Change::decode(blob(row, 1)?, signature)
        .map_err(|error| RowError::Damaged(format!("entry {seq} is not a change: {error}")))?;
    let received_at_ms = row.get::<_, i64>(3)?.cast_unsigned();
    let vouched = row.get(4)?;
    if blob(row, 5)? != sum(seq, &change, received_at_ms, vouched) {
        return Err(RowError::Damaged(format!("entry {seq} is not what was written (its sum differs)")));
    }
    Ok(LogEntry { seq, change, received_at_ms, vouched })
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8], RowError> {
    row.get_ref(column)?
        .as_blob()
        .map_err(|error| RowError::Damaged(format!("column {column} of an entry: {error}")))
}

/// The first 8 bytes of SHA-256 over a domain word, the row's integers, the signature and the change's
/// digest, which is itself made from the change's bytes: any bit of a row that flips shows.
fn sum(seq: LogSeq, change: &Change, received_at_ms: u64, vouched: bool) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(b"gangline op log entry 1\n");
    hash.update(seq.0.to_le_bytes());
    hash.update(received_at_ms.to_le_bytes());
    hash.update([u8::from(vouched)]);
    hash.update(change.signature());
    hash.update(change.digest().0);
    let whole: [u8; 32] = hash.finalize().into();
    let mut sum = [0; 8];
    sum.copy_from_slice(whole.split_at(8).0);
    sum
}
