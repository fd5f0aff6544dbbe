//! Nodes that talk over real sockets on loopback. Nothing sleeps: tests wait for what they expect to see.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod documents;
mod garbage;
mod harness;
mod keeper;
mod limits;
mod nodes;
mod rendezvous;
mod tls;
