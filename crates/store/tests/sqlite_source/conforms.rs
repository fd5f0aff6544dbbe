//! Rows of SQLite files keep the port's contract, however the file was made.

use gangline_reconcile::conformance;

use super::ground::{Make, SqliteGround, WAL};

fn check(make: Make) {
    conformance::check(|_name| Box::new(SqliteGround::new(make)));
}

#[test]
fn in_wal_mode() {
    check(WAL);
}

#[test]
fn in_rollback_mode() {
    check(Make { journal: "delete", ..WAL });
}

#[test]
fn in_utf_16_of_both_sorts() {
    check(Make { encoding: "UTF-16le", ..WAL });
    check(Make { encoding: "UTF-16be", ..WAL });
}

#[test]
fn without_row_numbers() {
    check(Make { table_options: "WITHOUT ROWID", ..WAL });
}
