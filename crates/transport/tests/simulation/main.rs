//! Meshes of sessions over real replicas, on virtual time, and the rules of a single session.
//! `SEED=… cargo test -p gangline-transport --test simulation` replays a seed.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod log;
mod meshes;
mod net;
mod node;
mod rng;
mod rules;
