//! A node's own clock: it started somewhere, and runs a little fast or slow.

use gangline_transport::session::Millis;

/// From the world's time to a node's, and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    offset: u64,
    /// A million for a clock that runs right.
    rate: u64,
}

const RIGHT: u64 = 1_000_000;

impl Clock {
    pub(crate) fn new(offset: u64, rate: u64) -> Self {
        Self { offset, rate: rate.max(1) }
    }

    /// What the node's clock shows.
    pub(crate) fn shows(&self, now: u64) -> Millis {
        Millis(self.offset.saturating_add(now.saturating_mul(self.rate) / RIGHT))
    }

    /// The first moment of the world at which the node's clock shows that much.
    pub(crate) fn when(&self, shown: Millis) -> u64 {
        let passed = shown.0.saturating_sub(self.offset);
        if passed > u64::MAX / RIGHT {
            return u64::MAX;
        }
        (passed * RIGHT).div_ceil(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_at_the_first_moment_that_shows_it() {
        for rate in [900_000, 999_937, 1_000_000, 1_083_001] {
            let clock = Clock::new(77, rate);
            for shown in (77..20_000).step_by(13) {
                let when = clock.when(Millis(shown));
                assert!(clock.shows(when) >= Millis(shown), "rate {rate}, {shown}");
                assert!(when == 0 || clock.shows(when - 1) < Millis(shown), "rate {rate}, {shown}");
            }
        }
    }
}
