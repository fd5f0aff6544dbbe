//! Documents that come and go while links are up: machines in virtual time, over replicas whose disks are slow and whose
//! power fails, with hosts that open what peers offer and close what is idle.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "../simulation/log.rs"]
mod log;
mod mesh;
mod net;
mod node;
#[allow(dead_code, reason = "simulations of version 1 need more of it")]
#[path = "../simulation/rng.rs"]
mod rng;
mod scenes;
