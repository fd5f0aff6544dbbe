//! What tests across packages share. Nothing here is part of the product.
//!
//! - [`fuzzing`]: the checks that each decoder must pass on any bytes whatsoever. `corpus.rs` runs them on
//!   every committed file, the targets in `fuzz/` on whatever a fuzzer makes up.
//! - [`sample`]: a short history that is the same everywhere; the corpora stand on it.
//! - [`kinds`]: a document with every kind of node, and a history with every kind of op.
//! - [`node`], [`http`], [`feed`]: the harness of the end-to-end scenarios in `e2e/`: real processes on
//!   ports of their own, asked over HTTP, waited for by what they announce.
//! - [`observe`], [`link`]: what several nodes have come to, and a network between them that can be cut.
//! - [`measure`]: how long things take, in columns.
//! - [`history`]: what clients of a log were told, held against the log.
//! - [`websocket`], [`v1`], [`forge`]: a peer by hand that speaks version 1, honestly or not.

pub mod feed;
pub mod forge;
pub mod fuzzing;
pub mod history;
pub mod http;
pub mod kinds;
pub mod link;
pub mod measure;
pub mod node;
pub mod observe;
pub mod sample;
pub mod v1;
pub mod websocket;
