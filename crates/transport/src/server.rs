//! The server side: takes over an HTTP request that asks for a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{Duration, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::Role;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::drive::{Connection, run};
use crate::hub::Transport;
use crate::metered::Metered;
use crate::session::CloseReason;
use crate::socket::config;

/// The header by which both sides agree on version 2.
pub(crate) const SYNC_HEADER: &str = "x-gangline-sync";

/// The name of the encrypted channel that a request came by, if it ends in this program: put among the request's
/// extensions, so that the proofs of a session of version 2 hold on that channel alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel(pub [u8; 32]);

/// Tells whether a request for a session asks for version 2, in which the peer proves its key.
#[must_use]
pub fn asks_for_v2<B>(request: &Request<B>) -> bool {
    let version = request.headers().get(SYNC_HEADER).and_then(|version| version.to_str().ok());
    version.and_then(|version| version.parse::<u32>().ok()).is_some_and(|version| version >= 2)
}

/// Why a request does not become a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The request is no WebSocket handshake. Dial with a WebSocket client.
    #[error("a WebSocket handshake is needed here: {reason}")]
    NotAWebSocket {
        /// What is missing.
        reason: String,
    },
    /// The node has as many peers as it takes. Come back later.
    #[error("this node has all the {max} peers it takes")]
    TooManyPeers {
        /// The limit.
        max: usize,
    },
    /// The node stops. Come back later.
    #[error("this node stops")]
    Stopping,
}

impl AcceptError {
    /// Returns the status to answer with. `426 Upgrade Required` wants the header `Upgrade: websocket`.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotAWebSocket { .. } => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyPeers { .. } | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Transport {
    /// Takes over a request to [`SYNC_PATH`](crate::SYNC_PATH). The caller sends the response; the session
    /// then runs by itself. Who may connect (Origin, Host, trust) is the caller's to decide before.
    ///
    /// Needs a connection that serves upgrades (hyper: `with_upgrades`), and a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`AcceptError`], with the status to answer.
    pub fn accept<B>(
        &self,
        request: &mut Request<B>,
        addr: Option<SocketAddr>,
    ) -> Result<Response<()>, AcceptError> {
        let hub = Arc::clone(&self.hub);
        if hub.stop.is_cancelled() {
            return Err(AcceptError::Stopping);
        }
        let mut response = create_response(&without_body(request))
            .map_err(|error| AcceptError::NotAWebSocket { reason: error.to_string() })?;
        let max = hub.settings.peers_max;
        let Some(peer) = hub.peers.admit(addr, hub.now_ms(), max) else {
            warn!(peers_max = max, "connection refused: too many peers");
            return Err(AcceptError::TooManyPeers { max });
        };
        let is_v2 = hub.identity.is_some() && asks_for_v2(request);
        if is_v2 {
            response.headers_mut().insert(SYNC_HEADER, HeaderValue::from_static("2"));
        }
        let channel = request.extensions().get::<Channel>().map(|channel| channel.0);
        let upgrade = hyper::upgrade::on(request);
        self.hub.tasks.spawn(async move {
            let label = addr.map_or_else(|| "unknown".to_owned(), |addr| addr.to_string());
            let connect = Duration::from_millis(hub.settings.connect_ms);
            let io = tokio::select! {
                io = timeout(connect, upgrade) => io,
                () = hub.stop.cancelled() => return,
            };
            let Ok(Ok(io)) = io else {
                debug!(peer = label, "connection lost before the upgrade");
                return;
            };
            let traffic = Arc::default();
            let io = Metered::new(TokioIo::new(io), Arc::clone(&traffic));
            let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
            let stop = hub.stop.clone();
            let connection = Connection { stream, traffic, is_v2, is_dialer: false, channel, stop };
            let span = info_span!("peer", peer = label, direction = "inbound");
            async {
                let outcome = Box::pin(run(&hub, &peer, &label, connection)).await;
                log_end(&label, &outcome.reason);
            }
            .instrument(span)
            .await;
        });
        Ok(response)
    }
}

fn log_end(peer: &str, reason: &CloseReason) {
    match reason.is_orderly() {
        true => info!(peer, %reason, "session ended"),
        false => warn!(peer, %reason, "session dropped"),
    }
}

/// The library wants a request without a body; only the head matters to it.
fn without_body<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    head
}
