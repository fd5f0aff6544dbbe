//! Whose changes a node takes, who may read, and calls.

use std::collections::BTreeSet;

use bytes::Bytes;
use gangline_transport::PeerRights;
use gangline_transport::link::{LinkInput, LinkNotice};
use gangline_transport::session::{CloseReason, SessionSettings};
use gangline_wire::v2::Frame;

use crate::pair::{Pair, Side, Writer, key, replica};

#[test]
fn a_key_that_may_not_connect_is_told_why() {
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
    pair.sides[1].rights = Err("ask the owner for an invitation".to_owned());
    pair.talk();
    let reason = "ask the owner for an invitation".to_owned();
    assert_eq!(pair.sides[0].closed, Some(CloseReason::RefusedByPeer { reason: reason.clone() }));
    assert_eq!(pair.sides[1].closed, Some(CloseReason::Refused { reason }));
    assert_eq!(pair.sides[1].frames(|frame| matches!(frame, Frame::Vector { .. })), 0);
}

#[test]
fn whoever_may_not_read_is_given_nothing_and_may_give() {
    let (mut x, mut y) = (Writer::new(10), Writer::new(11));
    let (here, there) = ([x.write("here")], [y.write("there")]);
    let mut pair = Pair::new(replica(1, None, &here), replica(2, None, &there));
    pair.sides[0].rights = Ok(PeerRights { read: false, write: true, name: None });
    pair.talk();
    assert_eq!(pair.durable().map(|durable| durable.0), [2, 1]);
    pair.sides[0].bring(&[x.write("more")]);
    pair.talk();
    assert_eq!(pair.durable().map(|durable| durable.0), [3, 1]);
    assert!(pair.sides[0].given().is_empty());
}

/// A node that does not take an author's changes is not offered them, until one that it takes builds on them; and
/// then it gets both.
#[test]
fn what_a_trust_list_holds_back_comes_once_somebody_trusted_builds_on_it() {
    let (mut trusted, mut stranger) = (Writer::new(10), Writer::new(11));
    let trust: BTreeSet<_> = [trusted.key.author(), key(2).author()].into();
    let first = [trusted.write("mine"), stranger.write("strange 1")];
    let mut pair = Pair::new(replica(1, None, &first), replica(2, Some(trust), &[]));
    pair.talk();
    assert_eq!(pair.sides[0].given(), vec![first[0].digest()]);
    assert!(pair.sides.iter().all(|side| side.link.is_caught_up() && side.closed.is_none()));
    // Live, too.
    let second = stranger.write("strange 2");
    pair.sides[0].bring(std::slice::from_ref(&second));
    pair.talk();
    assert_eq!(pair.sides[0].given().len(), 1);
    assert_eq!(pair.durable()[1].0, 1);
    trusted.see(&[first[1].clone(), second.clone()]);
    let builds_on = trusted.write("on what is strange");
    pair.sides[0].bring(&[builds_on]);
    pair.talk();
    pair.assert_level();
    assert_eq!(pair.durable()[1].0, 4);
}

/// It was left out when the two met, so the sender does not remember it one by one. It once told what builds on it alone,
/// which then waited until the link was given up.
#[test]
fn what_was_left_out_at_first_comes_once_somebody_trusted_builds_on_it() {
    let (mut trusted, mut stranger) = (Writer::new(10), Writer::new(11));
    let trust: BTreeSet<_> = [trusted.key.author(), key(2).author()].into();
    let first = [trusted.write("mine"), stranger.write("strange")];
    let mut pair = Pair::new(replica(1, None, &first), replica(2, Some(trust), &[]));
    pair.talk();
    assert_eq!(pair.durable()[1].0, 1);
    trusted.see(&first[1..]);
    let builds_on = trusted.write("on what is strange");
    pair.sides[0].bring(&[builds_on]);
    pair.talk();
    pair.assert_level();
    assert_eq!(pair.durable()[1].0, 3);
}

/// One that is vouched for by a later one waits for that; where that one has to be given with a stranger's, both are. It once
/// went alone, without any proof, and was refused.
#[test]
fn what_waits_for_its_proof_is_given_with_it() {
    let (mut trusted, mut stranger) = (Writer::new(10), Writer::new(11));
    let trust: BTreeSet<_> = [trusted.key.author(), key(2).author()].into();
    let mut pair = Pair::new(replica(1, None, &[trusted.write("mine")]), replica(2, None, &[]));
    // It takes in frame by frame, as one does to which they come one by one.
    let settings = SessionSettings { batch_frames_max: 1, ..SessionSettings::default() };
    pair.sides[1] = Side::with(2, false, replica(2, Some(trust), &[]), None, settings, false);
    pair.talk();
    let first = trusted.write("covered");
    let strange = stranger.write("strange");
    trusted.see(std::slice::from_ref(&strange));
    let last = trusted.write("on both");
    pair.sides[0].bring(&[first.with_signature([0; 64]), strange, last]);
    pair.talk();
    pair.assert_level();
    assert_eq!((pair.durable()[1].0, pair.sides[1].link.stats().bad_frames), (4, 0));
}

#[test]
fn what_is_held_back_is_named_to_whoever_sent_it() {
    let mut stranger = Writer::new(11);
    let trust: BTreeSet<_> = [key(2).author()].into();
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, Some(trust), &[]));
    pair.talk();
    // A node that sends it all the same, as one that does not know better.
    let frame = Frame::Changes { document: 0, changes: vec![stranger.write("strange")] };
    pair.sides[1].inbox.push_back(gangline_wire::v2::encode(&frame).into());
    pair.talk();
    assert_eq!(pair.sides[1].link.stats().held_back_ops, 1);
    let held = LinkNotice::HeldThere { document: 0, authors: vec![stranger.key.author()] };
    assert!(pair.sides[0].notices.contains(&held), "{:?}", pair.sides[0].notices);
    assert!(pair.sides.iter().all(|side| side.closed.is_none()));
}

#[test]
fn calls_are_answered_both_ways() {
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
    pair.talk();
    for n in 0..2 {
        pair.sides[n].feed(LinkInput::Call { id: 1, method: 7, body: Bytes::from_static(b"echo") });
        pair.sides[n].feed(LinkInput::Call { id: 2, method: 8, body: Bytes::new() });
        pair.talk();
        assert_eq!(pair.sides[1 - n].frames(|frame| matches!(frame, Frame::Reply { is_done: true, .. })), 1);
        assert_eq!(pair.sides[1 - n].frames(|frame| matches!(frame, Frame::Reply { is_done: false, .. })), 1);
    }
    pair.assert_level();
}

/// Once named, the author's changes are not offered again on this link.
#[test]
fn what_was_held_back_is_not_offered_again() {
    let mut stranger = Writer::new(11);
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
    pair.talk();
    // The other side's trust changed after it had said whose changes it takes.
    let frame = Frame::Held { document: 0, authors: [stranger.key.author()].into() };
    pair.sides[0].inbox.push_back(gangline_wire::v2::encode(&frame).into());
    pair.talk();
    pair.sides[0].bring(&[stranger.write("strange")]);
    pair.talk();
    assert!(pair.sides[0].given().is_empty());
    let mut honest = Writer::new(12);
    let known = pair.sides[0].replica.entries(gangline_doc::LogSeq(0), Default::default()).unwrap();
    honest.see(&[known[0].change().clone()]);
    pair.sides[0].bring(&[honest.write("on top of it")]);
    pair.talk();
    pair.assert_level();
}

/// When a node begins to take an author's changes, it asks for what it was not offered before.
#[test]
fn whoever_trusts_more_gets_what_it_lacked() {
    let mut stranger = Writer::new(11);
    let trust: BTreeSet<_> = [key(2).author()].into();
    let mut pair = Pair::new(replica(1, None, &[stranger.write("a")]), replica(2, Some(trust), &[]));
    pair.talk();
    pair.sides[0].bring(&[stranger.write("b")]);
    pair.talk();
    assert_eq!(pair.durable()[1].0, 0);
    drop(pair.sides[1].replica.set_trust(0, None).unwrap());
    pair.sides[1].feed(LinkInput::AskAgain);
    pair.talk();
    pair.assert_level();
    assert_eq!(pair.durable()[1].0, 2);
}

/// A key that is revoked while its session is open is out at once.
#[test]
fn whoever_is_trusted_no_longer_is_shown_out() {
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
    pair.talk();
    pair.sides[1].feed(LinkInput::AskAgain);
    pair.talk();
    assert!(pair.sides.iter().all(|side| side.closed.is_none()), "still welcome");
    pair.sides[1].rights = Err("the key was revoked".to_owned());
    pair.sides[1].feed(LinkInput::AskAgain);
    pair.talk();
    let reason = "the key was revoked".to_owned();
    assert_eq!(pair.sides[0].closed, Some(CloseReason::RefusedByPeer { reason }));
}

/// Only whoever dialled shows credentials before proofs, and once.
#[test]
fn credentials_are_shown_by_the_dialer_alone_and_once() {
    for by in 0..2 {
        let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
        let shown = gangline_wire::v2::encode(&Frame::Records(vec![Bytes::from_static(b"a grant")]));
        pair.talk_over(|from, bytes| match (from == by, bytes[0]) {
            (true, 0x81) => vec![shown.clone().into(), bytes],
            _ => vec![bytes],
        });
        assert_eq!(pair.sides[1 - by].closed.is_none(), by == 0);
    }
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
    let shown = gangline_wire::v2::encode(&Frame::Records(vec![Bytes::from_static(b"a grant")]));
    pair.talk_over(|from, bytes| match (from, bytes[0]) {
        (0, 0x81) => vec![shown.clone().into(), shown.clone().into(), bytes],
        _ => vec![bytes],
    });
    assert!(matches!(pair.sides[1].closed, Some(CloseReason::Protocol { .. })));
}

/// Of what somebody does at this moment only the last counts, and nothing of it is stored.
#[test]
fn presence_is_told_and_replaced() {
    let mut pair = Pair::new(replica(1, None, &[]), replica(2, None, &[]));
    pair.talk();
    let told = |pair: &Pair| -> Vec<Bytes> {
        let notices = pair.sides[1].notices.iter();
        let told = notices.filter_map(|notice| match notice {
            LinkNotice::Presence(presence) => Some(presence.clone()),
            _ => None,
        });
        told.collect()
    };
    pair.sides[0].feed(LinkInput::Presence(Bytes::from_static(b"reads")));
    pair.sides[0].feed(LinkInput::Presence(Bytes::from_static(b"writes")));
    pair.sides[0].feed(LinkInput::Presence(Bytes::from_static(b"rests")));
    pair.talk();
    let told = told(&pair);
    assert_eq!(told.last().map(|presence| &presence[..]), Some(&b"rests"[..]));
    assert!(told.len() < 3, "what waited for the socket was replaced: {told:?}");
    assert_eq!(pair.durable().map(|durable| durable.0), [0, 0]);
}
