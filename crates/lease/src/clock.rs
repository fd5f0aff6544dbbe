//! The ports for time and randomness, and the future that ports answer with.

use std::{fmt, future::Future, pin::Pin, time::Duration};

/// What a port answers with: a future that needs no particular runtime. Whoever drops it no longer waits; what it
/// asked for may still happen.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A point on one node's monotonic clock, in milliseconds from wherever that clock begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Returns the moment that much later.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    /// Returns the time from `self` until `later`, nothing if that has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A node's monotonic clock. It decides when a holder stops and when it asks again, never what is in a log.
pub trait Clock: Send + Sync {
    /// Returns the time. It never goes back, and goes on while the machine sleeps, if the system can tell.
    fn now(&self) -> Moment;

    /// Returns after that much time.
    fn sleep(&self, time: Duration) -> Answer<'static, ()>;
}

/// A source of random numbers: jitter, incarnations, ids. A node's is the operating system's.
pub trait Random: Send + Sync {
    /// Returns 64 random bits.
    fn next(&self) -> u64;
}

impl<F: Fn() -> u64 + Send + Sync> Random for F {
    fn next(&self) -> u64 {
        self()
    }
}
