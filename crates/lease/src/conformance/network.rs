//! Nodes that call each other within a process, over calls that get lost in named ways.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use bft_json_crdt::{AuthorId, Keypair};

use super::{ManualClock, Open};
use crate::{
    Access, AcquireError, AdoptError, Answer, AppendAuthority, AppendFailed, Ask, Batch, Coordinator, Epoch,
    Event, EventStore, Forwarder, Incarnation, IntentId, Lease, LeaseRegistry, LeaseSettings, LocalForwarder,
    Part, Parts, Placed, Reach, ReadLimit, RegistryError, RemoteLog, RenewError, SealError, Seq, SpaceName,
    SpaceState, StoreError, Written,
    remote::{Backend, CallFailed, Caller, Desk},
};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Answered,
    /// It never leaves.
    Unreachable,
    /// It never arrives, and nobody knows.
    LoseRequest,
    /// It is carried out, and the answer is lost.
    LoseAnswer,
    /// It arrives when nobody waits for it any more: before the call after it.
    Late,
    /// It is carried out, and the answer is nonsense.
    Garble,
}

/// The desks that can be called. Clones are handles on the same.
#[derive(Clone, Default)]
pub struct Network {
    inner: Arc<Mutex<Wires>>,
}

#[derive(Default)]
struct Wires {
    desks: BTreeMap<AuthorId, Desk>,
    cut: BTreeSet<(AuthorId, AuthorId)>,
    outcomes: VecDeque<Outcome>,
    calls: Vec<(u32, Vec<u8>)>,
    late: Vec<(Desk, AuthorId, u32, Vec<u8>)>,
}

impl Network {
    /// Makes a node's desk reachable.
    pub fn join(&self, node: AuthorId, desk: &Desk) {
        self.lock().desks.insert(node, desk.clone());
    }

    /// Keeps calls of one node from reaching another.
    pub fn cut(&self, from: AuthorId, to: AuthorId) {
        self.lock().cut.insert((from, to));
    }

    /// Lets all reach each other again.
    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    /// Says what becomes of the next calls, whoever makes them; those after them are answered.
    pub fn next(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.lock().outcomes.extend(outcomes);
    }

    /// Returns the calls that were made since the last time, each with its method and its request.
    #[must_use]
    pub fn calls(&self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Returns how a node calls others: under its own key, which it has proved.
    #[must_use]
    pub fn caller(&self, node: AuthorId) -> Arc<dyn Caller> {
        Arc::new(Line { network: self.clone(), node })
    }

    fn lock(&self) -> MutexGuard<'_, Wires> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Line {
    network: Network,
    node: AuthorId,
}

impl Caller for Line {
    fn call<'a>(
        &'a self,
        to: &'a Reach,
        method: u32,
        body: Vec<u8>,
    ) -> Answer<'a, Result<Vec<u8>, CallFailed>> {
        Box::pin(async move {
            let late = std::mem::take(&mut self.network.lock().late);
            for (desk, node, method, body) in late {
                let _nobody_hears = desk.serve(node, method, body).await;
            }
            let (desk, outcome) = {
                let mut wires = self.network.lock();
                wires.calls.push((method, body.clone()));
                let is_cut = wires.cut.contains(&(self.node, to.node));
                let outcome = wires.outcomes.pop_front().unwrap_or(Outcome::Answered);
                (wires.desks.get(&to.node).filter(|_| !is_cut).cloned(), outcome)
            };
            let Some(desk) = desk.filter(|_| outcome != Outcome::Unreachable) else {
                return Err(CallFailed::Unreachable);
            };
            if outcome == Outcome::LoseRequest {
                return Err(CallFailed::Silent);
            }
            if outcome == Outcome::Late {
                self.network.lock().late.push((desk, self.node, method, body));
                return Err(CallFailed::Silent);
            }
            let reply = desk.serve(self.node, method, body).await;
            match outcome {
                Outcome::LoseAnswer => Err(CallFailed::Silent),
                Outcome::Garble => Ok(b"nonsense".to_vec()),
                Outcome::Answered | Outcome::Unreachable | Outcome::LoseRequest | Outcome::Late => {
                    reply.map_err(CallFailed::Refused)
                }
            }
        })
    }
}

/// The parts of a node, with distinct numbers for randomness.
#[must_use]
pub fn parts(
    key: &Keypair,
    clock: &Arc<ManualClock>,
    store: Arc<dyn EventStore>,
    registry: Arc<dyn LeaseRegistry>,
    forwarder: Arc<dyn Forwarder>,
) -> Parts {
    let [first, ..] = key.author().0;
    let state = AtomicU64::new(u64::from(first) << 32);
    Parts {
        key: key.clone(),
        reach: Reach { node: key.author(), url: None },
        store,
        registry,
        forwarder,
        clock: Arc::clone(clock) as _,
        random: Arc::new(move || state.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    }
}

/// Opens a backend over calls to a node that coordinates with it. Its handles speak as whoever uses them: they are
/// told apart by the keys in what is asked for.
///
/// # Panics
/// Never: the default settings are safe.
#[must_use]
pub fn over_calls(network: &Network, clock: &Arc<ManualClock>, open: Open) -> Open {
    let key = Keypair::from_seed(&[250; 32]);
    let (store, registry) = open();
    let backend = Backend { store: Arc::clone(&store), registry: Arc::clone(&registry) };
    let parts = parts(&key, clock, store, registry, Arc::new(LocalForwarder::new()));
    let authority = AppendAuthority::new(parts, LeaseSettings::default()).unwrap();
    let desk = Desk::of_coordinator(authority, backend.clone(), Arc::new(|_, _| true));
    network.join(key.author(), &desk);
    let network = network.clone();
    Box::new(move || {
        let (network, backend) = (network.clone(), backend.clone());
        let handle = Arc::new(Anybody { network, backend, coordinator: key.author() });
        (Arc::clone(&handle) as _, handle as _)
    })
}

/// A log at the coordinator, for whoever is named in what is asked for.
struct Anybody {
    network: Network,
    backend: Backend,
    coordinator: AuthorId,
}

impl Anybody {
    fn of(&self, node: AuthorId) -> RemoteLog {
        let at = Reach { node: self.coordinator, url: None };
        let coordinator: Coordinator = Arc::new(move || Some(at.clone()));
        RemoteLog::new(self.network.caller(node), coordinator)
    }

    /// Somebody who has no name here.
    fn reader(&self) -> RemoteLog {
        self.of(AuthorId([0xee; 32]))
    }
}

impl EventStore for Anybody {
    fn seal<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        Box::pin(async move {
            // Whoever seals has just acquired.
            let lease = self.backend.registry.lease(space).await;
            let node = lease.ok().flatten().map(|lease| lease.holder.node);
            let log = node.map_or_else(|| self.reader(), |node| self.of(node));
            log.seal(space, epoch, first).await
        })
    }

    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>> {
        Box::pin(async move { self.of(batch.grant().holder()).append(batch).await })
    }

    /// Not for others to do: this is the coordinator itself.
    fn set_access<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        access: Access,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        self.backend.store.set_access(space, epoch, access)
    }

    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>> {
        Box::pin(async move { self.reader().access(space).await })
    }

    /// Not for others to do: this is the coordinator itself.
    fn adopt<'a>(&'a self, part: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>> {
        self.backend.store.adopt(part)
    }

    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>> {
        Box::pin(async move { self.reader().state(space).await })
    }

    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Answer<'a, Result<Vec<Event>, StoreError>> {
        Box::pin(async move { self.reader().read(space, from, limit).await })
    }

    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>> {
        Box::pin(async move { self.reader().find(space, id).await })
    }

    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>> {
        Box::pin(async move { self.reader().spaces(after, count).await })
    }

    fn states<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<(SpaceName, SpaceState)>, StoreError>> {
        Box::pin(async move { self.reader().states(after, count).await })
    }
}

impl LeaseRegistry for Anybody {
    fn acquire<'a>(&'a self, space: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>> {
        Box::pin(async move { self.of(ask.holder.node).acquire(space, ask).await })
    }

    fn renew<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Answer<'a, Result<(), RenewError>> {
        Box::pin(async move { self.of(node).renew(space, node, epoch, ttl).await })
    }

    fn release<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
    ) -> Answer<'a, Result<(), RegistryError>> {
        Box::pin(async move { self.of(node).release(space, node, epoch).await })
    }

    fn lease<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>> {
        Box::pin(async move { self.reader().lease(space).await })
    }
}
