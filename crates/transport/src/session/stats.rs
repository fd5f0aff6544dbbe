//! What a session counts.

use serde::Serialize;

/// Counters of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionStats {
    /// Frames received, bad ones included.
    pub received_frames: u64,
    /// Ops received.
    pub received_ops: u64,
    /// … that the document took at once.
    pub applied_ops: u64,
    /// … that it had already.
    pub known_ops: u64,
    /// … that waited for dependencies when they came.
    pub pending_ops: u64,
    /// … that trust holds back.
    pub held_back_ops: u64,
    /// … that it refused.
    pub refused_ops: u64,
    /// Frames that could not be understood, in part or as a whole, or were refused.
    pub bad_frames: u64,
    /// Ops sent.
    pub sent_ops: u64,
    /// Ops that could not be sent to this peer.
    pub withheld_ops: u64,
}

impl SessionStats {
    /// Adds another session's counters.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            received_frames,
            received_ops,
            applied_ops,
            known_ops,
            pending_ops,
            held_back_ops,
            refused_ops,
            bad_frames,
            sent_ops,
            withheld_ops,
        } = other;
        self.received_frames += received_frames;
        self.received_ops += received_ops;
        self.applied_ops += applied_ops;
        self.known_ops += known_ops;
        self.pending_ops += pending_ops;
        self.held_back_ops += held_back_ops;
        self.refused_ops += refused_ops;
        self.bad_frames += bad_frames;
        self.sent_ops += sent_ops;
        self.withheld_ops += withheld_ops;
    }
}
