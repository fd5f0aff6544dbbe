//! The receiving half, and silence.

use std::collections::BTreeSet;

use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::{Digest, OpState};
use gangline_doc::ReplicaSettings;
use gangline_transport::session::{
    Applied, CloseReason, Effect, Evicted, Input, Millis, Notice, SessionSettings,
};

use super::{Alone, author, bad_frames, changes, closed, frames, is_receiving};
use crate::node::Node;

#[test]
fn frames_of_any_kind_and_order_become_one_batch_each_time() {
    let bob = author(2, 4);
    let frames = frames(&bob);
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let reversed: Vec<&[u8]> = frames.iter().rev().map(Vec::as_slice).collect();
    let effects = alone.binary(&reversed);
    assert!(!is_receiving(&effects), "the next batch waits");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Notice(Notice::Established))));
    let effects = alone.apply(effects);
    assert!(is_receiving(&effects) && bad_frames(&effects) == 0);
    assert_eq!(alone.session.stats().applied_ops, 4);
    assert_eq!(alone.node.picture(), bob.picture());

    let op = serde_json::from_slice::<serde_json::Value>(&frames[0]).unwrap()["op"].to_string();
    let effects = alone.text(&serde_json::json!({"type": "op", "op": op}).to_string());
    let _ = alone.apply(effects);
    let effects = alone.text(&serde_json::json!({"type": "bulk", "ops": [op, op]}).to_string());
    let _ = alone.apply(effects);
    assert_eq!(alone.session.stats().known_ops, 3);
    assert_eq!(alone.session.stats().bad_frames, 0);
}

#[test]
fn bad_frames_are_named_skipped_and_counted() {
    let frames = frames(&author(2, 2));
    let mut forged = frames[1].clone();
    let at = forged.windows(11).position(|text| text == b"\"signature\"").expect("there is one") + 20;
    forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
    let mut alone = Alone::fresh();
    let _ = alone.effects();

    let effects = alone.binary(&[b"garbage", b"\xff\xff", b"\x80later", br#"{"v":9,"op":{}}"#]);
    assert_eq!(bad_frames(&effects), 4);
    assert!(is_receiving(&effects) && !alone.session.is_established());

    let effects = alone.binary(&[&forged, b"garbage", &frames[0]]);
    let effects = alone.apply(effects);
    assert_eq!(bad_frames(&effects), 2, "{effects:?}");
    assert!(is_receiving(&effects) && alone.session.is_established());
    let stats = alone.session.stats();
    assert_eq!((stats.bad_frames, stats.applied_ops, stats.refused_ops), (6, 1, 1));

    let good = serde_json::from_slice::<serde_json::Value>(&frames[1]).unwrap()["op"].to_string();
    let effects = alone.text(&serde_json::json!({"type": "bulk", "ops": ["bad", good, 7]}).to_string());
    let effects = alone.apply(effects);
    assert_eq!(bad_frames(&effects), 1, "a bulk is one frame");
    assert_eq!(alone.node.items().len(), 2);
    assert_eq!(closed(&effects), None);
}

#[test]
fn too_many_bad_frames_in_a_minute_close_the_session() {
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let _ = alone.feed(Input::Sent);
    for n in 1..1_000 {
        assert_eq!(closed(&alone.binary(&[b"garbage"])), None, "frame {n}");
    }
    // The minute passes, and the count begins anew.
    for _ in 0..4 {
        alone.now = alone.now.plus(15_000);
        let _ = alone.feed(Input::Traffic { received: alone.now.0, written: 0 });
    }
    for n in 1..1_000 {
        assert_eq!(closed(&alone.binary(&[b"garbage"])), None, "frame {n}");
    }
    let effects = alone.binary(&[b"garbage"]);
    let expect = CloseReason::TooManyBadFrames { count: 1_000, window_ms: 60_000 };
    assert_eq!(closed(&effects), Some(&expect));
    assert!(alone.binary(&[b"garbage"]).is_empty(), "a closed session is silent");
    assert_eq!(alone.session.next_deadline(), None);
}

#[test]
fn what_trust_holds_back_is_neither_bad_nor_waited_for() {
    let bob = author(2, 3);
    let trust = Some(BTreeSet::from([Keypair::from_seed(&[1; 32]).author()]));
    let alice = Node::new(1, ReplicaSettings { trust, ..ReplicaSettings::default() });
    let mut alone = Alone::new(alice, SessionSettings::default());
    let _ = alone.effects();
    let _ = alone.feed(Input::Sent);
    let frames = frames(&bob);
    for frame in &frames {
        let effects = alone.binary(&[frame]);
        let effects = alone.apply(effects);
        let held =
            effects.iter().any(|effect| matches!(effect, Effect::Notice(Notice::HeldBack { count: 1 })));
        assert!(held && bad_frames(&effects) == 0, "{effects:?}");
    }
    assert_eq!(alone.session.stats().held_back_ops, 3);
    assert_eq!(alone.session.pending(), 0);
    for _ in 0..6 {
        let _ = alone.feed(Input::Traffic { received: alone.now.0 + 1, written: 0 });
        assert_eq!(closed(&alone.wait(10_000)), None);
    }
}

#[test]
fn an_op_that_waits_too_long_closes_the_session() {
    let frames = frames(&author(2, 3));
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let effects = alone.binary(&[&frames[2]]);
    let effects = alone.apply(effects);
    assert_eq!((bad_frames(&effects), alone.session.pending()), (0, 1));
    let _ = alone.feed(Input::Traffic { received: 1, written: 1 });
    assert!(!alone.wait(29_999).iter().any(|effect| matches!(effect, Effect::CheckPending(_))));
    let effects = alone.wait(1);
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::CheckPending(digests) => Some(digests.len()),
        _ => None,
    });
    assert_eq!(asked, Some(1));
    let effects = alone.feed(Input::Released(Vec::new()));
    assert!(matches!(closed(&effects), Some(CloseReason::DependencyTimeout { ms: 30_000, .. })));
}

#[test]
fn an_op_that_was_released_meanwhile_is_forgotten() {
    let frames = frames(&author(2, 2));
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let effects = alone.binary(&[&frames[1]]);
    let _ = alone.apply(effects);
    let effects = alone.binary(&[&frames[0]]);
    let _ = alone.apply(effects);
    let effects = alone.wait(30_000);
    let digests = effects.into_iter().find_map(|effect| match effect {
        Effect::CheckPending(digests) => Some(digests),
        _ => None,
    });
    let effects = alone.feed(Input::Released(digests.expect("it asks")));
    assert_eq!((closed(&effects), alone.session.pending()), (None, 0));
}

#[test]
fn an_evicted_op_closes_the_session_that_brought_it() {
    let frames = frames(&author(2, 2));
    let waiting = |alone: &mut Alone| -> Digest {
        let _ = alone.effects();
        let effects = alone.binary(&[&frames[1]]);
        let digest = match effects.as_slice() {
            [.., Effect::Apply(changes)] => changes[0].digest(),
            other => panic!("a batch: {other:?}"),
        };
        let _ = alone.apply(effects);
        digest
    };
    let mut alone = Alone::fresh();
    let digest = waiting(&mut alone);
    let others = Evicted::Changes([Digest([7; 32])].into());
    assert_eq!(closed(&alone.feed(Input::Evicted(others))), None);
    let mine = Evicted::Changes([digest].into());
    assert_eq!(closed(&alone.feed(Input::Evicted(mine))), Some(&CloseReason::Evicted));

    let mut alone = Alone::fresh();
    waiting(&mut alone);
    assert_eq!(closed(&alone.feed(Input::Evicted(Evicted::Unknown))), Some(&CloseReason::Evicted));

    let mut alone = Alone::fresh();
    let _ = alone.effects();
    assert_eq!(closed(&alone.feed(Input::Evicted(Evicted::Unknown))), None, "nothing of it waits");
    let effects = alone.binary(&[&frames[1]]);
    let _ = changes(effects);
    let full = Applied { states: vec![OpState::QueueFull], evicted: Vec::new() };
    assert_eq!(closed(&alone.feed(Input::Applied(Ok(full)))), Some(&CloseReason::Evicted));
}

#[test]
fn silence_is_answered_by_pings_and_then_by_closing() {
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let _ = alone.feed(Input::Sent);
    let mut pings = 0;
    loop {
        let due = alone.session.next_deadline().expect("there is always one");
        alone.now = due;
        let mut effects = alone.feed(Input::Traffic { received: 0, written: 0 });
        effects.extend(alone.feed(Input::Tick));
        pings += effects.iter().filter(|effect| matches!(effect, Effect::Ping)).count();
        if let Some(reason) = closed(&effects) {
            assert_eq!(reason, &CloseReason::Idle { ms: 60_000 });
            break;
        }
    }
    assert_eq!((alone.now, pings), (Millis(60_000), 2));
}

#[test]
fn time_spent_on_the_peers_own_frames_is_not_silence() {
    let frames = frames(&author(2, 1));
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let _ = alone.feed(Input::Sent);
    let effects = alone.binary(&[&frames[0]]);
    let _ = changes(effects);
    let effects = alone.wait(300_000);
    assert_eq!(closed(&effects), None);
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Ping)),
        "the peer shall not be left in silence"
    );
}

#[test]
fn a_batch_for_which_the_disk_has_no_room_is_tried_again() {
    let frames = frames(&author(2, 1));
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let effects = alone.binary(&[&frames[0]]);
    let effects = alone.feed(Input::Busy(changes(effects)));
    assert!(effects.is_empty());
    assert_eq!(alone.session.next_deadline(), Some(Millis(50)));
    let effects = alone.wait(50);
    let effects = alone.apply(effects);
    assert!(is_receiving(&effects));
    assert_eq!(alone.session.stats().applied_ops, 1);
}

#[test]
fn a_failed_log_ends_the_session() {
    for input in [
        Input::Applied(Err("disk full".to_owned())),
        Input::Stored(Err("disk full".to_owned())),
        Input::Entries(Err("disk full".to_owned())),
    ] {
        let mut alone = Alone::fresh();
        let _ = alone.effects();
        let effects = alone.feed(input);
        assert_eq!(closed(&effects), Some(&CloseReason::StoreFailed { error: "disk full".to_owned() }));
    }
}
