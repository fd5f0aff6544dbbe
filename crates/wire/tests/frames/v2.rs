//! Frames of version 2: each message has one spelling, whose bytes are fixed, and nothing else decodes.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::bundle::Signatures;
use bft_json_crdt::json_crdt::{Change, VersionVector};
use bft_json_crdt::{AuthorId, Digest, DocumentId};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use gangline_wire::limits::{
    ASK_DIGESTS_MAX, CALL_BYTES_MAX, DOCUMENT_NUMBERS_MAX, DOCUMENTS_MAX, PAGE_DOCUMENTS_MAX,
    PRESENCE_BYTES_MAX,
};
use gangline_wire::v2::{
    Abilities, Accepts, BUCKETS, Catalog, Frame, FrameError, HeldDocument, Hello, RefuseCode, Transcript,
    bucket_hash, bundle_of, decode, encode, root, summary_of,
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

fn held() -> impl Strategy<Value = HeldDocument> {
    (digest(), digest()).prop_map(|(id, root)| HeldDocument { id: DocumentId(id.0), root })
}

fn catalog() -> impl Strategy<Value = Catalog> {
    let of_bucket = |bucket: u8, mut id: DocumentId| {
        id.0[0] = bucket;
        id
    };
    let page = (any::<u8>(), any::<bool>(), prop::collection::vec(held(), 0..6));
    prop_oneof![
        any::<[u8; 16]>().prop_map(Catalog::Summary),
        any::<[u8; 32]>().prop_map(|some| {
            let mut hashes = Box::new([[0; 8]; BUCKETS]);
            hashes.iter_mut().zip(some.iter().cycle()).for_each(|(hash, byte)| *hash = [*byte; 8]);
            Catalog::Buckets(hashes)
        }),
        (any::<u8>(), prop::option::of(any::<[u8; 32]>())).prop_map(move |(bucket, after)| {
            Catalog::Ask { bucket, after: after.map(|id| of_bucket(bucket, DocumentId(id))) }
        }),
        page.prop_map(move |(bucket, is_last, documents)| {
            let by_id = documents.into_iter().map(|it| (of_bucket(bucket, it.id).0, it.root));
            let by_id: BTreeMap<[u8; 32], Digest> = by_id.collect();
            let documents: Vec<_> =
                by_id.into_iter().map(|(id, root)| HeldDocument { id: DocumentId(id), root }).collect();
            Catalog::Page { bucket, is_last: is_last || documents.is_empty(), documents }
        }),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let document = 0u32..DOCUMENT_NUMBERS_MAX;
    let abilities = prop::option::of(any::<[u8; 32]>().prop_map(Abilities));
    let hello = (author(), any::<[u8; 32]>(), any::<bool>(), prop::collection::vec(held(), 0..4), abilities);
    let in_hello = hello.prop_map(|(key, nonce, is_bound, documents, abilities)| {
        Frame::Hello(Hello { key, nonce, is_bound, documents, abilities })
    });
    prop_oneof![
        in_hello,
        (held(), prop::option::of(document.clone()))
            .prop_map(|(document, answers)| Frame::Open { document, answers }),
        document.clone().prop_map(|document| Frame::Close { document }),
        held().prop_map(Frame::News),
        catalog().prop_map(Frame::Catalog),
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
    fn no_bytes_do_harm(kind in 0x80u8..=0x94, rest in prop::collection::vec(any::<u8>(), 0..300)) {
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
    over(&[0x88, 0x80, 0x80, 0x80, 0x80, 1, 0], "a document's number");
    let held = |n: usize| HeldDocument { id: document_id(n), root: Digest([1; 32]) };
    let page = |count| Catalog::Page { bucket: 0, is_last: true, documents: (0..count).map(held).collect() };
    over(&encode(&Frame::Catalog(page(PAGE_DOCUMENTS_MAX + 1))), "documents of a page");
    assert!(decode(&encode(&Frame::Catalog(page(PAGE_DOCUMENTS_MAX)))).is_ok());
    let documents = (0..=DOCUMENTS_MAX).map(held).collect();
    over(&encode(&Frame::Hello(Hello { documents, ..hello() })), "documents");
    assert_eq!(decode(&[0x92, 3, 0, 1, 0xff, 7]), Err(FrameError::Truncated("documents of a page")));
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

fn document_id(n: usize) -> DocumentId {
    let mut id = [0; 32];
    id[24..].copy_from_slice(&(n as u64 + 1).to_be_bytes());
    DocumentId(id)
}

fn hello() -> Hello {
    Hello {
        key: AuthorId([1; 32]),
        nonce: [2; 32],
        is_bound: true,
        documents: vec![HeldDocument { id: DocumentId([0; 32]), root: Digest([3; 32]) }],
        abilities: None,
    }
}

/// Nodes from before there were any read them as a document that they do not have; anywhere but at the end they would
/// move the numbers of the others.
#[test]
fn abilities_stand_at_the_end_of_a_hello_and_nowhere_else() {
    let able = Hello { abilities: Some(Abilities::all()), ..hello() };
    let bytes = encode(&Frame::Hello(able.clone()));
    assert!(able.opens_documents() && !hello().opens_documents());
    assert!(!Hello { abilities: Some(Abilities([0; 32])), ..hello() }.opens_documents());
    let (start, entries) = bytes.split_at(bytes.len() - 2 * 64);
    let (board, abilities) = entries.split_at(64);
    assert_eq!(&abilities[..26], b"gangline sync 2 abilities\0");
    assert_eq!(decode(&bytes), Ok(Frame::Hello(able)));
    let misplaced = [start, abilities, board].concat();
    assert_eq!(decode(&misplaced), Err(FrameError::NotCanonical("the place of the abilities")));
    let twice = [start, abilities, abilities].concat();
    assert_eq!(decode(&twice), Err(FrameError::NotCanonical("the place of the abilities")));
    for kind in [&[0x91][..], &[0x8f], &[0x92, 3, b'g', 1, 1]] {
        let document = [kind, abilities, &[0][..usize::from(kind == [0x8f])]].concat();
        assert_eq!(decode(&document), Err(FrameError::NotCanonical("the abilities")));
    }
    // What a later version can beside that is kept, and the rest understood.
    let later = Hello { abilities: Some(Abilities([0xff; 32])), ..hello() };
    assert_eq!(decode(&encode(&Frame::Hello(later.clone()))), Ok(Frame::Hello(later)));
}

#[test]
fn pages_are_of_one_bucket_and_in_order() {
    let held = |first: u8, last: u8| {
        let mut id = [7; 32];
        (id[0], id[31]) = (first, last);
        HeldDocument { id: DocumentId(id), root: Digest([1; 32]) }
    };
    let page = |is_last, documents: &[HeldDocument]| {
        let page = Catalog::Page { bucket: 5, is_last, documents: documents.to_vec() };
        decode(&encode(&Frame::Catalog(page)))
    };
    assert!(page(false, &[held(5, 1), held(5, 2)]).is_ok());
    assert!(page(true, &[]).is_ok());
    let refused = |what| Err(FrameError::NotCanonical(what));
    assert_eq!(page(true, &[held(6, 1)]), refused("an id of another bucket"));
    assert_eq!(page(true, &[held(5, 2), held(5, 1)]), refused("the order of ids"));
    assert_eq!(page(true, &[held(5, 1), held(5, 1)]), refused("the order of ids"));
    assert_eq!(page(false, &[]), refused("an empty page with more behind it"));
    let after = Catalog::Ask { bucket: 4, after: Some(held(5, 1).id) };
    assert_eq!(decode(&encode(&Frame::Catalog(after))), refused("an id of another bucket"));
    assert_eq!(decode(&[0x92, 4]), refused("what of a catalog"));
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
    let id = |byte: &str| byte.repeat(32);
    let tip = format!("01{}01ac02{}", id("aa"), id("dd"));
    let held = |byte: u8| HeldDocument { id: DocumentId([byte; 32]), root: Digest([0xee; 32]) };
    let able = Hello { abilities: Some(Abilities::all()), ..hello() };
    let abilities =
        format!("{}{}01{}", HEXLOWER.encode(b"gangline sync 2 abilities"), "00".repeat(7), "00".repeat(31));
    let before = format!("{}{}", id("01"), id("02"));
    let mut hashes = Box::new([[0x11; 8]; BUCKETS]);
    hashes[255] = [0x22; 8];
    let page = Catalog::Page { bucket: 0x05, is_last: true, documents: vec![held(5)] };
    let golden = [
        (Frame::Hello(hello()), format!("8002{before}0101{}{}", id("00"), id("03"))),
        (Frame::Hello(able), format!("8002{before}0102{}{}{abilities}", id("00"), id("03"))),
        (Frame::Open { document: held(5), answers: None }, format!("8f{}{}00", id("05"), id("ee"))),
        (Frame::Open { document: held(5), answers: Some(300) }, format!("8f{}{}01ac02", id("05"), id("ee"))),
        (Frame::Close { document: 300 }, "90ac02".to_owned()),
        (Frame::News(held(5)), format!("91{}{}", id("05"), id("ee"))),
        (Frame::Catalog(Catalog::Summary([9; 16])), format!("9200{}", "09".repeat(16))),
        (Frame::Catalog(Catalog::Buckets(hashes)), format!("9201{}{}", "11".repeat(8 * 255), "22".repeat(8))),
        (Frame::Catalog(Catalog::Ask { bucket: 5, after: None }), "92020500".to_owned()),
        (
            Frame::Catalog(Catalog::Ask { bucket: 5, after: Some(held(5).id) }),
            format!("92020501{}", id("05")),
        ),
        (Frame::Catalog(page), format!("9203050101{}{}", id("05"), id("ee"))),
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
    let buckets = [bucket_hash([]), bucket_hash(&[held(5), held(6)])];
    assert_eq!(buckets.map(|hash| HEXLOWER.encode(&hash)), ["687718aaf3767a6a", "eb8a1dfbc1b70a5c"]);
    assert_eq!(HEXLOWER.encode(&summary_of(&[buckets[0]; BUCKETS])), "1062b8aebd4cacd43fc4603db6ef80d4");
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
