//! When to dial again, and how loudly to complain: pure arithmetic, fed with outcomes and jitter.

use serde::{Deserialize, Serialize};

/// From this consecutive failure on, a rendezvous that cannot be reached is an error, not a warning.
pub const RENDEZVOUS_ERROR_THRESHOLD: u32 = 10;

/// Bounds of the delay before a redial, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackoffSettings {
    /// After the first failure, or after a session that was established.
    pub first_ms: u64,
    /// It doubles with each further failure, up to this.
    pub max_ms: u64,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self { first_ms: 1_000, max_ms: 30_000 }
    }
}

/// How loudly a failure is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It happens.
    Warn,
    /// It has happened [`RENDEZVOUS_ERROR_THRESHOLD`] times in a row.
    Error,
}

/// The back-off of one rendezvous.
///
/// ```
/// use gangline_transport::{Backoff, BackoffSettings};
///
/// let mut backoff = Backoff::new(BackoffSettings::default());
/// let delays: Vec<u64> = (0..7).map(|_| { backoff.failed(); backoff.delay_ms(0.0) }).collect();
/// assert_eq!(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
/// backoff.established();
/// assert_eq!(backoff.delay_ms(0.0), 1_000);
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    settings: BackoffSettings,
    failures: u32,
    is_penalised: bool,
}

impl Backoff {
    /// Starts without failures.
    #[must_use]
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, failures: 0, is_penalised: false }
    }

    /// A session was established: earlier failures are forgotten.
    pub fn established(&mut self) {
        self.failures = 0;
        self.is_penalised = false;
    }

    /// An attempt failed, or its session ended before it was established.
    pub fn failed(&mut self) -> Severity {
        self.failures = self.failures.saturating_add(1);
        match self.failures < RENDEZVOUS_ERROR_THRESHOLD {
            true => Severity::Warn,
            false => Severity::Error,
        }
    }

    /// The peer misbehaved: the next delay is the longest, established or not.
    pub fn penalise(&mut self) {
        self.is_penalised = true;
    }

    /// Returns the number of consecutive failures.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns how long to wait before the next attempt. `jitter`, from 0 to 1, takes off up to a quarter, so
    /// that nodes that lost one peer together do not come back together.
    #[must_use]
    pub fn delay_ms(&self, jitter: f64) -> u64 {
        let doublings = self.failures.saturating_sub(1).min(63);
        let full = match self.is_penalised {
            true => self.settings.max_ms,
            false => self.settings.first_ms.saturating_mul(1 << doublings).min(self.settings.max_ms),
        };
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "jitter is from 0 to 1")]
        #[expect(clippy::cast_precision_loss, reason = "a delay of 2^53 ms never passes")]
        let off = (full as f64 / 4.0 * jitter) as u64;
        full - off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_failure_in_a_row_is_an_error() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        for n in 1..=30 {
            let expect = if n < RENDEZVOUS_ERROR_THRESHOLD { Severity::Warn } else { Severity::Error };
            assert_eq!(backoff.failed(), expect, "failure {n}");
        }
        backoff.established();
        assert_eq!(backoff.failed(), Severity::Warn);
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn jitter_shortens_and_never_lengthens() {
        let mut backoff = Backoff::new(BackoffSettings { first_ms: 1_000, max_ms: u64::MAX });
        for (jitter, expect) in
            [(0.0, 1_000), (1.0, 750), (0.5, 875), (7.0, 750), (-1.0, 1_000), (f64::NAN, 1_000)]
        {
            assert_eq!(backoff.delay_ms(jitter), expect, "jitter {jitter}");
        }
        for _ in 0..1_000 {
            backoff.failed();
        }
        assert_eq!(backoff.delay_ms(0.0), u64::MAX);
    }

    #[test]
    fn a_peer_that_misbehaved_waits_longest_until_it_behaves() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        backoff.established();
        backoff.penalise();
        assert_eq!(backoff.delay_ms(0.0), 30_000);
        backoff.established();
        assert_eq!(backoff.delay_ms(0.0), 1_000);
    }
}
