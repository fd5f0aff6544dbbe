//! Leases: who holds a space, and for how long its holder may believe it.
//!
//! Time gives liveness, never safety. The registry counts a lease from when it grants it, its holder from *before*
//! the request left, and a margin less: so the holder stops first, unless clocks run apart by more than the margin.
//! What a late holder still writes is for the store to refuse.

use std::time::Duration;

use bft_json_crdt::AuthorId;

use crate::{
    clock::Moment,
    event::Epoch,
    limits::{TTL_MAX, TTL_MIN},
};

/// How leases are kept; every field has a usable default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long a lease lasts without being renewed. At least 1 s.
    pub ttl: Duration,
    /// How much earlier the holder stops than the registry lets go. Less than half of `ttl`.
    pub margin: Duration,
    /// A lease of a space to which nothing was appended for that long is no longer renewed. Some ttls: less costs
    /// hand-overs, more costs renewals of spaces that nobody uses.
    pub idle_after: Duration,
    /// How long an append may take, with all its retries, before its caller is told.
    pub patience: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            margin: Duration::from_millis(500),
            idle_after: Duration::from_secs(30),
            patience: Duration::from_secs(15),
        }
    }
}

/// Settings that are not safe, or of no use. Correct the one that is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The lease would be lost at every hiccup, or keep a space long after its holder's death.
    #[error("a lease's ttl of {ttl:?} is out of range, it takes {min:?} to {max:?}")]
    Ttl {
        /// What was set.
        ttl: Duration,
        /// At least.
        min: Duration,
        /// At most.
        max: Duration,
    },
    /// A holder needs time to write in, and clocks need room to differ.
    #[error(
        "a lease's margin of {margin:?} is out of range, with a ttl of {ttl:?} it takes {min:?} up to below {max:?}"
    )]
    Margin {
        /// What was set.
        margin: Duration,
        /// The lease's.
        ttl: Duration,
        /// At least.
        min: Duration,
        /// Less than.
        max: Duration,
    },
}

/// Of a ttl, what clocks may run apart at least.
const MARGIN_PARTS: u32 = 100;

impl LeaseSettings {
    /// Refuses settings that are not safe.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Self { ttl, margin, .. } = *self;
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(SettingsError::Ttl { ttl, min: TTL_MIN, max: TTL_MAX });
        }
        let (min, max) = (ttl / MARGIN_PARTS, ttl / 2);
        if !(min..max).contains(&margin) {
            return Err(SettingsError::Margin { margin, ttl, min, max });
        }
        Ok(())
    }
}

/// How long a holder may believe in its lease, and when it asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    ends: Moment,
    renews: Moment,
}

impl Term {
    /// Begins with a request that left at `asked` and was granted. `jitter` is any number; it moves the renewal to
    /// somewhere between a quarter and a third of the ttl.
    #[must_use]
    pub fn begin(settings: &LeaseSettings, asked: Moment, jitter: u64) -> Self {
        let third = settings.ttl / 3;
        let part = u32::try_from(jitter % 1_000).unwrap_or_default();
        let early = settings.ttl / 12 * part / 1_000;
        let ends = asked.plus(settings.ttl.saturating_sub(settings.margin));
        Self { ends, renews: asked.plus(third.saturating_sub(early)) }
    }

    /// Returns whether an append may be started.
    #[must_use]
    pub fn is_running(&self, now: Moment) -> bool {
        now < self.ends
    }

    /// Returns when the holder stops.
    #[must_use]
    pub fn ends(&self) -> Moment {
        self.ends
    }

    /// Returns when to ask for more time.
    #[must_use]
    pub fn renews(&self) -> Moment {
        self.renews
    }

    /// Puts off the next renewal by a twelfth of the ttl, after one that was not answered.
    #[must_use]
    pub fn ask_later(self, settings: &LeaseSettings, now: Moment) -> Self {
        Self { renews: now.plus(settings.ttl / 12), ..self }
    }
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Its key.
    pub node: AuthorId,
    /// What it advertises; connections that exist are used first.
    pub url: Option<String>,
}

/// What a registry keeps of a space's lease. Registries that share a clock among their users decide with its rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseRow {
    /// Who has it, or had it last.
    pub holder: Reach,
    /// The highest epoch that was granted.
    pub epoch: Epoch,
    /// When it ends, on the registry's clock. Ended is free.
    pub ends: Moment,
}

/// A lease, as its registry tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Who has it.
    pub holder: Reach,
    /// The fencing token.
    pub epoch: Epoch,
    /// What is left of it.
    pub left: Duration,
}

impl LeaseRow {
    /// Returns the lease, if it is running.
    #[must_use]
    pub fn lease(&self, now: Moment) -> Option<Lease> {
        let Self { holder, epoch, ends } = self;
        (now < *ends).then(|| Lease { holder: holder.clone(), epoch: *epoch, left: now.until(*ends) })
    }

    /// Grants a lease: a new epoch, above all that were granted and above `above`. Whoever has it gets it again at
    /// once, with a new epoch.
    ///
    /// # Errors
    /// The lease of the node that has it.
    pub fn grant(
        row: Option<&Self>,
        holder: Reach,
        ttl: Duration,
        above: Epoch,
        now: Moment,
    ) -> Result<Self, Lease> {
        if let Some(held) = row.and_then(|row| row.lease(now)).filter(|held| held.holder.node != holder.node)
        {
            return Err(held);
        }
        let epoch = row.map_or(Epoch::NONE, |row| row.epoch).max(above).next();
        Ok(Self { holder, epoch, ends: now.plus(ttl) })
    }

    /// Renews a lease; the epoch stays. One that has ended, but that nobody else has taken, can be renewed too.
    /// `None` if another node or epoch has it.
    #[must_use]
    pub fn renew(&self, node: AuthorId, epoch: Epoch, ttl: Duration, now: Moment) -> Option<Self> {
        let is_its_own = self.holder.node == node && self.epoch == epoch;
        is_its_own.then(|| Self { ends: now.plus(ttl).max(self.ends), ..self.clone() })
    }

    /// Ends a lease; the epoch stays known. `None` if another node or epoch has it.
    #[must_use]
    pub fn release(&self, node: AuthorId, epoch: Epoch, now: Moment) -> Option<Self> {
        let is_its_own = self.holder.node == node && self.epoch == epoch;
        is_its_own.then(|| Self { ends: now.min(self.ends), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(n: u8) -> Reach {
        Reach { node: AuthorId([n; 32]), url: None }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn unsafe_settings_are_refused() {
        assert_eq!(LeaseSettings::default().check(), Ok(()));
        let with = |ttl, margin| LeaseSettings { ttl, margin, ..LeaseSettings::default() }.check();
        assert!(matches!(
            with(Duration::from_millis(999), Duration::from_millis(100)),
            Err(SettingsError::Ttl { .. })
        ));
        assert!(matches!(with(seconds(3_601), seconds(60)), Err(SettingsError::Ttl { .. })));
        assert_eq!(with(seconds(1), Duration::from_millis(10)), Ok(()));
        let error = with(seconds(10), Duration::ZERO).unwrap_err().to_string();
        assert_eq!(
            error,
            "a lease's margin of 0ns is out of range, with a ttl of 10s it takes 100ms up to below 5s"
        );
        assert!(matches!(with(seconds(10), seconds(5)), Err(SettingsError::Margin { .. })));
    }

    #[test]
    fn a_term_counts_from_before_the_request_and_ends_a_margin_early() {
        let settings = LeaseSettings::default();
        for jitter in [0, 1, 999, 1_000, u64::MAX] {
            let term = Term::begin(&settings, Moment(1_000), jitter);
            assert!(term.is_running(Moment(10_499)) && !term.is_running(Moment(10_500)));
            assert!((Moment(3_500)..=Moment(4_333)).contains(&term.renews()), "{jitter}: {}", term.renews());
        }
        let spread: std::collections::BTreeSet<_> =
            (0..1_000).map(|jitter| Term::begin(&settings, Moment(0), jitter).renews()).collect();
        assert!(spread.len() > 500, "renewals of many spaces spread");
    }

    #[test]
    fn only_one_node_holds_a_lease_and_epochs_grow() {
        let row = LeaseRow::grant(None, reach(1), seconds(10), Epoch::NONE, Moment(0)).unwrap();
        assert_eq!(row.epoch, Epoch(1));
        let held =
            LeaseRow::grant(Some(&row), reach(2), seconds(10), Epoch::NONE, Moment(9_000)).unwrap_err();
        assert_eq!(held, Lease { holder: reach(1), epoch: Epoch(1), left: seconds(1) });

        let again = LeaseRow::grant(Some(&row), reach(1), seconds(10), Epoch::NONE, Moment(5_000)).unwrap();
        assert_eq!(again.epoch, Epoch(2), "its own comes back at once, with a new epoch");
        let after = LeaseRow::grant(Some(&row), reach(2), seconds(10), Epoch::NONE, Moment(10_000)).unwrap();
        assert_eq!(after.epoch, Epoch(2));
        let above = LeaseRow::grant(None, reach(2), seconds(10), Epoch(41), Moment(0)).unwrap();
        assert_eq!(above.epoch, Epoch(42), "a registry that forgot grants above what the store has");
    }

    #[test]
    fn only_its_holder_renews_or_releases_a_lease() {
        let row = LeaseRow::grant(None, reach(1), seconds(10), Epoch::NONE, Moment(0)).unwrap();
        let renewed = row.renew(AuthorId([1; 32]), Epoch(1), seconds(10), Moment(4_000)).unwrap();
        assert_eq!((renewed.epoch, renewed.ends), (Epoch(1), Moment(14_000)));
        assert_eq!(row.renew(AuthorId([1; 32]), Epoch(2), seconds(10), Moment(4_000)), None);
        assert_eq!(row.renew(AuthorId([2; 32]), Epoch(1), seconds(10), Moment(4_000)), None);
        assert_eq!(row.release(AuthorId([2; 32]), Epoch(1), Moment(4_000)), None);
        let free = row.release(AuthorId([1; 32]), Epoch(1), Moment(4_000)).unwrap();
        assert_eq!(free.lease(Moment(4_000)), None);
        let next = LeaseRow::grant(Some(&free), reach(2), seconds(10), Epoch::NONE, Moment(4_000)).unwrap();
        assert_eq!(next.epoch, Epoch(2), "a release does not take the epoch back");
    }
}
