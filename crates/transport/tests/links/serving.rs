//! What a peer can do with documents that come and go: what is right is answered, what is wrong costs the peer alone,
//! and whatever it does, what is remembered of it is bounded.

use bft_json_crdt::{Digest, DocumentId};
use gangline_transport::PeerRights;
use gangline_transport::link::{Exchange, LinkDocument, LinkInput};
use gangline_transport::session::{CloseReason, Millis, SessionSettings};
use gangline_wire::limits::{DOCUMENTS_MAX, PAGE_DOCUMENTS_MAX};
use gangline_wire::v2::{
    Accepts, BUCKETS, Catalog, Frame, HeldDocument, bucket_hash, decode, root, summary_of,
};

use crate::pair::{DOCUMENT, Pair, Side, Writer, replica};

fn held(n: usize, root: u8) -> HeldDocument {
    let mut id = [9; 32];
    id[0] = (n % 256) as u8;
    id[24..].copy_from_slice(&(n as u64).to_be_bytes());
    HeldDocument { id: DocumentId(id), root: Digest([root; 32]) }
}

fn open(n: usize) -> Frame {
    Frame::Open { document: held(n, 1), answers: None }
}

/// Two that have met, and have hosts.
fn met() -> Pair {
    let mut writer = Writer::new(10);
    let changes: Vec<_> = (0..20).map(|n| writer.write(&format!("{n}"))).collect();
    let mut pair = Pair::hosting(replica(1, None, &changes), replica(2, None, &changes));
    pair.talk();
    pair.assert_level();
    pair
}

fn bad_frames(pair: &Pair) -> u64 {
    pair.sides[0].link.stats().bad_frames
}

/// Lets both go on a while later.
fn later(pair: &mut Pair, ms: u64) {
    for side in &mut pair.sides {
        side.now = Millis(ms);
        side.feed(LinkInput::Tick);
    }
    pair.talk();
}

#[test]
fn what_a_peer_opens_is_offered_once_and_its_numbers_count_on() {
    let mut pair = met();
    for n in 0..100 {
        pair.sides[0].hear(&open(n));
        pair.sides[0].hear(&Frame::Close { document: n as u32 + 1 });
    }
    pair.talk();
    assert_eq!(pair.sides[0].offered.len(), 100);
    assert_eq!(pair.sides[0].offered[7].id, held(7, 1).id);
    assert_eq!(pair.sides[0].offered[7].root, Some(Digest([1; 32])));
    assert_eq!((bad_frames(&pair), pair.sides[0].closed.clone()), (0, None));
    // Numbers that are over, or were never begun.
    for document in [0x50, 0x200] {
        pair.sides[0].hear(&Frame::Close { document });
    }
    pair.talk();
    assert_eq!((bad_frames(&pair), pair.sides[0].closed.clone()), (2, None));
}

#[test]
fn a_document_that_one_side_closes_is_exchanged_no_more_until_it_is_there_again() {
    let mut pair = met();
    let vector = pair.sides[1].replica.version_vector();
    let (held, durable) = (HeldDocument { id: DOCUMENT, root: root(&vector) }, pair.durable()[1]);
    pair.sides[1].feed(LinkInput::Closed { document: 0, held, durable });
    pair.talk();
    let stood = |pair: &Pair| pair.sides[0].stood.last().map(|(exchange, _)| *exchange);
    assert_eq!(stood(&pair), Some(Exchange::Apart));
    pair.sides[1].feed(LinkInput::Opened(LinkDocument { place: 1, id: DOCUMENT, durable }));
    later(&mut pair, 5_000);
    assert_eq!(stood(&pair), Some(Exchange::Level));
    let told = pair.sides[0].stood.iter().map(|(exchange, _)| *exchange);
    let before = [Exchange::Meeting, Exchange::Level];
    assert_eq!(told.collect::<Vec<_>>(), [&before[..], &[Exchange::Apart], &before].concat());
}

#[test]
fn wrong_numbers_end_the_link() {
    let frames = [
        Frame::Ack { document: 5, vector: Default::default() },
        Frame::Open { document: held(1, 1), answers: Some(1) },
        // Its own number, while the other side does not serve the document.
        Frame::Vector { document: 1, vector: Default::default(), accepts: Accepts::All },
    ];
    for frame in frames {
        let mut pair = met();
        pair.sides[0].hear(&open(0));
        pair.sides[0].hear(&frame);
        pair.talk();
        assert!(matches!(pair.sides[0].closed, Some(CloseReason::Protocol { .. })), "{frame:?}");
    }
    let mut pair = met();
    pair.sides[0].hear(&Frame::Close { document: 0 });
    pair.sides[0].hear(&Frame::Ack { document: 0, vector: Default::default() });
    pair.talk();
    assert!(matches!(pair.sides[0].closed, Some(CloseReason::Protocol { .. })), "it has closed that itself");
}

#[test]
fn a_peer_serves_no_more_documents_than_it_may() {
    let mut pair = met();
    // One is shared already.
    for n in 0..DOCUMENTS_MAX + 50 {
        pair.sides[0].hear(&open(n));
    }
    pair.talk();
    assert_eq!(bad_frames(&pair), 51);
    assert!(pair.sides[0].offered.len() <= DOCUMENTS_MAX);
    assert_eq!(pair.sides[0].closed, None);
    // One that goes makes room for another.
    pair.sides[0].hear(&Frame::Close { document: 3 });
    pair.sides[0].hear(&open(100_000));
    pair.talk();
    assert_eq!(bad_frames(&pair), 51);
    assert_eq!(pair.sides[0].offered.last().unwrap().id, held(100_000, 1).id);
    // The same again and again.
    pair.sides[0].hear(&Frame::Close { document: 4 });
    pair.sides[0].hear(&open(100_000));
    pair.talk();
    assert_eq!(bad_frames(&pair), 52);
}

/// A million documents, by name: what does not fit is forgotten.
#[test]
fn what_a_peer_offers_is_bounded() {
    let mut writer = Writer::new(10);
    let changes = [writer.write("a")];
    let settings = SessionSettings { offers_max: 2_000, ..SessionSettings::default() };
    let mut pair = Pair::hosting(replica(1, None, &changes), replica(2, None, &changes));
    pair.sides[0] = Side::with(1, true, replica(1, None, &changes), None, settings, true);
    pair.talk();
    let limit = 2_000;
    for _ in 0..8 {
        for n in 0..1 << 14 {
            pair.sides[0].hear(&Frame::News(held(n, 1)));
        }
        pair.talk();
    }
    assert!(pair.sides[0].offered.len() <= 8 * (limit + 64), "{}", pair.sides[0].offered.len());
    assert_eq!((bad_frames(&pair), pair.sides[0].closed.clone()), (0, None));
}

#[test]
fn whoever_may_not_write_makes_this_node_open_nothing() {
    let mut pair = met();
    pair.sides[0].rights = Ok(PeerRights { read: true, write: false, name: None });
    pair.sides[0].feed(LinkInput::AskAgain);
    pair.talk();
    pair.sides[0].hear(&open(1));
    pair.sides[0].hear(&Frame::News(held(2, 1)));
    pair.sides[0].hear(&Frame::Catalog(Catalog::Buckets(Box::new([[7; 8]; BUCKETS]))));
    pair.talk();
    assert_eq!(pair.sides[0].offered, []);
    let asks = |frame: &Frame| matches!(frame, Frame::Catalog(Catalog::Ask { .. }));
    assert_eq!(pair.sides[0].frames(asks), 0);
    assert_eq!(pair.sides[0].closed, None);
}

#[test]
fn whoever_may_not_read_hears_of_nothing_but_what_it_serves() {
    let mut writer = Writer::new(10);
    let changes = [writer.write("a")];
    let mut pair = Pair::hosting(replica(1, None, &changes), replica(2, None, &changes));
    pair.sides[0].rights = Ok(PeerRights { read: false, write: true, name: None });
    pair.sides[0].stored = vec![held(3, 1)];
    pair.talk();
    let durable = pair.sides[0].replica.durable();
    pair.sides[0].feed(LinkInput::Opened(LinkDocument { place: 1, id: held(1, 1).id, durable }));
    pair.sides[0].feed(LinkInput::News(vec![held(2, 1)]));
    pair.sides[0].hear(&Frame::Catalog(Catalog::Ask { bucket: 3, after: None }));
    // The other side has not really asked.
    pair.talk_over(|from, bytes| if from == 0 { Vec::new() } else { vec![bytes] });
    let opens = |frame: &Frame| matches!(frame, Frame::Open { .. } | Frame::News(_));
    assert_eq!(pair.sides[0].frames(opens), 0);
    let empty = Frame::Catalog(Catalog::Page { bucket: 3, is_last: true, documents: Vec::new() });
    assert_eq!(pair.sides[0].frames(|frame| *frame == empty), 1);
    let summary = summary_of(&[bucket_hash([]); BUCKETS]);
    let says_nothing = |frame: &Frame| *frame == Frame::Catalog(Catalog::Summary(summary));
    assert_eq!(pair.sides[0].frames(says_nothing), 1, "as if nothing were kept");
    // What it serves itself it may hear of: else it could not give it.
    pair.sides[0].hear(&open(1));
    pair.talk_over(|from, bytes| if from == 0 { Vec::new() } else { vec![bytes] });
    let answers = |frame: &Frame| matches!(frame, Frame::Open { answers: Some(1), .. });
    assert_eq!(pair.sides[0].frames(answers), 1);
    assert!(pair.sides[0].given().is_empty());
}

#[test]
fn pages_that_nobody_asked_for_end_the_link() {
    let page = |bucket: usize, documents: Vec<HeldDocument>| {
        Frame::Catalog(Catalog::Page { bucket: bucket as u8, is_last: true, documents })
    };
    let mut pair = met();
    pair.sides[0].hear(&page(1, Vec::new()));
    pair.talk();
    assert!(matches!(pair.sides[0].closed, Some(CloseReason::Protocol { .. })));
    // Another bucket than was asked for.
    let mut pair = met();
    let mut hashes = Box::new([bucket_hash([]); BUCKETS]);
    hashes[9] = [1; 8];
    pair.sides[0].hear(&Frame::Catalog(Catalog::Buckets(hashes)));
    pair.talk_over(|from, bytes| match decode(&bytes) {
        // The other side would answer.
        Ok(Frame::Catalog(Catalog::Ask { bucket: 9, .. })) if from == 0 => Vec::new(),
        _ => vec![bytes],
    });
    pair.sides[0].hear(&page(8, vec![held(8, 1)]));
    pair.talk();
    assert!(matches!(pair.sides[0].closed, Some(CloseReason::Protocol { .. })));
}

#[test]
fn a_peer_asks_for_one_page_at_a_time() {
    let mut pair = met();
    pair.sides[0].stored = (0..3_000).map(|n| held(256 * n + 4, 1)).collect();
    pair.sides[0].hear(&Frame::Catalog(Catalog::Ask { bucket: 4, after: None }));
    pair.sides[0].hear(&Frame::Catalog(Catalog::Ask { bucket: 4, after: None }));
    pair.talk_over(|from, bytes| if from == 0 { Vec::new() } else { vec![bytes] });
    assert!(matches!(pair.sides[0].closed, Some(CloseReason::Protocol { .. })));
    let pages = |frame: &Frame| matches!(frame, Frame::Catalog(Catalog::Page { .. }));
    assert!(pair.sides[0].frames(pages) <= 1);
    let largest = pair.sides[0].sent.iter().map(|bytes| bytes.len()).max().unwrap();
    assert!(largest <= 64 * PAGE_DOCUMENTS_MAX + 8, "{largest}");
}

#[test]
fn catalogs_that_come_too_often_are_bad_frames() {
    let mut pair = met();
    for n in 0..50 {
        pair.sides[0].hear(&Frame::Catalog(Catalog::Summary([n; 16])));
        pair.sides[0].hear(&Frame::Catalog(Catalog::Buckets(Box::new([[n; 8]; BUCKETS]))));
    }
    pair.talk_over(|from, bytes| if from == 0 { Vec::new() } else { vec![bytes] });
    assert!(bad_frames(&pair) >= 97, "{}", bad_frames(&pair));
    let shown = |frame: &Frame| matches!(frame, Frame::Catalog(Catalog::Buckets(_)));
    assert!(pair.sides[0].frames(shown) <= 1);
    assert_eq!(pair.sides[0].closed, None);
}

/// What a peer keeps and this node does not is gone through page by page, and each is offered once.
#[test]
fn a_catalog_is_gone_through_to_its_end() {
    let mut writer = Writer::new(10);
    let changes = [writer.write("a")];
    let mut pair = Pair::hosting(replica(1, None, &changes), replica(2, None, &changes));
    // More than a page in one bucket, and one that both have; and one that is kept otherwise.
    pair.sides[1].stored = (0..2_500).map(|n| held(256 * n + 4, 1)).chain([held(5, 1), held(6, 1)]).collect();
    pair.sides[0].stored = vec![held(5, 1), held(6, 2), held(7, 1)];
    pair.talk();
    assert_eq!(pair.sides[0].offered.len(), 2_501);
    assert!(pair.sides[0].offered.iter().any(|offer| offer.id == held(6, 1).id));
    let mut offered: Vec<_> = pair.sides[1].offered.iter().map(|offer| offer.id).collect();
    offered.sort_unstable();
    assert_eq!(offered, [held(6, 1).id, held(7, 1).id]);
    let asks = |frame: &Frame| matches!(frame, Frame::Catalog(Catalog::Ask { .. }));
    assert_eq!((pair.sides[0].frames(asks), pair.sides[1].frames(asks)), (5, 3));
    assert_eq!(bad_frames(&pair), 0);
}

/// Offers that did not fit are found again, when those that did are done.
#[test]
fn what_was_missed_is_looked_for_in_the_catalog() {
    let mut writer = Writer::new(10);
    let changes = [writer.write("a")];
    let settings = SessionSettings { offers_max: 1_100, ..SessionSettings::default() };
    let mut pair = Pair::hosting(replica(1, None, &changes), replica(2, None, &changes));
    pair.sides[0] = Side::with(1, true, replica(1, None, &changes), None, settings, true);
    pair.talk();
    pair.sides[1].stored = (0..3_000).map(|n| held(n, 1)).collect();
    let news: Vec<HeldDocument> = pair.sides[1].stored.clone();
    // In one batch: the host gets to none of them in between.
    for document in news {
        pair.sides[0].hear(&Frame::News(document));
    }
    pair.talk();
    let distinct = |pair: &Pair| {
        let ids: std::collections::BTreeSet<_> = pair.sides[0].offered.iter().map(|offer| offer.id).collect();
        ids.len()
    };
    assert!(distinct(&pair) < 3_000, "it was too many at a time");
    later(&mut pair, 20_000);
    assert_eq!(distinct(&pair), 3_000);
    assert_eq!((bad_frames(&pair), pair.sides[0].closed.clone()), (0, None));
}

/// A node from before documents came and went is sent none of this, and shares what was in the hellos.
#[test]
fn old_nodes_share_what_was_open_when_they_met() {
    let mut writer = Writer::new(10);
    let changes: Vec<_> = (0..5).map(|n| writer.write(&format!("{n}"))).collect();
    for old in 0..2 {
        let mut pair = Pair::hosting(replica(1, None, &changes), replica(2, None, &[]));
        pair.sides[old] = Side::old(old as u8 + 1, old == 0, pair.sides[old].replica.clone());
        pair.talk();
        pair.assert_level();
        for side in &mut pair.sides {
            let durable = side.replica.durable();
            side.feed(LinkInput::Opened(LinkDocument { place: 1, id: held(1, 1).id, durable }));
            side.feed(LinkInput::News(vec![held(2, 1)]));
        }
        let change = writer.write("more");
        pair.sides[1].bring(std::slice::from_ref(&change));
        pair.talk();
        let is_new = |bytes: &bytes::Bytes| (0x8f..=0x92).contains(&bytes[0]);
        assert!(pair.sides.iter().all(|side| !side.sent.iter().any(is_new)));
        // One that is closed: what comes of it is dropped, and nobody minds.
        let (held, durable) =
            (HeldDocument { id: DOCUMENT, root: Digest([0; 32]) }, pair.sides[1 - old].replica.durable());
        pair.sides[1 - old].feed(LinkInput::Closed { document: 0, held, durable });
        let change = writer.write("too late");
        pair.sides[old].bring(std::slice::from_ref(&change));
        pair.talk();
        assert!(pair.sides.iter().all(|side| side.closed.is_none() && side.link.stats().bad_frames == 0));
        // Frames that it has not said it knows end the link.
        pair.sides[1 - old].hear(&open(1));
        pair.talk();
        assert!(matches!(pair.sides[1 - old].closed, Some(CloseReason::Protocol { .. })));
    }
}

/// It may come and go before a link gets to hear of it: what grew meanwhile is news all the same.
#[test]
fn what_was_open_for_a_moment_only_is_told_of() {
    let mut pair = met();
    let durable = pair.sides[0].replica.durable();
    pair.sides[0].feed(LinkInput::Closed { document: 7, held: held(1, 1), durable });
    pair.talk();
    assert_eq!(pair.sides[0].frames(|frame| *frame == Frame::News(held(1, 1))), 1);
}

/// The other side may still be giving when this side closes a document: what is on its way is dropped, and is a reason
/// to open the document again.
#[test]
fn what_is_on_its_way_to_a_closed_document_is_dropped_and_remembered() {
    let mut pair = met();
    let change = Writer::new(11).write("late");
    pair.sides[1].bring(std::slice::from_ref(&change));
    let (held, durable) =
        (HeldDocument { id: DOCUMENT, root: Digest([0; 32]) }, pair.sides[0].replica.durable());
    pair.sides[0].feed(LinkInput::Closed { document: 0, held, durable });
    pair.talk();
    assert!(pair.sides.iter().all(|side| side.closed.is_none() && side.link.stats().bad_frames == 0));
    assert_eq!(pair.sides[0].replica.durable().0, 20);
    assert!(pair.sides[0].offered.iter().any(|offer| offer.id == DOCUMENT), "{:?}", pair.sides[0].offered);
}
