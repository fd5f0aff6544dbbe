//! Following: copies of another node's logs, and reading from them while that node is away.
//!
//! A [`Follower`] copies what it lacks, verified; a [`FollowedLog`] reads from the source while that answers, else
//! from the copy, and says how old it is. A source that has other events than the copy is not followed any more: the
//! copy stays as it is, until somebody has looked at both.

mod followed;
mod pattern;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::{
    followed::{FollowedLog, Read},
    pattern::Follows,
};
use crate::{
    access::Access,
    authority::AppendAuthority,
    clock::{Clock, Moment},
    copying::{CopyError, RecoverError, Relation, Shelf, copy, relate},
    event_store::{AdoptError, EventStore, StoreError},
    limits::STATES_MAX,
    name::SpaceName,
    rules::{Divergence, Misfit, Seen, SpaceState},
};

/// The shortest pause between two looks at the source.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// A look that took long is followed by a pause so many times as long: many idle spaces cost little.
const PAUSE_PARTS: u32 = 20;

/// Copies spaces of one store to another, again and again. Clones are handles on the same.
#[derive(Clone)]
pub struct Follower {
    inner: Arc<Inner>,
}

struct Inner {
    source: Arc<dyn EventStore>,
    copies: Arc<dyn EventStore>,
    follows: Follows,
    contact: Contact,
    authority: Option<AppendAuthority>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The copies, as this follower knows them.
    states: BTreeMap<SpaceName, SpaceState>,
    stopped: BTreeMap<SpaceName, (Stopped, SpaceState)>,
}

/// Why a space is not followed any more. The copy is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The source has another log. Compare both, then recover the space from the one that counts.
    #[error("the source has another log than the copy: {0}")]
    Diverged(Divergence),
    /// What the source has breaks a rule. Look at the source.
    #[error("the source's log is not taken: {0}")]
    Broken(String),
    /// The space is appended to here, so that it cannot be a copy.
    #[error("the space has a log of its own here: {0}")]
    Misfit(Misfit),
}

/// What one look has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Spaces that were looked at.
    pub spaces: usize,
    /// Events that were copied.
    pub events: u64,
}

impl Follower {
    /// Makes a follower. It does nothing by itself: see [`Follower::run`].
    #[must_use]
    pub fn new(
        source: Arc<dyn EventStore>,
        copies: Arc<dyn EventStore>,
        follows: Follows,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (contact, kept) = (Contact::new(clock), Mutex::default());
        Self { inner: Arc::new(Inner { source, copies, follows, contact, authority: None, kept }) }
    }

    /// Tells an authority what the copies have: it does not serve a space whose log has less, or another.
    ///
    /// # Panics
    /// If the follower was cloned before.
    #[must_use]
    pub fn with_authority(mut self, authority: AppendAuthority) -> Self {
        let inner = Arc::get_mut(&mut self.inner).expect("told before anybody else has a handle");
        inner.authority = Some(authority);
        self
    }

    /// Returns what reads from the source, or from the copies while that is away.
    #[must_use]
    pub fn log(&self) -> FollowedLog {
        let Inner { source, copies, contact, .. } = self.inner.as_ref();
        FollowedLog::new(Arc::clone(source), Arc::clone(copies), contact.clone())
    }

    /// Returns the spaces that are not followed any more, and why.
    #[must_use]
    pub fn stopped(&self) -> BTreeMap<SpaceName, Stopped> {
        self.kept().stopped.iter().map(|(space, (why, _))| (space.clone(), why.clone())).collect()
    }

    /// Returns why a space is not followed any more, if so. It is not to be served then: what the source has is not
    /// what was seen.
    #[must_use]
    pub fn why_stopped(&self, space: &SpaceName) -> Option<Stopped> {
        self.kept().stopped.get(space).map(|(why, _)| why.clone())
    }

    /// Returns how many spaces are copied, and how many events they have.
    #[must_use]
    pub fn copied(&self) -> (usize, u64) {
        let kept = self.kept();
        (kept.states.len(), kept.states.values().map(|state| state.head.next.0).sum())
    }

    /// Follows a space again, after somebody has settled which log counts.
    pub fn forget(&self, space: &SpaceName) {
        let mut kept = self.kept();
        kept.stopped.remove(space);
        kept.states.remove(space);
    }

    /// Goes by the source's log of a space from here on, after somebody has settled that it counts. What the copy has
    /// beside it is set aside first; returns by which name.
    ///
    /// # Errors
    /// If the source cannot be read, its log breaks a rule, or the copy cannot be set aside. The copy is as it was
    /// then.
    pub async fn accept(&self, space: &SpaceName, shelf: &dyn Shelf) -> Result<Option<String>, RecoverError> {
        let Inner { source, copies, authority, .. } = self.inner.as_ref();
        let (source, copies) = (source.as_ref(), copies.as_ref());
        let relation = relate(copies, source, space).await?;
        let kept = copies.state(space).await.map_err(CopyError::from)?;
        let mut name = None;
        let mut quiet = |_, _| ();
        match (relation, kept) {
            (Relation::OursGoesOn | Relation::Forked { .. }, Some(kept)) => {
                name = Some(shelf.keep(space, copies).await.map_err(RecoverError::Shelf)?);
                copy(source, copies, space, Some(kept), &mut quiet).await?;
            }
            (Relation::Same | Relation::TheirsGoesOn, _) | (_, None) => {
                copy(source, copies, space, None, &mut quiet).await?;
            }
        }
        self.forget(space);
        if let Some(authority) = authority {
            authority.forget(space);
        }
        if let Some(state) = copies.state(space).await.map_err(CopyError::from)? {
            self.note(space, state);
        }
        Ok(name)
    }

    /// Follows until it is dropped. `look` hears what each look has brought.
    pub async fn run(&self, look: &(dyn Fn(&Result<Pass, StoreError>) + Send + Sync)) {
        let clock = Arc::clone(&self.inner.contact.clock);
        loop {
            let began = clock.now();
            look(&self.pass().await);
            let took = began.until(clock.now());
            clock.sleep(PAUSE_MIN.max(took * PAUSE_PARTS)).await;
        }
    }

    /// Looks once at all that is followed, and copies what is new. One call for thousands of spaces of which nothing
    /// is new.
    ///
    /// # Errors
    /// If one of the stores cannot be used. What was copied stays; the next look goes on.
    pub async fn pass(&self) -> Result<Pass, StoreError> {
        self.recall().await?;
        let mut pass = Pass::default();
        let mut after: Option<SpaceName> = None;
        let mut missing: BTreeMap<SpaceName, SpaceState> = self.kept().states.clone();
        loop {
            let page = self.heard(self.inner.source.states(after.as_ref(), STATES_MAX).await)?;
            let is_last = page.len() < STATES_MAX;
            after = page.last().map(|(name, _)| name.clone());
            for (name, state) in page {
                missing.remove(&name);
                if self.inner.follows.has(&name) {
                    pass.spaces += 1;
                    pass.events += self.follow(&name, &state).await?;
                }
            }
            if is_last {
                break;
            }
        }
        for (name, state) in missing {
            // A space that nobody has appended to may as well never have been.
            if state.head.next.0 > 0 {
                self.stop(&name, Stopped::Diverged(Divergence::Gone { seen: state.head.next }), &state);
            }
        }
        Ok(pass)
    }

    /// Reads once which copies there are.
    async fn recall(&self) -> Result<(), StoreError> {
        if !self.kept().states.is_empty() {
            return Ok(());
        }
        let copies = &self.inner.copies;
        let mut after: Option<SpaceName> = None;
        loop {
            let page = copies.states(after.as_ref(), STATES_MAX).await?;
            let is_last = page.len() < STATES_MAX;
            after = page.last().map(|(name, _)| name.clone());
            for (name, state) in page {
                if self.inner.follows.has(&name) && copies.access(&name).await? == Some(Access::Copy) {
                    self.note(&name, state);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Copies what is new of one space; returns how many events.
    async fn follow(&self, space: &SpaceName, there: &SpaceState) -> Result<u64, StoreError> {
        let here = {
            let kept = self.kept();
            // As long as it is what was not followed. Once it has changed it may have what the copy has.
            if kept.stopped.get(space).is_some_and(|(_, state)| state == there) {
                return Ok(0);
            }
            kept.states.get(space).copied()
        };
        let is_same = |here: &SpaceState| (here.incarnation, here.head) == (there.incarnation, there.head);
        if here.as_ref().is_some_and(is_same) {
            self.resume(space).await;
            return Ok(0);
        }
        let Inner { source, copies, .. } = self.inner.as_ref();
        let before = here.map_or(0, |here| here.head.next.0);
        match copy(source.as_ref(), copies.as_ref(), space, None, &mut |_, _| ()).await {
            Ok(state) => {
                self.note(space, state);
                self.resume(space).await;
                Ok(state.head.next.0.saturating_sub(before))
            }
            Err(CopyError::Absent(_)) => Ok(0),
            Err(CopyError::Diverged { divergence, .. }) => {
                self.stop(space, Stopped::Diverged(divergence), there);
                Ok(0)
            }
            Err(CopyError::Offence(offence)) => {
                self.stop(space, Stopped::Broken(offence.to_string()), there);
                Ok(0)
            }
            // Somebody else copies to there too.
            Err(CopyError::Adopt(AdoptError::Misfit(Misfit::Moved { .. }))) => {
                if let Some(state) = copies.state(space).await? {
                    self.note(space, state);
                }
                Ok(0)
            }
            Err(CopyError::Adopt(AdoptError::Misfit(misfit))) => {
                self.stop(space, Stopped::Misfit(misfit), there);
                Ok(0)
            }
            Err(CopyError::Adopt(AdoptError::Store(error)) | CopyError::Store(error)) => Err(error),
        }
    }

    /// Notes a copy, here and with those who are not to be told otherwise.
    fn note(&self, space: &SpaceName, state: SpaceState) {
        self.kept().states.insert(space.clone(), state);
        if let Some(authority) = &self.inner.authority {
            let seen = Seen { incarnation: state.incarnation, head: state.head };
            // One that has too many spaces to keep track of serves this one by what its store says.
            let _full = authority.remember(space, seen);
        }
    }

    /// Follows a space again, if it was stopped: its source has again all that the copy has. What this node has seen
    /// beside the copy still counts.
    async fn resume(&self, space: &SpaceName) {
        let was_stopped = self.kept().stopped.remove(space).is_some();
        if let Some(authority) = self.inner.authority.as_ref().filter(|_| was_stopped) {
            authority.serve_again(space).await;
        }
    }

    fn stop(&self, space: &SpaceName, why: Stopped, there: &SpaceState) {
        if let (Some(authority), Stopped::Diverged(divergence)) = (&self.inner.authority, &why) {
            let _full = authority.stop_serving(space, *divergence);
        }
        let mut kept = self.kept();
        let (_, looked) = kept.stopped.entry(space.clone()).or_insert_with(|| (why, *there));
        *looked = *there;
    }

    fn heard<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.inner.contact.note(answer.is_ok());
        answer
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the source has answered last.
#[derive(Clone)]
pub(crate) struct Contact {
    clock: Arc<dyn Clock>,
    times: Arc<Mutex<Times>>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// The last answer, or when this began.
    answered: Moment,
    /// Since then it was asked in vain.
    failed: Option<Moment>,
}

impl Contact {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let times = Times { answered: clock.now(), failed: None };
        Self { clock, times: Arc::new(Mutex::new(times)) }
    }

    fn note(&self, has_answered: bool) {
        let now = self.clock.now();
        let mut times = self.times();
        match has_answered {
            true => *times = Times { answered: now, failed: None },
            false => times.failed = Some(now),
        }
    }

    /// For how long it has been away, if it did not answer when it was asked last.
    fn away(&self) -> Option<Duration> {
        let times = *self.times();
        times.failed.map(|_| times.answered.until(self.clock.now()))
    }

    /// Whether it was asked in vain less than that ago.
    fn failed_within(&self, time: Duration) -> bool {
        let failed = self.times().failed;
        failed.is_some_and(|failed| failed.until(self.clock.now()) < time)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("follows", &self.inner.follows).finish_non_exhaustive()
    }
}
