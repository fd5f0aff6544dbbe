//! What every [`OpLog`] must do, as checks that each backend runs (feature `conformance`).
//!
//! ```text
//! #[test]
//! fn sqlite() {
//!     let dir = tempfile::tempdir().unwrap();
//!     gangline_doc::conformance::check(|name| {
//!         let dir = dir.path().join(name);
//!         Box::new(move || Arc::new(SqliteOpLog::open(&dir).unwrap()))
//!     });
//! }
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "checks fail by panicking"
)]

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use bft_json_crdt::{BaseCrdt, Change, Keypair};

use crate::{
    item::NewItem,
    op_log::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record},
    pipeline::PipelineDoc,
};

/// Opens one log; called again after the handle before has been dropped, it opens the same log.
pub type Open = Box<dyn Fn() -> Arc<dyn OpLog>>;

/// Runs every check, each on a log of its own that `make` makes an opener for, by the name of the check.
///
/// # Panics
/// If the backend breaks the contract.
pub fn check(make: impl Fn(&str) -> Open) {
    let run = |name: &str, check: fn(Open)| {
        check(make(name));
    };
    run("a_new_log_is_empty", a_new_log_is_empty);
    run("entries_come_back_as_they_were_appended", entries_come_back_as_they_were_appended);
    run("what_is_answered_can_be_read", what_is_answered_can_be_read);
    run("answers_come_once_and_in_order", answers_come_once_and_in_order);
    run("reads_keep_to_their_limits", reads_keep_to_their_limits);
    run("a_dropped_handle_finishes_its_work", a_dropped_handle_finishes_its_work);
    run("an_answer_may_use_the_log", an_answer_may_use_the_log);
    run("appends_of_many_threads_stay_whole", appends_of_many_threads_stay_whole);
}

fn a_new_log_is_empty(open: Open) {
    let log = open();
    assert_eq!(log.len().unwrap(), 0);
    assert!(log.is_empty().unwrap());
    assert!(log.read(LogSeq::START, ReadLimit::default()).unwrap().is_empty());
    assert!(log.read(LogSeq(7), ReadLimit::default()).unwrap().is_empty());
    append(log.as_ref(), Vec::new()).unwrap();
    assert_eq!(log.len().unwrap(), 0, "an append of nothing adds nothing");
}

fn entries_come_back_as_they_were_appended(open: Open) {
    let appended = records(40);
    let log = open();
    append(log.as_ref(), appended[..1].to_vec()).unwrap();
    append(log.as_ref(), appended[1..25].to_vec()).unwrap();
    drop(log);
    let log = open();
    assert_eq!(log.len().unwrap(), 25, "a log that is opened again goes on where it was");
    append(log.as_ref(), appended[25..].to_vec()).unwrap();
    assert_same(&read_all(log.as_ref()), &appended);
    assert_same(&log.read(LogSeq(30), ReadLimit::default()).unwrap(), &appended[30..]);
    assert!(log.read(LogSeq(40), ReadLimit::default()).unwrap().is_empty());
    assert!(log.read(LogSeq(u64::MAX), ReadLimit::default()).unwrap().is_empty());
}

fn what_is_answered_can_be_read(open: Open) {
    let log = open();
    let (sender, receiver) = mpsc::channel();
    for (n, record) in records(20).into_iter().enumerate() {
        let seen = Arc::downgrade(&log);
        let sender = sender.clone();
        let done: Done = Box::new(move |answer| {
            answer.unwrap();
            let log = seen.upgrade().expect("the test holds the log");
            let found = log.read(LogSeq(n as u64), ReadLimit { count: 1, bytes: 0 }).unwrap();
            sender.send((log.len().unwrap(), found)).unwrap();
        });
        log.append(vec![record], done);
    }
    for n in 0..20_u64 {
        let (len, found) = receiver.recv().unwrap();
        assert!(len > n, "answered {n}, but only {len} are durable");
        assert_eq!(found.len(), 1, "answered {n}, but it cannot be read");
        assert_eq!(found[0].seq, LogSeq(n));
    }
}

fn answers_come_once_and_in_order(open: Open) {
    let log = open();
    let (sender, receiver) = mpsc::channel();
    let mut left = records(90);
    for n in 0..60_usize {
        let some = left.drain(..(n % 3).min(left.len())).collect();
        let sender = sender.clone();
        log.append(some, Box::new(move |answer| sender.send((n, answer.is_ok())).unwrap()));
    }
    drop(sender);
    let answers: Vec<(usize, bool)> = receiver.iter().collect();
    assert_eq!(answers, (0..60).map(|n| (n, true)).collect::<Vec<_>>());
}

fn reads_keep_to_their_limits(open: Open) {
    let appended = records(30);
    let log = open();
    append(log.as_ref(), appended.clone()).unwrap();
    let read = |from, count, bytes| log.read(LogSeq(from), ReadLimit { count, bytes }).unwrap();
    assert_same(&read(0, 7, usize::MAX), &appended[..7]);
    assert_same(&read(28, 7, usize::MAX), &appended[28..]);
    let two = size(&appended[4]) + size(&appended[5]);
    assert_same(&read(4, 100, two), &appended[4..6]);
    assert_same(&read(4, 100, two - 1), &appended[4..5]);
    assert_same(&read(4, 100, 0), &appended[4..5]);
    assert_same(&read(4, 0, 0), &appended[4..5]);
    assert_same(&read(0, usize::MAX, usize::MAX), &appended);
}

fn a_dropped_handle_finishes_its_work(open: Open) {
    let appended = records(50);
    let answered = Arc::new(AtomicUsize::new(0));
    let log = open();
    for record in &appended {
        let answered = Arc::clone(&answered);
        let done: Done = Box::new(move |answer| {
            answer.unwrap();
            answered.fetch_add(1, Ordering::SeqCst);
        });
        log.append(vec![record.clone()], done);
    }
    drop(log);
    assert_eq!(answered.load(Ordering::SeqCst), 50, "a drop answers everything before it returns");
    assert_same(&read_all(open().as_ref()), &appended);
}

fn an_answer_may_use_the_log(open: Open) {
    let log = open();
    let appended = records(2);
    let (sender, receiver) = mpsc::channel();
    let weak = Arc::downgrade(&log);
    let next = appended[1].clone();
    let done: Done = Box::new(move |answer| {
        answer.unwrap();
        let log = weak.upgrade().expect("the test holds the log");
        log.append(vec![next], Box::new(move |answer| sender.send(answer.is_ok()).unwrap()));
    });
    log.append(vec![appended[0].clone()], done);
    assert!(receiver.recv().unwrap());
    assert_same(&read_all(log.as_ref()), &appended);
}

fn appends_of_many_threads_stay_whole(open: Open) {
    const THREADS: usize = 4;
    const APPENDS: usize = 25;
    const EACH: usize = 3;
    let log = open();
    let start = Barrier::new(THREADS);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (log, start, answered) = (&log, &start, &answered);
            let mut left = records_by(n as u8 + 1, APPENDS * EACH);
            scope.spawn(move || {
                start.wait();
                let (sender, receiver) = mpsc::channel();
                for _ in 0..APPENDS {
                    let sender = sender.clone();
                    let done: Done = Box::new(move |answer| sender.send(answer.is_ok()).unwrap());
                    log.append(left.drain(..EACH).collect(), done);
                }
                drop(sender);
                answered.fetch_add(receiver.iter().filter(|ok| *ok).count(), Ordering::SeqCst);
            });
        }
    });
    assert_eq!(answered.load(Ordering::SeqCst), THREADS * APPENDS);
    let entries = read_all(log.as_ref());
    assert_eq!(entries.len(), THREADS * APPENDS * EACH);
    for (n, together) in entries.chunks(EACH).enumerate() {
        assert_eq!(together[0].seq, LogSeq((n * EACH) as u64));
        for pair in together.windows(2) {
            assert_eq!(pair[1].change.author(), pair[0].change.author(), "an append was torn apart");
            assert_eq!(pair[1].change.seq(), pair[0].change.seq() + 1, "an append was reordered");
        }
    }
}

/// Appends and waits for the answer.
///
/// # Errors
/// What the log answered.
pub fn append(log: &dyn OpLog, records: Vec<Record>) -> Result<(), OpLogError> {
    let (sender, receiver) = mpsc::channel();
    log.append(records, Box::new(move |answer| sender.send(answer).expect("the caller waits")));
    receiver.recv().expect("every append is answered")
}

/// Reads a whole log, in steps.
///
/// # Panics
/// If it cannot be read, or positions are not contiguous.
pub fn read_all(log: &dyn OpLog) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = Vec::new();
    loop {
        let from = LogSeq(entries.len() as u64);
        let more = log.read(from, ReadLimit { count: 17, bytes: 1 << 20 }).unwrap();
        if more.is_empty() {
            return entries;
        }
        for (n, entry) in more.iter().enumerate() {
            assert_eq!(entry.seq, from.plus(n), "positions are contiguous");
        }
        entries.extend(more);
    }
}

/// Makes records of one author, in the order of its chain.
pub fn records(count: usize) -> Vec<Record> {
    records_by(7, count)
}

/// Makes records of the author with that seed.
///
/// # Panics
/// Never, unless the engine is broken.
pub fn records_by(seed: u8, count: usize) -> Vec<Record> {
    let keypair = Keypair::from_seed(&[seed; 32]);
    let base = BaseCrdt::<PipelineDoc>::new(&keypair);
    (0..count)
        .map(|n| {
            let name = "x".repeat((n * 37) % 211);
            let item = NewItem::new(format!("story-{n}")).with(crate::field::Field::Name, name).unwrap();
            let op = base.doc.items.try_push(item.content()).unwrap().try_sign(&keypair).unwrap();
            Record {
                change: op.into_change(),
                received_at_ms: 1_700_000_000_000 + n as u64,
                vouched: n % 2 == 0,
            }
        })
        .collect()
}

/// Asserts that entries are these records, to the byte.
///
/// # Panics
/// If they are not.
#[track_caller]
pub fn assert_same(entries: &[LogEntry], records: &[Record]) {
    let entry = |change: &Change, at, vouched| (change.bytes().to_vec(), *change.signature(), at, vouched);
    let found: Vec<_> = entries.iter().map(|e| entry(&e.change, e.received_at_ms, e.vouched)).collect();
    let expected: Vec<_> = records.iter().map(|r| entry(&r.change, r.received_at_ms, r.vouched)).collect();
    assert_eq!(found.len(), expected.len(), "number of entries");
    for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(found == expected, "entry {n} is not what was appended");
    }
}

fn size(record: &Record) -> usize {
    record.change.bytes().len()
}
