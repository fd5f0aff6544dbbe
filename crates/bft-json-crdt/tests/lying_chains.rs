//! A chain that lies where it should be signed, and a bundle that a stranger sends: what is authentic comes in, the
//! rest is refused or left waiting, and nothing changes by it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

#[path = "workflow/document.rs"]
mod workflow;

use bft_json_crdt::bundle::{BundleError, Signatures, check, decode, encode};
use bft_json_crdt::json_crdt::{BaseCrdt, Change, DocumentId, OpState};
use bft_json_crdt::limits::CAUSAL_QUEUE_MAX;
use workflow::{Workflow, key, open, text};

const LEN: usize = 12;

/// A chain of one author, each link a change of many ops.
fn chain() -> Vec<Change> {
    let mut base = open(1);
    let edit = |base: &mut BaseCrdt<Workflow>, n: usize| {
        base.transact(&key(1), |doc| {
            doc.notes.insert(0, "stretch ").keep()?;
            doc.order.push(format!("{n}")).keep()
        })
    };
    (0..LEN).flat_map(|n| edit(&mut base, n).unwrap()).collect()
}

/// The links with the signatures that `keep` says, and zeros or another's in place of the rest.
fn signed_at(chain: &[Change], keep: impl Fn(usize) -> bool) -> Vec<Change> {
    let other = *chain[0].signature();
    let strip = |n: usize, change: &Change| {
        if keep(n) {
            change.clone()
        } else {
            change.with_signature(if n.is_multiple_of(2) { [0; 64] } else { other })
        }
    };
    chain.iter().enumerate().map(|(n, change)| strip(n, change)).collect()
}

/// Through a bundle that keeps the signatures as they are, and not.
fn bundled(changes: &[Change]) -> Vec<Change> {
    let bundle = encode(changes, Signatures::All).unwrap();
    decode(&bundle).unwrap().map(|change| change.unwrap().change).collect()
}

/// Gives a fresh replica the changes at once, one by one and backwards: it takes in the first `valid` ones, shows
/// what these make, and goes on with the honest chain as if nothing had been.
#[track_caller]
fn check_takes(changes: &[Change], valid: usize) {
    let honest = chain();
    let mut expected = open(9);
    expected.load(honest[..valid].to_vec()).unwrap();
    let mut backwards = changes.to_vec();
    backwards.reverse();
    for batch in [changes.to_vec(), backwards, bundled(changes)] {
        let mut base = open(9);
        let outcome = base.apply_changes(batch);
        let taken = outcome.states.iter().filter(|state| state.is_applied()).count();
        assert_eq!((taken, outcome.applied.len()), (valid, valid), "{:?}", outcome.states);
        assert_eq!(text(&base), text(&expected));
        assert_eq!((base.heads(), base.version_vector()), (expected.heads(), expected.version_vector()));
        let states = base.apply_changes(honest.clone()).states;
        assert!(
            states.iter().all(|state| state.is_applied() || *state == OpState::AlreadySeen),
            "{states:?}"
        );
        assert_eq!((base.change_count(), base.causal_queue_len()), (LEN, 0));
    }
}

#[test]
fn a_chain_comes_in_up_to_its_last_good_signature() {
    let honest = chain();
    check_takes(&signed_at(&honest, |_| true), LEN);
    check_takes(&signed_at(&honest, |n| n == LEN - 1), LEN);
    // The last signature is bad, or all behind some link are missing.
    check_takes(&signed_at(&honest, |_| false), 0);
    for last in 0..LEN - 1 {
        check_takes(&signed_at(&honest, |n| n == last), last + 1);
        check_takes(&signed_at(&honest, |n| n <= last), last + 1);
    }
    // Bad ones between good ones harm nobody.
    check_takes(&signed_at(&honest, |n| n % 3 == 2), LEN);
}

#[test]
fn an_altered_link_breaks_the_chain_behind_it() {
    let honest = chain();
    let mut base = open(9);
    let middle = LEN / 2;
    // Another text in the middle: another digest, which no link names.
    let mut bytes = honest[middle].bytes().to_vec();
    let at = bytes.windows(7).position(|window| window == b"stretch").unwrap();
    bytes[at] ^= 1;
    for signature in [[0; 64], *honest[middle].signature(), *honest[LEN - 1].signature()] {
        let mut lying = signed_at(&honest, |n| n == LEN - 1);
        lying[middle] = Change::decode(&bytes, signature).unwrap();
        let states = base.apply_changes(lying).states;
        let (before, behind) = (&states[..middle], &states[middle + 1..]);
        // What leads to the lie is named by no authentic change; what stands behind it waits for the true link.
        assert!(before.iter().all(|state| *state == OpState::BadSignature), "{states:?}");
        assert_eq!(states[middle], OpState::BadSignature);
        assert!(behind.iter().all(OpState::is_pending), "{states:?}");
        assert_eq!((base.change_count(), base.causal_queue_len()), (0, LEN - middle - 1));
        assert_eq!(text(&base), text(&open(9)));
    }
    // The true link is authentic by what waits, and so is all that it stands on.
    let states = base.apply_changes(signed_at(&honest[..=middle], |_| false)).states;
    assert!(states.iter().all(OpState::is_applied), "{states:?}");
    assert_eq!((base.change_count(), base.causal_queue_len()), (LEN, 0));
    // A link that is altered and signed by another key is that key's nowhere.
    let mut lying = honest.clone();
    let altered = Change::decode(&bytes, [0; 64]).unwrap();
    lying[middle] = altered.with_signature(key(6).sign(&altered.digest().0));
    let mut fresh = open(9);
    let states = fresh.apply_changes(lying).states;
    assert_eq!(states.iter().filter(|state| state.is_applied()).count(), middle);
    assert_eq!(states[middle], OpState::BadSignature);
}

#[test]
fn links_that_wait_unsigned_are_not_kept() {
    // Only what is authentic may wait: a flood of unsigned links would else push out others'.
    let honest = chain();
    let mut base = open(9);
    for change in signed_at(&honest[1..], |_| false) {
        assert_eq!(base.apply_changes(vec![change]).states, [OpState::BadSignature]);
    }
    assert_eq!(base.causal_queue_len(), 0);
    assert!(honest.len() < CAUSAL_QUEUE_MAX);
}

#[test]
fn a_bundle_of_another_document_changes_nothing() {
    let bundle = encode(&chain(), Signatures::Covering).unwrap();
    for document in [DocumentId::DEFAULT, DocumentId([8; 32])] {
        let mut base = BaseCrdt::<Workflow>::with_document(&key(9), document);
        let before = text(&base);
        let changes: Vec<Change> = decode(&bundle).unwrap().map(|change| change.unwrap().change).collect();
        let states = base.apply_changes(changes).states;
        assert!(states.iter().all(|state| *state == OpState::WrongDocument), "{states:?}");
        assert_eq!((base.change_count(), base.causal_queue_len(), text(&base)), (0, 0, before));
        // A bundle that says so in its head makes other changes of them, which nobody has signed.
        let mut moved = bundle.clone();
        moved[9..41].copy_from_slice(&document.0);
        let checksum = crc32fast::hash(&moved[..57]).to_le_bytes();
        moved[57..61].copy_from_slice(&checksum);
        let changes: Vec<Change> =
            decode(&moved).unwrap().map_while(Result::ok).map(|it| it.change).collect();
        assert_eq!(changes.len(), LEN);
        let states = base.apply_changes(changes).states;
        assert!(states.iter().all(|state| *state == OpState::BadSignature), "{states:?}");
        assert_eq!((base.change_count(), base.causal_queue_len()), (0, 0));
    }
}

#[test]
fn lengths_of_4_gib_are_refused_unread() {
    let honest = chain();
    let bundle = encode(&honest, Signatures::Covering).unwrap();
    let refit = |mut bundle: Vec<u8>| {
        let head = crc32fast::hash(&bundle[..57]).to_le_bytes();
        bundle[57..61].copy_from_slice(&head);
        let payload = crc32fast::hash(&bundle[69..]).to_le_bytes();
        bundle[65..69].copy_from_slice(&payload);
        bundle
    };
    // Of the head: how many changes there are, and how long these are in all.
    for field in [41, 49] {
        let mut bad = bundle.clone();
        bad[field..field + 8].copy_from_slice(&(1u64 << 32).to_le_bytes());
        let bad = refit(bad);
        assert!(matches!(check(&bad), Err(BundleError::OverLimit { .. })));
        let error = decode(&bad).unwrap().find_map(Result::err);
        assert!(matches!(error, Some(BundleError::Missing { .. })), "{error:?}");
    }
    // Of the chunk.
    let mut bad = bundle.clone();
    bad[61..65].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(check(&bad), Err(BundleError::Truncated { chunk: 0 }));
    assert_eq!(decode(&bad).unwrap().find_map(Result::err), Some(BundleError::Truncated { chunk: 0 }));
    // Of each part of the payload: a varint of 2^32 - 1 over whatever stands there.
    for at in 69..bundle.len().min(400) {
        let mut bad = bundle.clone();
        bad.splice(at..at + 1, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        let len = (bad.len() - 69) as u32;
        bad[61..65].copy_from_slice(&len.to_le_bytes());
        let bad = refit(bad);
        // Where it stands in a key, a digest or a signature, it makes other changes: which nobody has signed.
        let changes: Vec<Change> = decode(&bad).unwrap().map_while(Result::ok).map(|it| it.change).collect();
        let applied = open(9).apply_changes(changes).applied;
        assert!(applied.iter().all(|change| honest.contains(change)), "byte {at}");
    }
}
