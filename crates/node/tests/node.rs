//! Real processes of `gangline`, through their command line, their files and their sockets.
//!
//! Every wait is for a line, an answer or an end, with a time-out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails shall say so loudly")]

mod node {
    mod cli;
    mod coordinators;
    mod demo;
    mod documents;
    mod documents_state;
    mod guard;
    mod harness;
    mod items;
    mod leases;
    mod logs;
    mod moves;
    mod peers;
    mod settings;
    mod sources;
    mod sync;
    mod trust;
    mod up;
    mod watch;
}
