//! `gangline completions SHELL`

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::output::Output;
use crate::failure::Failure;

/// What `completions` takes.
#[derive(Debug, Args)]
pub(super) struct CompleteArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(args: &CompleteArgs, out: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "gangline", &mut script);
    let script = String::from_utf8_lossy(&script);
    if out.is_json() {
        return out.document(&json!({"shell": args.shell.to_string(), "script": script}));
    }
    out.line(script.trim_end())
}
