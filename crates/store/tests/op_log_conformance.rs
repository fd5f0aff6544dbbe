//! Every backend keeps the op log's contract.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use gangline_doc::conformance;
use gangline_store::{MemoryOpLog, SqliteOpLog};

#[test]
fn memory() {
    conformance::check(|_name| {
        let log = MemoryOpLog::new();
        Box::new(move || Arc::new(log.clone()))
    });
}

#[test]
fn sqlite() {
    let dir = tempfile::tempdir().unwrap();
    conformance::check(|name| {
        let dir = dir.path().join(name);
        Box::new(move || Arc::new(SqliteOpLog::open(&dir).unwrap()))
    });
}
