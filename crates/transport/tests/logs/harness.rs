//! Nodes that have logs and nothing else: an authority, a desk, a transport, and perhaps a port that others can dial.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bft_json_crdt::{AuthorId, Keypair};
use bytes::Bytes;
use gangline_lease::conformance::intent;
use gangline_lease::remote::Backend;
use gangline_lease::{
    Answer, AppendAuthority, AppendError, Clock, Desk, EventStore, LeaseRegistry, LeaseSettings, Moment,
    Parts, Placed, Reach, RemoteForwarder, SpaceName,
};
use gangline_store::{MemoryEventStore, MemoryLeaseRegistry};
use gangline_transport::logs::{LogCaller, LogCalls, Member, admits_as, keep_coordinator};
use gangline_transport::{Identity, NoHost, OpenGate, PeerUrl, Transport, TransportSettings};
use http_body_util::Empty;
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait for something that is expected.
const PATIENCE: Duration = Duration::from_secs(30);

/// The machine's clock, from when the test began.
pub(crate) struct RealClock(Instant);

impl RealClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for RealClock {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap() + 60_000)
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        Box::pin(tokio::time::sleep_until(Instant::now() + time))
    }
}

pub(crate) struct Node {
    pub(crate) key: Keypair,
    pub(crate) authority: AppendAuthority,
    pub(crate) transport: Transport,
    pub(crate) log: Arc<dyn EventStore>,
    /// Where it listens, if it does.
    pub(crate) addr: Option<SocketAddr>,
    stop: CancellationToken,
}

/// What a coordinator keeps, also while it is not running.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) store: MemoryEventStore,
    pub(crate) registry: MemoryLeaseRegistry,
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self { store: MemoryEventStore::new(), registry: MemoryLeaseRegistry::new(RealClock::new()) }
    }
}

pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Whether others can dial a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wall {
    /// Nobody can: it dials.
    Behind,
    /// It listens, and tells where.
    None,
}

pub(crate) fn settings() -> TransportSettings {
    TransportSettings { visit_idle_ms: 300, visit_pause_ms: 100, ..TransportSettings::default() }
}

impl Node {
    /// A node that keeps the logs.
    pub(crate) async fn coordinator(kept: &Kept, addr: SocketAddr) -> Self {
        let key = Keypair::from_seed(&[100; 32]);
        let listener = listen(addr).await;
        let caller = LogCaller::new();
        let (store, registry): (Arc<dyn EventStore>, Arc<dyn LeaseRegistry>) =
            (Arc::new(kept.store.clone()), Arc::new(kept.registry.clone()));
        let forwarder = caller.forwarder();
        let reach = Reach { node: key.author(), url: None };
        let parts = parts(&key, reach, Arc::clone(&store), Arc::clone(&registry), forwarder);
        let authority = AppendAuthority::new(parts, lease_settings()).unwrap();
        let backend = Backend { store: Arc::clone(&store), registry };
        let desk = Desk::of_coordinator(authority.clone(), backend, admits_as(Arc::new(OpenGate)));
        Self::run(key, authority, store, desk, &caller, Some(listener))
    }

    /// A node that has a coordinator, whether that is there or not.
    pub(crate) async fn member(number: u8, coordinator: SocketAddr, wall: Wall) -> Self {
        let key = Keypair::from_seed(&[number; 32]);
        let listener = match wall {
            Wall::Behind => None,
            Wall::None => Some(listen(any_port()).await),
        };
        let url = listener.as_ref().map(|it| format!("http://{}", it.local_addr().unwrap()));
        let caller = LogCaller::new();
        let at = PeerUrl::of_node(&format!("http://{coordinator}")).unwrap();
        let Member { coordinator: known, log, forwarder } = caller.member_of(at.clone());
        let log = Arc::new(log);
        let reach = Reach { node: key.author(), url };
        let parts = parts(&key, reach, Arc::clone(&log) as _, Arc::clone(&log) as _, forwarder);
        let authority = AppendAuthority::new(parts, lease_settings()).unwrap();
        let desk = Desk::of_member(authority.clone(), known, admits_as(Arc::new(OpenGate)));
        let node = Self::run(key, authority, log, desk, &caller, listener);
        keep_coordinator(&node.transport, &at, Box::new(|| 0.0));
        node
    }

    fn run(
        key: Keypair,
        authority: AppendAuthority,
        log: Arc<dyn EventStore>,
        desk: Desk,
        caller: &Arc<LogCaller>,
        listener: Option<TcpListener>,
    ) -> Self {
        let nonces = AtomicU64::new(1);
        let nonce = move || {
            let mut nonce = [0; 32];
            nonce[..8].copy_from_slice(&nonces.fetch_add(1, Ordering::SeqCst).to_le_bytes());
            Some(nonce)
        };
        let identity = Identity {
            keypair: key.clone(),
            nonce: Arc::new(nonce),
            gate: Arc::new(OpenGate),
            calls: Arc::new(LogCalls(desk)),
            host: Arc::new(NoHost),
        };
        let stop = CancellationToken::new();
        let wall = Arc::new(|| 1_000);
        let transport = Transport::new(Vec::new(), Some(identity), wall, settings(), stop.clone());
        caller.attach(Some(transport.clone()));
        let addr = listener.as_ref().map(|it| it.local_addr().unwrap());
        if let Some(listener) = listener {
            tokio::spawn(accept_all(listener, transport.clone(), stop.clone()));
        }
        Self { key, authority, transport, log, addr, stop }
    }

    pub(crate) fn id(&self) -> AuthorId {
        self.key.author()
    }

    pub(crate) async fn append(&self, space: &SpaceName, id: &str) -> Result<Placed, AppendError> {
        within("an append", self.authority.submit(space, intent(id))).await
    }

    /// Waits until the session with the coordinator is up.
    pub(crate) async fn meets(&self, other: &Self) {
        let is_there = || self.transport.peers().peers.iter().any(|peer| peer.key == Some(other.id()));
        until("the nodes have met", is_there).await;
    }

    /// Whether there is a session with that node.
    pub(crate) fn knows(&self, other: &Self) -> bool {
        self.transport.peers().peers.iter().any(|peer| peer.key == Some(other.id()))
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        within("the end", self.transport.stopped()).await;
    }
}

fn lease_settings() -> LeaseSettings {
    LeaseSettings::default()
}

fn parts(
    key: &Keypair,
    reach: Reach,
    store: Arc<dyn EventStore>,
    registry: Arc<dyn LeaseRegistry>,
    forwarder: RemoteForwarder,
) -> Parts {
    let [first, ..] = key.author().0;
    // Another each time that a node starts, as randomness is.
    let state = AtomicU64::new(u64::from(first) << 32 | u64::from(std::process::id()) << 16);
    let random = move || state.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Parts {
        key: key.clone(),
        reach,
        store,
        registry,
        forwarder: Arc::new(forwarder),
        clock: RealClock::new(),
        random: Arc::new(random),
    }
}

/// A port that was left may take a moment to be free.
async fn listen(addr: SocketAddr) -> TcpListener {
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    within("the port", async {
        loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => return listener,
                Err(_) => pause.tick().await,
            };
        }
    })
    .await
}

async fn accept_all(listener: TcpListener, transport: Transport, stop: CancellationToken) {
    loop {
        let (stream, addr) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = stop.cancelled() => return,
        };
        stream.set_nodelay(true).unwrap();
        let transport = transport.clone();
        let service = service_fn(move |mut request| {
            let response = match transport.accept(&mut request, Some(addr)) {
                Ok(response) => response.map(|()| Empty::<Bytes>::new()),
                Err(error) => {
                    let mut response = Response::new(Empty::new());
                    *response.status_mut() = error.status();
                    response
                }
            };
            async move { Ok::<_, Infallible>(response) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut pause = tokio::time::interval(Duration::from_millis(2));
    within(what, async {
        while !condition() {
            pause.tick().await;
        }
    })
    .await;
}

/// Waits for something, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} never came"))
}

pub(crate) fn named(name: &str) -> SpaceName {
    SpaceName::new(name).unwrap()
}
