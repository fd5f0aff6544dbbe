//! End to end: real processes, real sockets, a folder of its own for each node.
//!
//! This binary belongs to the package `gangline`, which is how it knows where the program is. One file per
//! scenario; what they share is in the library `gangline-tests`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what goes wrong in a scenario shall fail it, with the place"
)]

mod board;
mod crash;
mod garbage;
mod histories;
mod idle;
mod mesh;
mod partition;
mod two_nodes;
mod v1_peer;

use gangline_tests::node::Plan;
use tempfile::TempDir;

/// A folder for one test, and the nodes in it.
struct Team {
    folder: TempDir,
}

impl Team {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Plans a node with a data directory of that name.
    fn plan(&self, name: &str) -> Plan {
        Plan::new(env!("CARGO_BIN_EXE_gangline"), self.folder.path().join(name))
    }
}
