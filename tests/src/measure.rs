//! How benchmarks of whole processes say what they have measured: one line each, in columns.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::time::{Duration, Instant};

/// Returns how long it took.
pub fn timed(f: impl FnOnce()) -> Duration {
    timed_with(f).1
}

/// Returns what came of it, and how long it took.
pub fn timed_with<R>(f: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = f();
    (result, start.elapsed())
}

/// Prints how times are spread, in milliseconds. Nothing of none.
pub fn spread(what: &str, taken: &mut [Duration]) {
    taken.sort_unstable();
    let at = |part: usize| {
        taken.get(taken.len().saturating_sub(1) * part / 100).map(|time| time.as_secs_f64() * 1e3)
    };
    if let (Some(median), Some(high)) = (at(50), at(99)) {
        println!("{what:<56} p50 {median:>8.3} ms   p99 {high:>8.3} ms");
    }
}

/// Prints how many of something were done in a time.
pub fn rate(what: &str, count: usize, unit: &str, time: Duration) {
    let seconds = time.as_secs_f64();
    println!("{what:<56} {seconds:>8.3} s    {:>8.0} {unit}/s", count as f64 / seconds);
}
