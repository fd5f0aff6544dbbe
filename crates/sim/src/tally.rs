//! What the world counts as it goes, for the report and the verdicts.

use std::collections::BTreeMap;

use bft_json_crdt::Change;
use gangline_transport::session::{CloseReason, RawFrame};

/// Counters of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) edits: u64,
    /// Edits of honest nodes that could not be made.
    pub(crate) refused_edits: u64,
    pub(crate) crashes: u64,
    pub(crate) connections: u64,
    /// Changes in frames that honest nodes sent.
    pub(crate) transmissions: u64,
    pub(crate) bad_frames: u64,
    pub(crate) busy: u64,
    /// Closes of honest nodes' ends, by reason.
    pub(crate) closes: BTreeMap<&'static str, u64>,
    /// Of those, on connections between honest nodes.
    pub(crate) closes_between_honest: BTreeMap<&'static str, u64>,
    /// Most frames that waited in one machine.
    pub(crate) queued_max: usize,
    /// Most frames that were read from one socket and not understood.
    pub(crate) raw_max: usize,
    /// Largest batch handed to a socket.
    pub(crate) batch_frames_max: usize,
    pub(crate) batch_bytes_max: usize,
    /// Largest batch handed to a replica.
    pub(crate) applied_bytes_max: usize,
    /// Fullest of replicas.
    pub(crate) replica_queue_max: usize,
    pub(crate) replica_queue_bytes_max: usize,
    pub(crate) in_flight_bytes_max: usize,
    // What must stay nothing.
    pub(crate) told_early: u64,
    /// To honest peers, over the connection that brought them.
    pub(crate) told_back: u64,
    /// To honest peers, twice over one connection.
    pub(crate) told_twice: u64,
    pub(crate) acked_early: u64,
    pub(crate) impostors: u64,
    pub(crate) two_batches: u64,
    pub(crate) ignored_deadlines: u64,
    pub(crate) stands_still: bool,
    pub(crate) broken: Vec<String>,
    trace: u64,
}

impl Tally {
    pub(crate) fn closed(&mut self, reason: &CloseReason, between_honest: bool) {
        *self.closes.entry(reason.name()).or_default() += 1;
        if between_honest {
            *self.closes_between_honest.entry(reason.name()).or_default() += 1;
        }
    }

    pub(crate) fn batch(&mut self, frames: usize, bytes: usize) {
        self.batch_frames_max = self.batch_frames_max.max(frames);
        self.batch_bytes_max = self.batch_bytes_max.max(bytes);
    }

    pub(crate) fn applied_batch(&mut self, changes: &[Change]) {
        let bytes = changes.iter().map(|change| change.bytes().len()).sum();
        self.applied_bytes_max = self.applied_bytes_max.max(bytes);
    }

    pub(crate) fn queued(&mut self, queued: usize, raw: usize) {
        self.queued_max = self.queued_max.max(queued);
        self.raw_max = self.raw_max.max(raw);
    }

    /// Folds a frame that was read into the run's fingerprint (FNV-1a).
    pub(crate) fn trace(&mut self, now: u64, connection: u64, side: usize, frame: &RawFrame) {
        let (RawFrame::Text(payload) | RawFrame::Binary(payload)) = frame;
        let head = [now, connection, side as u64].map(u64::to_le_bytes);
        for byte in head.as_flattened().iter().chain(payload.iter()) {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.trace
    }
}
