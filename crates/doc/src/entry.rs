//! A durable entry as readers of the log get it, with what is made once for all of them.

use std::sync::OnceLock;

use bft_json_crdt::{Change, SignedOp};

use crate::op_log::LogSeq;

/// Names the session that brought a change, for this run of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(pub u64);

/// A change in this node's log, shared by everyone who passes it on.
#[derive(Debug)]
pub struct Entry {
    seq: LogSeq,
    change: Change,
    origin: Option<OriginId>,
    received_at_ms: u64,
    vouched: OnceLock<bool>,
    v1: OnceLock<Vec<u8>>,
}

impl Entry {
    pub(crate) fn new(
        seq: LogSeq,
        change: Change,
        origin: Option<OriginId>,
        received_at_ms: u64,
        vouched: bool,
    ) -> Self {
        let known = OnceLock::new();
        if vouched {
            let _ = known.set(true);
        }
        Self { seq, change, origin, received_at_ms, vouched: known, v1: OnceLock::new() }
    }

    /// Returns the position in this node's log.
    pub fn seq(&self) -> LogSeq {
        self.seq
    }

    /// Returns the change.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Returns the session that brought the change; `None` for a local edit, one of an earlier run, or one
    /// so long ago that it was forgotten.
    pub fn origin(&self) -> Option<OriginId> {
        self.origin
    }

    /// Returns when this node took the change in, in milliseconds since 1970 by its own clock.
    pub fn received_at_ms(&self) -> u64 {
        self.received_at_ms
    }

    /// Returns the change as a binary v1 frame, made once.
    ///
    /// Empty for a change that v1 cannot say (one that has not exactly one op): such a change is not sent to
    /// a v1 peer.
    pub fn v1(&self) -> &[u8] {
        self.v1.get_or_init(|| match SignedOp::try_from(self.change.clone()) {
            Ok(op) => gangline_wire::encode(&op),
            Err(_) => Vec::new(),
        })
    }

    /// Returns whether the change's own signature was found valid before. One that was not may be valid all the
    /// same: see [`Entry::is_vouched`].
    pub fn was_vouched(&self) -> bool {
        self.vouched.get() == Some(&true)
    }

    /// Returns whether the change's own signature is valid; checked at most once per entry.
    ///
    /// A change that a later one of its author covers is authentic without that. It may travel together with
    /// the one that covers it, and never alone.
    pub fn is_vouched(&self) -> bool {
        *self.vouched.get_or_init(|| self.change.verify())
    }
}
