//! Who is connected, and how it goes: what `status` and metrics show.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bft_json_crdt::AuthorId;
use serde::Serialize;

use crate::link::Link;
use crate::metered::Traffic;
use crate::session::{CloseReason, Session, SessionStats};

/// Most authors whose changes a peer holds back that are listed.
const HELD_THERE_MAX: usize = 64;

/// All peers at one moment, and the totals since the node started.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PeersSnapshot {
    /// Peers that are connected, and rendezvous whether connected or not, in the order of their ids.
    pub peers: Vec<PeerStatus>,
    /// Counters of all sessions, ended ones included.
    pub totals: SessionStats,
    /// Bytes received in all sessions, ended ones included.
    pub received_bytes: u64,
    /// Bytes sent in all sessions, ended ones included.
    pub sent_bytes: u64,
    /// Sessions started.
    pub sessions: u64,
    /// Sessions ended, by [`CloseReason::name`].
    pub closed: BTreeMap<&'static str, u64>,
    /// Connections refused because there were too many.
    pub over_limit: u64,
    /// Attempts to reach a rendezvous that failed.
    pub dial_failures: u64,
}

/// One peer.
#[derive(Clone, Debug, Serialize)]
pub struct PeerStatus {
    /// Number of this peer, unique in this run of the node.
    pub id: u64,
    /// Who dialled.
    pub direction: Direction,
    /// Where it was dialled, for a rendezvous.
    pub url: Option<String>,
    /// Where it dialled from, for an inbound peer.
    pub addr: Option<SocketAddr>,
    /// How it goes.
    pub state: PeerState,
    /// Counters of the current session.
    pub stats: SessionStats,
    /// Bytes received in the current session.
    pub received_bytes: u64,
    /// Bytes sent in the current session.
    pub sent_bytes: u64,
    /// Ops of this node's log that the peer has not been sent.
    pub behind: u64,
    /// Ops of the peer that wait for their dependencies.
    pub pending: u64,
    /// Attempts that failed since the last established session.
    pub failures: u32,
    /// Why the last session or attempt ended; the last bad frame.
    pub last_error: Option<String>,
    /// Which version of the protocol the session speaks; none before it began.
    pub version: Option<u8>,
    /// The key that the peer has proved, in version 2.
    pub key: Option<AuthorId>,
    /// What this node calls that key.
    pub name: Option<String>,
    /// Authors whose changes the peer's trust list holds back, as it says.
    pub held_there: Vec<AuthorId>,
    /// Since when it is in this state, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Who dialled whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The peer dialled this node.
    Inbound,
    /// This node dialled the peer.
    Outbound,
}

/// How it goes with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// The connection is being made.
    Connecting,
    /// Connected; the first exchange is under way.
    Syncing,
    /// Connected; both sides have sent what they had.
    Live,
    /// Not connected; the next attempt is in `retry_in_ms` from when this began.
    BackingOff {
        /// The delay.
        retry_in_ms: u64,
    },
}

/// The peers of one node.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    by_id: BTreeMap<u64, Slot>,
    /// Of ended sessions.
    ended: PeersSnapshot,
}

#[derive(Debug)]
struct Slot {
    status: PeerStatus,
    traffic: Arc<Traffic>,
}

impl Slot {
    fn status(&self) -> PeerStatus {
        PeerStatus {
            received_bytes: self.traffic.received(),
            sent_bytes: self.traffic.written(),
            ..self.status.clone()
        }
    }
}

impl Peers {
    /// Registers an inbound peer, unless `max` are connected already.
    pub(crate) fn admit(
        self: &Arc<Self>,
        addr: Option<SocketAddr>,
        now_ms: u64,
        max: usize,
    ) -> Option<PeerHandle> {
        let mut inner = self.lock();
        let inbound = inner.by_id.values().filter(|slot| slot.status.direction == Direction::Inbound).count();
        if inbound >= max {
            inner.ended.over_limit += 1;
            return None;
        }
        Some(self.add(&mut inner, Direction::Inbound, None, addr, now_ms))
    }

    /// Registers a rendezvous.
    pub(crate) fn add_rendezvous(self: &Arc<Self>, url: String, now_ms: u64) -> PeerHandle {
        self.add(&mut self.lock(), Direction::Outbound, Some(url), None, now_ms)
    }

    /// The key that the node at a URL has proved.
    pub(crate) fn key_at(&self, url: &str) -> Option<AuthorId> {
        let inner = self.lock();
        let mut there = inner.by_id.values().filter(|slot| slot.status.url.as_deref() == Some(url));
        there.find_map(|slot| slot.status.key)
    }

    pub(crate) fn snapshot(&self) -> PeersSnapshot {
        let inner = self.lock();
        let mut snapshot = inner.ended.clone();
        for slot in inner.by_id.values() {
            let status = slot.status();
            snapshot.totals.add(&status.stats);
            snapshot.received_bytes += status.received_bytes;
            snapshot.sent_bytes += status.sent_bytes;
            snapshot.peers.push(status);
        }
        snapshot
    }

    fn add(
        self: &Arc<Self>,
        inner: &mut Inner,
        direction: Direction,
        url: Option<String>,
        addr: Option<SocketAddr>,
        now_ms: u64,
    ) -> PeerHandle {
        let id = inner.next_id;
        inner.next_id += 1;
        let status = PeerStatus {
            id,
            direction,
            url,
            addr,
            state: PeerState::Connecting,
            stats: SessionStats::default(),
            received_bytes: 0,
            sent_bytes: 0,
            behind: 0,
            pending: 0,
            failures: 0,
            last_error: None,
            version: None,
            key: None,
            name: None,
            held_there: Vec::new(),
            since_ms: now_ms,
        };
        inner.by_id.insert(id, Slot { status, traffic: Arc::default() });
        PeerHandle { peers: Arc::clone(self), id }
    }

    /// Nothing that holds the lock can fail half-way.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One peer's place in the list; dropping it removes the peer.
#[derive(Debug)]
pub(crate) struct PeerHandle {
    peers: Arc<Peers>,
    id: u64,
}

impl PeerHandle {
    /// Begins a session, whose bytes `traffic` counts.
    pub(crate) fn begin_session(&self, traffic: Arc<Traffic>, now_ms: u64) {
        let mut inner = self.peers.lock();
        inner.ended.sessions += 1;
        if let Some(slot) = inner.by_id.get_mut(&self.id) {
            slot.status.state = PeerState::Syncing;
            slot.status.since_ms = now_ms;
            slot.traffic = traffic;
        }
    }

    /// Shows how the session goes.
    pub(crate) fn show(&self, session: &Session, now_ms: impl FnOnce() -> u64) {
        let is_live = session.is_established() && session.is_caught_up();
        self.update(|status| {
            status.version = Some(1);
            status.stats = session.stats();
            status.behind = session.behind();
            status.pending = session.pending() as u64;
            if is_live && status.state != PeerState::Live {
                status.state = PeerState::Live;
                status.since_ms = now_ms();
                status.failures = 0;
            }
        });
    }

    /// Its number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Shows how a session of version 2 goes.
    pub(crate) fn show_link(&self, link: &Link, now_ms: impl FnOnce() -> u64) {
        self.update(|status| {
            status.version = Some(2);
            status.stats = link.stats();
            status.behind = link.behind();
            status.pending = link.pending() as u64;
            if link.is_caught_up() && status.state != PeerState::Live {
                status.state = PeerState::Live;
                status.since_ms = now_ms();
                status.failures = 0;
            }
        });
    }

    /// Shows who the peer is.
    pub(crate) fn proved(&self, key: AuthorId, name: Option<&str>) {
        self.update(|status| {
            status.key = Some(key);
            status.name = name.map(str::to_owned);
        });
    }

    /// Shows whose changes the peer does not take.
    pub(crate) fn held_there(&self, authors: &[AuthorId]) {
        self.update(|status| {
            for author in authors {
                if !status.held_there.contains(author) && status.held_there.len() < HELD_THERE_MAX {
                    status.held_there.push(*author);
                }
            }
        });
    }

    /// Ends the session: its counters go into the totals.
    pub(crate) fn end_session(&self, reason: &CloseReason) {
        let mut inner = self.peers.lock();
        *inner.ended.closed.entry(reason.name()).or_default() += 1;
        inner.retire(self.id);
        if let Some(slot) = inner.by_id.get_mut(&self.id) {
            slot.status.last_error = Some(reason.to_string());
        }
    }

    /// Shows that the rendezvous is being dialled.
    pub(crate) fn connecting(&self, now_ms: u64) {
        self.update(|status| {
            status.state = PeerState::Connecting;
            status.since_ms = now_ms;
        });
    }

    /// Shows that the rendezvous could not be reached.
    pub(crate) fn dial_failed(&self, error: &str) {
        self.peers.lock().ended.dial_failures += 1;
        self.update(|status| status.last_error = Some(error.to_owned()));
    }

    /// Shows that the rendezvous will be dialled again.
    pub(crate) fn backing_off(&self, failures: u32, retry_in_ms: u64, now_ms: u64) {
        self.update(|status| {
            status.state = PeerState::BackingOff { retry_in_ms };
            status.failures = failures;
            status.since_ms = now_ms;
        });
    }

    /// Shows what was wrong last.
    pub(crate) fn bad_frame(&self, reason: &str) {
        self.update(|status| status.last_error = Some(format!("bad frame: {reason}")));
    }

    fn update(&self, f: impl FnOnce(&mut PeerStatus)) {
        if let Some(slot) = self.peers.lock().by_id.get_mut(&self.id) {
            f(&mut slot.status);
        }
    }
}

impl Drop for PeerHandle {
    fn drop(&mut self) {
        let mut inner = self.peers.lock();
        inner.retire(self.id);
        inner.by_id.remove(&self.id);
    }
}

impl Inner {
    /// Adds a peer's counters to the totals and resets them.
    fn retire(&mut self, id: u64) {
        let Some(slot) = self.by_id.get_mut(&id) else { return };
        let status = slot.status();
        slot.traffic = Arc::default();
        slot.status.stats = SessionStats::default();
        slot.status.behind = 0;
        slot.status.pending = 0;
        slot.status.key = None;
        slot.status.name = None;
        slot.status.version = None;
        slot.status.held_there.clear();
        self.ended.totals.add(&status.stats);
        self.ended.received_bytes += status.received_bytes;
        self.ended.sent_bytes += status.sent_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_inbound_peers_that_are_there() {
        let peers = Arc::new(Peers::default());
        let _rendezvous = peers.add_rendezvous("ws://a/".to_owned(), 0);
        let first = peers.admit(None, 0, 1).expect("the first fits");
        assert!(peers.admit(None, 0, 1).is_none());
        drop(first);
        assert!(peers.admit(None, 0, 1).is_some());
        assert_eq!(peers.snapshot().over_limit, 1);
    }

    #[test]
    fn totals_outlive_their_session() {
        let peers = Arc::new(Peers::default());
        let peer = peers.add_rendezvous("ws://a/".to_owned(), 0);
        peer.begin_session(Arc::default(), 1);
        peer.update(|status| status.stats.sent_ops = 3);
        peer.end_session(&CloseReason::Stopping);
        peer.begin_session(Arc::default(), 2);
        peer.update(|status| status.stats.sent_ops = 4);
        assert_eq!(peers.snapshot().totals.sent_ops, 7);
        drop(peer);
        let snapshot = peers.snapshot();
        assert_eq!((snapshot.totals.sent_ops, snapshot.sessions), (7, 2));
        assert_eq!(snapshot.closed.get("stopping"), Some(&1));
        assert!(snapshot.peers.is_empty());
    }
}
