//! What all sessions of a node share: the documents, the limits, the list of peers, and the way to stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bft_json_crdt::{Change, DocumentId, Keypair};
use gangline_doc::{OriginId, SyncSource, Ticket};
use gangline_wire::limits::DOCUMENTS_MAX;
use gangline_wire::v2::HeldDocument;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::BackoffSettings;
use crate::calls::CallHandler;
use crate::gate::Gate;
use crate::host::DocumentHost;
use crate::kept::Kept;
use crate::link::{CatalogAnswer, CatalogQuery};
use crate::links::Links;
use crate::peers::{Peers, PeersSnapshot};
use crate::penalties::Penalties;
use crate::served::{Document, OpenDocumentError, Served};
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
    /// Most documents that are open at a time; at most [`DOCUMENTS_MAX`].
    pub documents_max: usize,
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
            documents_max: DOCUMENTS_MAX,
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
    /// Keeps documents that are not open, and opens them when peers have something new.
    pub host: Arc<dyn DocumentHost>,
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
    /// ends all sessions in an orderly way; see [`Transport::stopped`]. More documents may be opened later, and these
    /// be closed; their places are those in the list. Of two replicas of one document the first counts.
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
        let served = Served::default();
        for source in sources {
            // More than the limit were not asked for.
            let _ = served.open(source, usize::MAX);
        }
        let hub = Hub {
            heavy: Arc::new(Semaphore::new(settings.heavy_jobs_max.max(1))),
            served,
            kept: Kept::default(),
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

    /// Serves another document, and tells all peers. Those that serve it, too, exchange with this node what they lack;
    /// those of version 1 hear nothing. Returns the document's place, by which [`Transport::held_by`] knows it: no other
    /// document gets the same, nor does this one when it is opened again.
    ///
    /// # Errors
    /// [`OpenDocumentError`]; nothing was changed.
    pub fn open_document(&self, source: Arc<dyn SyncSource>) -> Result<usize, OpenDocumentError> {
        let id = source.document();
        let place = self.hub.served.open(source, self.hub.settings.documents_max.min(DOCUMENTS_MAX))?;
        self.hub.kept.changed(&id);
        Ok(place)
    }

    /// Serves a document no longer. Waits for a batch of it that is being applied at this moment; what else is on its way
    /// from peers is dropped. Then `keep` gets what the replica held, before anybody hears that it is closed: the host's
    /// to remember, for [`DocumentHost::stored`]. Returns whether the document was open.
    ///
    /// Peers that have not heard all of it are told, and may open it in turn.
    pub fn close_document(&self, id: DocumentId, keep: impl FnOnce(HeldDocument)) -> bool {
        let (served, many) = (&self.hub.served, self.hub.settings.session.news_max);
        let Some(document) = served.close(&id, many, keep, || self.hub.kept.changed(&id)) else {
            return false;
        };
        self.hub.links.forget(document.place);
        true
    }

    /// Returns the place of a document that is open.
    #[must_use]
    pub fn place_of(&self, id: &DocumentId) -> Option<usize> {
        self.hub.served.place_of(id)
    }

    /// Tells peers that this node keeps something new of a document that is not open: their hosts may open it, and then
    /// this node's is asked to.
    pub fn tell_stored(&self, document: HeldDocument) {
        self.hub.kept.changed(&document.id);
        self.hub.served.tell_stored(document, self.hub.settings.session.news_max);
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

pub(crate) struct Hub {
    pub(crate) served: Served,
    kept: Kept,
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

    /// The document that version 1 carries.
    pub(crate) fn board(&self) -> Option<Arc<Document>> {
        self.document(self.served.place_of(&DocumentId::DEFAULT)?)
    }

    /// A document by its place.
    pub(crate) fn document(&self, at: usize) -> Option<Arc<Document>> {
        self.served.document(at)
    }

    /// Applies a batch to a document.
    pub(crate) fn apply(&self, at: usize, origin: OriginId, changes: Vec<Change>) -> Verdict {
        match self.document(at) {
            Some(document) => document.apply(self.now_ms(), origin, changes),
            None => Verdict::Gone,
        }
    }

    /// Looks up what this node keeps and does not serve. May block.
    pub(crate) fn look_up(&self, host: &dyn DocumentHost, query: CatalogQuery) -> CatalogAnswer {
        self.kept.look_up(host, &self.served, query)
    }
}

/// What the replica did with a batch.
pub(crate) enum Verdict {
    Taken(Applied, Ticket),
    Busy(Vec<Change>),
    Failed(String),
    /// The document is not served any more.
    Gone,
}
