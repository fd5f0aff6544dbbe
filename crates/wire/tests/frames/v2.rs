//! Frames of version 2: each message has one spelling, whose bytes are fixed, and nothing else decodes.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::bundle::Signatures;
use bft_json_crdt::json_crdt::{Change, VersionVector};
use bft_json_crdt::{AuthorId, Digest, DocumentId};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use gangline_wire::limits::{ASK_DIGESTS_MAX, CALL_BYTES_MAX, PRESENCE_BYTES_MAX};
use gangline_wire::v2::{
    Accepts, Frame, FrameError, Hello, HelloDocument, RefuseCode, Transcript, bundle_of, decode, encode, root,
};
use proptest::prelude::*;

use crate::Author;

fn changes(count: usize) -> Vec<Change> {
    let mut author = Author::new(7);
    (0..count).map(|n| author.insert(format!("note {n}")).into_change()).collect()
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn author() -> impl Strategy<Value = AuthorId> {
    any::<[u8; 32]>().prop_map(AuthorId)
}

fn vector() -> impl Strategy<Value = VersionVector> {
    let tips = prop::collection::btree_set((any::<u64>(), digest()), 1..4);
    prop::collection::btree_map(author(), tips.prop_map(|tips| tips.into_iter().collect()), 0..4)
}

fn authors() -> impl Strategy<Value = BTreeSet<AuthorId>> {
    prop::collection::btree_set(author(), 0..4)
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn frame() -> impl Strategy<Value = Frame> {
    let document = 0u32..4_096;
    let hello =
        (author(), any::<[u8; 32]>(), any::<bool>(), prop::collection::vec((digest(), digest()), 0..4));
    prop_oneof![
        hello.prop_map(|(key, nonce, is_bound, documents)| {
            let documents = documents.into_iter();
            let documents =
                documents.map(|(id, root)| HelloDocument { id: DocumentId(id.0), root }).collect();
            Frame::Hello(Hello { key, nonce, is_bound, documents })
        }),
        prop::collection::vec(any::<u8>(), 64).prop_map(|bytes| Frame::Proof(bytes.try_into().unwrap())),
        (document.clone(), vector(), prop::option::of(authors())).prop_map(|(document, vector, only)| {
            Frame::Vector { document, vector, accepts: only.map_or(Accepts::All, Accepts::Only) }
        }),
        (document.clone(), 1usize..5)
            .prop_map(|(document, count)| Frame::Changes { document, changes: changes(count) }),
        (document.clone(), any::<bool>(), vector()).prop_map(|(document, is_final, vector)| Frame::End {
            document,
            is_final,
            vector
        }),
        (document.clone(), author(), prop::collection::vec(digest(), 0..5))
            .prop_map(|(document, author, digests)| Frame::Ask { document, author, digests }),
        (document.clone(), author(), prop::collection::vec(any::<bool>(), 0..5))
            .prop_map(|(document, author, held)| Frame::Have { document, author, held }),
        (document.clone(), vector()).prop_map(|(document, vector)| Frame::Ack { document, vector }),
        (document, authors()).prop_map(|(document, authors)| Frame::Held { document, authors }),
        bytes(50).prop_map(Frame::Presence),
        (any::<u64>(), any::<u32>(), bytes(50)).prop_map(|(id, method, body)| Frame::Call {
            id,
            method,
            body
        }),
        (any::<u64>(), any::<bool>(), bytes(50)).prop_map(|(id, is_done, body)| Frame::Reply {
            id,
            is_done,
            body
        }),
        prop::collection::vec(bytes(40), 0..4).prop_map(Frame::Records),
        ("\\PC{0,40}").prop_map(|reason| Frame::Refuse { code: RefuseCode::Other(9), reason }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(frame in frame()) {
        let bytes = encode(&frame);
        prop_assert!(bytes[0] >= 0x80);
        prop_assert_eq!(decode(&bytes), Ok(frame));
    }

    /// Cut short, made longer or changed anywhere, it is refused, or is the one spelling of something else.
    #[test]
    fn every_message_has_one_spelling(frame in frame(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let bytes = encode(&frame);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        let mut longer = bytes.clone();
        longer.push(flip);
        prop_assert!(decode(&longer).is_err());
        let mut changed = bytes;
        let at = at.index(changed.len());
        changed[at] ^= flip;
        if let Ok(other) = decode(&changed) {
            prop_assert_eq!(encode(&other), changed);
        }
    }

    #[test]
    fn no_bytes_do_harm(kind in 0x80u8..=0x90, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [&[kind][..], &rest].concat();
        if let Ok(frame) = decode(&bytes) && kind != 0x84 {
            prop_assert_eq!(encode(&frame), bytes);
        }
    }
}

#[test]
fn a_bundle_brings_the_same_changes() {
    let changes = changes(300);
    let plain = encode(&Frame::Changes { document: 3, changes: changes.clone() });
    let bundled = bundle_of(3, &changes, Signatures::All).unwrap();
    assert!(bundled.len() * 2 < plain.len(), "{} of {}", bundled.len(), plain.len());
    assert_eq!(decode(&bundled), decode(&plain));
    assert_eq!(decode(&plain), Ok(Frame::Changes { document: 3, changes }));
}

#[test]
fn limits_come_before_work() {
    let over = |bytes: &[u8], wanted: &str| {
        let Err(FrameError::OverLimit { what, .. }) = decode(bytes) else { panic!("{:?}", decode(bytes)) };
        assert_eq!(what, wanted);
    };
    over(&vec![0x83; (16 << 20) + 1], "frame bytes");
    over(&[0x88, 0x80, 0x20, 0], "a document's number");
    over(&encode(&Frame::Presence(vec![0; PRESENCE_BYTES_MAX + 1].into())), "a presence");
    let body = Bytes::from(vec![0; CALL_BYTES_MAX + 1]);
    over(&encode(&Frame::Call { id: 1, method: 1, body }), "a call");
    let digests = vec![Digest([1; 32]); ASK_DIGESTS_MAX + 1];
    over(&encode(&Frame::Ask { document: 0, author: AuthorId([1; 32]), digests }), "digests of an ask");
    // More authors than the frame could hold: nothing is allocated for them.
    assert_eq!(decode(&[0x82, 0, 0xff, 0xff, 3]), Err(FrameError::Truncated("authors")));
    assert_eq!(decode(&[0x80, 3]), Err(FrameError::Version(3)));
    assert_eq!(decode(&[0x9f]), Err(FrameError::UnknownKind(0x9f)));
    assert_eq!(decode(&[]), Err(FrameError::Truncated("the kind")));
}

#[test]
fn order_and_shortest_numbers_are_wanted() {
    let vector = |first: u8, second: u8| {
        let entry = |key: u8| [&[key; 32][..], &[1, 5], &[9; 32]].concat();
        decode(&[&[0x88, 0, 2][..], &entry(first), &entry(second)].concat())
    };
    assert!(vector(1, 2).is_ok());
    assert_eq!(vector(2, 1), Err(FrameError::NotCanonical("the order of authors")));
    assert_eq!(vector(1, 1), Err(FrameError::NotCanonical("the order of authors")));
    assert_eq!(decode(&[0x88, 0x80, 0, 0]), Err(FrameError::NotCanonical("a document")));
}

/// Both sides sign another message, and every bit of both hellos and of the channel counts.
#[test]
fn a_proof_is_for_one_side_of_one_connection() {
    let (dialer, server) = (b"hello a".as_slice(), b"hello b".as_slice());
    let said = Transcript::new(dialer, server, None);
    let messages = [
        said.message(true),
        said.message(false),
        Transcript::new(server, dialer, None).message(true),
        Transcript::new(b"hello c", server, None).message(true),
        Transcript::new(dialer, b"hello c", None).message(true),
        Transcript::new(dialer, server, Some([1; 32])).message(true),
    ];
    assert_eq!(messages.iter().collect::<BTreeSet<_>>().len(), messages.len());
}

/// The bytes that other implementations must write.
#[test]
fn golden_frames() {
    let vector: VersionVector = BTreeMap::from([(AuthorId([0xaa; 32]), vec![(300, Digest([0xdd; 32]))])]);
    let hello = Hello {
        key: AuthorId([1; 32]),
        nonce: [2; 32],
        is_bound: true,
        documents: vec![HelloDocument { id: DocumentId([0; 32]), root: Digest([3; 32]) }],
    };
    let id = |byte: &str| byte.repeat(32);
    let tip = format!("01{}01ac02{}", id("aa"), id("dd"));
    let golden = [
        (Frame::Hello(hello), format!("8002{}{}0101{}{}", id("01"), id("02"), id("00"), id("03"))),
        (
            Frame::Vector { document: 1, vector: vector.clone(), accepts: Accepts::All },
            format!("8201{tip}00"),
        ),
        (Frame::End { document: 1, is_final: true, vector }, format!("850101{tip}")),
        (Frame::Reply { id: 5, is_done: true, body: Bytes::from_static(b"ok") }, "8c0500026f6b".to_owned()),
        (Frame::Refuse { code: RefuseCode::NotTrusted, reason: "no".to_owned() }, "8e01026e6f".to_owned()),
    ];
    for (frame, hex) in golden {
        assert_eq!(HEXLOWER.encode(&encode(&frame)), hex, "{frame:?}");
    }
    let roots: VersionVector = BTreeMap::from([(AuthorId([0xaa; 32]), vec![(1, Digest([0xdd; 32]))])]);
    assert_eq!(
        [root(&VersionVector::new()).to_string(), root(&roots).to_string()],
        [
            "56fd2f2de3edc2adeff4b8c2eea2f7d26c6967e6034adac5eef184af40125f49",
            "644ffb231c5ed280c2c9b68fcaa889381d465b83234a11f55e176bf4b1f36334",
        ]
        .map(str::to_owned)
    );
}
