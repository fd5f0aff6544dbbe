//! What a run has shown, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::scenario::Scenario;

/// The outcome of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was played.
    pub scenario: Scenario,
    /// What must hold, and whether it did.
    pub verdicts: Vec<Verdict>,
    /// Virtual time from the end of all faults until honest nodes agreed; none if they did not.
    pub heal_ms: Option<u64>,
    /// Virtual time of the whole run.
    pub virtual_ms: u64,
    /// Edits of honest nodes.
    pub edits: u64,
    /// How often a disk had no room for an edit or a batch, which was tried again.
    pub busy: u64,
    /// Edits that could not be made: an equivocator's change was in the place.
    pub refused_edits: u64,
    /// Changes that the honest nodes hold in the end, of both documents.
    pub changes: u64,
    /// Changes in frames that honest nodes sent, per change that they hold.
    pub transmissions_per_change: f64,
    /// Connections that were made.
    pub connections: u64,
    /// Why honest nodes' ends of connections ended.
    pub closes: BTreeMap<&'static str, u64>,
    /// Of those, on connections between two honest nodes.
    pub closes_between_honest: BTreeMap<&'static str, u64>,
    /// Frames or parts of them that honest nodes skipped.
    pub bad_frames: u64,
    /// What travelled, by edge.
    pub edges: Vec<EdgeReport>,
    /// What an honest node held in memory at most.
    pub memory: Memory,
    /// What meeting again costs; none without a connection of version 2 between honest nodes.
    pub reconnect: Option<Reconnect>,
    /// Hostile authors whose two signed changes honest nodes show as evidence.
    pub caught: Vec<String>,
    /// Folds every frame that was read, with its time: the same seed gives the same.
    pub fingerprint: String,
}

/// Something that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Names it.
    pub name: &'static str,
    /// Whether it held.
    pub holds: bool,
    /// A sentence with figures.
    pub detail: String,
}

/// What travelled along one edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EdgeReport {
    /// Who dialled.
    pub dialer: String,
    /// Who was dialled.
    pub listener: String,
    /// Which version they spoke.
    pub version: u8,
    /// Bytes that the dialer sent, and those that the other side sent.
    pub bytes: [u64; 2],
}

/// What an honest node held in memory at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Frames in one link, to be taken in or to be sent.
    pub link_frames: usize,
    /// Frames read from one socket and not understood.
    pub socket_frames: usize,
    /// Bytes handed to a socket at a time.
    pub sent_bytes: usize,
    /// Bytes of changes handed to a replica at a time.
    pub applied_bytes: usize,
    /// Changes in one causal queue.
    pub causal_queue: usize,
    /// Bytes in one causal queue.
    pub causal_queue_bytes: usize,
    /// Bytes that waited for one disk.
    pub in_flight_bytes: usize,
}

/// What meeting again costs two nodes, in bytes of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconnect {
    /// Nothing was new: what the dialer sent, and the other side.
    pub nothing_new: [u64; 2],
    /// The most that each may send then: 150 bytes and 64 per document.
    pub nothing_new_max: u64,
    /// Changes that one side lacked.
    pub missing: u64,
    /// What both sent then.
    pub missing_bytes: u64,
    /// The most that it may be: twice the above, six vectors per document, and the changes with their signatures.
    pub missing_bytes_max: u64,
}

impl Report {
    /// Tells whether everything held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.holds)
    }

    /// What did not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenario = &self.scenario;
        let hostile: Vec<&str> = scenario.hostile.iter().map(|it| it.name()).collect();
        let hostile = if hostile.is_empty() { "no hostile node".to_owned() } else { hostile.join(", ") };
        let minutes = self.virtual_ms as f64 / 60_000.0;
        writeln!(f, "seed {}: {} nodes, {}; {hostile}", scenario.seed, scenario.nodes, scenario.topology)?;
        writeln!(
            f,
            "  {minutes:.1} virtual minutes, {} edits, {} refused, {} changes, {} connections, fingerprint {}",
            self.edits, self.refused_edits, self.changes, self.connections, self.fingerprint
        )?;
        for Verdict { name, holds, detail } in &self.verdicts {
            writeln!(f, "  {} {name}: {detail}", if *holds { '✓' } else { '✗' })?;
        }
        writeln!(f, "  sent     {:.2} times each change", self.transmissions_per_change)?;
        let list = |counts: &BTreeMap<&str, u64>| {
            let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
        };
        writeln!(f, "  closes   {}", list(&self.closes))?;
        writeln!(f, "           between honest nodes: {}", list(&self.closes_between_honest))?;
        for EdgeReport { dialer, listener, version, bytes: [there, back] } in &self.edges {
            writeln!(f, "  edge     {dialer} → {listener} (v{version}): {there} bytes there, {back} back")?;
        }
        if !self.caught.is_empty() {
            writeln!(f, "  caught   {}", self.caught.join(", "))?;
        }
        Ok(())
    }
}
