//! What the checks stand on: a clock that is moved by hand, a team of nodes, stores that lose answers.

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::Duration,
};

use bft_json_crdt::{AuthorId, Keypair};

use crate::{
    Access, AcquireError, AdoptError, Answer, AppendAuthority, AppendFailed, Ask, Batch, Clock, Epoch, Event,
    EventStore, EventType, Incarnation, Intent, IntentId, Lease, LeaseRegistry, LeaseSettings,
    LocalForwarder, Moment, Part, Parts, Payload, Placed, Reach, ReadLimit, RegistryError, RenewError,
    SealError, Seq, SpaceName, SpaceState, StoreError, Verifier, Written,
};

/// One node's handles on the backend. Called once for each node; the handles stand for different processes.
pub type Open = Box<dyn Fn() -> (Arc<dyn EventStore>, Arc<dyn LeaseRegistry>)>;

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        thread::park();
    }
}

/// A clock that goes on when it is told to, and when somebody sleeps.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Returns a clock that stands at one minute.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(60_000)))
    }

    /// Moves it on.
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        self.advance(time);
        Box::pin(std::future::ready(()))
    }
}

/// Nodes on one backend.
pub struct Team {
    /// The clock of all of them, and of the backend.
    pub clock: Arc<ManualClock>,
    /// How they reach each other.
    pub forwarder: LocalForwarder,
    open: Open,
}

/// One of them.
pub struct Member {
    /// Its key.
    pub key: Keypair,
    /// What it does.
    pub authority: AppendAuthority,
    /// Its store, with faults that are put in.
    pub store: Arc<FaultyStore>,
}

impl Team {
    /// Puts a team on a backend that uses this clock.
    #[must_use]
    pub fn new(clock: Arc<ManualClock>, open: Open) -> Self {
        Self { clock, forwarder: LocalForwarder::new(), open }
    }

    /// Adds a node; the same number is the same node, started again.
    #[must_use]
    pub fn member(&self, number: u8) -> Member {
        let (_, registry) = (self.open)();
        self.member_with(number, registry)
    }

    /// Adds a node that asks another registry than the backend's.
    ///
    /// # Panics
    /// Never: the default settings are safe.
    #[must_use]
    pub fn member_with(&self, number: u8, registry: Arc<dyn LeaseRegistry>) -> Member {
        let (inner, _) = (self.open)();
        let key = Keypair::from_seed(&[number; 32]);
        let store = Arc::new(FaultyStore { inner, faults: Mutex::default() });
        let state = AtomicU64::new(u64::from(number) << 32);
        // Distinct numbers are all that is asked for.
        let random = move || state.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let parts = Parts {
            reach: Reach { node: key.author(), url: None },
            key: key.clone(),
            store: Arc::clone(&store) as Arc<dyn EventStore>,
            registry,
            forwarder: Arc::new(self.forwarder.clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::new(random),
        };
        let authority = AppendAuthority::new(parts, LeaseSettings::default()).unwrap();
        self.forwarder.join(&authority);
        Member { key, authority, store }
    }

    /// Returns handles on the backend itself.
    #[must_use]
    pub fn backend(&self) -> (Arc<dyn EventStore>, Arc<dyn LeaseRegistry>) {
        (self.open)()
    }

    /// Reads the whole log of a space, verifies it, and returns its events.
    ///
    /// # Panics
    /// If it breaks a rule.
    #[must_use]
    pub fn verified(&self, space: &SpaceName) -> Vec<Event> {
        let (store, _) = self.backend();
        let Some(state) = block_on(store.state(space)).unwrap() else { return Vec::new() };
        let mut verifier = Verifier::new(space.clone(), state.incarnation);
        let mut events = Vec::new();
        loop {
            let limit = ReadLimit { count: 7, bytes: usize::MAX };
            let more = block_on(store.read(space, Seq(events.len() as u64), limit)).unwrap();
            if more.is_empty() {
                break;
            }
            for event in more {
                verifier.push(&event).unwrap();
                let found = block_on(store.find(space, &event.id)).unwrap();
                assert_eq!(found, Some(event.placed()), "each intent is found where it is");
                events.push(event);
            }
        }
        assert_eq!(verifier.end().unwrap(), state.head, "the log ends where its store says");
        assert!(verifier.epoch() <= state.epoch, "no event is from after the last seal");
        events
    }
}

impl Member {
    /// Appends an intent with that id and a payload that tells the same.
    ///
    /// # Errors
    /// What the authority says.
    pub fn append(&self, space: &SpaceName, id: &str) -> Result<Placed, crate::AppendError> {
        block_on(self.authority.submit(space, intent(id)))
    }

    /// The node's key.
    #[must_use]
    pub fn node(&self) -> AuthorId {
        self.key.author()
    }
}

/// An intent with that id.
///
/// # Panics
/// If it is no id.
#[must_use]
pub fn intent(id: &str) -> Intent {
    Intent {
        id: IntentId::new(id).unwrap(),
        kind: EventType::new("ALIAS_SET").unwrap(),
        payload: Payload::parse(format!("{{\"target\":\"x:{id}\",\"alias\":2}}").as_bytes()).unwrap(),
    }
}

/// What goes wrong with one append.
pub enum Fault {
    /// It lands, and the answer is lost.
    LoseAnswer,
    /// It never arrives, and nobody knows.
    LoseRequest,
    /// The node stops before it, for as long as this takes.
    Pause(Box<dyn FnOnce() + Send>),
}

/// A store whose appends go wrong in named ways, one after the other; then it works.
pub struct FaultyStore {
    inner: Arc<dyn EventStore>,
    faults: Mutex<VecDeque<Fault>>,
}

impl FaultyStore {
    /// Puts a fault behind those that wait.
    pub fn fail_next(&self, fault: Fault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }
}

fn lost(space: &SpaceName) -> AppendFailed {
    let source = Arc::new(std::io::Error::other("an injected fault"));
    AppendFailed::Store(StoreError::Unknown { place: space.to_string(), source })
}

impl EventStore for FaultyStore {
    fn seal<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        first: Incarnation,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        self.inner.seal(space, epoch, first)
    }

    fn append<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<Written, AppendFailed>> {
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        Box::pin(async move {
            match fault {
                None => self.inner.append(batch).await,
                Some(Fault::Pause(meanwhile)) => {
                    meanwhile();
                    self.inner.append(batch).await
                }
                Some(Fault::LoseRequest) => Err(lost(batch.space())),
                Some(Fault::LoseAnswer) => {
                    let _nobody_hears = self.inner.append(batch).await;
                    Err(lost(batch.space()))
                }
            }
        })
    }

    fn set_access<'a>(
        &'a self,
        space: &'a SpaceName,
        epoch: Epoch,
        access: Access,
    ) -> Answer<'a, Result<SpaceState, SealError>> {
        self.inner.set_access(space, epoch, access)
    }

    fn access<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Access>, StoreError>> {
        self.inner.access(space)
    }

    fn adopt<'a>(&'a self, part: &'a Part) -> Answer<'a, Result<SpaceState, AdoptError>> {
        self.inner.adopt(part)
    }

    fn state<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<SpaceState>, StoreError>> {
        self.inner.state(space)
    }

    fn read<'a>(
        &'a self,
        space: &'a SpaceName,
        from: Seq,
        limit: ReadLimit,
    ) -> Answer<'a, Result<Vec<Event>, StoreError>> {
        self.inner.read(space, from, limit)
    }

    fn find<'a>(
        &'a self,
        space: &'a SpaceName,
        id: &'a IntentId,
    ) -> Answer<'a, Result<Option<Placed>, StoreError>> {
        self.inner.find(space, id)
    }

    fn spaces<'a>(
        &'a self,
        after: Option<&'a SpaceName>,
        count: usize,
    ) -> Answer<'a, Result<Vec<SpaceName>, StoreError>> {
        self.inner.spaces(after, count)
    }
}

/// A registry that has forgotten everything, each time: it grants to whoever asks, and knows no holder.
#[derive(Debug, Default)]
pub struct ForgetfulRegistry;

impl LeaseRegistry for ForgetfulRegistry {
    fn acquire<'a>(&'a self, _: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>> {
        let lease = Lease { holder: ask.holder.clone(), epoch: ask.above.next(), left: ask.ttl };
        Box::pin(std::future::ready(Ok(lease)))
    }

    fn renew<'a>(
        &'a self,
        _: &'a SpaceName,
        _: AuthorId,
        _: Epoch,
        _: Duration,
    ) -> Answer<'a, Result<(), RenewError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn release<'a>(
        &'a self,
        _: &'a SpaceName,
        _: AuthorId,
        _: Epoch,
    ) -> Answer<'a, Result<(), RegistryError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn lease<'a>(&'a self, _: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A writer as a seal makes it, for models of writers. Nothing else outside of this crate makes one.
#[must_use]
pub fn writer(space: &SpaceName, sealed: &SpaceState, holder: AuthorId) -> crate::Writer {
    let grant = crate::Grant::new(space.clone(), sealed.incarnation, sealed.epoch, holder);
    crate::Writer::new(grant, sealed.head)
}
