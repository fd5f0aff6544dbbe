//! Fail-stop: after the log has failed nothing goes in, nothing undurable was told, and reads go on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bft_json_crdt::keypair::Keypair;
use gangline_doc::{
    ApplyError, BoardError, EditFailed, LogSeq, NewItem, OriginId, PipelineDoc, Replica, ReplicaSettings,
    board,
};

use crate::{ManualLog, add, entries, open, replica, story_ids, try_add};

#[test]
fn a_failed_log_stops_the_replica() {
    let log = ManualLog::slow();
    let node = open(1, &log);
    let kept = add(&node, "kept");
    log.answer_all();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let _subscription = node.subscribe(Box::new(move |durable| {
        assert_eq!(durable, LogSeq(1));
        count.fetch_add(1, Ordering::SeqCst);
    }));
    let lost = add(&node, "lost");
    let lost_too = add(&node, "lost-too");
    let heard = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&heard);
    lost_too.on_done(Box::new(move |result| *slot.lock().unwrap() = Some(result)));
    let (_, read) = node.read(|_| ());

    log.fail();
    let reason = node.failure().unwrap();
    assert!(reason.contains("the disk burned"), "{reason}");
    assert_eq!(kept.is_done(), Some(Ok(())));
    assert!(matches!(lost.is_done(), Some(Err(_))));
    assert!(matches!(*heard.lock().unwrap(), Some(Err(_))));
    assert!(matches!(read.is_done(), Some(Err(_))), "what was read will never be durable");
    assert_eq!(woken.load(Ordering::SeqCst), 1, "readers are woken once to see the failure");
    assert_eq!(node.durable(), LogSeq(1));
    assert_eq!(entries(&node, LogSeq::START).len(), 1);
    assert_eq!(node.stats().in_flight_bytes, 0);

    assert!(matches!(try_add(&node, "more"), Err(EditFailed::Failed { .. })));
    let other = replica(2);
    let _ticket = add(&other, "other");
    let changes = entries(&other, LogSeq::START).iter().map(|entry| entry.change().clone()).collect();
    assert!(matches!(node.apply(1, OriginId(1), changes), Err(ApplyError::Failed { .. })));
    assert_eq!(log.waiting(), 0);
    assert_eq!(story_ids(&node), ["kept", "lost", "lost-too"], "reads go on");

    let again = open(1, &log.after_a_crash());
    assert_eq!(story_ids(&again), ["kept"]);
}

#[test]
fn a_forgotten_append_is_a_failure() {
    let log = ManualLog::slow();
    let node = open(1, &log);
    let ticket = add(&node, "s");
    log.forget_one();
    assert!(matches!(ticket.is_done(), Some(Err(_))));
    assert!(node.failure().unwrap().contains("without an answer"));
}

#[test]
fn a_failed_edit_leaves_nothing() {
    let log = ManualLog::prompt();
    let node = open(1, &log);
    let _ticket = add(&node, "s");
    let before = (node.heads(), node.read(board::items).0);
    let failed = node.edit(1, |editor| {
        board::add(editor, NewItem::new("t"))?;
        board::claim(editor, "s", "coder-1", 5)?;
        board::remove(editor, "s")?;
        board::add(editor, NewItem::new("t"))
    });
    assert!(matches!(failed, Err(EditFailed::Refused(BoardError::Taken { story_id })) if story_id == "t"));
    assert_eq!((node.heads(), node.read(board::items).0), before);
    assert_eq!(log.durable().len(), 1);
    let _ticket = add(&node, "t");
    assert_eq!(story_ids(&node), ["s", "t"]);
    assert_eq!(story_ids(&open(1, &log)), ["s", "t"], "and the chain goes on as if it had not been");
}

#[test]
fn an_op_that_is_not_recorded_is_undone() {
    let node = replica(1);
    let _ticket = add(&node, "s");
    let (_, ticket) = node
        .edit(1, |editor| {
            let _never_recorded = editor.doc().items.try_push(serde_json::json!({"story_id": "t"})).unwrap();
            Ok::<(), BoardError>(())
        })
        .unwrap();
    assert_eq!(ticket.end(), LogSeq(1));
    assert_eq!(story_ids(&node), ["s"]);
}

#[test]
fn a_panic_in_an_edit_stops_the_replica() {
    let log = ManualLog::prompt();
    let node = open(1, &log);
    let _ticket = add(&node, "s");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = node.edit(1, |editor| {
            board::add(editor, NewItem::new("t"))?;
            if editor.doc().items.len() == 2 {
                panic!("a bug in an edit");
            }
            Ok::<(), BoardError>(())
        });
    }));
    assert!(panicked.is_err());
    assert!(matches!(try_add(&node, "u"), Err(EditFailed::Failed { .. })));
    assert!(node.failure().unwrap().contains("panic"));
    assert_eq!(story_ids(&node), ["s"], "what it had made was undone");
    assert_eq!(log.durable().len(), 1);
}

#[test]
fn a_slow_disk_makes_it_busy_for_a_while() {
    let log = ManualLog::slow();
    let settings = ReplicaSettings { in_flight_bytes_max: 500, ..ReplicaSettings::default() };
    let keypair = Keypair::from_seed(&[1; 32]);
    let node = Replica::<PipelineDoc>::open(keypair, Arc::new(log.clone()), settings).unwrap();
    let mut accepted = 0;
    let busy = loop {
        match try_add(&node, &format!("s{accepted}")) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(busy, EditFailed::Busy { in_flight_bytes } if in_flight_bytes > 500));
    assert!(matches!(node.apply(1, OriginId(1), Vec::new()), Err(ApplyError::Busy { .. })));
    assert!(accepted > 0 && accepted < 10, "{accepted}");
    log.answer_all();
    assert!(try_add(&node, "more").is_ok());
    assert_eq!(node.stats().in_flight_count, 1);
}
