//! Meshes of nodes on virtual time: the production state machines, faults, liars, and verdicts.
//!
//! [`simulate`] plays a [`Scenario`]: real replicas over logs that lose power, connected by the transport's own
//! [`Link`](gangline_transport::link::Link)s and [`Session`](gangline_transport::session::Session)s, over connections
//! with delay, bandwidth, windows and loss. Among them may be hostile nodes with good keys. The [`Report`] says whether
//! what Gangline promises held, and what it cost.
//!
//! One seed decides about everything, so a run can be played again, byte for byte. There is no clock here, no
//! thread, no socket and no randomness but the seed's. Read `scenario.rs` first, then `world.rs`, then `run.rs`;
//! `hostile.rs` has the liars.
//!
//! ```
//! use gangline_sim::{Scenario, simulate};
//!
//! let scenario = Scenario { seed: 7, nodes: 3, edits: 10, minutes: 1, ..Scenario::default() };
//! let report = simulate(&scenario)?;
//! assert!(report.holds(), "{report}");
//! # Ok::<(), gangline_sim::ScenarioError>(())
//! ```

mod clock;
mod hostile;
mod log;
mod machine;
mod node;
mod pipe;
mod report;
mod rng;
mod run;
mod scenario;
mod tally;
mod world;

pub use report::{EdgeReport, Memory, Reconnect, Report, Verdict};
pub use run::{HEAL_MS_MAX, simulate};
pub use scenario::{
    EDITS_MAX, FAULTS_MAX, Hostile, MINUTES_MAX, NODES_MAX, Scenario, ScenarioError, Topology,
};
