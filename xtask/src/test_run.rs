//! The step that runs `cargo test`, lets its output through, and counts from it what really ran.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// What every test step and the README step build, so that they share one set of artefacts.
pub(crate) const WORKSPACE: [&str; 2] = ["--workspace", "--all-features"];

/// The sum of all `test result:` lines of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs unit, integration, end-to-end and documentation tests.
///
/// # Errors
/// If a test fails, or if none was executed.
pub(crate) fn run(root: &Path) -> Result<Totals> {
    let mut command = cargo::cargo(root);
    command.arg("test").args(WORKSPACE).stdout(Stdio::piped());
    let shown = cargo::show(&command);
    println!("    $ {shown}");
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let stdout = child.stdout.take().expect("stdout was asked to be piped");
    let totals = let_through(BufReader::new(stdout), std::io::stdout().lock())?;
    let status = child.wait()?;
    if !status.success() {
        bail!("`{shown}` failed: {status}; {totals}");
    }
    if totals.failed > 0 || totals.passed == 0 {
        bail!("`{shown}` ended well, but its own lines say: {totals}");
    }
    Ok(totals)
}

/// Copies the runner's output line by line and sums its closing lines.
fn let_through(mut from: impl BufRead, mut to: impl Write) -> Result<Totals> {
    let mut totals = Totals::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        if let Some(result) = parse_result(&String::from_utf8_lossy(&line)) {
            totals.add(result);
        }
        line.clear();
    }
    to.flush()?;
    Ok(totals)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`.
fn parse_result(line: &str) -> Option<Totals> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |what: &str| -> Option<u64> {
        counts.split("; ").find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
    };
    Some(Totals { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} skipped", self.ignored)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
running 2 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests gangline_wire
test result: ok. 40 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 1.02s
";

    #[test]
    fn closing_lines_are_summed_and_everything_is_let_through() {
        let mut shown = Vec::new();
        let totals = let_through(RUN.as_bytes(), &mut shown).unwrap();
        assert_eq!(totals, Totals { passed: 42, failed: 0, ignored: 1 });
        assert_eq!(String::from_utf8(shown).unwrap(), RUN);
        assert_eq!(totals.to_string(), "42 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn a_failed_binary_counts_its_failures() {
        let line = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(parse_result(line), Some(Totals { passed: 1, failed: 2, ignored: 0 }));
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in
            ["", "test result:", "test result: ok.", "test passed ... ok", "  test result: ok. 1 passed"]
        {
            assert_eq!(parse_result(line), None, "{line}");
        }
    }

    #[test]
    fn output_that_is_not_text_is_let_through_too() {
        let mut shown = Vec::new();
        assert_eq!(let_through(&b"\xff\xfe\n"[..], &mut shown).unwrap(), Totals::default());
        assert_eq!(shown, b"\xff\xfe\n");
    }
}
