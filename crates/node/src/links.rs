//! A node's links to other nodes: made, cut, made again. One transport per stretch of being linked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use bft_json_crdt::keypair::AuthorId;
use bft_json_crdt::{Digest, DocumentId};
use gangline_doc::SyncSource;
use gangline_transport::logs::{LogCaller, keep_coordinator};
use gangline_transport::{
    AcceptError, CallError, HeldDocument, Identity, PING, PeerStatus, PeerUrl, PeersSnapshot, Transport,
    TransportSettings,
};
use http::Response;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// The transport of one replica, if it is linked.
pub(crate) struct Links {
    source: Arc<dyn SyncSource>,
    identity: Identity,
    settings: TransportSettings,
    rendezvous: Vec<PeerUrl>,
    /// Calls other nodes about logs.
    caller: Arc<LogCaller>,
    /// Who keeps this node's logs, if another node does.
    coordinator: Option<PeerUrl>,
    /// Documents besides the board that are open.
    open: Mutex<BTreeMap<DocumentId, Arc<dyn SyncSource>>>,
    live: RwLock<Option<Live>>,
}

#[derive(Clone)]
struct Live {
    transport: Transport,
    stop: CancellationToken,
}

/// A peer answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pong {
    /// Its key.
    pub(crate) key: AuthorId,
    /// How long that took.
    pub(crate) micros: u128,
}

/// Why no peer answered.
#[derive(Clone, Debug)]
pub(crate) enum PingError {
    /// No peer goes by that.
    Unknown,
    /// The peer is not connected by version 2.
    Unproved {
        /// By which version, if at all.
        version: Option<u8>,
    },
    /// It was called.
    Call(CallError),
}

/// This node takes no links at present.
#[derive(Debug)]
pub(crate) struct IsCut;

impl Links {
    /// Without any link; see [`Links::connect`].
    pub(crate) fn new(
        source: Arc<dyn SyncSource>,
        identity: Identity,
        settings: TransportSettings,
        rendezvous: Vec<PeerUrl>,
    ) -> Self {
        let (caller, coordinator, live) = (LogCaller::new(), None, RwLock::new(None));
        Self { source, identity, settings, rendezvous, caller, coordinator, open: Mutex::default(), live }
    }

    /// With whom the node's logs reach others.
    pub(crate) fn with_logs(self, caller: Arc<LogCaller>, coordinator: Option<PeerUrl>) -> Self {
        Self { caller, coordinator, ..self }
    }

    /// Takes peers in and dials the rendezvous, until [`Links::cut`]. Needs a tokio runtime.
    pub(crate) fn connect(&self) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if live.is_some() {
            return;
        }
        let stop = CancellationToken::new();
        let wall = Arc::new(clock::now_ms);
        let (sources, identity) = (vec![self.source.clone()], Some(self.identity.clone()));
        let transport = Transport::new(sources, identity, wall, self.settings.clone(), stop.clone());
        for url in &self.rendezvous {
            transport.dial(url.clone(), Box::new(jitter));
        }
        // One that is dialled for the board anyway needs no second session.
        if let Some(url) = self.coordinator.as_ref().filter(|url| !self.rendezvous.contains(url)) {
            keep_coordinator(&transport, url, Box::new(jitter));
        }
        for source in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            serve(&transport, Arc::clone(source));
        }
        self.caller.attach(Some(transport.clone()));
        *live = Some(Live { transport, stop });
    }

    /// Exchanges another document with peers, from here on.
    pub(crate) fn open_document(&self, source: Arc<dyn SyncSource>) {
        // The lock that connecting takes: a transport that is being made has it, or gets it here.
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(source.document(), Arc::clone(&source));
        if let Some(live) = live.as_ref() {
            serve(&live.transport, source);
        }
    }

    /// Exchanges a document no longer. `keep` gets what was held of it, as peers compare it, before they hear that it is
    /// closed. Returns whether there was somebody who could have exchanged it. May block.
    pub(crate) fn close_document(&self, id: DocumentId, keep: impl FnOnce(HeldDocument)) -> bool {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        live.as_ref().is_some_and(|live| live.transport.close_document(id, keep))
    }

    /// Ends all links and refuses new ones. Returns when the last session has said goodbye.
    pub(crate) async fn cut(&self) {
        let live = self.live.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(live) = live {
            self.caller.attach(None);
            live.stop.cancel();
            live.transport.stopped().await;
        }
    }

    /// Takes over a request for a sync session.
    pub(crate) fn accept(
        &self,
        request: &mut Request<Body>,
        from: Option<SocketAddr>,
    ) -> Result<Result<Response<()>, AcceptError>, IsCut> {
        let live = self.live().ok_or(IsCut)?;
        Ok(live.transport.accept(request, from))
    }

    /// How it goes with each peer.
    pub(crate) fn peers(&self) -> PeersSnapshot {
        self.live().map(|live| live.transport.peers()).unwrap_or_default()
    }

    /// Waits until `count` other nodes hold a change of this node's own on disk, and returns how many do, in time
    /// in any case.
    pub(crate) async fn held_by(&self, tip: (u64, Digest), count: usize, limit_ms: u64) -> usize {
        match self.live() {
            Some(live) => live.transport.held_by(0, tip, count, limit_ms).await,
            None => 0,
        }
    }

    /// Waits until the linked nodes that exchange a document hold a change of this node's own on disk, and returns whether
    /// they do, in time in any case.
    pub(crate) async fn held_by_all(&self, document: DocumentId, tip: (u64, Digest), limit_ms: u64) -> bool {
        let Some(live) = self.live() else { return true };
        let Some(place) = live.transport.place_of(&document) else { return true };
        live.transport.held_by_all(place, tip, limit_ms).await
    }

    /// Waits until this node has what linked nodes held of a document when they met, and those it has begun to dial are linked
    /// or not to be had, in time in any case.
    pub(crate) async fn until_met(&self, document: DocumentId, limit_ms: u64) {
        let Some(live) = self.live() else { return };
        if let Some(place) = live.transport.place_of(&document) {
            live.transport.until_met(place, limit_ms).await;
        }
    }

    /// Whether something that a linked node held of a document when they met, less than so long ago, has still to come.
    pub(crate) fn is_meeting(&self, document: DocumentId, limit_ms: u64) -> bool {
        let place = self.live().and_then(|live| Some((live.transport.place_of(&document)?, live)));
        place.is_some_and(|(place, live)| live.transport.is_meeting(place, limit_ms))
    }

    /// How long it may be yet until somebody comes back who was linked less than so long ago, or comes for the first time since
    /// this node was started.
    pub(crate) fn returns_within(&self, limit_ms: u64) -> Option<u64> {
        self.live()?.transport.returns_within(limit_ms)
    }

    /// Whether any linked node exchanges a document with this one.
    pub(crate) fn is_shared(&self, document: DocumentId) -> bool {
        let place = self.live().and_then(|live| Some((live.transport.place_of(&document)?, live)));
        place.is_some_and(|(place, live)| live.transport.is_shared(place))
    }

    /// Calls a peer and waits for its answer. It goes by its key, its name or its URL, as the list of peers has them.
    pub(crate) async fn ping(&self, peer: &str, limit_ms: u64) -> Result<Pong, PingError> {
        let live = self.live().ok_or(PingError::Unknown)?;
        let wanted = peer.strip_prefix("ed25519:").unwrap_or(peer);
        let is_wanted = |status: &PeerStatus| {
            let addr = status.addr.map(|addr| addr.to_string());
            let names =
                [status.key.map(|key| key.to_string()), status.name.clone(), status.url.clone(), addr];
            names.iter().flatten().any(|name| name == wanted)
        };
        let found = live.transport.peers().peers.into_iter().find(is_wanted).ok_or(PingError::Unknown)?;
        let key = found.key.ok_or(PingError::Unproved { version: found.version })?;
        #[expect(clippy::disallowed_methods, reason = "how long a peer takes is what is asked")]
        let sent = Instant::now();
        live.transport.call(key, PING, Bytes::new(), limit_ms).await.map_err(PingError::Call)?;
        Ok(Pong { key, micros: sent.elapsed().as_micros() })
    }

    /// Who can be called, in the order of their keys.
    pub(crate) fn linked(&self) -> BTreeSet<AuthorId> {
        self.live().map(|live| live.transport.linked()).unwrap_or_default()
    }

    /// Calls a node that is linked, and waits for its answer, in time in any case.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn call(
        &self,
        peer: AuthorId,
        method: u32,
        body: Bytes,
        limit_ms: u64,
    ) -> Result<Bytes, CallError> {
        let live = self.live().ok_or(CallError::NotConnected(peer))?;
        live.transport.call(peer, method, body, limit_ms).await
    }

    /// Tells peers what changed whom this node trusts, and asks them for what it takes now.
    pub(crate) fn trust_anew(&self, records: Vec<Vec<u8>>) {
        if let Some(live) = self.live() {
            let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
            live.transport.tell_records(&records);
            live.transport.ask_again();
        }
    }

    fn live(&self) -> Option<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(transport: &Transport, source: Arc<dyn SyncSource>) {
    let id = source.document();
    if let Err(error) = transport.open_document(source) {
        tracing::warn!(event = "document_not_linked", document = %id, "{error}");
    }
}

/// A number from 0 to 1. Nothing secret hangs on it, so without randomness a fixed one will do.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

/// Fresh random bytes for a session's proof; none if the system has none to give.
pub(crate) fn nonce() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok().map(|()| bytes)
}
