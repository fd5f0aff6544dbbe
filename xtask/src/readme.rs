//! Runs the README's own commands and compares what they print with what the README shows.
//!
//! A block of commands is run if a comment above it says how; readers of the rendered page don't see it:
//!
//! ```text
//! <!-- readme: run -->           each command must succeed and print exactly what is shown below it
//! <!-- readme: refused -->       each command must fail and print exactly what is shown below it
//! <!-- readme: eventually -->    as `run`, tried again for a while: for what has to travel first
//! <!-- readme: serve -->         one command that keeps running and prints what is shown when it is ready;
//!                                at the end it gets SIGTERM and must exit with 0
//! <!-- readme: file NAME -->     the block, in any language, is written to this file
//! <!-- readme: run varies: A | B -->    A and B stand for whatever is printed in their place
//! ```
//!
//! In what is shown, a line `…` stands for any lines, and a run of spaces for any other (columns are as wide
//! as what is in them). Everything runs in one new folder, in the README's order, in a terminal; of what
//! `serve` starts, only stdout is compared. Two things differ from what a reader does, and no others:
//! `cargo run --release --` is replaced by the debug build of `gangline` that the tests use, and each
//! `127.0.0.1:PORT` by a free port.

mod blocks;
mod ports;
mod promise;
mod terminal;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::blocks::{Block, Mode};
use self::ports::Ports;
use self::terminal::Terminal;
use crate::{cargo, test_run};

/// Builds the node, runs every marked block of `README.md` in order, and stops what was started.
pub(crate) fn run(root: &Path) -> Result<()> {
    let text = std::fs::read_to_string(root.join("README.md")).context("cannot read README.md")?;
    let blocks = blocks::parse(&text)?;
    let marked: Vec<&Block> = blocks.iter().filter(|block| block.mode.is_some()).collect();
    if marked.is_empty() {
        bail!("README.md has no command that is run");
    }
    let programs = build(root)?;
    let folder = std::env::temp_dir().join(format!("gangline-readme-{}", std::process::id()));
    let mut terminal = Terminal::open(folder, &programs, Ports::pick(&marked)?)?;
    for block in &marked {
        let mode = block.mode.as_ref().expect("only marked blocks were kept");
        if let Mode::File(name) = mode {
            terminal.write(name, &block.content)?;
        }
        for command in &block.commands {
            println!("    README.md:{}  $ {}", command.line, command.text);
            match mode {
                Mode::Run => terminal.run(command, &block.varies, false),
                Mode::Refused => terminal.run(command, &block.varies, true),
                Mode::Eventually => terminal.run_until_kept(command, &block.varies),
                Mode::Serve => terminal.serve(command, &block.varies),
                Mode::File(_) => bail!("a file has no commands"),
            }
            .with_context(|| {
                format!("README.md:{}: `{}`\n{}", command.line, command.text, terminal.logs())
            })?;
        }
    }
    terminal.close()?;
    println!("    {} blocks run, {} only shown", marked.len(), blocks.len() - marked.len());
    Ok(())
}

/// Builds what `cargo test` builds, and returns the folder of the programs.
fn build(root: &Path) -> Result<PathBuf> {
    cargo::run(cargo::cargo(root).args(["build", "--bins", "--tests"]).args(test_run::WORKSPACE))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let programs = root.join(target).join("debug");
    if !programs.join("gangline").is_file() {
        bail!("the build left no {}", programs.join("gangline").display());
    }
    Ok(programs)
}
