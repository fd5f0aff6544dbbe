//! `cargo xtask`: set-up and checks for contributors.
//!
//! `cargo xtask test` runs everything that CI runs, stops at the first failure, and ends with the number
//! of tests that ran. The other commands are its steps, one at a time. Each step is a function of its own
//! file; nothing here is part of the product.

mod bench;
mod cargo;
mod fuzz;
mod readme;
mod report;
mod setup;
mod test_run;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::report::step;

const USAGE: &str = "\
cargo xtask <command>

  test                 everything that CI runs, in order; stops at the first failure
  setup                installs what this machine lacks (Debian packages, rustfmt, clippy)
  tidy                 layers, file headers, sizes, names, dependency table, links
  fmt                  formats every package
  lint                 rustfmt --check and clippy, warnings are errors
  doc                  builds the documentation, warnings are errors
  readme               runs the README's commands and compares what they print
  fuzz [TARGET] [--seconds N]
                       fuzzes one decoder or each in turn (nightly Rust, cargo-fuzz)
  bench [ARGS]         runs the benchmarks; ARGS go to cargo bench
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let root = workspace_root();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", args),
    };
    if !matches!(command, "fuzz" | "bench") && !rest.is_empty() {
        bail!("`{command}` takes no arguments\n\n{USAGE}");
    }
    match command {
        "test" => everything(&root),
        "setup" => step("setup", || setup::run(&root)),
        "tidy" => step("tidy", || tidy::run(&root)),
        "fmt" => step("fmt", || cargo::format(&root)),
        "lint" => lint(&root),
        "doc" => step("doc", || cargo::doc(&root)),
        "readme" => step("readme", || readme::run(&root)),
        "fuzz" => step("fuzz", || fuzz::run(&root, rest)),
        "bench" => step("bench", || bench::run(&root, rest)),
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("there is no command `{other}`\n\n{USAGE}"),
    }
}

/// All checks, cheapest first; the tests come last, so that their closing lines close the output.
fn everything(root: &Path) -> Result<()> {
    step("setup", || setup::run(root))?;
    step("tidy", || tidy::run(root))?;
    lint(root)?;
    step("doc", || cargo::doc(root))?;
    step("readme", || readme::run(root))?;
    let totals = step("test", || test_run::run(root))?;
    println!("\n{totals}");
    Ok(())
}

fn lint(root: &Path) -> Result<()> {
    step("fmt", || cargo::check_format(root))?;
    step("clippy", || cargo::clippy(root))
}

/// The folder that holds the workspace's `Cargo.toml`: the parent of this package's.
fn workspace_root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("this package lies in a folder of the workspace").to_path_buf()
}
