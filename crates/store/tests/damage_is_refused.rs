//! A file that cannot be trusted is refused with its name, and never shows anything but what was written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bft_json_crdt::DocumentId;
use gangline_doc::{
    LogSeq, OpLog as _, ReadLimit,
    conformance::{append, assert_same, read_all, records},
};
use gangline_store::{DirLock, OpenError, SqliteOpLog, SqliteSettings};
use rusqlite::Connection;

/// A directory with a log of 40 entries, closed.
fn a_log() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteOpLog::open(dir.path()).unwrap();
    append(&log, records(40)).unwrap();
    let path = log.path().to_owned();
    (dir, path)
}

/// Opens a damaged file: either it is refused by name, or nothing of what it shows is wrong.
fn check_damaged(dir: &Path, what: &str) -> bool {
    match SqliteOpLog::open(dir) {
        Ok(log) => {
            assert_same(&read_all(&log), &records(40));
            false
        }
        Err(error) => {
            assert!(error.to_string().contains("board.db"), "{what}: {error} does not name the file");
            true
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_shows_or_does_no_harm() {
    let (dir, path) = a_log();
    let len = fs::metadata(&path).unwrap().len();
    let mut refused = 0;
    let places: Vec<u64> = (0..len).step_by(211).collect();
    for place in &places {
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, *place).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << (place % 8))], *place).unwrap();
        refused += usize::from(check_damaged(dir.path(), &format!("bit at {place}")));
        file.write_all_at(&byte, *place).unwrap();
    }
    assert!(refused * 3 > places.len(), "only {refused} of {} flips were noticed", places.len());
    assert!(!check_damaged(dir.path(), "everything put back"));
}

#[test]
fn a_truncated_file_is_refused() {
    let (dir, path) = a_log();
    let whole = fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(1_021) {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(check_damaged(dir.path(), &format!("cut at {cut}")), "cut at {cut}: accepted");
    }
}

#[test]
fn a_missing_entry_is_named() {
    #[track_caller]
    fn check(sql: &str, expected: &str) {
        let (dir, path) = a_log();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let error = SqliteOpLog::open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "{} is damaged: {expected}; restore a backup, or move it away together with the node's key and \
                 start anew",
                path.display()
            )
        );
    }
    check("DELETE FROM entry WHERE seq = 7", "it has 39 entries up to number 39");
    check(
        "DELETE FROM entry WHERE seq = 7; UPDATE entry SET seq = -1 WHERE seq = 8",
        "it has 39 entries up to number 39",
    );
    check(
        "UPDATE entry SET received_at_ms = 0 WHERE seq = 3",
        "entry 3 is not what was written (its sum differs)",
    );
    check(
        "UPDATE entry SET signature = zeroblob(64) WHERE seq = 3",
        "entry 3 is not what was written (its sum differs)",
    );
    check("UPDATE entry SET signature = x'00' WHERE seq = 3", "entry 3 has a signature of a wrong length");
    check("DELETE FROM meta", "whose log it is: Query returned no rows");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (dir, path) = a_log();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteOpLog::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 9, known: 1, .. }));
    assert!(error.to_string().contains("install that version or a later one"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("board.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteOpLog::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("board.db");
    fs::write(&path, "a shopping list, long enough to be taken for a header ".repeat(100)).unwrap();
    assert!(matches!(SqliteOpLog::open(dir.path()), Err(OpenError::Damaged { .. })));
    fs::write(&path, "").unwrap();
    let error = SqliteOpLog::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("is damaged: it is empty"), "{error}");
}

#[test]
fn a_write_ahead_log_without_its_file_is_not_taken_for_a_new_log() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("board.db-wal"), b"the rest of something").unwrap();
    let error = SqliteOpLog::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(dir.path().join("board.db-wal").exists());
}

#[test]
fn an_unfinished_file_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("board.db.new"), b"half").unwrap();
    let log = SqliteOpLog::open(dir.path()).unwrap();
    append(&log, records(1)).unwrap();
    assert!(!dir.path().join("board.db.new").exists());
}

#[test]
fn documents_have_logs_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let lock = Arc::new(DirLock::acquire(dir.path()).unwrap());
    let other = SqliteSettings { document: DocumentId([3; 32]), ..SqliteSettings::default() };
    let board = SqliteOpLog::open_locked(Arc::clone(&lock), &SqliteSettings::default()).unwrap();
    let second = SqliteOpLog::open_locked(Arc::clone(&lock), &other).unwrap();
    append(&board, records(2)).unwrap();
    let error = append(&second, records(2)).unwrap_err();
    assert!(error.to_string().contains("was appended to the op log of document 0303"), "{error}");
    assert!(second.read(LogSeq::START, ReadLimit::default()).unwrap().is_empty());
    let path = second.path().to_owned();
    let board_path = board.path().to_owned();
    drop((board, second));
    fs::copy(board_path, &path).unwrap();
    let error = SqliteOpLog::open_locked(lock, &other).unwrap_err();
    assert!(matches!(error, OpenError::OtherDocument { found: DocumentId::DEFAULT, .. }), "{error}");
}

/// Who leaves out the check at opening is told at reading.
#[test]
fn reads_check_what_they_read() {
    let (dir, path) = a_log();
    let sql = "UPDATE entry SET vouched = 1 - vouched WHERE seq = 3";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let settings = SqliteSettings { check_entries: false, ..SqliteSettings::default() };
    let lock = Arc::new(DirLock::acquire(dir.path()).unwrap());
    let log = SqliteOpLog::open_locked(lock, &settings).unwrap();
    assert_same(&log.read(LogSeq::START, ReadLimit { count: 3, bytes: 1 << 20 }).unwrap(), &records(3));
    let error = log.read(LogSeq::START, ReadLimit::default()).unwrap_err();
    assert!(error.to_string().contains("board.db is damaged: entry 3"), "{error}");
}
