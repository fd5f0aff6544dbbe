//! What an authority keeps of one space.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use super::{fate::Fate, spaces::Rest};
use crate::{
    clock::Moment,
    event::{Epoch, Head},
    grant::Grant,
    lane::Lane,
    lease::Term,
    name::SpaceName,
    rules::{Divergence, Lost, Seen, SpaceState, Writer},
};

/// Tails of one space that wait at the same time and are woken; more look by themselves.
const WAKERS_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Space {
    pub(super) name: SpaceName,
    pub(super) lane: Lane<Fate>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// In a box of its own: most spaces are not held at most times.
    held: Option<Box<Held>>,
    /// When its renewal is on the list.
    renews: Option<Moment>,
    seen: Option<Seen>,
    /// The highest epoch that was heard of.
    epoch: Epoch,
    diverged: Option<Divergence>,
    /// Somebody else has found that out.
    is_told: bool,
    /// How often this node has appended.
    landed: u64,
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Held {
    writer: Writer,
    term: Term,
    used: Moment,
}

impl Space {
    pub(super) fn new(name: SpaceName) -> Self {
        let (wakers, epoch) = (Vec::new(), Epoch::NONE);
        let kept = Kept {
            held: None,
            renews: None,
            seen: None,
            epoch,
            diverged: None,
            is_told: false,
            landed: 0,
            wakers,
        };
        Self { name, lane: Lane::new(), kept: Mutex::new(kept) }
    }

    /// Begins to hold the space, with what the seal has returned.
    pub(super) fn take_up(&self, grant: Grant, state: &SpaceState, term: Term, now: Moment) {
        let mut kept = self.kept();
        kept.epoch = kept.epoch.max(state.epoch);
        kept.held = Some(Box::new(Held { writer: Writer::new(grant, state.head), term, used: now }));
    }

    /// Stops holding the space.
    pub(super) fn let_go(&self) -> Option<Grant> {
        self.kept().held.take().map(|held| held.writer.grant().clone())
    }

    /// Stops holding the space, if under that epoch.
    pub(super) fn let_go_of(&self, epoch: Epoch) {
        self.kept().held.take_if(|held| held.writer.grant().epoch() == epoch);
    }

    /// Returns the grant and the head, while the term is running.
    pub(super) fn running(&self, now: Moment) -> Option<(Grant, Option<Head>)> {
        let kept = self.kept();
        let held = kept.held.as_ref().filter(|held| held.term.is_running(now))?;
        Some((held.writer.grant().clone(), held.writer.head()))
    }

    pub(super) fn landed(&self, epoch: Epoch, end: Head, now: Moment) {
        let mut kept = self.kept();
        if let Some(held) = kept.held.as_mut().filter(|held| held.writer.grant().epoch() == epoch) {
            held.writer.landed(end);
            held.used = now;
            let incarnation = held.writer.grant().incarnation();
            kept.seen = Some(Seen { incarnation, head: end });
        }
        kept.landed = kept.landed.wrapping_add(1);
        let wakers = std::mem::take(&mut kept.wakers);
        drop(kept);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn doubt(&self) {
        if let Some(held) = &mut self.kept().held {
            held.writer.doubt();
        }
    }

    /// Takes the store's head, if the last claim is the writer's own.
    pub(super) fn check(&self, state: Option<&SpaceState>) -> Option<Result<Head, Lost>> {
        let mut kept = self.kept();
        kept.epoch = kept.epoch.max(state.map_or(Epoch::NONE, |state| state.epoch));
        let held = kept.held.as_mut()?;
        Some(held.writer.check(state))
    }

    /// Returns the epoch to renew; `None` if the space is not held, or was not used for that long.
    pub(super) fn renewal(&self, now: Moment, idle_after: Duration) -> Option<Epoch> {
        let kept = self.kept();
        let held = kept.held.as_ref().filter(|held| held.used.until(now) < idle_after)?;
        Some(held.writer.grant().epoch())
    }

    pub(super) fn set_term(&self, epoch: Epoch, change: impl FnOnce(Term) -> Term) -> Option<Term> {
        let mut kept = self.kept();
        let held = kept.held.as_mut().filter(|held| held.writer.grant().epoch() == epoch)?;
        held.term = change(held.term);
        Some(held.term)
    }

    /// Returns what is to be kept of a space that nobody uses; none if it has to stay as it is.
    pub(super) fn rest(&self) -> Option<Rest> {
        let kept = self.kept();
        let is_idle = kept.held.is_none() && kept.diverged.is_none() && kept.wakers.is_empty();
        (is_idle && self.lane.is_idle()).then_some(Rest { seen: kept.seen, epoch: kept.epoch })
    }

    /// Goes on with what was kept.
    pub(super) fn wake_up(&self, rest: Rest) {
        let mut kept = self.kept();
        (kept.seen, kept.epoch) = (rest.seen, rest.epoch);
    }

    /// Returns when the lease ends, if it has not; lets go of one that has.
    pub(super) fn ends(&self, now: Moment) -> Option<Moment> {
        let mut kept = self.kept();
        kept.held.take_if(|held| !held.term.is_running(now));
        kept.held.as_ref().map(|held| held.term.ends())
    }

    /// Notes when the lease is to be renewed; returns when it was to be before.
    pub(super) fn renews_at(&self, at: Moment) -> Option<Moment> {
        self.kept().renews.replace(at)
    }

    /// Notes that an acquire asked for the space: it is used.
    pub(super) fn touch(&self, now: Moment) {
        if let Some(held) = &mut self.kept().held {
            held.used = now;
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.kept().epoch
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        self.kept().seen
    }

    /// Notes what was seen; of the same log, the longer one stays.
    pub(super) fn see(&self, seen: Seen) {
        let mut kept = self.kept();
        let is_less = |old: &Seen| old.incarnation == seen.incarnation && old.head.next > seen.head.next;
        if !kept.seen.as_ref().is_some_and(is_less) {
            kept.seen = Some(seen);
        }
    }

    pub(super) fn diverged(&self) -> Option<Divergence> {
        self.kept().diverged
    }

    /// Stops serving the space, until somebody has looked at it.
    pub(super) fn diverge(&self, divergence: Divergence) {
        let mut kept = self.kept();
        kept.held = None;
        kept.diverged = Some(divergence);
    }

    /// Stops serving the space as somebody else has found out, who alone can say when that is over.
    pub(super) fn diverge_as_told(&self, divergence: Divergence) {
        self.diverge(divergence);
        self.kept().is_told = true;
    }

    /// Takes back what was told; what this node has seen still counts.
    pub(super) fn untell(&self) {
        self.kept().is_told = false;
    }

    /// Returns what was seen of a log that has diverged, if that can be compared again.
    pub(super) fn seen_before_divergence(&self) -> Option<Seen> {
        let kept = self.kept();
        kept.seen.filter(|_| kept.diverged.is_some() && !kept.is_told)
    }

    /// Serves the space again: its log has again what was seen.
    pub(super) fn agree(&self) {
        self.kept().diverged = None;
    }

    /// Goes by the store alone from here on.
    pub(super) fn forget(&self) {
        let mut kept = self.kept();
        kept.held = None;
        kept.seen = None;
        kept.diverged = None;
        kept.is_told = false;
    }

    /// Returns how often this node has appended, for [`Space::wake_on_change`].
    pub(super) fn landed_count(&self) -> u64 {
        self.kept().landed
    }

    /// Returns whether this node has appended since it had done so `landed` times; if not, wakes when it does.
    pub(super) fn wake_on_change(&self, landed: u64, waker: &Waker) -> bool {
        let mut kept = self.kept();
        if kept.landed != landed {
            return true;
        }
        if kept.wakers.len() < WAKERS_MAX && !kept.wakers.iter().any(|known| known.will_wake(waker)) {
            kept.wakers.push(waker.clone());
        }
        false
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
