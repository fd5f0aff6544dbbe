//! Every backend keeps the contract of logs with leases.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;

use gangline_lease::conformance;
use gangline_store::{BootClock, GitLog, MemoryEventStore, MemoryLeaseRegistry, SqliteLog};

#[test]
fn memory() {
    conformance::check(|_name, clock| {
        let (store, registry) = (MemoryEventStore::new(), MemoryLeaseRegistry::new(clock));
        Box::new(move || (Arc::new(store.clone()), Arc::new(registry.clone())))
    });
}

/// Each node has a handle of its own, as if it were another process.
#[test]
fn sqlite() {
    let dir = tempfile::tempdir().unwrap();
    conformance::check(|name, clock| {
        let (dir, clock) = (dir.path().join(name), BootClock::of("boot", clock));
        Box::new(move || {
            let log = Arc::new(SqliteLog::open(&dir, clock.clone()).unwrap());
            (Arc::clone(&log) as _, log as _)
        })
    });
}

/// Each node has a handle of its own, as if it were another process.
#[test]
fn git() {
    let dir = tempfile::tempdir().unwrap();
    conformance::check(|name, clock| {
        let (dir, clock) = (dir.path().join(name), BootClock::of("boot", clock));
        Box::new(move || {
            let log = Arc::new(GitLog::open(&dir, clock.clone()).unwrap());
            (Arc::clone(&log) as _, log as _)
        })
    });
}
