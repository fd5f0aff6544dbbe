//! Two links, end to end, over real replicas: who gives what to whom, and what lies cost.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod comparing;
mod lies;
mod pair;
mod rights;
mod serving;
