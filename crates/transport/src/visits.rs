//! Sessions that are opened for calls alone: with nodes that nobody has dialled, until nobody calls them any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bft_json_crdt::AuthorId;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span};

use crate::calls::CallError;
use crate::drive::{Connection, run};
use crate::hub::{Hub, Transport};
use crate::peers::PeerHandle;
use crate::rendezvous::connect;
use crate::tls::Stream;
use crate::url::PeerUrl;

/// The nodes that are visited, or could not be.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    by_key: Mutex<BTreeMap<AuthorId, Visit>>,
}

#[derive(Debug)]
enum Visit {
    /// A session, or the attempt at one.
    Open {
        /// Its place in the list of peers.
        id: u64,
        /// Counts calls.
        used: watch::Sender<u64>,
        stop: CancellationToken,
    },
    /// Not to be tried before this.
    Failed(Instant),
}

impl Visits {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AuthorId, Visit>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a node is called, if it is visited.
    fn touch(&self, peer: &AuthorId) {
        if let Some(Visit::Open { used, .. }) = self.lock().get(peer) {
            used.send_modify(|count| *count += 1);
        }
    }

    /// The place of a visit in the list of peers.
    fn id(&self, peer: &AuthorId) -> Option<u64> {
        match self.lock().get(peer) {
            Some(Visit::Open { id, .. }) => Some(*id),
            Some(Visit::Failed(_)) | None => None,
        }
    }

    /// Notes that a node is not there, or is another one.
    fn fail(&self, peer: &AuthorId, until: Instant) {
        if let Some(Visit::Open { stop, .. }) = self.lock().insert(*peer, Visit::Failed(until)) {
            stop.cancel();
        }
    }
}

impl Transport {
    /// Returns the key that the node at `url` has proved, while there is a session that was dialled there.
    #[must_use]
    pub fn key_at(&self, url: &PeerUrl) -> Option<AuthorId> {
        self.hub.peers.key_at(&url.to_string())
    }

    /// Calls a node over a session that is up, else over one that is opened to `url` and closed when nobody calls any
    /// more. How many there are of those is bounded, and a node that was not there is left alone for a while.
    ///
    /// # Errors
    /// [`CallError`], in time in any case: the time for opening a session
    /// ([`TransportSettings::visit_connect_ms`](crate::TransportSettings::visit_connect_ms)) comes on top.
    pub async fn call_at(
        &self,
        peer: AuthorId,
        url: Option<&PeerUrl>,
        method: u32,
        body: Bytes,
        limit_ms: u64,
    ) -> Result<Bytes, CallError> {
        let hub = &self.hub;
        if hub.links.has(&peer) {
            hub.visits.touch(&peer);
        } else {
            let url = url.ok_or(CallError::NotConnected(peer))?;
            if !Hub::visit(hub, peer, url).await {
                return Err(CallError::NotConnected(peer));
            }
        }
        self.call(peer, method, body, limit_ms).await
    }
}

impl Hub {
    /// Opens a session with a node, and waits until it is up. Tells whether it is.
    async fn visit(hub: &Arc<Self>, peer: AuthorId, url: &PeerUrl) -> bool {
        let mut news = hub.links.news();
        let until = Instant::now() + Duration::from_millis(hub.settings.visit_connect_ms);
        if !Self::begin_visit(hub, peer, url) {
            return false;
        }
        loop {
            news.mark_unchanged();
            if hub.links.has(&peer) {
                return true;
            }
            let Some(id) = hub.visits.id(&peer) else { return false };
            let is_another = hub.links.key_of(id).is_some_and(|key| key != peer);
            if is_another || timeout_at(until, news.changed()).await.is_err() {
                hub.visits.fail(&peer, hub.after_pause());
                return false;
            }
        }
    }

    /// Begins a visit, if none is under way. Tells whether one is.
    fn begin_visit(hub: &Arc<Self>, peer: AuthorId, url: &PeerUrl) -> bool {
        let now = Instant::now();
        let mut visits = hub.visits.lock();
        match visits.get(&peer) {
            Some(Visit::Open { used, .. }) => {
                used.send_modify(|count| *count += 1);
                return true;
            }
            Some(Visit::Failed(until)) if now < *until => return false,
            Some(Visit::Failed(_)) | None => {}
        }
        visits.retain(|_, visit| !matches!(visit, Visit::Failed(until) if *until <= now));
        if visits.len() >= hub.settings.visits_max || hub.stop.is_cancelled() {
            return false;
        }
        let handle = hub.peers.add_rendezvous(url.to_string(), hub.now_ms());
        let (used, calls) = watch::channel(0);
        let stop = hub.stop.child_token();
        visits.insert(peer, Visit::Open { id: handle.id(), used, stop: stop.clone() });
        drop(visits);
        let (hub, url) = (Arc::clone(hub), url.clone());
        hub.tasks.spawn({
            let hub = Arc::clone(&hub);
            async move {
                let span = info_span!("peer", peer = %url, direction = "outbound", kind = "visit");
                let id = handle.id();
                let was_there = Self::stay(&hub, &handle, &url, calls, stop).instrument(span).await;
                drop(handle);
                hub.end_visit(&peer, id, was_there);
            }
        });
        true
    }

    /// Connects, and runs the session until nobody calls any more. Tells whether there was one.
    async fn stay(
        hub: &Arc<Self>,
        handle: &PeerHandle,
        url: &PeerUrl,
        mut calls: watch::Receiver<u64>,
        stop: CancellationToken,
    ) -> bool {
        handle.connecting(hub.now_ms());
        let limit = Duration::from_millis(hub.settings.visit_connect_ms);
        let mut tls = None;
        let connected = tokio::select! {
            connected = timeout(limit, connect(hub, url, &mut tls)) => connected,
            () = stop.cancelled() => return false,
        };
        let connection: Connection<Stream> = match connected {
            Ok(Ok(connection)) => Connection { stop: stop.clone(), ..connection },
            Ok(Err(error)) => {
                debug!(%error, "node not visited");
                handle.dial_failed(&error.to_string());
                return false;
            }
            Err(_) => {
                handle.dial_failed("it did not answer in time");
                return false;
            }
        };
        let label = url.to_string();
        let mut session = std::pin::pin!(run(hub, handle, &label, connection));
        let idle = Duration::from_millis(hub.settings.visit_idle_ms);
        loop {
            tokio::select! {
                outcome = session.as_mut() => return outcome.was_established,
                waited = timeout(idle, calls.changed()) => match waited {
                    Ok(Ok(())) => {}
                    // Nobody called, or nobody can any more.
                    Ok(Err(_)) | Err(_) => {
                        stop.cancel();
                        return session.await.was_established;
                    }
                },
            }
        }
    }

    /// Takes a visit off the list, if it is still that one.
    fn end_visit(&self, peer: &AuthorId, id: u64, was_there: bool) {
        let mut visits = self.visits.lock();
        if matches!(visits.get(peer), Some(Visit::Open { id: open, .. }) if *open == id) {
            match was_there {
                true => visits.remove(peer),
                false => visits.insert(*peer, Visit::Failed(self.after_pause())),
            };
        }
        drop(visits);
        self.links.tell();
    }

    fn after_pause(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.settings.visit_pause_ms)
    }
}
