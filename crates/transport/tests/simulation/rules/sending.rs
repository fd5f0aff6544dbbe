//! The sending half.

use bft_json_crdt::OpState;
use gangline_doc::{LogSeq, OriginId, ReadLimit, ReplicaSettings};
use gangline_transport::session::{
    CloseReason, Effect, Input, Notice, Outgoing, SessionSettings, WithheldReason,
};
use gangline_wire::decode_text;

use super::{Alone, EMPTY_BULK, author, closed, frames, is_receiving};
use crate::node::Node;

#[test]
fn a_session_begins_with_a_bulk_even_an_empty_one() {
    let mut alone = Alone::fresh();
    let effects = alone.effects();
    assert!(is_receiving(&effects));
    let sent = alone.sent(effects);
    assert!(matches!(sent.as_slice(), [Outgoing::Bulk(text)] if text == EMPTY_BULK));

    let mut alone = Alone::new(author(1, 3), SessionSettings::default());
    let effects = alone.effects();
    let sent = alone.sent(effects);
    let [Outgoing::Bulk(text)] = sent.as_slice() else { panic!("one text frame: {sent:?}") };
    assert_eq!(decode_text(text.as_bytes()).expect("the bulk is good").ops.len(), 3);
}

#[test]
fn what_does_not_fit_follows_as_binary_frames() {
    let settings = SessionSettings { bulk_bytes_max: 4_000, send_ops_max: 3, ..SessionSettings::default() };
    let mut alone = Alone::new(author(1, 20), settings);
    let mut effects = alone.effects();
    let (mut bulks, mut in_bulk, mut binary) = (0, 0, 0);
    while binary + in_bulk < 20 {
        for frame in alone.sent(effects) {
            match frame {
                Outgoing::Bulk(text) => {
                    assert!(text.len() <= 4_000 && binary == 0);
                    bulks += 1;
                    in_bulk = decode_text(text.as_bytes()).expect("the bulk is good").ops.len();
                }
                Outgoing::Op(entry) => {
                    assert_eq!(entry.seq().0 as usize, in_bulk + binary);
                    binary += 1;
                }
            }
        }
        effects = alone.feed(Input::Sent);
    }
    assert_eq!(bulks, 1);
    assert!(in_bulk > 0 && binary > 0);
    assert!(alone.session.is_caught_up());
    assert_eq!(alone.session.behind(), 0);
}

#[test]
fn nothing_of_the_peer_goes_back_to_it() {
    let mut bob = author(2, 2);
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let _ = alone.feed(Input::Sent);
    let frames = frames(&bob);
    let effects = alone.binary(&[&frames[0], &frames[1]]);
    let _ = alone.apply(effects);
    bob.edit(0);
    alone.node.edit(u64::MAX);
    alone.node.log.flush(usize::MAX);
    let durable = alone.node.replica().durable();
    assert_eq!(durable, LogSeq(3));
    let effects = alone.feed(Input::Durable(durable));
    let sent = alone.sent(effects);
    assert!(matches!(sent.as_slice(), [Outgoing::Op(entry)] if entry.seq() == LogSeq(2)), "{sent:?}");
}

#[test]
fn what_is_not_durable_is_not_sent() {
    let mut alone = Alone::fresh();
    let _ = alone.effects();
    let _ = alone.feed(Input::Sent);
    alone.node.edit(u64::MAX);
    let durable = alone.node.replica().durable();
    assert!(alone.feed(Input::Durable(durable)).is_empty());
}

/// Its own signature is bad, but the author's next change covers it: good in one bulk, not alone.
#[test]
fn a_change_with_a_bad_signature_of_its_own_does_not_travel_alone() {
    let bob = author(2, 2);
    let limit = ReadLimit { count: 9, bytes: usize::MAX };
    let entries = bob.replica().entries(LogSeq::START, limit).expect("the log works");
    let unsigned = entries[0].change().with_signature([7; 64]);
    let carol = Node::new(3, ReplicaSettings::default());
    let covered = vec![unsigned.clone(), entries[1].change().clone()];
    let (batch, _ticket) = carol.replica().apply(0, OriginId(9), covered).expect("the log works");
    assert_eq!(batch.states, [OpState::Ok, OpState::Ok]);
    carol.log.flush(usize::MAX);

    let mut live = Alone::new(Node::new(1, ReplicaSettings::default()), SessionSettings::default());
    let _ = live.effects();
    let _ = live.feed(Input::Sent);
    live.node = carol;
    let effects = live.feed(Input::Durable(LogSeq(2)));
    let Some(Effect::Read { from, limit, alone: true }) = effects.into_iter().next() else {
        panic!("a read")
    };
    let entries = live.node.replica().entries(from, limit).expect("the log works");
    let effects = live.feed(Input::Entries(Ok(entries)));
    let withheld = Notice::Withheld { digest: unsigned.digest(), reason: WithheldReason::NotVouched };
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Notice(notice) if *notice == withheld)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Send(frames) if frames.len() == 1)));

    let mut fresh = Alone::new(live.node, SessionSettings::default());
    let effects = fresh.effects();
    let sent = fresh.sent(effects);
    let [Outgoing::Bulk(text)] = sent.as_slice() else { panic!("one text frame: {sent:?}") };
    assert_eq!(decode_text(text.as_bytes()).expect("the bulk is good").ops.len(), 2);
}

#[test]
fn a_stopped_session_sends_what_is_durable_and_ends() {
    let mut alone = Alone::new(author(1, 3), SessionSettings::default());
    let effects = alone.effects();
    assert!(!alone.sent(effects).is_empty());
    let _ = alone.feed(Input::Durable(LogSeq(4)));
    alone.node.edit(u64::MAX);
    alone.node.log.flush(usize::MAX);
    assert_eq!(closed(&alone.feed(Input::Stop)), None);
    let effects = alone.feed(Input::Sent);
    assert_eq!(alone.sent(effects).len(), 1);
    assert_eq!(closed(&alone.feed(Input::Sent)), Some(&CloseReason::Stopping));

    let mut stuck = Alone::new(author(1, 3), SessionSettings::default());
    let effects = stuck.effects();
    assert!(!stuck.sent(effects).is_empty());
    let _ = stuck.feed(Input::Stop);
    assert_eq!(closed(&stuck.wait(2_999)), None);
    assert_eq!(closed(&stuck.wait(1)), Some(&CloseReason::Stopping));
}

#[test]
fn a_blocked_peer_that_falls_behind_is_dropped() {
    let settings = SessionSettings { lag_ops_max: 5, ..SessionSettings::default() };
    // What was there before the peer came does not count as lag.
    let mut alone = Alone::new(author(1, 50), settings);
    let effects = alone.effects();
    assert!(!alone.sent(effects).is_empty());
    let _ = alone.feed(Input::Durable(LogSeq(55)));
    assert_eq!(closed(&alone.wait(6_000)), None, "five behind is not too far");
    let effects = alone.feed(Input::Durable(LogSeq(56)));
    assert_eq!(closed(&effects), Some(&CloseReason::Lagging { ops: 6 }));
}

#[test]
fn a_peer_that_is_slow_but_reads_is_kept() {
    let settings = SessionSettings { lag_ops_max: 5, ..SessionSettings::default() };
    let mut alone = Alone::new(author(1, 5), settings);
    let effects = alone.effects();
    assert!(!alone.sent(effects).is_empty());
    let _ = alone.feed(Input::Durable(LogSeq(1_000)));
    assert_eq!(closed(&alone.wait(4_000)), None, "the socket is not blocked yet");
    assert_eq!(closed(&alone.feed(Input::Sent)), None);
}

#[test]
fn a_socket_that_takes_nothing_is_dropped() {
    let mut alone = Alone::new(author(1, 5), SessionSettings::default());
    let effects = alone.effects();
    assert!(!alone.sent(effects).is_empty());
    for byte in 1..10 {
        let _ = alone.feed(Input::Traffic { received: byte, written: byte });
        assert_eq!(closed(&alone.wait(59_999)), None, "a byte is progress");
    }
    let _ = alone.feed(Input::Traffic { received: 77, written: 9 });
    assert_eq!(closed(&alone.wait(1)), Some(&CloseReason::NoProgress { ms: 60_000 }));
}
