//! `gangline reconcile …`: documents that follow a database, and the sources that they follow.

mod key;

use clap::Subcommand;

use super::Global;
use super::output::Output;
use crate::failure::Failure;

/// What can be done with documents that follow a database.
#[derive(Debug, Subcommand)]
pub(super) enum ReconcileCommand {
    /// The keys of sources, the same at every node that reconciles one
    #[command(subcommand)]
    Key(key::SourceKeyCommand),
}

pub(super) fn run(global: &Global, command: &ReconcileCommand, out: &Output) -> Result<(), Failure> {
    match command {
        ReconcileCommand::Key(command) => key::run(global, command, out),
    }
}
