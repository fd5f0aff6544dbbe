//! Memory and SQLite give the same answers under the same schedule, across re-opening.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use gangline_doc::{
    LogSeq, OpLog, ReadLimit, Record,
    conformance::{append, assert_same, read_all, records},
};
use gangline_store::{MemoryOpLog, SqliteOpLog};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Read(u64, ReadLimit),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let limit = (0..20_usize, 0..4_000_usize).prop_map(|(count, bytes)| ReadLimit { count, bytes });
    prop_oneof![
        4 => (0..6_usize).prop_map(Step::Append),
        4 => (0..60_u64, limit).prop_map(|(from, limit)| Step::Read(from, limit)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn backends_behave_alike(steps in proptest::collection::vec(step(), 1..30)) {
        let mut left = records(steps.len() * 6);
        let mut appended: Vec<Record> = Vec::new();
        let dir = tempfile::tempdir().unwrap();
        let memory = MemoryOpLog::new();
        let mut sqlite = SqliteOpLog::open(dir.path()).unwrap();
        for step in steps {
            match step {
                Step::Append(count) => {
                    let some: Vec<Record> = left.drain(..count).collect();
                    append(&memory, some.clone()).unwrap();
                    append(&sqlite, some.clone()).unwrap();
                    appended.extend(some);
                }
                Step::Read(from, limit) => {
                    let expected = memory.read(LogSeq(from), limit).unwrap();
                    let found = sqlite.read(LogSeq(from), limit).unwrap();
                    let expected: Vec<Record> = expected
                        .into_iter()
                        .map(|e| Record { change: e.change, received_at_ms: e.received_at_ms, vouched: e.vouched })
                        .collect();
                    assert_same(&found, &expected);
                    prop_assert!(found.iter().zip(from..).all(|(entry, seq)| entry.seq == LogSeq(seq)));
                }
                Step::Reopen => {
                    drop(sqlite);
                    sqlite = SqliteOpLog::open(dir.path()).unwrap();
                }
            }
            prop_assert_eq!(sqlite.len().unwrap(), memory.len().unwrap());
        }
        assert_same(&read_all(&sqlite), &appended);
        assert_same(&read_all(&memory), &appended);
    }
}
