//! The dialer: one task per configured URL, which connects, syncs, and comes back after every end.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tracing::{Instrument, error, info, info_span, warn};

use crate::backoff::{Backoff, BackoffSettings, Severity};
use crate::drive::{Connection, run};
use crate::hub::{Hub, Transport};
use crate::metered::Metered;
use crate::peers::PeerHandle;
use crate::server::SYNC_HEADER;
use crate::session::CloseReason;
use crate::socket::config;
use crate::tls::{Stream, TlsDialer, TlsError};
use crate::url::PeerUrl;

/// Gives a number from 0 to 1 whenever a delay is computed. Handed in, since randomness belongs to the node.
pub type Jitter = Box<dyn FnMut() -> f64 + Send>;

/// Why a rendezvous could not be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("no WebSocket there: {0}")]
    Handshake(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    #[error("no answer within {0} ms")]
    Timeout(u64),
}

impl Transport {
    /// Keeps a session with the node at `url` until the transport is stopped. Dialling oneself, or one node
    /// twice, is harmless.
    ///
    /// Needs a tokio runtime.
    pub fn dial(&self, url: PeerUrl, jitter: Jitter) {
        self.dial_with(url, self.hub.settings.backoff, jitter);
    }

    /// Keeps a session as [`Transport::dial`] does, with delays of its own between attempts: for a node that others
    /// cannot do without. [`Transport::key_at`] says who is there.
    ///
    /// Needs a tokio runtime.
    pub fn dial_with(&self, url: PeerUrl, backoff: BackoffSettings, jitter: Jitter) {
        let hub = Arc::clone(&self.hub);
        let peer = hub.peers.add_rendezvous(url.to_string(), hub.now_ms());
        hub.links.dialling(peer.id());
        let backoff = Backoff::new(backoff);
        let dialer = Dialer { backoff, hub, peer, url, jitter, tls: None };
        self.hub.tasks.spawn(dialer.run());
    }
}

struct Dialer {
    hub: Arc<Hub>,
    peer: PeerHandle,
    url: PeerUrl,
    backoff: Backoff,
    jitter: Jitter,
    /// Made on first use: it may have to read files.
    tls: Option<TlsDialer>,
}

impl Dialer {
    async fn run(mut self) {
        while !self.hub.stop.is_cancelled() {
            self.attempt().await;
            self.hub.links.dialled(self.peer.id());
            if self.hub.stop.is_cancelled() {
                return;
            }
            let delay_ms = self.backoff.delay_ms((self.jitter)());
            self.peer.backing_off(self.backoff.failures(), delay_ms, self.hub.now_ms());
            let until = Instant::now() + Duration::from_millis(delay_ms);
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.hub.stop.cancelled() => {}
            }
        }
    }

    /// Connects, and runs a session to its end.
    async fn attempt(&mut self) {
        self.peer.connecting(self.hub.now_ms());
        if self.backoff.failures() == 0 {
            self.hub.links.dialling(self.peer.id());
        }
        let limit_ms = self.hub.settings.connect_ms;
        let connected = tokio::select! {
            result = timeout(Duration::from_millis(limit_ms), connect(&self.hub, &self.url, &mut self.tls)) => {
                result.unwrap_or(Err(DialError::Timeout(limit_ms)))
            }
            () = self.hub.stop.cancelled() => return,
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                let error = error.to_string();
                self.peer.dial_failed(&error);
                self.failed(&error);
                return;
            }
        };
        let label = self.url.to_string();
        let span = info_span!("peer", peer = label, direction = "outbound");
        let outcome = run(&self.hub, &self.peer, &label, connection).instrument(span).await;
        if !outcome.was_established {
            if outcome.reason != CloseReason::Stopping {
                self.failed(&format!("the session ended before it began: {}", outcome.reason));
            }
            return;
        }
        self.backoff.established();
        if let CloseReason::TooManyBadFrames { .. } | CloseReason::Protocol { .. } = outcome.reason {
            self.backoff.penalise();
        }
        match outcome.reason.is_orderly() {
            true => info!(url = label, reason = %outcome.reason, "session ended"),
            false => warn!(url = label, reason = %outcome.reason, "session dropped"),
        }
    }

    fn failed(&mut self, reason: &str) {
        let severity = self.backoff.failed();
        let (url, failures) = (self.url.to_string(), self.backoff.failures());
        match severity {
            Severity::Warn => warn!(url, failures, reason, "rendezvous not reached"),
            Severity::Error => error!(url, failures, reason, "rendezvous not reached"),
        }
    }
}

/// Connects and shakes hands. The peer may speak at once, so what was read behind its answer stays in the
/// stream that is returned.
///
/// Version 2 is offered by a header and, for what looks at URLs only, by the query; a node of version 1 ignores both.
pub(crate) async fn connect(
    hub: &Hub,
    url: &PeerUrl,
    tls: &mut Option<TlsDialer>,
) -> Result<Connection<Stream>, DialError> {
    let offers_v2 = hub.identity.is_some();
    let handshake = |error| DialError::Handshake(Box::new(error));
    let stream = TcpStream::connect((url.host(), url.port())).await.map_err(DialError::Connect)?;
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    let stream = match url.is_tls() {
        false => Stream::plain(stream),
        true => dialer(url, tls).await?.connect(url.host(), stream).await?,
    };
    let channel = stream.channel().map(|channel| channel.0);
    let uri = if offers_v2 { with_query(url.uri()) } else { url.uri().clone() };
    let mut request = uri.into_client_request().map_err(handshake)?;
    if offers_v2 {
        request.headers_mut().insert(SYNC_HEADER, HeaderValue::from_static("2"));
    }
    let traffic = Arc::default();
    let stream = Metered::new(stream, Arc::clone(&traffic));
    let (stream, response) =
        client_async_with_config(request, stream, Some(config())).await.map_err(handshake)?;
    let is_v2 = offers_v2 && response.headers().get(SYNC_HEADER).is_some_and(|version| version == "2");
    let stop = hub.stop.clone();
    Ok(Connection { stream, traffic, is_v2, is_dialer: true, channel, stop })
}

/// The machine's authorities are read on a thread of its own, once it has some.
async fn dialer(url: &PeerUrl, tls: &mut Option<TlsDialer>) -> Result<TlsDialer, DialError> {
    if let Some(dialer) = tls {
        return Ok(dialer.clone());
    }
    let pin = url.pin();
    let made = tokio::task::spawn_blocking(move || TlsDialer::new(pin)).await;
    let made = made.map_err(|error| DialError::Connect(std::io::Error::other(error)))??;
    Ok(tls.insert(made).clone())
}

/// The URL with `sync=2` in its query.
fn with_query(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{path}{joint}sync=2")).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}
