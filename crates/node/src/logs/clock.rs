//! The clock by which this node believes in its leases.
#![allow(clippy::disallowed_methods, reason = "the edge reads the clock and hands it on")]

use std::time::{Duration, Instant};

use gangline_lease::{Answer, Clock, Moment};
use gangline_store::BootClock;

/// The machine's boot clock, which goes on in sleep; where there is none, the monotonic one.
pub(super) struct NodeClock {
    boot: Option<BootClock>,
    start: Instant,
}

impl NodeClock {
    pub(super) fn new(boot: Option<BootClock>) -> Self {
        Self { boot, start: Instant::now() }
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Moment {
        match &self.boot {
            Some(boot) => boot.now(),
            None => Moment(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}
