//! A bundle gives back the changes that went in, byte for byte, and a bundle that is broken gives an error.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use std::collections::HashSet;

use bft_json_crdt::bundle::{
    BundleError, CHUNK_BYTES_MAX, CHUNK_CHANGES_MAX, COVERED_CHANGES_MAX, Encoder, Signatures, check, decode,
    encode,
};
use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{BaseCrdt, Change, CrdtNode, JsonCrdt, JsonValue, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::op::Rank;
use bft_json_crdt::text_crdt::TextCrdt;
use bft_json_crdt::{Digest, DocumentId};
use proptest::prelude::*;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Card {
    title: LwwRegisterCrdt<String>,
    points: LwwRegisterCrdt<JsonValue>,
    tags: ListCrdt<LwwRegisterCrdt<String>>,
    votes: CounterCrdt,
    body: TextCrdt,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Board {
    cards: ListCrdt<Card>,
    people: MapCrdt<Card>,
    any: MapCrdt<JsonCrdt>,
    title: LwwRegisterCrdt<JsonValue>,
    notes: TextCrdt,
    count: CounterCrdt,
}

const DOCUMENT: DocumentId = DocumentId([7; 32]);

/// What a replica does next: an edit of a kind, somewhere, with some number.
type Step = (usize, u8, usize, i64);

struct Replica {
    key: Keypair,
    base: BaseCrdt<Board>,
    /// All that it knows, in causal order.
    log: Vec<Change>,
}

impl Replica {
    fn new(index: usize) -> Self {
        let key = Keypair::from_seed(&[index as u8 + 1; 32]);
        Self { base: BaseCrdt::with_document(&key, DOCUMENT), key, log: Vec::new() }
    }

    /// One whose edits follow a source of data.
    fn source() -> Self {
        let mut source = Self::new(0);
        source.base = BaseCrdt::of_source(&source.key, &source.key.author(), "rows");
        let op = source.base.declare_source("rows").sign(&source.key);
        assert!(source.base.apply(op.clone()).is_applied());
        source.log.push(op.into_change());
        source
    }

    fn edit(&mut self, steps: &[Step]) {
        let made = self.base.transact(&self.key, |board| {
            steps.iter().for_each(|(_, kind, at, n)| edit(board, *kind, *at, *n));
            Ok(())
        });
        self.log.extend(made.unwrap_or_default());
    }

    fn receive(&mut self, changes: Vec<Change>) {
        self.log.extend(self.base.apply_changes(changes).applied);
    }
}

fn edit(board: &Board, kind: u8, at: usize, n: i64) {
    let len = board.cards.len();
    let card =
        json!({"title": format!("card {n}"), "points": n, "tags": ["a", "b"], "votes": n, "body": "ab"});
    let one = |at: usize| board.cards.get(at % len.max(1));
    let edit = match kind {
        0 => Some(board.cards.insert_idx(at % (len + 1), card)),
        1 => (len > 0).then(|| board.cards.delete_idx(at % len)),
        2 => one(at).map(|card| card.title.set(format!("{}", n % 4))),
        3 => one(at).map(|card| card.points.set(n)),
        4 => one(at).map(|card| card.points.set(n as f64 / 3.0)),
        5 => one(at).map(|card| card.points.set(json!({"x": n as f64, "y": [null, true, -0.0, n, "ä"]}))),
        6 => one(at).map(|card| card.tags.push(format!("t{n}"))),
        7 => one(at).map(|card| card.votes.add(n)),
        8 => one(at).map(|card| card.body.insert(at % (card.body.len() + 1), "héllo")),
        9 => one(at).filter(|card| !card.body.is_empty()).map(|card| card.body.cut(at % card.body.len(), 1)),
        10 => (len > 1).then(|| board.cards.move_idx(at % len, n as usize % len)),
        11 => Some(board.people.put(&format!("{}", at % 3), card)),
        12 => board.people.get(&format!("{}", at % 3)).map(|person| person.title.set("inside")),
        13 => board.people.try_remove(&format!("{}", at % 3)).ok(),
        14 => Some(board.any.put(&format!("{}", at % 5), json!({"list": [{"n": n}], "key": "v"}))),
        15 => board.any.get("1").map(|any| any.put("deep", n)),
        16 => Some(board.title.set(n)),
        17 => Some(board.notes.insert(at % (board.notes.len() + 1), &"x".repeat(1 + at % 7))),
        18 => (board.notes.len() > 2).then(|| board.notes.cut(at % (board.notes.len() - 2), 2)),
        _ => Some(board.count.add(n)),
    };
    if let Some(edit) = edit {
        let _ = edit.keep();
    }
}

/// Histories of three authors who edit alone and in transactions, and tell each other some of what they know.
fn any_histories() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let step = (0usize..3, 0u8..24, any::<usize>(), prop_oneof![-3i64..9, any::<i64>()]);
    let turn = (prop::collection::vec(step, 1..5), any::<bool>(), 0usize..3);
    prop::collection::vec(turn, 1..40).prop_map(|turns| {
        let mut team: Vec<Replica> = (0..3).map(Replica::new).collect();
        for (steps, is_alone, to) in turns {
            let who = steps[0].0;
            match (steps[0].1, is_alone) {
                (20.., _) => {
                    let log = team[who].log.clone();
                    team[to].receive(log);
                }
                (19, _) => {
                    let replica = &mut team[who];
                    replica.log.extend(replica.base.save_mark(&replica.key).ok());
                }
                (_, true) => team[who].edit(&steps),
                (_, false) => steps.chunks(1).for_each(|step| team[who].edit(step)),
            }
        }
        let everything: Vec<Change> = team.iter().flat_map(|replica| replica.log.clone()).collect();
        team[0].receive(everything);
        team.into_iter().map(|replica| replica.log).collect()
    })
}

fn decoded(bundle: &[u8]) -> Result<Vec<(Change, bool)>, BundleError> {
    decode(bundle)?.map(|change| change.map(|change| (change.change, change.is_signed))).collect()
}

#[track_caller]
fn check_round_trip(changes: &[Change]) {
    for signatures in [Signatures::All, Signatures::Covering] {
        let bundle = encode(changes, signatures).unwrap();
        assert_eq!(encode(changes, signatures).unwrap(), bundle);
        assert_eq!(check(&bundle), Ok(()));
        let decoder = decode(&bundle).unwrap();
        let bytes: usize = changes.iter().map(|change| change.bytes().len()).sum();
        assert_eq!((decoder.change_count(), decoder.change_bytes()), (changes.len() as u64, bytes as u64));
        let again = decoded(&bundle).unwrap();
        assert_eq!(again.len(), changes.len());
        for ((again, is_signed), change) in again.iter().zip(changes) {
            assert_eq!(again.bytes(), change.bytes());
            assert_eq!(again.digest(), change.digest());
            assert_eq!(again.signature(), if *is_signed { change.signature() } else { &[0; 64] });
            assert!(*is_signed || signatures == Signatures::Covering);
        }
        check_covered(&again);
        // What was left out stays left out, and the rest survives another bundle.
        let (kept, flags): (Vec<Change>, Vec<bool>) = again.into_iter().unzip();
        let twice = decoded(&encode(&kept, Signatures::All).unwrap()).unwrap();
        assert!(twice.iter().map(|(_, is_signed)| *is_signed).eq(flags));
    }
}

/// Every change is within reach of a signature of its own chain.
#[track_caller]
fn check_covered(changes: &[(Change, bool)]) {
    let mut distance = std::collections::HashMap::<Digest, usize>::new();
    for (change, is_signed) in changes.iter().rev() {
        let own = if *is_signed { 0 } else { distance[&change.digest()] };
        assert!(own < COVERED_CHANGES_MAX);
        if let Some(prev) = change.prev() {
            let nearest = distance.entry(prev).or_insert(usize::MAX);
            *nearest = (own + 1).min(*nearest);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_decoded_is_what_was_encoded(histories in any_histories(), from in any::<prop::sample::Index>()) {
        for log in &histories {
            check_round_trip(log);
            // A suffix stands on changes that are not in it, and a shuffled history on changes that come later.
            check_round_trip(&log[from.index(log.len() + 1)..]);
            let mut shuffled = log.clone();
            shuffled.sort_by_key(Change::digest);
            check_round_trip(&shuffled);
        }
    }

    #[test]
    fn a_fresh_replica_takes_a_covering_bundle(histories in any_histories()) {
        let bundle = encode(&histories[0], Signatures::Covering).unwrap();
        let mut fresh = BaseCrdt::<Board>::with_document(&Keypair::from_seed(&[9; 32]), DOCUMENT);
        let changes = decoded(&bundle).unwrap().into_iter().map(|(change, _)| change).collect();
        let states = fresh.apply_changes(changes).states;
        prop_assert!(states.iter().all(|state| !state.is_refused()), "{:?}", states);
        prop_assert_eq!(fresh.change_count(), histories[0].len());
    }

    #[test]
    fn a_bundle_that_was_changed_on_purpose_gives_valid_changes_or_an_error(
        histories in any_histories(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bundle = encode(&histories[0], Signatures::Covering).unwrap();
        for (at, byte) in edits {
            let at = at.index(bundle.len());
            bundle[at] = byte;
        }
        fix_checksums(&mut bundle);
        check_hostile(&bundle);
    }
}

/// Whatever it holds is well formed, and no more than it says.
fn check_hostile(bundle: &[u8]) {
    let Ok(decoder) = decode(bundle) else { return };
    let (count, bytes) = (decoder.change_count(), decoder.change_bytes());
    let changes: Vec<Change> = decoder.map_while(Result::ok).map(|change| change.change).collect();
    assert!(changes.len() as u64 <= count);
    assert!(changes.iter().map(|change| change.bytes().len() as u64).sum::<u64>() <= bytes);
    for change in changes {
        let again = Change::decode(change.bytes(), *change.signature()).unwrap();
        assert_eq!(again.digest(), change.digest());
    }
}

/// Gives head and chunks the checksums that they should have, as far as their lengths make sense.
fn fix_checksums(bundle: &mut [u8]) {
    const HEAD: usize = 57;
    if let Some((head, rest)) = bundle.split_at_mut_checked(HEAD) {
        rest[..4].copy_from_slice(&crc32fast::hash(head).to_le_bytes());
    }
    let mut at = HEAD + 4;
    while let Some(frame) = bundle.get(at..at + 8) {
        let len = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize;
        let Some(payload) = bundle.get(at + 8..at + 8 + len) else { return };
        let checksum = crc32fast::hash(payload).to_le_bytes();
        bundle[at + 4..at + 8].copy_from_slice(&checksum);
        at += 8 + len;
    }
}

/// A small history with one op of each kind, and two authors.
fn sample() -> Vec<Change> {
    let mut team = [Replica::new(0), Replica::new(1)];
    for kind in 0..20 {
        let (who, other) = (usize::from(kind % 3 == 1), usize::from(kind % 3 != 1));
        team[who].edit(&[(0, kind, 1, 5)]);
        if kind % 2 == 0 {
            team[who].edit(&[(0, 0, 0, 6), (0, 2, 0, 1), (0, 10, 1, 0), (0, 8, 0, 1), (0, 9, 0, 1)]);
        }
        let log = team[who].log.clone();
        team[other].receive(log);
    }
    let log = team[1].log.clone();
    team[0].receive(log);
    let [first, _] = team;
    first.log
}

#[test]
fn a_damaged_bundle_is_refused() {
    let bundle = encode(&sample(), Signatures::Covering).unwrap();
    for len in 0..bundle.len() {
        assert!(decoded(&bundle[..len]).is_err(), "cut to {len} bytes");
    }
    for bit in 0..bundle.len() * 8 {
        let mut flipped = bundle.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decoded(&flipped).is_err(), "bit {bit} flipped");
    }
    let longer = [&bundle[..], &[0]].concat();
    assert!(decoded(&longer).is_err());
}

#[test]
fn a_flip_whose_checksum_is_made_to_fit_gives_valid_changes_or_an_error() {
    let bundle = encode(&sample(), Signatures::Covering).unwrap();
    for bit in 0..bundle.len() * 8 {
        let mut flipped = bundle.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fix_checksums(&mut flipped);
        check_hostile(&flipped);
    }
}

#[test]
fn a_wrong_chunk_gives_nothing_and_ends_the_bundle() {
    let changes = sample();
    let mut bundle = encode(&changes, Signatures::All).unwrap();
    let last = bundle.len() - 1;
    bundle[last] ^= 1;
    let mut decoder = decode(&bundle).unwrap();
    assert_eq!(decoder.next().map(Result::err), Some(Some(BundleError::Checksum { chunk: 0 })));
    assert!(decoder.next().is_none());
}

#[test]
fn a_bundle_has_one_document_and_no_unsigned_change() {
    let key = Keypair::from_seed(&[1; 32]);
    let mut first = BaseCrdt::<Board>::with_document(&key, DOCUMENT);
    let mut second = BaseCrdt::<Board>::with_document(&key, DocumentId([8; 32]));
    let (one, other) = (first.save_mark(&key).unwrap(), second.save_mark(&key).unwrap());
    let mut encoder = Encoder::new();
    encoder.push(&one, true).unwrap();
    let error = encoder.push(&other, true).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("change 1 belongs to document {}, not {DOCUMENT}", other.document())
    );
    // The refusal changed nothing.
    assert_eq!(encoder.finish(), encode(&[one], Signatures::All).unwrap());
    let stand_in = first.doc.title.set(f64::NAN).sign(&key).into_change();
    assert!(matches!(encode(&[stand_in], Signatures::All), Err(BundleError::Change { change: 0, .. })));
}

#[test]
fn nothing_is_a_bundle_too() {
    let bundle = encode(&[], Signatures::All).unwrap();
    assert_eq!(decoded(&bundle), Ok(Vec::new()));
    assert!(matches!(decode(b"not one"), Err(BundleError::NotABundle)));
    let mut later = bundle;
    later[8] = 2;
    assert!(matches!(decode(&later), Err(BundleError::Version { found: 2 })));
}

#[test]
fn long_histories_come_in_chunks() {
    let key = Keypair::from_seed(&[1; 32]);
    let mut base = BaseCrdt::<Board>::with_document(&key, DOCUMENT);
    let marks = CHUNK_CHANGES_MAX + 2_000;
    let changes: Vec<Change> = (0..marks).map(|_| base.save_mark(&key).unwrap()).collect();
    check_round_trip(&changes);
    let bundle = encode(&changes, Signatures::Covering).unwrap();
    let signed = decoded(&bundle).unwrap().iter().filter(|(_, is_signed)| *is_signed).count();
    assert_eq!(signed, marks.div_ceil(COVERED_CHANGES_MAX));
    assert!(bundle.len() < signed * 64 + 700, "{}", bundle.len());
    // A broken second chunk leaves the first as it is.
    let mut broken = bundle;
    *broken.last_mut().unwrap() ^= 1;
    let good = decode(&broken).unwrap().map_while(Result::ok).count();
    assert_eq!(good, CHUNK_CHANGES_MAX);
}

#[test]
fn the_longest_changes_fit() {
    let mut alice = Replica::new(0);
    let key = alice.key.clone();
    let long = "ä".repeat((CHUNK_BYTES_MAX - 8_192) / 2);
    let made = alice.base.transact(&key, |board| board.title.set(long).keep()).unwrap();
    alice.log.extend(made);
    let made = alice.base.transact(&key, |board| board.notes.insert(0, &"x".repeat(1 << 20)).keep());
    alice.log.extend(made.unwrap());
    let made =
        alice.base.transact(&key, |board| (0..100_000).try_for_each(|n| board.count.add(n * n * n).keep()));
    alice.log.extend(made.unwrap());
    let values: Vec<i64> = (0..200_000).map(|n| i64::from(n % 7 == 0) * (i64::MAX - n)).collect();
    let made = alice.base.transact(&key, |board| board.title.set(json!(values)).keep()).unwrap();
    alice.log.extend(made);
    let bytes: usize = alice.log.iter().map(|change| change.bytes().len()).sum();
    assert!(alice.log.len() == 4 && bytes > CHUNK_BYTES_MAX);
    check_round_trip(&alice.log);
}

#[test]
fn a_source_says_so_in_a_bundle_too() {
    let mut source = Replica::source();
    source.base.begin_as(Rank::Above);
    source.edit(&[(0, 0, 0, 1), (0, 16, 0, 1), (0, 11, 0, 1)]);
    source.base.begin_as(Rank::Below);
    source.edit(&[(0, 16, 0, 2)]);
    assert_eq!(source.log.len(), 3);
    check_round_trip(&source.log);
}

#[test]
fn bundles_of_this_version_open_for_ever() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/");
    let (bundle, digests) = (format!("{folder}bundle-1.bin"), format!("{folder}bundle-1.txt"));
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        let changes = sample();
        std::fs::write(&bundle, encode(&changes, Signatures::Covering).unwrap()).unwrap();
        let lines = changes.iter().map(|change| format!("{}\n", change.digest()));
        std::fs::write(&digests, lines.collect::<String>()).unwrap();
    }
    let changes = decoded(&std::fs::read(&bundle).unwrap()).unwrap();
    let found: String = changes.iter().map(|(change, _)| format!("{}\n", change.digest())).collect();
    assert_eq!(found, std::fs::read_to_string(&digests).unwrap());
    assert!(changes.iter().filter(|(_, is_signed)| *is_signed).all(|(change, _)| change.verify()));
    let lengths: HashSet<usize> = changes.iter().map(|(change, _)| change.op_count()).collect();
    assert!(lengths.len() > 1 && changes.iter().any(|(_, is_signed)| !is_signed));
}
