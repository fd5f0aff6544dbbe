//! Frames of version 1: their bytes are fixed by golden files, and nothing that a peer sends hurts.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod golden;
mod hostile;
mod round_trip;
mod v2;

use bft_json_crdt::json_crdt::{BaseCrdt, CrdtNode, JsonValue, SignedOp, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::op::ROOT_ID;

/// A document that takes any JSON.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Notes {
    notes: ListCrdt<LwwRegisterCrdt<JsonValue>>,
}

/// An author whose key and ops are the same in each run.
struct Author {
    keypair: Keypair,
    base: BaseCrdt<Notes>,
}

impl Author {
    fn new(seed: u8) -> Self {
        let keypair = Keypair::from_seed(&[seed; 32]);
        let base = BaseCrdt::new(&keypair);
        Self { keypair, base }
    }

    fn insert(&mut self, value: impl Into<JsonValue>) -> SignedOp {
        self.base.doc.notes.insert(ROOT_ID, value).sign(&self.keypair)
    }

    fn set(&mut self, position: usize, value: impl Into<JsonValue>) -> SignedOp {
        self.base.doc.notes[position].set(value).sign(&self.keypair)
    }

    fn delete(&mut self, position: usize) -> SignedOp {
        self.base.doc.notes.delete_idx(position).sign(&self.keypair)
    }
}
