//! A node's links to other nodes: made, cut, made again. One transport per stretch of being linked.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::extract::Request;
use gangline_doc::SyncSource;
use gangline_transport::{AcceptError, PeerUrl, PeersSnapshot, Transport, TransportSettings};
use http::Response;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// The transport of one replica, if it is linked.
pub(crate) struct Links {
    source: Arc<dyn SyncSource>,
    settings: TransportSettings,
    rendezvous: Vec<PeerUrl>,
    live: RwLock<Option<Live>>,
}

#[derive(Clone)]
struct Live {
    transport: Transport,
    stop: CancellationToken,
}

/// This node takes no links at present.
#[derive(Debug)]
pub(crate) struct IsCut;

impl Links {
    /// Without any link; see [`Links::connect`].
    pub(crate) fn new(
        source: Arc<dyn SyncSource>,
        settings: TransportSettings,
        rendezvous: Vec<PeerUrl>,
    ) -> Self {
        Self { source, settings, rendezvous, live: RwLock::new(None) }
    }

    /// Takes peers in and dials the rendezvous, until [`Links::cut`]. Needs a tokio runtime.
    pub(crate) fn connect(&self) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if live.is_some() {
            return;
        }
        let stop = CancellationToken::new();
        let wall = Arc::new(clock::now_ms);
        let transport = Transport::new(self.source.clone(), wall, self.settings.clone(), stop.clone());
        for url in &self.rendezvous {
            transport.dial(url.clone(), Box::new(jitter));
        }
        *live = Some(Live { transport, stop });
    }

    /// Ends all links and refuses new ones. Returns when the last session has said goodbye.
    pub(crate) async fn cut(&self) {
        let live = self.live.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(live) = live {
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

    fn live(&self) -> Option<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
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
