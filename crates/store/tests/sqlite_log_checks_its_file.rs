//! What is in the file is checked: who wrote it, which version, whether it is what was written, and of which boot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{fs, path::Path, sync::Arc, time::Duration};

use gangline_lease::{
    EventStore as _, LeaseError, ReadLimit, Seq, SpaceName, StoreError,
    conformance::{ManualClock, Open, Team, block_on},
};
use gangline_store::{BootClock, OpenLogError, SqliteLog};
use rusqlite::Connection;

fn space() -> SpaceName {
    SpaceName::new("s").unwrap()
}

fn boot(name: &str, clock: &Arc<ManualClock>) -> BootClock {
    BootClock::of(name, Arc::clone(clock) as _)
}

fn open(dir: &Path) -> Result<SqliteLog, OpenLogError> {
    SqliteLog::open(dir, boot("boot", &ManualClock::new()))
}

fn team(dir: &Path, boot: BootClock, clock: &Arc<ManualClock>) -> Team {
    let dir = dir.to_owned();
    let open: Open = Box::new(move || {
        let log = Arc::new(SqliteLog::open(&dir, boot.clone()).unwrap());
        (Arc::clone(&log) as _, log as _)
    });
    Team::new(Arc::clone(clock), open)
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = open(dir.path()).unwrap().path().to_owned();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = fs::read(&path).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenLogError::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("log.db was written by a newer version"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn another_programs_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(matches!(open(dir.path()).unwrap_err(), OpenLogError::Foreign { .. }));
    fs::write(&path, b"certainly no database, but a text of some length that somebody has put here").unwrap();
    assert!(matches!(open(dir.path()).unwrap_err(), OpenLogError::Damaged { .. }));
}

#[test]
fn a_row_that_was_altered_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let team = team(dir.path(), boot("boot", &clock), &clock);
    let alice = team.member(1);
    for n in 0..5 {
        alice.append(&space(), &format!("i{n}")).unwrap();
    }
    let log = open(dir.path()).unwrap();
    let by_hand = Connection::open(log.path()).unwrap();
    let read = || block_on(log.read(&space(), Seq(0), ReadLimit::default()));
    assert_eq!(read().unwrap().len(), 5);
    for (sql, what) in [
        ("UPDATE event SET payload = CAST('{}' AS BLOB) WHERE seq = 3", "event 3 of space s: it is not what"),
        (
            "UPDATE event SET payload = CAST('{ }' AS BLOB) WHERE seq = 3",
            "event 3 of space s: its payload has",
        ),
        ("UPDATE event SET intent = 'a b' WHERE seq = 2", "event 2 of space s: the id of an intent has ' '"),
        ("DELETE FROM event WHERE seq = 1", "event 1 of space s: it is missing"),
    ] {
        by_hand.execute(sql, []).unwrap();
        match read() {
            Err(StoreError::Damaged { what: found, .. }) => assert!(found.starts_with(what), "{found}"),
            other => panic!("altered, but: {other:?}"),
        }
    }
}

#[test]
fn a_lease_of_an_earlier_boot_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let before = team(dir.path(), boot("first", &clock), &clock);
    let (alice, bob) = (before.member(1), before.member(2));
    let first = alice.append(&space(), "a").unwrap();
    assert!(matches!(block_on(bob.authority.acquire(&space())), Err(LeaseError::Held { .. })));

    let after = team(dir.path(), boot("second", &clock), &clock);
    let bob = after.member(2);
    block_on(bob.authority.acquire(&space())).unwrap();
    let second = bob.append(&space(), "b").unwrap();
    assert!(second.epoch > first.epoch, "the epoch outlives the boot");
    assert_eq!(after.verified(&space()).len(), 2);
}

#[test]
fn leases_and_logs_are_there_after_the_file_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let node = {
        let team = team(dir.path(), boot("boot", &clock), &clock);
        let alice = team.member(1);
        alice.append(&space(), "a").unwrap();
        alice.node()
    };
    clock.advance(Duration::from_secs(3));
    let team = team(dir.path(), boot("boot", &clock), &clock);
    let (_, registry) = team.backend();
    let lease = block_on(registry.lease(&space())).unwrap().unwrap();
    assert_eq!((lease.holder.node, lease.left), (node, Duration::from_secs(7)));
    assert_eq!(team.verified(&space()).len(), 1);
}
