//! Readers of the log: a cursor is all they need, whatever is still in memory, and they know who brought what.

use std::sync::Arc;

use bft_json_crdt::keypair::Keypair;
use gangline_doc::{LogSeq, OriginId, PipelineDoc, ReadLimit, Replica, ReplicaSettings, SyncSource};

use crate::{ManualLog, add, deliver, entries, replica};

#[test]
fn a_slow_reader_gets_from_the_log_what_memory_forgot() {
    let log = ManualLog::prompt();
    let settings = ReplicaSettings { recent_max_count: 10, ..ReplicaSettings::default() };
    let keypair = Keypair::from_seed(&[1; 32]);
    let node = Replica::<PipelineDoc>::open(keypair, Arc::new(log.clone()), settings).unwrap();
    let reads = log.reads();
    for n in 0..50 {
        let _ticket = add(&node, &format!("s{n}"));
    }
    assert_eq!(node.stats().recent_count, 10);
    assert_eq!(entries(&node, LogSeq(40)).len(), 10);
    assert_eq!(log.reads(), reads, "live readers never touch the log");
    let all = entries(&node, LogSeq::START);
    assert!(log.reads() > reads);
    assert!(all.iter().zip(0..).all(|(entry, n)| entry.seq() == LogSeq(n)));
    assert_eq!(all.len(), 50);
    assert!(node.entries(LogSeq(50), ReadLimit::default()).unwrap().is_empty());
    assert!(node.entries(LogSeq(u64::MAX), ReadLimit::default()).unwrap().is_empty());
}

#[test]
fn memory_for_readers_is_bounded_in_bytes() {
    let settings = ReplicaSettings { recent_max_bytes: 20_000, ..ReplicaSettings::default() };
    let keypair = Keypair::from_seed(&[1; 32]);
    let node = Replica::<PipelineDoc>::open(keypair, Arc::new(ManualLog::prompt()), settings).unwrap();
    for n in 0..50 {
        let _ticket = add(&node, &format!("s{n}{}", "x".repeat(n * 20)));
    }
    let stats = node.stats();
    assert!(stats.recent_bytes <= 20_000 && stats.recent_count > 2, "{stats:?}");
    assert_eq!(entries(&node, LogSeq::START).len(), 50);
}

/// An op that waited for another session's op belongs to the session that brought it, also when it is read
/// from the log, and after a restart to nobody.
#[test]
fn entries_know_who_brought_them() {
    let author = replica(2);
    for story_id in ["a", "b", "c"] {
        let _ticket = add(&author, story_id);
    }
    let changes: Vec<_> =
        entries(&author, LogSeq::START).iter().map(|entry| entry.change().clone()).collect();

    let log = ManualLog::prompt();
    for recent_max_count in [100, 0] {
        let log = log.after_a_crash();
        let settings = ReplicaSettings { recent_max_count, ..ReplicaSettings::default() };
        let keypair = Keypair::from_seed(&[1; 32]);
        let node = Replica::<PipelineDoc>::open(keypair, Arc::new(log.clone()), settings).unwrap();
        let apply = |origin, n: usize| {
            let (batch, _ticket) = node.apply(1, OriginId(origin), vec![changes[n].clone()]).unwrap();
            log.answer_all();
            batch
        };
        assert!(apply(7, 2).states[0].is_pending());
        assert!(SyncSource::is_pending(&node, &changes[2].digest()));
        assert!(apply(8, 1).states[0].is_pending());
        assert_eq!(apply(9, 0).applied.len(), 3);
        assert!(!node.is_pending(&changes[2].digest()));
        let _ticket = add(&node, "own");
        log.answer_all();
        let origins = |node: &Replica<PipelineDoc>| -> Vec<_> {
            entries(node, LogSeq::START).iter().map(|entry| entry.origin()).collect()
        };
        let brought = |n| Some(OriginId(n));
        assert_eq!(origins(&node), [brought(9), brought(8), brought(7), None]);
        assert_eq!(origins(&crate::open(1, &log)), [None; 4]);
    }
}

#[test]
fn a_frame_is_made_once_and_understood() {
    let node = replica(1);
    let _ticket = add(&node, "s");
    let all = entries(&node, LogSeq::START);
    let entry = &all[0];
    assert!(entry.is_vouched());
    let op = gangline_wire::decode(entry.v1()).unwrap();
    assert_eq!(op.digest(), entry.change().digest());
    assert!(std::ptr::eq(entry.v1(), entry.v1()));
    let other = replica(2);
    deliver(&node, &other);
    let relayed = entries(&other, LogSeq::START);
    assert_eq!(relayed[0].v1(), entry.v1());
    assert!(relayed[0].is_vouched());
}

#[test]
fn an_entry_with_a_bad_signature_is_not_vouched_for() {
    let author = replica(2);
    let _tickets = [add(&author, "a"), add(&author, "b")];
    let mut changes: Vec<_> =
        entries(&author, LogSeq::START).iter().map(|entry| entry.change().clone()).collect();
    changes[0] = changes[0].with_signature([9; 64]);
    let node = replica(1);
    let (batch, _ticket) = node.apply(1, OriginId(1), changes).unwrap();
    assert_eq!(batch.applied.len(), 2, "the second change covers the first");
    let vouched: Vec<bool> = entries(&node, LogSeq::START).iter().map(|entry| entry.is_vouched()).collect();
    assert_eq!(vouched, [false, true]);
}
