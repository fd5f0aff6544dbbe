//! What a local edit works with: the document, and the ops made so far.

use bft_json_crdt::{
    BaseCrdt, CrdtNode, Keypair, SignedOp,
    json_crdt::{SignError, UnsignedOp},
};

/// Collects the ops of one local edit; they are signed together when the edit has succeeded.
///
/// Ops show in the document as soon as they are made. If the edit fails they are undone.
pub struct Editor<'a, T: CrdtNode> {
    base: &'a BaseCrdt<T>,
    ops: Vec<UnsignedOp>,
}

/// What could be signed, and why not all of it.
pub(super) struct Signed {
    pub(super) ops: Vec<SignedOp>,
    pub(super) error: Option<SignError>,
}

impl<'a, T: CrdtNode> Editor<'a, T> {
    pub(super) fn new(base: &'a BaseCrdt<T>) -> Self {
        Self { base, ops: Vec::new() }
    }

    /// Returns the document with its history.
    pub fn base(&self) -> &'a BaseCrdt<T> {
        self.base
    }

    /// Returns the document, on which ops are made: `editor.doc().items.try_push(…)`.
    pub fn doc(&self) -> &'a T {
        &self.base.doc
    }

    /// Makes an op part of this edit; one that is not recorded is undone when it is dropped.
    ///
    /// Ops are recorded in the order in which they were made.
    pub fn record(&mut self, op: UnsignedOp) {
        self.ops.push(op);
    }

    /// Signs what was recorded, in order, up to the first op that no change can hold.
    pub(super) fn sign(mut self, keypair: &Keypair) -> Signed {
        let mut signed = Vec::with_capacity(self.ops.len());
        let mut ops = std::mem::take(&mut self.ops).into_iter();
        while let Some(op) = ops.next() {
            match op.try_sign(keypair) {
                Ok(op) => signed.push(op),
                Err(error) => {
                    undo(ops.collect());
                    return Signed { ops: signed, error: Some(error) };
                }
            }
        }
        Signed { ops: signed, error: None }
    }
}

impl<T: CrdtNode> Drop for Editor<'_, T> {
    fn drop(&mut self) {
        undo(std::mem::take(&mut self.ops));
    }
}

/// Drops ops newest first, since later ones may stand on earlier ones.
fn undo(mut ops: Vec<UnsignedOp>) {
    while ops.pop().is_some() {}
}
