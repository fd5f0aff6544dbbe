//! Durable before told: whatever the schedule, nobody hears of anything that a crash could take back.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bft_json_crdt::CrdtNode as _;
use gangline_doc::{LogSeq, OriginId, Ticket};
use proptest::prelude::*;

use crate::{Board, ManualLog, add, deliver, entries, open, replica, story_ids};

#[test]
fn an_edit_is_told_when_its_log_has_answered() {
    let log = ManualLog::slow();
    let replica = open(1, &log);
    let told = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&told);
    let subscription = replica.subscribe(Box::new(move |durable| seen.store(durable.0, Ordering::SeqCst)));

    let ticket = add(&replica, "s");
    assert_eq!(story_ids(&replica), ["s"], "the node itself sees it at once");
    let (_, read_ticket) = replica.read(|_| ());
    assert_eq!(ticket.is_done(), None);
    assert_eq!(read_ticket.is_done(), None, "what was read is not durable yet");
    assert_eq!(replica.durable(), LogSeq::START);
    assert!(entries(&replica, LogSeq::START).is_empty());
    assert_eq!(told.load(Ordering::SeqCst), 0);

    log.answer_all();
    assert_eq!(ticket.is_done(), Some(Ok(())));
    assert_eq!(read_ticket.is_done(), Some(Ok(())));
    assert_eq!(replica.durable(), LogSeq(1));
    assert_eq!(entries(&replica, LogSeq::START).len(), 1);
    assert_eq!(told.load(Ordering::SeqCst), 1);

    drop(subscription);
    add(&replica, "t").on_done(Box::new(|result| assert_eq!(result, Ok(()))));
    log.answer_all();
    assert_eq!(replica.durable(), LogSeq(2));
    assert_eq!(told.load(Ordering::SeqCst), 1, "nobody calls who has unsubscribed");
}

#[test]
fn one_edit_is_one_append() {
    let log = ManualLog::slow();
    let replica = open(1, &log);
    let _ticket = add(&replica, "s");
    log.answer_all();
    let edit = replica.edit(1, |editor| gangline_doc::board::claim(editor, "s", "coder-1", 1_700_000_000));
    let (item, ticket) = edit.unwrap();
    assert_eq!((item.claimed_by.as_str(), item.claimed_at), ("coder-1", 1_700_000_000.0));
    assert_eq!(log.waiting(), 1, "both fields go to the log together");
    assert_eq!(ticket.end(), LogSeq(3));
    log.answer_one();
    assert_eq!(replica.durable(), LogSeq(3));
}

#[test]
fn a_log_that_answers_out_of_order_tells_nobody_too_early() {
    let log = ManualLog::slow();
    let replica = open(1, &log);
    let tickets: Vec<Ticket> = ["a", "b", "c"].iter().map(|story_id| add(&replica, story_id)).collect();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    for (n, ticket) in tickets.into_iter().enumerate() {
        let order = Arc::clone(&order);
        let watched = replica.clone();
        ticket.on_done(Box::new(move |result| {
            assert_eq!(result, Ok(()));
            assert!(watched.durable() > LogSeq(n as u64));
            order.lock().unwrap().push(n);
        }));
    }
    log.answer_all_backwards();
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
}

/// The answer comes from inside `append`, its subscriber edits, and that edit's answer does so again.
#[test]
fn who_is_told_may_edit() {
    let replica = replica(1);
    let editing = replica.clone();
    let _subscription = replica.subscribe(Box::new(move |durable| {
        if durable < LogSeq(20) {
            let _ticket = add(&editing, &format!("s{durable}"));
        }
    }));
    let ticket = add(&replica, "s0");
    assert_eq!(ticket.is_done(), Some(Ok(())));
    assert_eq!(replica.durable(), LogSeq(20));
}

#[derive(Clone, Debug)]
enum Step {
    Edit,
    Receive,
    Answer(usize),
    Look,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Edit),
        3 => Just(Step::Receive),
        4 => (1..4_usize).prop_map(Step::Answer),
        2 => Just(Step::Look),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// One node edits, receives, and crashes at any moment; a peer hears only what the node's readers see.
    #[test]
    fn durable_before_told(steps in proptest::collection::vec(step(), 1..40)) {
        let mut log = ManualLog::slow();
        let mut node = open(1, &log);
        let peer = replica(2);
        let mut tickets: Vec<(Ticket, LogSeq)> = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            match step {
                Step::Edit => {
                    let ticket = add(&node, &format!("own-{n}"));
                    tickets.push((ticket, log.appended()));
                }
                Step::Receive => {
                    let _ticket = add(&peer, &format!("peer-{n}"));
                    let changes = entries(&peer, LogSeq::START).iter().map(|e| e.change().clone()).collect();
                    let (_, ticket) = node.apply(1, OriginId(1), changes).unwrap();
                    tickets.push((ticket, log.appended()));
                }
                Step::Answer(count) => {
                    for _ in 0..*count {
                        log.answer_one();
                    }
                }
                Step::Look => tickets.push((node.read(|_| ()).1, log.appended())),
                Step::Crash => {
                    log = log.after_a_crash();
                    node = open(1, &log);
                    tickets.clear();
                }
            }
            let durable = log.durable();
            prop_assert_eq!(node.durable(), LogSeq(durable.len() as u64));
            let told: Vec<_> = entries(&node, LogSeq::START).iter().map(|e| e.change().digest()).collect();
            let stored: Vec<_> = durable.iter().map(|e| e.change.digest()).collect();
            prop_assert_eq!(told, stored);
            for (ticket, seen) in &tickets {
                prop_assert_eq!(ticket.is_done(), (*seen <= node.durable()).then_some(Ok(())));
            }
            deliver(&node, &peer);
            prop_assert_eq!(peer.equivocations(), Vec::new(), "a restarted node forked its own chain");
        }
        log.answer_all();
        deliver(&node, &peer);
        deliver(&peer, &node);
        log.answer_all();
        prop_assert_eq!(view(&node), view(&peer));
        prop_assert_eq!(node.version_vector(), peer.version_vector());
    }
}

fn view(replica: &Board) -> String {
    replica.read(|base| base.doc.view().to_string()).0
}
