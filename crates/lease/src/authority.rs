//! What a node does with spaces: acquire, append, read, forward. The one place where grants are made.
//!
//! Nothing here runs by itself. Appends work in their callers' futures; renewals happen when whoever drives the
//! authority calls [`AppendAuthority::renew_due`] at [`AppendAuthority::next_renewal`]. A space that is not used
//! costs nothing.

mod fate;
mod look;
mod renew;
mod space;
mod spaces;
mod submit;
mod tail;
mod write;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bft_json_crdt::{AuthorId, Keypair};

use self::{fate::Fate, space::Space, spaces::Spaces, submit::Ended};
pub use self::{
    fate::{AppendError, LeaseError},
    tail::Tail,
};
use crate::{
    access::Access,
    clock::{Clock, Moment, Random},
    event::{Epoch, Event, Intent, Landed, Placed, Seq},
    event_store::{EventStore, ReadLimit, StoreError},
    forward::{Forward, Forwarder, Refused, Reply},
    lane::{Came, Full},
    lease::{LeaseSettings, Reach, SettingsError},
    limits::{HOPS_MAX, SPACES_MAX},
    name::{EventType, IntentId, NameError, SpaceName},
    payload::Payload,
    registry::LeaseRegistry,
    rules::{Divergence, Seen, SpaceState},
};

/// What an authority works with.
#[derive(Clone)]
pub struct Parts {
    /// The node's key: it signs batches and names the node.
    pub key: Keypair,
    /// Where other nodes reach this one; its `node` is the key's.
    pub reach: Reach,
    /// Keeps the logs.
    pub store: Arc<dyn EventStore>,
    /// Says who holds what.
    pub registry: Arc<dyn LeaseRegistry>,
    /// Reaches other nodes.
    pub forwarder: Arc<dyn Forwarder>,
    /// The node's clock.
    pub clock: Arc<dyn Clock>,
    /// The node's randomness.
    pub random: Arc<dyn Random>,
}

/// One node's hands on all spaces. Clones are handles on the same.
#[derive(Clone)]
pub struct AppendAuthority {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    settings: LeaseSettings,
    spaces: Mutex<Spaces>,
    renewals: Mutex<BTreeSet<(Moment, SpaceName)>>,
}

/// A handle that keeps nothing alive, for those whom an authority holds itself.
#[derive(Clone)]
pub struct WeakAuthority {
    inner: Weak<Inner>,
}

impl WeakAuthority {
    /// Returns a handle, if there is any left.
    #[must_use]
    pub fn upgrade(&self) -> Option<AppendAuthority> {
        self.inner.upgrade().map(|inner| AppendAuthority { inner })
    }
}

impl AppendAuthority {
    /// Puts the parts together. `parts.reach.node` is set to the key's.
    ///
    /// # Errors
    /// If the settings are not safe.
    pub fn new(mut parts: Parts, settings: LeaseSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        parts.reach.node = parts.key.author();
        let (spaces, renewals) = (Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { parts, settings, spaces, renewals }) })
    }

    /// Returns a handle that keeps nothing alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakAuthority {
        WeakAuthority { inner: Arc::downgrade(&self.inner) }
    }

    /// Returns the node's key.
    #[must_use]
    pub fn node(&self) -> AuthorId {
        self.inner.parts.reach.node
    }

    /// Makes this node the holder of a space, or keeps it so.
    ///
    /// # Errors
    /// [`LeaseError::Held`] if another node holds it; else what is out of order.
    pub async fn acquire(&self, space: &SpaceName) -> Result<(), LeaseError> {
        let space = self.space(space)?;
        let waiting = space.lane.join(None).map_err(|Full { waiting }| LeaseError::Busy { waiting })?;
        let _turn = waiting.come().await;
        if let Some(divergence) = self.still_diverged(&space).await {
            return Err(LeaseError::Diverged { space: space.name.clone(), divergence });
        }
        if space.running(self.now()).is_some() {
            space.touch(self.now());
            self.renew(&space).await;
            if space.running(self.now()).is_some() {
                return Ok(());
            }
        }
        self.take(&space).await.map_err(|taken| taken.error())
    }

    /// Appends an event, here or through the holder; a space that nobody holds is acquired. Returns when it is
    /// durable. Makes an id of its own: a caller that may want to ask again uses [`AppendAuthority::submit`].
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(
        &self,
        space: &SpaceName,
        kind: EventType,
        payload: Payload,
    ) -> Result<Placed, AppendError> {
        let id = self.new_id();
        self.submit(space, Intent { id, kind, payload }).await
    }

    /// Appends an intent, as [`AppendAuthority::append`]. The same intent again, at any node and at any later time,
    /// returns the first result.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn submit(&self, space: &SpaceName, intent: Intent) -> Result<Placed, AppendError> {
        self.land(space, intent).await.map(|landed| landed.placed)
    }

    /// Appends an intent, as [`AppendAuthority::submit`], and tells whether it was in the log before.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn land(&self, space: &SpaceName, intent: Intent) -> Result<Landed, AppendError> {
        let id = intent.id.clone();
        match self.settle(space, intent, self.node(), HOPS_MAX).await {
            Ok(landed) => Ok(landed),
            Err(Ended::Error(error)) => Err(error),
            // Not with hops left; and what was not handed on may be asked for again.
            Err(Ended::Redirect(_)) => Err(AppendError::Unknown { id }),
        }
    }

    /// Takes an intent that another node has forwarded. Whether that node may is for the caller to have checked.
    pub async fn handle(&self, forward: Forward) -> Reply {
        let Forward { space, intent, author, epoch, hops } = forward;
        if let Ok(space) = self.space(&space) {
            self.hear_of(&space, epoch);
        }
        match self.settle(&space, intent, author, hops.min(HOPS_MAX)).await {
            Ok(Landed { placed, is_new: true }) => Reply::Done(placed),
            Ok(Landed { placed, is_new: false }) => Reply::Known(placed),
            Err(Ended::Redirect(lease)) => Reply::Redirect(lease),
            Err(Ended::Error(AppendError::IdReused { first, .. })) => {
                Reply::Refused(Refused::IdReused(first))
            }
            Err(Ended::Error(AppendError::Unknown { .. })) => Reply::Unknown,
            Err(Ended::Error(AppendError::Refused { refused, .. })) => Reply::Refused(refused),
            Err(Ended::Error(AppendError::NotAppended { source, .. })) => match source {
                LeaseError::Diverged { divergence, .. } => {
                    Reply::Refused(Refused::Diverged(divergence.to_string()))
                }
                LeaseError::Busy { .. } => Reply::Refused(Refused::Busy),
                LeaseError::Closed { access, .. } => Reply::Refused(Refused::Closed(access)),
                LeaseError::Held { .. }
                | LeaseError::Absent { .. }
                | LeaseError::NotSealed { .. }
                | LeaseError::Contended
                | LeaseError::TooManySpaces { .. }
                | LeaseError::Registry(_)
                | LeaseError::Store(_) => Reply::Redirect(None),
            },
        }
    }

    /// Returns whether this node holds the space and may start an append.
    #[must_use]
    pub fn holds(&self, space: &SpaceName) -> bool {
        let space = self.spaces().get(space).cloned();
        space.is_some_and(|space| space.running(self.now()).is_some())
    }

    /// Lets another node have the space at once. What was being appended is finished first.
    ///
    /// # Errors
    /// If the registry cannot be told; the lease runs out then. This node does not hold the space in any case.
    pub async fn release(&self, space: &SpaceName) -> Result<(), LeaseError> {
        let Some(space) = self.spaces().get(space).cloned() else { return Ok(()) };
        let waiting = space.lane.join(None).map_err(|Full { waiting }| LeaseError::Busy { waiting })?;
        let _turn = waiting.come().await;
        if let Some(grant) = space.let_go() {
            self.inner.parts.registry.release(&space.name, grant.holder(), grant.epoch()).await?;
        }
        Ok(())
    }

    /// Lets go of all spaces, as a node does that stops properly.
    ///
    /// # Errors
    /// The first that went wrong; all were tried.
    pub async fn release_all(&self) -> Result<(), LeaseError> {
        let mut result = Ok(());
        // Not only those to be renewed: a lease that is left to run out keeps others waiting too.
        for space in self.held() {
            let released = self.release(&space).await;
            result = result.and(released);
        }
        result
    }

    /// Returns events from `from` on, in order, without gaps.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn read(
        &self,
        space: &SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Event>, StoreError> {
        self.inner.parts.store.read(space, from, limit.cut()).await
    }

    /// Follows a log from `from` on.
    #[must_use]
    pub fn tail(&self, space: &SpaceName, from: Seq) -> Tail {
        Tail::new(self.clone(), space.clone(), from)
    }

    /// Returns how the log of a space is not the one that this node has seen, if so: it is not served then.
    #[must_use]
    pub fn divergence(&self, space: &SpaceName) -> Option<Divergence> {
        self.spaces().get(space).and_then(|space| space.diverged())
    }

    /// Opens or closes a space. Whoever writes to it is fenced; nobody holds it afterwards.
    ///
    /// # Errors
    /// [`LeaseError::Held`] while another node holds it; else what is out of order.
    pub async fn set_access(&self, space: &SpaceName, access: Access) -> Result<SpaceState, LeaseError> {
        let space = self.space(space)?;
        let waiting = space.lane.join(None).map_err(|Full { waiting }| LeaseError::Busy { waiting })?;
        let _turn = waiting.come().await;
        self.change_access(&space, access).await.map_err(|taken| taken.error())
    }

    /// Stops serving a space, since somebody has found that its log is not the one that was seen; until whoever found
    /// that takes it back ([`AppendAuthority::serve_again`]), or it is settled which one counts
    /// ([`AppendAuthority::forget`]).
    ///
    /// # Errors
    /// If there are too many spaces.
    pub fn stop_serving(&self, space: &SpaceName, divergence: Divergence) -> Result<(), LeaseError> {
        self.space(space)?.diverge_as_told(divergence);
        Ok(())
    }

    /// Takes [`AppendAuthority::stop_serving`] back. The space is served again if its log has all that this node has
    /// seen.
    pub async fn serve_again(&self, space: &SpaceName) {
        let space = self.spaces().get(space).cloned();
        if let Some(space) = space {
            space.untell();
            // If it has not, that is found out anew whenever somebody wants to append.
            let _diverged = self.still_diverged(&space).await;
        }
    }

    /// Forgets what this node has seen of a log, after somebody has looked at it and settled which one counts: the
    /// space is served again, as the store has it.
    pub fn forget(&self, space: &SpaceName) {
        let mut spaces = self.spaces();
        match spaces.get(space) {
            Some(space) => space.forget(),
            None => spaces.forget(space),
        }
    }

    /// Returns the spaces that are not served since their logs have diverged.
    #[must_use]
    pub fn diverged(&self) -> Vec<(SpaceName, Divergence)> {
        let spaces = self.spaces();
        let diverged = |(name, space): (&SpaceName, &Arc<Space>)| Some((name.clone(), space.diverged()?));
        spaces.iter().filter_map(diverged).collect()
    }

    /// Tells what this node has seen of a log at another time, as a copy of it says. A store that has another log is
    /// not served.
    ///
    /// # Errors
    /// If there are too many spaces.
    pub fn remember(&self, space: &SpaceName, seen: Seen) -> Result<(), LeaseError> {
        let space = self.space(space)?;
        space.see(seen);
        self.spaces().rest(&space);
        Ok(())
    }

    fn hear_of(&self, space: &Arc<Space>, epoch: Epoch) {
        // Only a hint: whoever says so may be wrong, so the store is asked.
        let held = space.running(self.now()).map(|(grant, _)| grant.epoch());
        if held.is_some_and(|held| held < epoch) {
            space.doubt();
        }
    }

    /// Waits in the lane; works for it if it is one's turn.
    async fn in_lane(&self, space: &Arc<Space>, intent: Intent, author: AuthorId) -> Result<Fate, Full> {
        let waiting = space.lane.join(Some((intent, author)))?;
        loop {
            match waiting.come().await {
                Came::Answer(fate) => return Ok(fate),
                Came::Turn(turn) => self.drive(space, &turn).await,
            }
        }
    }

    fn space(&self, name: &SpaceName) -> Result<Arc<Space>, LeaseError> {
        self.spaces().open(name).ok_or(LeaseError::TooManySpaces { count: SPACES_MAX })
    }

    fn new_id(&self) -> IntentId {
        let made: Result<IntentId, NameError> = IntentId::new(&format!(
            "{:016x}{:016x}",
            self.inner.parts.random.next(),
            self.inner.parts.random.next()
        ));
        made.expect("hexadecimal digits are an id")
    }

    fn now(&self) -> Moment {
        self.inner.parts.clock.now()
    }

    fn spaces(&self) -> MutexGuard<'_, Spaces> {
        self.inner.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewals(&self) -> MutexGuard<'_, BTreeSet<(Moment, SpaceName)>> {
        self.inner.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AppendAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppendAuthority").field("node", &self.node()).finish_non_exhaustive()
    }
}

impl fmt::Debug for WeakAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakAuthority").finish_non_exhaustive()
    }
}
