//! A replica over a log that breaks: what it acknowledged is there when the log is opened again, and its
//! chain goes on without a fork.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    sync::{Arc, mpsc},
    thread,
};

use bft_json_crdt::keypair::Keypair;
use gangline_doc::{
    EditFailed, LogSeq, NewItem, OpLog as _, OriginId, PipelineDoc, ReadLimit, Replica, ReplicaSettings,
    board, conformance::records,
};
use gangline_store::{
    MemoryOpLog, SqliteOpLog,
    fault::{Fault, FaultyOpLog},
};

fn open(log: Arc<dyn gangline_doc::OpLog>) -> Replica<PipelineDoc> {
    Replica::open(Keypair::from_seed(&[1; 32]), log, ReplicaSettings::default()).unwrap()
}

/// Adds ten items; returns the ids of those that were acknowledged.
fn add_ten(node: &Replica<PipelineDoc>) -> Vec<String> {
    let ids = (0..10).map(|n| format!("story-{n}"));
    ids.filter(|id| match node.edit(1, |editor| board::add(editor, NewItem::new(id))) {
        Ok((_, ticket)) => ticket.is_done() == Some(Ok(())),
        Err(EditFailed::Failed { .. }) => false,
        Err(other) => panic!("{other}"),
    })
    .collect()
}

fn story_ids(node: &Replica<PipelineDoc>) -> Vec<String> {
    node.read(board::items).0.into_iter().map(|item| item.story_id).collect()
}

#[test]
fn what_was_acknowledged_is_there_after_any_fault() {
    for fault in [Fault::Refuse, Fault::LandThenFail, Fault::Forget] {
        for at in 0..10 {
            let log = MemoryOpLog::new();
            let faulty = Arc::new(FaultyOpLog::new(log.clone(), fault, at));
            let node = open(Arc::clone(&faulty) as _);
            let acknowledged = add_ten(&node);
            assert!(faulty.has_struck());
            assert!(node.failure().is_some(), "{fault:?} at {at} went unnoticed");
            assert_eq!(acknowledged.len() as u64, at);

            // A peer has heard what the node told; the node that starts again forks nothing.
            let peer = Replica::<PipelineDoc>::open(
                Keypair::from_seed(&[2; 32]),
                Arc::new(MemoryOpLog::new()),
                ReplicaSettings::default(),
            )
            .unwrap();
            tell(&node, &peer);
            let again = open(Arc::new(log));
            assert_eq!(story_ids(&again).get(..acknowledged.len()), Some(acknowledged.as_slice()));
            let _ticket = again.edit(2, |editor| board::add(editor, NewItem::new("after"))).unwrap();
            tell(&again, &peer);
            assert_eq!(peer.equivocations(), []);
            assert_eq!(story_ids(&peer), story_ids(&again));
        }
    }
}

/// Nothing can notice a disk that lies until it is read again; then the log is shorter, and still sound.
#[test]
fn a_disk_that_lies_leaves_a_sound_prefix() {
    let log = MemoryOpLog::new();
    let node = open(Arc::new(FaultyOpLog::new(log.clone(), Fault::Lose, 4)));
    let acknowledged = add_ten(&node);
    assert_eq!(acknowledged.len(), 10);
    let again = open(Arc::new(log));
    assert_eq!(Some(story_ids(&again).as_slice()), acknowledged.get(..4));
}

/// The last handle is dropped inside an answer, hence by the worker, which must not wait for itself.
#[test]
fn an_answer_may_hold_the_last_handle() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(SqliteOpLog::open(dir.path()).unwrap());
    let last = Arc::clone(&log);
    let (dropped, was_dropped) = mpsc::channel::<()>();
    let (sender, receiver) = mpsc::channel();
    log.append(
        records(1),
        Box::new(move |answer| {
            was_dropped.recv().unwrap();
            drop(last);
            sender.send(answer.is_ok()).unwrap();
        }),
    );
    let first = thread::spawn(move || drop(log));
    first.join().unwrap();
    dropped.send(()).unwrap();
    assert!(receiver.recv().unwrap());
}

fn tell(from: &Replica<PipelineDoc>, to: &Replica<PipelineDoc>) {
    let entries = from.entries(LogSeq::START, ReadLimit::default()).unwrap();
    let changes = entries.iter().map(|entry| entry.change().clone()).collect();
    let (batch, _ticket) = to.apply(1, OriginId(1), changes).unwrap();
    assert!(batch.states.iter().all(|state| !state.is_refused()));
}
