//! The machine's boot clock: one for all processes, going on in sleep, beginning anew with each boot.

use std::{fmt, io, sync::Arc};

use gangline_lease::{Clock, Moment};

/// Tells the time since the machine was started, and which start that was. Clones tell the same.
#[derive(Clone)]
pub struct BootClock {
    boot: Arc<str>,
    now: Arc<dyn Fn() -> Moment + Send + Sync>,
}

/// The machine does not tell its boot clock. Keep leases elsewhere than in SQLite.
#[derive(Debug, thiserror::Error)]
#[error("this machine's boot clock cannot be read; keep the leases elsewhere than in SQLite")]
pub struct BootClockError {
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl BootClock {
    /// Returns the machine's.
    ///
    /// # Errors
    /// If the system has none (it needs Linux).
    #[cfg(target_os = "linux")]
    pub fn system() -> Result<Self, BootClockError> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|source| BootClockError { source })?;
        let now = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            let millis = time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000);
            Moment(millis.unsigned_abs())
        };
        Ok(Self { boot: boot.trim().into(), now: Arc::new(now) })
    }

    /// Returns the machine's.
    ///
    /// # Errors
    /// If the system has none (it needs Linux).
    #[cfg(not(target_os = "linux"))]
    pub fn system() -> Result<Self, BootClockError> {
        Err(BootClockError { source: io::Error::from(io::ErrorKind::Unsupported) })
    }

    /// Makes one of another clock, for tests.
    pub fn of(boot: &str, clock: Arc<dyn Clock>) -> Self {
        Self { boot: boot.into(), now: Arc::new(move || clock.now()) }
    }

    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// Returns the time since the machine was started.
    #[must_use]
    pub fn now(&self) -> Moment {
        (self.now)()
    }
}

impl fmt::Debug for BootClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootClock").field("boot", &self.boot).field("now", &self.now()).finish()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_a_clock_that_goes_on() {
        let (one, other) = (BootClock::system().unwrap(), BootClock::system().unwrap());
        assert_eq!(one.boot(), other.boot());
        assert!(one.boot().len() >= 32, "{one:?}");
        let (before, after) = (one.now(), other.now());
        assert!(before > Moment(0) && before <= after);
    }
}
