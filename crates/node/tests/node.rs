//! Real processes of `gangline`, through their command line, their files and their sockets.
//!
//! Every wait is for a line, an answer or an end, with a time-out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails shall say so loudly")]

mod node {
    mod cli;
    mod coordinators;
    mod database_faults;
    mod demo;
    mod documents;
    mod documents_state;
    mod elsewhere;
    mod exact_integers;
    mod feeds;
    mod guard;
    mod harness;
    mod hostile_patches;
    mod items;
    mod leases;
    mod logs;
    mod many_documents;
    mod moves;
    mod notices;
    mod peers;
    mod saves;
    mod settings;
    mod skipped_rows;
    mod sources;
    mod sync;
    mod trust;
    mod two_reconcilers;
    mod up;
    mod watch;
    mod workflows;
}
