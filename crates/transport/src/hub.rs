//! What all sessions of a node share: the replica, the limits, the list of peers, and the way to stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bft_json_crdt::{Change, Digest, DocumentId, Keypair};
use gangline_doc::{ApplyError, LogSeq, OriginId, Subscription, SyncSource, Ticket};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::BackoffSettings;
use crate::calls::CallHandler;
use crate::gate::Gate;
use crate::links::Links;
use crate::peers::{Peers, PeersSnapshot};
use crate::penalties::Penalties;
use crate::session::{Applied, SessionSettings};
use crate::visits::Visits;

/// Bounds of a node's transport. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransportSettings {
    /// Bounds of each session.
    pub session: SessionSettings,
    /// Delays between attempts to reach a rendezvous.
    pub backoff: BackoffSettings,
    /// Most inbound peers at a time.
    pub peers_max: usize,
    /// How long a connection may take to be made, its WebSocket handshake included.
    pub connect_ms: u64,
    /// How long the goodbye of a session may take.
    pub close_ms: u64,
    /// Whether peers that speak version 1, and so cannot prove a key, may have sessions.
    pub speaks_v1: bool,
    /// How long a key may not connect again after a session that it broke.
    pub penalty_ms: u64,
    /// A batch of more bytes is decoded and applied on a thread of its own.
    pub heavy_bytes: usize,
    /// A batch of more ops is applied on a thread of its own.
    pub heavy_ops: usize,
    /// Most heavy batches in work at a time; others wait, and their peers with them.
    pub heavy_jobs_max: usize,
    /// Most sessions at a time that are opened for calls alone.
    pub visits_max: usize,
    /// A session that was opened for calls is closed when nobody has called for that long; longer than any call takes.
    pub visit_idle_ms: u64,
    /// How long such a session may take to be opened.
    pub visit_connect_ms: u64,
    /// A node that could not be visited is not tried again before that.
    pub visit_pause_ms: u64,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            session: SessionSettings::default(),
            backoff: BackoffSettings::default(),
            peers_max: 1_024,
            connect_ms: 10_000,
            close_ms: 1_000,
            speaks_v1: true,
            penalty_ms: 60_000,
            heavy_bytes: 64 << 10,
            heavy_ops: 32,
            heavy_jobs_max: 2,
            visits_max: 64,
            visit_idle_ms: 60_000,
            visit_connect_ms: 2_000,
            visit_pause_ms: 5_000,
        }
    }
}

/// Milliseconds since 1970: with what a change's arrival is noted. Handed in, since clocks belong to the node.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Who a node is, for peers that speak version 2.
#[derive(Clone)]
pub struct Identity {
    /// The node's key.
    pub keypair: Keypair,
    /// Gives fresh random bytes for each session. Handed in, since randomness belongs to the node.
    pub nonce: Nonce,
    /// Decides about peers.
    pub gate: Arc<dyn Gate>,
    /// Carries out what peers want.
    pub calls: Arc<dyn CallHandler>,
}

/// Gives 32 fresh random bytes; none if the system has none to give.
pub type Nonce = Arc<dyn Fn() -> Option<[u8; 32]> + Send + Sync>;

/// The transport of one node: serves peers that dial it, dials those it is told to, keeps them all in sync
/// with its replicas. Clones are handles to the same.
#[derive(Clone)]
pub struct Transport {
    pub(crate) hub: Arc<Hub>,
}

impl Transport {
    /// Builds the transport of some replicas. Nothing happens until a peer comes or is dialled. Cancelling `stop`
    /// ends all sessions in an orderly way; see [`Transport::stopped`].
    ///
    /// Without an identity the node speaks version 1 alone. That version carries the default document; a node
    /// without it has no sessions of version 1.
    #[must_use]
    pub fn new(
        sources: Vec<Arc<dyn SyncSource>>,
        identity: Option<Identity>,
        wall: WallClock,
        settings: TransportSettings,
        stop: CancellationToken,
    ) -> Self {
        let documents = sources.into_iter().map(Document::new).collect();
        let hub = Hub {
            heavy: Arc::new(Semaphore::new(settings.heavy_jobs_max.max(1))),
            documents,
            identity,
            wall,
            settings,
            stop,
            peers: Arc::default(),
            links: Links::default(),
            penalties: Penalties::default(),
            visits: Visits::default(),
            tasks: TaskTracker::new(),
            next_origin: AtomicU64::new(1),
        };
        Self { hub: Arc::new(hub) }
    }

    /// Returns how it goes with each peer.
    #[must_use]
    pub fn peers(&self) -> PeersSnapshot {
        self.hub.peers.snapshot()
    }

    /// Waits until all sessions and dialers have ended, after `stop` was cancelled. Bounded by
    /// [`SessionSettings::drain_ms`] and [`TransportSettings::close_ms`].
    pub async fn stopped(&self) {
        self.hub.tasks.close();
        self.hub.tasks.wait().await;
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("settings", &self.hub.settings).finish_non_exhaustive()
    }
}

fn raise(durable: &watch::Sender<LogSeq>, seq: LogSeq) {
    durable.send_if_modified(|known| {
        let is_more = seq > *known;
        if is_more {
            *known = seq;
        }
        is_more
    });
}

/// A document, as all sessions share it.
pub(crate) struct Document {
    pub(crate) source: Arc<dyn SyncSource>,
    pub(crate) durable: watch::Sender<LogSeq>,
    pub(crate) evictions: broadcast::Sender<Arc<[Digest]>>,
    _subscription: Subscription,
}

impl Document {
    fn new(source: Arc<dyn SyncSource>) -> Self {
        let (durable, _) = watch::channel(source.durable());
        let subscription = source.subscribe(Box::new({
            let durable = durable.clone();
            move |seq| raise(&durable, seq)
        }));
        // The log may have grown between the two lines above.
        raise(&durable, source.durable());
        Self { source, durable, evictions: broadcast::Sender::new(64), _subscription: subscription }
    }

    /// Applies a batch, and tells all sessions of what the causal queue evicted for it.
    pub(crate) fn apply(&self, now_ms: u64, origin: OriginId, changes: Vec<Change>) -> Verdict {
        let (batch, ticket) = match self.source.apply(now_ms, origin, changes.clone()) {
            Ok(both) => both,
            Err(ApplyError::Busy { .. }) => return Verdict::Busy(changes),
            Err(error) => return Verdict::Failed(error.to_string()),
        };
        if !batch.evicted.is_empty() {
            // Fails only when there is no session, and so nobody to tell.
            let _ = self.evictions.send(batch.evicted.as_slice().into());
        }
        Verdict::Taken(Applied { states: batch.states, evicted: batch.evicted }, ticket)
    }
}

pub(crate) struct Hub {
    pub(crate) documents: Vec<Document>,
    pub(crate) identity: Option<Identity>,
    pub(crate) settings: TransportSettings,
    pub(crate) stop: CancellationToken,
    pub(crate) peers: Arc<Peers>,
    pub(crate) links: Links,
    pub(crate) penalties: Penalties,
    pub(crate) visits: Visits,
    pub(crate) tasks: TaskTracker,
    pub(crate) heavy: Arc<Semaphore>,
    wall: WallClock,
    next_origin: AtomicU64,
}

impl Hub {
    pub(crate) fn now_ms(&self) -> u64 {
        (self.wall)()
    }

    /// Names a new session.
    pub(crate) fn origin(&self) -> OriginId {
        OriginId(self.next_origin.fetch_add(1, Ordering::Relaxed))
    }

    /// The place of the document that version 1 carries.
    pub(crate) fn board(&self) -> Option<usize> {
        self.documents.iter().position(|document| document.source.document() == DocumentId::DEFAULT)
    }

    /// A document by its place.
    pub(crate) fn document(&self, at: usize) -> Option<&Document> {
        self.documents.get(at)
    }

    /// Applies a batch to a document.
    pub(crate) fn apply(&self, at: usize, origin: OriginId, changes: Vec<Change>) -> Verdict {
        match self.document(at) {
            Some(document) => document.apply(self.now_ms(), origin, changes),
            None => Verdict::Failed("no such document".to_owned()),
        }
    }
}

/// What the replica did with a batch.
pub(crate) enum Verdict {
    Taken(Applied, Ticket),
    Busy(Vec<Change>),
    Failed(String),
}
