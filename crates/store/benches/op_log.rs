//! Appends until they are durable, beside what the disk itself takes for the same bytes.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::{fs::File, io::Write as _};

use divan::{Bencher, counter::ItemsCount};
use gangline_doc::{
    LogSeq, OpLog as _, ReadLimit,
    conformance::{append, records},
};
use gangline_store::SqliteOpLog;

fn main() {
    divan::main();
}

/// The floor: 200 bytes at the end of a file, and one sync.
#[divan::bench(sample_count = 200)]
fn floor_write_200_bytes_and_fdatasync(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("floor")).unwrap();
    bencher.bench_local(|| {
        file.write_all(&[7; 200]).unwrap();
        file.sync_data().unwrap();
    });
}

#[divan::bench(sample_count = 200)]
fn append_one(bencher: Bencher<'_, '_>) {
    group(bencher, 1);
}

#[divan::bench(sample_count = 100)]
fn append_a_group_of_100(bencher: Bencher<'_, '_>) {
    group(bencher, 100);
}

fn group(bencher: Bencher<'_, '_>, count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteOpLog::open(dir.path()).unwrap();
    let records = records(count);
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| records.clone())
        .bench_local_values(|records| append(&log, records).unwrap());
}

#[divan::bench(sample_count = 50)]
fn read_1000(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteOpLog::open(dir.path()).unwrap();
    append(&log, records(1_000)).unwrap();
    let limit = ReadLimit { count: 1_000, bytes: usize::MAX };
    bencher.counter(ItemsCount::new(1_000_usize)).bench_local(|| log.read(LogSeq::START, limit).unwrap());
}

#[divan::bench(sample_count = 10)]
fn open_10000(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    append(&SqliteOpLog::open(dir.path()).unwrap(), records(10_000)).unwrap();
    bencher.counter(ItemsCount::new(10_000_usize)).bench_local(|| SqliteOpLog::open(dir.path()).unwrap());
}
