//! What was answered is there after a crash: a process killed in the middle of a storm of writes, and copies
//! of the files taken while they were in use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
};

use gangline_doc::{
    OpLog as _,
    conformance::{append, assert_same, read_all, records},
};
use gangline_store::SqliteOpLog;

const CHILD_DIR: &str = "GANGLINE_TEST_STORM_DIR";
const STORM: usize = 2_000;

/// Appends under way at any moment: the process is always killed in the middle of some.
const UNDER_WAY: usize = 100;

/// Not a test by itself: what the next test runs in a process of its own. Says how many entries were answered,
/// and makes one more for each line on its standard input, so that it cannot run ahead of its reader.
#[test]
fn storm() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let log = SqliteOpLog::open(Path::new(&dir)).unwrap();
    let start = usize::try_from(log.len().unwrap()).unwrap();
    let (sender, receiver) = mpsc::channel();
    let mut records = records(STORM).into_iter().enumerate().skip(start);
    let log = &log;
    let mut append_next = move || {
        let Some((n, record)) = records.next() else { return };
        let sender = sender.clone();
        log.append(vec![record], Box::new(move |answer| sender.send((n, answer)).unwrap()));
    };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut out = std::io::stdout().lock();
            for (n, answer) in receiver {
                answer.unwrap();
                writeln!(out, "\nanswered {}", n + 1).unwrap();
                out.flush().unwrap();
            }
        });
        (0..UNDER_WAY).for_each(|_| append_next());
        for _line in std::io::stdin().lines() {
            append_next();
        }
        drop(append_next);
    });
}

#[test]
fn a_killed_process_loses_nothing_that_it_answered() {
    let dir = tempfile::tempdir().unwrap();
    let all = records(STORM);
    for kill_after in [1, 150, 700] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storm", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut more = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let answered = |line: String| line.strip_prefix("answered ").map(|n| n.parse::<usize>().unwrap());
        let mut last = 0;
        for n in lines.by_ref().filter_map(answered).take(kill_after) {
            last = n;
            writeln!(more).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still managed to say counts too.
        last = lines.filter_map(answered).last().unwrap_or(last);
        assert!(last >= kill_after, "the storm ended early, at {last}");

        let log = SqliteOpLog::open(dir.path()).unwrap();
        let entries = read_all(&log);
        assert!(entries.len() >= last, "{last} were answered, {} are there", entries.len());
        assert_same(&entries, &all[..entries.len()]);
    }
}

#[test]
fn a_copy_of_the_files_in_use_has_all_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteOpLog::open(dir.path()).unwrap();
    let all = records(300);
    let mut end = 0;
    for step in [1, 30, 100, 169] {
        append(&log, all[end..end + step].to_vec()).unwrap();
        end += step;
        let copy = tempfile::tempdir().unwrap();
        copy_files(&log, copy.path());
        assert_same(&read_all(&SqliteOpLog::open(copy.path()).unwrap()), &all[..end]);
    }
}

#[test]
fn a_log_that_lost_its_last_writes_opens_with_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteOpLog::open(dir.path()).unwrap();
    let all = records(60);
    for record in &all {
        append(&log, vec![record.clone()]).unwrap();
    }
    let wal = log.path().with_file_name("board.db-wal");
    let wal_bytes = fs::metadata(&wal).unwrap().len();
    let mut lens = Vec::new();
    for cut in (0..=wal_bytes).rev().step_by(9_973) {
        let copy = tempfile::tempdir().unwrap();
        copy_files(&log, copy.path());
        let file = fs::OpenOptions::new().write(true).open(copy.path().join("board.db-wal")).unwrap();
        file.set_len(cut).unwrap();
        let entries = read_all(&SqliteOpLog::open(copy.path()).unwrap());
        assert_same(&entries, &all[..entries.len()]);
        lens.push(entries.len());
    }
    assert!(lens.is_sorted_by(|a, b| a >= b), "less of the file, fewer entries: {lens:?}");
    assert_eq!(lens.first(), Some(&60));
}

fn copy_files(log: &SqliteOpLog, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = format!("board.db{suffix}");
        fs::copy(log.path().with_file_name(&name), to.join(&name)).unwrap();
    }
}
