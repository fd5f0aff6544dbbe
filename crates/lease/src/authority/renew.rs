//! Keeping leases: when to renew, and what an answer means.

use std::sync::Arc;

use super::{AppendAuthority, space::Space};
use crate::{clock::Moment, lease::Term, name::SpaceName, registry::RenewError};

impl AppendAuthority {
    /// Returns when [`AppendAuthority::renew_due`] is to be called next; `None` if nothing is held.
    #[must_use]
    pub fn next_renewal(&self) -> Option<Moment> {
        self.renewals().first().map(|(at, _)| *at)
    }

    /// Renews the leases whose time has come; those of spaces that were not used for a while are left to run out.
    pub async fn renew_due(&self) {
        let now = self.now();
        let due = self.take_due(now);
        for name in due {
            let space = self.spaces().get(&name).cloned();
            if let Some(space) = space {
                self.renew(&space).await;
            }
        }
    }

    fn take_due(&self, now: Moment) -> Vec<SpaceName> {
        let mut renewals = self.renewals();
        let mut due = Vec::new();
        while renewals.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(renewals.pop_first().map(|(_, name)| name));
        }
        due
    }

    /// Renews one lease, if it is held and used.
    pub(super) async fn renew(&self, space: &Arc<Space>) {
        let asked = self.now();
        let Some(epoch) = space.renewal(asked, self.inner.settings.idle_after) else {
            // It is left to run out; then nothing more is done for it, until somebody uses it again.
            match space.ends(asked) {
                Some(ends) => self.renew_at(ends, space),
                None => self.spaces().rest(space),
            }
            return;
        };
        let renewed =
            self.inner.parts.registry.renew(&space.name, self.node(), epoch, self.inner.settings.ttl).await;
        let term = match renewed {
            Ok(()) => {
                let jitter = self.inner.parts.random.next();
                space.set_term(epoch, |_| Term::begin(&self.inner.settings, asked, jitter))
            }
            Err(RenewError::Lost { .. }) => {
                space.let_go_of(epoch);
                None
            }
            Err(RenewError::Registry(_)) => {
                let now = self.now();
                space.set_term(epoch, |term| term.ask_later(&self.inner.settings, now))
            }
        };
        if let Some(term) = term.filter(|term| term.is_running(self.now())) {
            self.renew_at(term.renews(), space);
        }
    }

    pub(super) fn renew_at(&self, at: Moment, space: &Arc<Space>) {
        let mut renewals = self.renewals();
        if let Some(before) = space.renews_at(at) {
            renewals.remove(&(before, space.name.clone()));
        }
        renewals.insert((at, space.name.clone()));
    }
}
