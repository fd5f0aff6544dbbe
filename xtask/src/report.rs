//! What a person sees of a run: a heading and the time of each step, and a clear last word on failure.
#![expect(
    clippy::disallowed_methods,
    reason = "times the steps of a run for the reader; nothing is decided by it"
)]

use std::time::Instant;

use anyhow::{Context, Result};

/// Runs one step under a heading and says how long it took; an error names the step.
pub(crate) fn step<R>(name: &str, run: impl FnOnce() -> Result<R>) -> Result<R> {
    println!("\n==> {name}");
    let started = Instant::now();
    let result = run().with_context(|| format!("step `{name}` failed"))?;
    println!("    {name}: ok in {:.1} s", started.elapsed().as_secs_f64());
    Ok(result)
}

/// Says on stderr what failed and why.
pub(crate) fn failed(error: &anyhow::Error) {
    eprintln!("\nxtask: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  {}", cause.to_string().replace('\n', "\n  "));
    }
}
