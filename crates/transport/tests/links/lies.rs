//! A proof is for one connection, and lies cost the liar alone.

use bft_json_crdt::{AuthorId, Digest};
use bytes::Bytes;
use gangline_transport::session::CloseReason;
use gangline_wire::v2::{Accepts, Frame, decode, encode};

use crate::pair::{Pair, Side, Writer, key, replica};

fn pair() -> Pair {
    let mut writer = Writer::new(10);
    let changes: Vec<_> = (0..40).map(|n| writer.write(&format!("{n}"))).collect();
    Pair::new(replica(1, None, &changes[..30]), replica(2, None, &changes))
}

fn kind(bytes: &Bytes) -> u8 {
    bytes[0]
}

#[test]
fn whoever_changes_a_hello_on_the_way_breaks_both_proofs() {
    for at in 0..99 {
        let mut pair = pair();
        pair.talk_over(|from, bytes| {
            let mut bytes = bytes.to_vec();
            if from == 0 && bytes[0] == 0x80 && at < bytes.len() {
                bytes[at] ^= 1;
            }
            vec![bytes.into()]
        });
        assert!(pair.sides.iter().all(|side| side.link.peer().is_none()), "byte {at}");
        assert_eq!(pair.durable()[0].0, 30, "nothing was given");
    }
}

#[test]
fn a_recorded_conversation_proves_nothing_later() {
    let mut first = pair();
    first.talk();
    first.assert_level();
    let recorded = first.sides[0].sent.clone();
    // The same node again, with a fresh nonce; somebody plays what its peer said before.
    let mut again = pair();
    again.sides[1] = Side::new(3, false, again.sides[1].replica.clone(), None);
    let mut played = recorded.into_iter();
    again.talk_over(|from, bytes| match from {
        0 => played.next().into_iter().collect(),
        _ => vec![bytes],
    });
    assert_eq!(again.sides[1].link.peer(), None);
    assert!(
        matches!(again.sides[1].closed, Some(CloseReason::Refused { .. })),
        "{:?}",
        again.sides[1].closed
    );
}

#[test]
fn a_proof_holds_on_its_encrypted_channel_alone() {
    let both = |a, b| {
        let mut pair = pair();
        let replicas = [pair.sides[0].replica.clone(), pair.sides[1].replica.clone()];
        let [first, second] = replicas;
        pair.sides = [Side::new(1, true, first, a), Side::new(2, false, second, b)];
        pair.talk();
        pair.sides.iter().all(|side| side.link.peer().is_some())
    };
    assert!(both(Some([1; 32]), Some([1; 32])));
    assert!(!both(Some([1; 32]), Some([2; 32])), "somebody sits between two channels");
    assert!(both(Some([1; 32]), None), "the channel ends before the other program");
}

#[test]
fn nothing_is_taken_before_the_proof() {
    let mut writer = Writer::new(66);
    let forged = encode(&Frame::Changes { document: 0, changes: vec![writer.write("x")] });
    let mut pair = pair();
    pair.talk_over(|from, bytes| match (from, kind(&bytes)) {
        (1, 0x81) => vec![Bytes::from(forged.clone()), bytes],
        _ => vec![bytes],
    });
    assert!(matches!(pair.sides[0].closed, Some(CloseReason::Protocol { .. })));
    assert_eq!(pair.durable()[0].0, 30);
}

/// Says what a liar says in place of what it should.
fn lie(change: impl Fn(Frame) -> Option<Frame>) -> Pair {
    let mut pair = pair();
    pair.talk_over(|from, bytes| {
        if from == 0 {
            return vec![bytes];
        }
        match decode(&bytes).ok().and_then(&change) {
            Some(frame) => vec![encode(&frame).into()],
            None => Vec::new(),
        }
    });
    pair
}

#[test]
fn a_peer_that_does_not_give_what_it_promised_is_asked_once_more_and_left() {
    let pair = lie(|frame| match frame {
        Frame::Changes { .. } => None,
        other => Some(other),
    });
    assert_eq!(pair.sides[0].closed, Some(CloseReason::Incomplete { changes: 1 }));
    let asks = pair.sides[0].frames(|frame| matches!(frame, Frame::Vector { .. }));
    assert_eq!(asks, 2, "once at first, and once more");
}

#[test]
fn tips_that_nobody_has_hurt_only_whoever_names_them() {
    let pair = lie(|frame| match frame {
        Frame::Vector { document, mut vector, .. } => {
            vector.insert(AuthorId([9; 32]), vec![(5, Digest([9; 32]))]);
            for tips in vector.values_mut() {
                *tips = vec![(70, Digest([7; 32]))];
            }
            Some(Frame::Vector { document, vector, accepts: Accepts::All })
        }
        Frame::Have { document, author, held } => {
            let held = vec![true; held.len()];
            Some(Frame::Have { document, author, held })
        }
        other => Some(other),
    });
    assert_eq!(pair.sides[0].closed, None);
    assert_eq!(pair.durable()[0].0, 40, "the honest side still gets what is there");
}

#[test]
fn what_answers_nothing_ends_the_link() {
    let frames = [
        Frame::Have { document: 0, author: AuthorId([1; 32]), held: vec![true] },
        Frame::Reply { id: 5, is_done: true, body: Bytes::new() },
        Frame::Vector { document: 7, vector: Default::default(), accepts: Accepts::All },
        Frame::End { document: 7, is_final: true, vector: Default::default() },
        Frame::Proof([1; 64]),
    ];
    for frame in frames {
        let mut pair = pair();
        pair.talk();
        pair.sides[0].inbox.push_back(encode(&frame).into());
        pair.talk();
        assert!(matches!(pair.sides[0].closed, Some(CloseReason::Protocol { .. })), "{frame:?}");
    }
}

#[test]
fn broken_frames_are_skipped_and_counted() {
    let mut pair = pair();
    pair.talk();
    for garbage in [&[0x80u8, 9][..], &[0x9f, 1, 2], &[0x83, 0, 0], b"{\"v\":7}", b"\xff\xff"] {
        pair.sides[0].inbox.push_back(Bytes::copy_from_slice(garbage));
    }
    pair.talk();
    assert_eq!(pair.sides[0].link.stats().bad_frames, 5);
    assert_eq!(pair.sides[0].closed, None);
    let change = Writer::new(11).write("still there");
    pair.sides[1].bring(&[change]);
    pair.talk();
    assert_eq!(pair.durable()[0].0, 41);
}

/// A change that claims an author who did not sign it is refused, and so is all that came with it as covered.
#[test]
fn forged_changes_are_refused() {
    let honest = Writer::new(12);
    let mut forger = Writer::new(13);
    let change = forger.write("mine");
    let mut bytes = change.bytes().to_vec();
    // The author's key stands behind the document's id.
    bytes[32..64].copy_from_slice(&honest.key.author().0);
    let forged = bft_json_crdt::json_crdt::Change::decode(&bytes, *change.signature()).unwrap();
    let mut pair = pair();
    pair.talk();
    pair.sides[0].inbox.push_back(encode(&Frame::Changes { document: 0, changes: vec![forged] }).into());
    pair.talk();
    assert_eq!(pair.sides[0].link.stats().refused_ops, 1);
    assert!(!pair.sides[0].replica.version_vector().contains_key(&honest.key.author()));
    assert_eq!(pair.sides[0].replica.version_vector().get(&key(13).author()), None);
}
