//! The other side: carries out what peers ask for, as far as they may.
//!
//! A peer speaks for itself alone. It takes, keeps and gives back leases under its own key, appends what it has signed
//! itself, and forwards what it submits itself. The one exception is a node's own coordinator, through which others'
//! intents come when their nodes cannot reach this one: it keeps the log, so it is believed who submitted them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bft_json_crdt::AuthorId;

use super::{
    Coordinator,
    codec::Wire,
    errors::chain,
    request::{ACQUIRE, APPEND, Draft, FORWARD, RELEASE, RENEW, Request, SEAL},
};
use crate::{
    authority::AppendAuthority,
    clock::Answer,
    event::{Epoch, Event, Incarnation, Seq},
    event_store::{AppendFailed, EventStore, ReadLimit, SealError, StoreError, Written},
    forward::{Forward, Refused, Reply},
    grant::Batch,
    limits::{
        EPOCH_STEP_MAX, REMOTE_BYTES_MAX, REMOTE_EVENTS_MAX, REMOTE_SPACES_MAX, SERVES_MAX, SERVES_PEER_MAX,
    },
    name::SpaceName,
    registry::{Ask, LeaseRegistry},
    rules::SpaceState,
};

/// What a peer wants to do with logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// To see spaces, their events and leases.
    Read,
    /// To hold spaces, append and forward.
    Write,
}

/// Says whether a peer may.
pub type Admits = Arc<dyn Fn(&AuthorId, Right) -> bool + Send + Sync>;

/// What a node has that coordinates.
#[derive(Clone)]
pub struct Backend {
    /// Keeps the logs.
    pub store: Arc<dyn EventStore>,
    /// Says who holds what.
    pub registry: Arc<dyn LeaseRegistry>,
}

/// Answers the calls of other nodes. Clones are handles on the same.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

struct Inner {
    authority: AppendAuthority,
    backend: Option<Backend>,
    coordinator: Option<Coordinator>,
    admits: Admits,
    load: Mutex<Load>,
}

/// How much is being carried out.
#[derive(Debug, Default)]
struct Load {
    all: usize,
    by_peer: BTreeMap<AuthorId, usize>,
}

impl Desk {
    /// The desk of a node that coordinates for others.
    #[must_use]
    pub fn of_coordinator(authority: AppendAuthority, backend: Backend, admits: Admits) -> Self {
        Self::new(authority, Some(backend), None, admits)
    }

    /// The desk of a node that has a coordinator: it takes what is forwarded to it, and nothing else.
    #[must_use]
    pub fn of_member(authority: AppendAuthority, coordinator: Coordinator, admits: Admits) -> Self {
        Self::new(authority, None, Some(coordinator), admits)
    }

    fn new(
        authority: AppendAuthority,
        backend: Option<Backend>,
        coordinator: Option<Coordinator>,
        admits: Admits,
    ) -> Self {
        let load = Mutex::default();
        Self { inner: Arc::new(Inner { authority, backend, coordinator, admits, load }) }
    }

    /// Carries out a call of a peer that has proved its key, and returns the reply.
    ///
    /// # Errors
    /// A sentence that says why nothing was done.
    pub fn serve(
        &self,
        peer: AuthorId,
        method: u32,
        body: Vec<u8>,
    ) -> Answer<'static, Result<Vec<u8>, String>> {
        let desk = self.clone();
        Box::pin(async move {
            let _busy = desk.begin(peer)?;
            // Looking at a request is work too: not for whoever may not ask. Forwards have their own answer.
            if let Some(right) = right(method) {
                desk.backend()?;
                desk.admit(peer, right)?;
            }
            let request = Request::decode(method, &body).map_err(|error| chain(&error))?;
            drop(body);
            desk.carry_out(peer, request).await
        })
    }

    async fn carry_out(&self, peer: AuthorId, request: Request) -> Result<Vec<u8>, String> {
        if let Request::Forward(forward) = request {
            return Ok(self.forward(peer, forward).await.encode());
        }
        let Backend { store, registry } = self.backend()?;
        Ok(match request {
            Request::Forward(_) => return Err("forwards are taken above".to_owned()),
            Request::Acquire { space, ask } => {
                own(peer, ask.holder.node)?;
                let above = self.epoch_near(store.as_ref(), &space, ask.above).await?;
                registry.acquire(&space, &Ask { above, ..ask }).await.encode()
            }
            Request::Renew { space, node, epoch, ttl } => {
                own(peer, node)?;
                registry.renew(&space, node, epoch, ttl).await.encode()
            }
            Request::Release { space, node, epoch } => {
                own(peer, node)?;
                registry.release(&space, node, epoch).await.encode()
            }
            Request::Lease { space } => registry.lease(&space).await.encode(),
            Request::Seal { space, epoch, first } => self.seal(peer, &space, epoch, first).await?.encode(),
            Request::Append(draft) => self.append(peer, store.as_ref(), draft).await?.encode(),
            Request::State { space } => store.state(&space).await.encode(),
            Request::Access { space } => store.access(&space).await.encode(),
            Request::Read { space, from, limit } => read(store.as_ref(), &space, from, limit).await.encode(),
            Request::Find { space, id } => store.find(&space, &id).await.encode(),
            Request::Spaces { after, count } => {
                store.spaces(after.as_ref(), count.min(REMOTE_SPACES_MAX)).await.encode()
            }
            Request::States { after, count } => {
                store.states(after.as_ref(), count.min(REMOTE_SPACES_MAX)).await.encode()
            }
        })
    }

    /// An intent for a space that this node holds, or may take up. A coordinator hands it on; others tell who holds
    /// the space, and the sender goes there itself.
    async fn forward(&self, peer: AuthorId, forward: Forward) -> Reply {
        let is_coordinator = self.coordinator_is(peer);
        if forward.author != peer && !is_coordinator {
            let why = format!("ed25519:{peer} forwards what ed25519:{} submitted", forward.author);
            return Reply::Refused(Refused::Forbidden(why));
        }
        // Whom a node has named as its coordinator may hand on to it what others have submitted.
        if !is_coordinator && let Err(why) = self.admit(peer, Right::Write) {
            return Reply::Refused(Refused::Forbidden(why));
        }
        let hops = if self.inner.backend.is_some() { forward.hops } else { 0 };
        self.inner.authority.handle(Forward { hops, ..forward }).await
    }

    /// Raises a space's epoch for whoever has the lease; while another has it, nobody is fenced.
    async fn seal(
        &self,
        peer: AuthorId,
        space: &SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Result<Result<SpaceState, SealError>, String> {
        let Backend { store, registry } = self.backend()?;
        let lease = registry.lease(space).await.map_err(|error| chain(&error))?;
        let is_granted = match lease {
            Some(lease) if lease.holder.node != peer => {
                return Err(format!("ed25519:{} holds the space, and alone may seal it", lease.holder.node));
            }
            Some(lease) => lease.epoch == epoch,
            // It ran out, or was forgotten.
            None => false,
        };
        if !is_granted && self.epoch_near(store.as_ref(), space, epoch).await? != epoch {
            return Err(format!("epoch {epoch} is too far above that of the log"));
        }
        Ok(store.seal(space, epoch, first).await)
    }

    async fn append(
        &self,
        peer: AuthorId,
        store: &dyn EventStore,
        draft: Draft,
    ) -> Result<Result<Written, AppendFailed>, String> {
        let batch = Batch::receive(draft, peer).map_err(|refused| refused.to_string())?;
        Ok(store.append(&batch).await)
    }

    /// The epoch, or the highest that one step may reach.
    async fn epoch_near(
        &self,
        store: &dyn EventStore,
        space: &SpaceName,
        epoch: Epoch,
    ) -> Result<Epoch, String> {
        if epoch.0 <= EPOCH_STEP_MAX {
            return Ok(epoch);
        }
        let state = store.state(space).await.map_err(|error| chain(&error))?;
        let current = state.map_or(Epoch::NONE, |state| state.epoch);
        Ok(epoch.min(Epoch(current.0.saturating_add(EPOCH_STEP_MAX))))
    }

    fn backend(&self) -> Result<&Backend, String> {
        let refusal = || "this node keeps no logs for others; ask its coordinator".to_owned();
        self.inner.backend.as_ref().ok_or_else(refusal)
    }

    fn admit(&self, peer: AuthorId, right: Right) -> Result<(), String> {
        if (self.inner.admits)(&peer, right) {
            return Ok(());
        }
        let what = match right {
            Right::Read => "read logs",
            Right::Write => "append to logs",
        };
        Err(format!("ed25519:{peer} may not {what} here; an operator of this node can grant that"))
    }

    fn coordinator_is(&self, peer: AuthorId) -> bool {
        let coordinator = self.inner.coordinator.as_ref().and_then(|coordinator| coordinator());
        coordinator.is_some_and(|coordinator| coordinator.node == peer)
    }

    fn begin(&self, peer: AuthorId) -> Result<Busy, String> {
        let mut load = self.inner.load();
        let of_peer = load.by_peer.get(&peer).copied().unwrap_or_default();
        if load.all >= SERVES_MAX || of_peer >= SERVES_PEER_MAX {
            return Err("this node has as many calls in work as it takes; come again later".to_owned());
        }
        load.all += 1;
        load.by_peer.insert(peer, of_peer + 1);
        Ok(Busy { inner: Arc::clone(&self.inner), peer })
    }
}

impl Inner {
    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call in work.
struct Busy {
    inner: Arc<Inner>,
    peer: AuthorId,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut load = self.inner.load();
        load.all = load.all.saturating_sub(1);
        if let Some(of_peer) = load.by_peer.get_mut(&self.peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                load.by_peer.remove(&self.peer);
            }
        }
    }
}

/// What a call takes; nothing yet for a forward, which tells its refusal in a reply.
fn right(method: u32) -> Option<Right> {
    match method {
        FORWARD => None,
        ACQUIRE | RENEW | RELEASE | SEAL | APPEND => Some(Right::Write),
        _ => Some(Right::Read),
    }
}

fn own(peer: AuthorId, named: AuthorId) -> Result<(), String> {
    match peer == named {
        true => Ok(()),
        false => Err(format!("ed25519:{peer} asks for the lease of ed25519:{named}")),
    }
}

/// Reads as much as fits a message. What a backend returns beyond its limit is cut.
async fn read(
    store: &dyn EventStore,
    space: &SpaceName,
    from: Seq,
    limit: ReadLimit,
) -> Result<Vec<Event>, StoreError> {
    let count = limit.count.min(REMOTE_EVENTS_MAX);
    let limit = ReadLimit { count, bytes: limit.bytes.min(REMOTE_BYTES_MAX) }.cut();
    let mut events = store.read(space, from, limit).await?;
    events.truncate(limit.count);
    Ok(events)
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coordinates = self.inner.backend.is_some();
        f.debug_struct("Desk").field("coordinates", &coordinates).finish_non_exhaustive()
    }
}
