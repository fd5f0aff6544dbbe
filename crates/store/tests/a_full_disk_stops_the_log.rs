//! What does not fit is refused, with everything after it, and nothing that was answered is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::{Arc, mpsc};

use gangline_doc::{
    OpLog as _, OpLogError,
    conformance::{append, assert_same, read_all, records},
};
use gangline_store::{DirLock, SqliteOpLog, SqliteSettings};

#[test]
fn a_full_disk_stops_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let settings = SqliteSettings { file_bytes_max: Some(96 << 10), ..SqliteSettings::default() };
    let lock = Arc::new(DirLock::acquire(dir.path()).unwrap());
    let log = SqliteOpLog::open_locked(Arc::clone(&lock), &settings).unwrap();
    let all = records(1_000);
    let mut answered = 0;
    let error = loop {
        match append(&log, all[answered..answered + 10].to_vec()) {
            Ok(()) => answered += 10,
            Err(error) => break error,
        }
    };
    assert!(answered > 50, "{answered}");
    assert!(matches!(error, OpLogError::NoSpace { .. }), "{error:?}");
    assert!(error.to_string().contains("board.db"), "{error}");
    let later = append(&log, all[answered..=answered].to_vec()).unwrap_err();
    assert!(matches!(later, OpLogError::NoSpace { .. }), "one record would fit, but the log has stopped");
    assert_same(&read_all(&log), &all[..answered]);
    drop(log);

    let log = SqliteOpLog::open_locked(lock, &SqliteSettings::default()).unwrap();
    assert_same(&read_all(&log), &all[..answered]);
    append(&log, all[answered..].to_vec()).unwrap();
    assert_same(&read_all(&log), &all);
}

#[test]
fn a_full_queue_stops_the_log_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let lock = Arc::new(DirLock::acquire(dir.path()).unwrap());
    let settings = SqliteSettings { queue_bytes_max: 40_000, ..SqliteSettings::default() };
    let log = SqliteOpLog::open_locked(lock, &settings).unwrap();
    let all = records(200);
    let (sender, receiver) = mpsc::channel();
    let (gate, held) = mpsc::channel::<()>();
    // The worker waits inside the first answer while the queue fills up: it has taken nothing else along.
    let (enter, entered) = mpsc::channel();
    let wait = move |_| {
        enter.send(()).unwrap();
        held.recv().unwrap();
    };
    log.append(Vec::new(), Box::new(wait));
    entered.recv().unwrap();
    for (n, some) in all.chunks(20).enumerate() {
        let sender = sender.clone();
        log.append(some.to_vec(), Box::new(move |answer| sender.send((n, answer)).unwrap()));
    }
    let stats = log.stats();
    assert!(stats.queued_bytes > 20_000 && stats.queued_bytes <= 40_000, "{stats:?}");
    gate.send(()).unwrap();
    drop(sender);
    let answers: Vec<(usize, Result<(), OpLogError>)> = receiver.iter().collect();
    assert!(answers.iter().map(|(n, _)| *n).eq(0..10), "in order");
    let accepted = answers.iter().take_while(|(_, answer)| answer.is_ok()).count();
    assert!((1..10).contains(&accepted), "{accepted}");
    for (_, answer) in &answers[accepted..] {
        assert!(matches!(answer, Err(OpLogError::QueueFull { bytes_max: 40_000, .. })), "{answer:?}");
    }
    assert_same(&read_all(&log), &all[..accepted * 20]);
    assert_eq!(log.stats().queued_bytes, 0);
}

#[test]
fn what_gathers_is_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteOpLog::open(dir.path()).unwrap();
    let (gate, held) = mpsc::channel::<()>();
    log.append(Vec::new(), Box::new(move |_| held.recv().unwrap()));
    let (sender, receiver) = mpsc::channel();
    for record in records(100) {
        let sender = sender.clone();
        log.append(vec![record], Box::new(move |answer| sender.send(answer.is_ok()).unwrap()));
    }
    drop(sender);
    gate.send(()).unwrap();
    assert_eq!(receiver.iter().filter(|ok| *ok).count(), 100);
    // The worker may have taken the first few along with the append that held it; then there are two.
    assert!(log.stats().commits <= 2, "{:?}", log.stats());
    assert_eq!(log.len().unwrap(), 100);
}
