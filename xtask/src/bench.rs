//! Runs the benchmarks: every `[[bench]]` target, so that no unit test shows up among them.

use std::path::Path;

use anyhow::Result;

use crate::cargo;

/// `cargo bench` over the workspace; `args` go to it unchanged.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    cargo::run(cargo::cargo(root).args(["bench", "--workspace", "--all-features", "--bench", "*"]).args(args))
}
