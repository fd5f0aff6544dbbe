//! The steps that are one `cargo` command each, and how every step runs a command.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Formats every package of the workspace.
pub(crate) fn format(root: &Path) -> Result<()> {
    run(cargo(root).args(["fmt", "--all"]))
}

/// Fails if a file is not formatted.
pub(crate) fn check_format(root: &Path) -> Result<()> {
    run(cargo(root).args(["fmt", "--all", "--check"])).context("`cargo xtask fmt` formats the code")
}

/// Fails on every compiler and clippy warning, tests and benchmarks included.
pub(crate) fn clippy(root: &Path) -> Result<()> {
    run(cargo(root).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Builds the documentation of our own packages; a broken link or a missing text is an error.
pub(crate) fn doc(root: &Path) -> Result<()> {
    run(cargo(root)
        .args(["doc", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// The cargo that runs this program, in the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs `command` with its output let through; an error says what was run.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("    $ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// A command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let environment = command.get_envs().filter_map(|(key, value)| {
        value.map(|value| format!("{}={}", key.to_string_lossy(), value.to_string_lossy()))
    });
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    environment.chain([name]).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-Dwarnings");
        assert_eq!(show(&command), "RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps");
    }
}
