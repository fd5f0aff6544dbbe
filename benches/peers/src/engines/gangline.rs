//! Our engine: every change signed by its author and checked by its receiver, which no peer does.
//!
//! Documents are of their own id, not the default one, whose v1 peers need a signature for each op.
//! [`text`] and [`board`] make the edits; who gets them, in which of the ways there are, is in [`receiving`].
//! [`growth`] follows the cost per op.

mod board;
mod growth;
mod receiving;
mod text;

pub use board::{board, board_memory, exchange};
pub use growth::growth;
pub use text::text;

use bft_json_crdt::bundle::{self, Signatures};
use bft_json_crdt::json_crdt::{
    BaseCrdt, Batch, Change, CheckedChange, Checker, Coalescing, CrdtNode, OpState, UnsignedOp,
};
use bft_json_crdt::{DocumentId, keypair::Keypair};

use crate::job::{COALESCED_EDITS_MAX, Delivery, Grouping};

const DOCUMENT: DocumentId = DocumentId([7; 32]);
/// Where all edits are to share a change: so many surely fit into one.
const EDITS_AT_ONCE_MAX: u32 = 65_536;
/// Changes that are sent together, where not all are.
const FRAME_CHANGES: usize = 4 * bundle::COVERED_CHANGES_MAX;

fn key(author: u8) -> Keypair {
    Keypair::from_seed(&[author; 32])
}

fn replica<T: CrdtNode>(author: u8) -> BaseCrdt<T> {
    BaseCrdt::with_document(&key(author), DOCUMENT)
}

/// A replica with its user: makes edits, signs them alone or together, and keeps what is to be sent.
struct Author<T: CrdtNode> {
    replica: BaseCrdt<T>,
    key: Keypair,
    grouping: Grouping,
    coalescing: Coalescing,
    updates: Vec<Vec<u8>>,
}

impl<T: CrdtNode> Author<T> {
    fn new(author: u8, grouping: Grouping) -> Self {
        let edits_max = match grouping {
            Grouping::AtOnce => EDITS_AT_ONCE_MAX,
            Grouping::PerEdit => 1,
            Grouping::Coalesced => COALESCED_EDITS_MAX as u32,
        };
        Self {
            replica: replica(author),
            key: key(author),
            grouping,
            coalescing: Coalescing::new(edits_max, u64::MAX),
            updates: Vec::new(),
        }
    }

    /// Makes one edit.
    fn edit(&mut self, make: impl FnOnce(&T) -> UnsignedOp) {
        if self.grouping == Grouping::PerEdit {
            let op = make(&self.replica.doc).try_sign(&self.key).expect("an edit that fits the type");
            self.updates.push(encode(op.change()));
            return;
        }
        self.replica.begin();
        make(&self.replica.doc).keep().expect("an edit that fits the type");
        if self.coalescing.note_edit(0) {
            self.commit();
        }
    }

    /// Signs what waits.
    fn commit(&mut self) {
        if self.replica.open_edits() > 0 {
            let changes = self.replica.commit(&self.key).expect("edits within the limits of a change");
            self.updates.extend(changes.iter().map(encode));
        }
        self.coalescing.reset();
    }
}

/// What is sent: a change with its signature behind it.
fn encode(change: &Change) -> Vec<u8> {
    [change.bytes(), change.signature()].concat()
}

fn decode(update: &[u8]) -> Change {
    let (bytes, signature) = update.split_last_chunk().expect("an update ends with a signature");
    Change::decode(bytes, *signature).expect("our own change")
}

fn decode_all(updates: &[Vec<u8>]) -> Vec<Change> {
    updates.iter().map(|update| decode(update)).collect()
}

/// The same updates without the signatures that later ones cover: zeros stand there.
fn without_covered(updates: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let changes = decode_all(updates);
    let kept = bundle::kept(&changes, Signatures::Covering);
    let bare = |change: &Change| encode(&change.with_signature([0; 64]));
    changes
        .iter()
        .zip(kept)
        .map(|(change, is_kept)| if is_kept { encode(change) } else { bare(change) })
        .collect()
}

/// Cuts a chain into frames, each of which ends with a signature that covers it.
fn frames(updates: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    // What is kept is counted from the end.
    updates.rchunks(FRAME_CHANGES).rev()
}

fn apply<T: CrdtNode>(replica: &mut BaseCrdt<T>, update: &[u8]) {
    let batch = replica.apply_changes(vec![decode(update)]);
    assert_let_in(&batch);
}

/// Looks at each signature.
fn apply_signed<T: CrdtNode>(replica: &mut BaseCrdt<T>, checker: &Checker, updates: &[Vec<u8>]) {
    let checked: Vec<CheckedChange> = checker.check(decode_all(updates));
    assert_let_in(&replica.apply_checked(checked));
}

/// Looks at no more signatures than it takes: one per chain.
fn apply_covered<T: CrdtNode>(replica: &mut BaseCrdt<T>, updates: &[Vec<u8>]) {
    assert_let_in(&replica.apply_changes(decode_all(updates)));
}

fn apply_as<T: CrdtNode>(
    replica: &mut BaseCrdt<T>,
    checker: &Checker,
    updates: &[Vec<u8>],
    delivery: Delivery,
) {
    match delivery {
        Delivery::Singly => updates.iter().for_each(|update| apply(replica, update)),
        Delivery::Batched => apply_signed(replica, checker, updates),
        Delivery::Covered => apply_covered(replica, updates),
    }
}

fn assert_let_in(batch: &Batch) {
    assert!(batch.states.iter().all(|state| *state == OpState::Ok), "every change is let in");
}
