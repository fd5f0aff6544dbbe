//! The links of version 2 that are up: to call peers, to tell them, and to know what they hold on disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bft_json_crdt::json_crdt::VersionVector;
use bft_json_crdt::{AuthorId, Digest};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::calls::{CallError, CallResult};
use crate::hub::{Hub, Transport};
use crate::link::Exchange;

/// What a link is told by its node.
pub(crate) enum Command {
    /// Call the peer.
    Call { method: u32, body: Bytes, reply: oneshot::Sender<CallResult> },
    /// Tell it what somebody does at this moment.
    Presence(Bytes),
    /// Tell it other grants.
    Records(Vec<Bytes>),
    /// Ask it again for what is missing.
    AskAgain,
}

/// How many commands wait for a link.
pub(crate) const COMMANDS_MAX: usize = 16;

/// Nodes that were linked and are remembered.
const LOST_MAX: usize = 64;

/// The links that are up.
pub(crate) struct Links {
    by_id: Mutex<BTreeMap<u64, Up>>,
    /// Peers that may be about to be linked, and since when.
    dialling: Mutex<BTreeMap<u64, Instant>>,
    /// Who was linked and is not any more, and since when; the last ones.
    lost: Mutex<VecDeque<(AuthorId, Instant)>>,
    began: Instant,
    /// Counts links that came and went, and what peers said.
    news: watch::Sender<u64>,
}

struct Up {
    peer: AuthorId,
    commands: mpsc::Sender<Command>,
    /// By document: the tips of this node's own chain that the peer holds on disk.
    held: BTreeMap<usize, Vec<(u64, Digest)>>,
    /// By document: how it stands with the exchange, and since when.
    exchanges: BTreeMap<usize, (Exchange, Instant)>,
    presence: Option<Bytes>,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            by_id: Mutex::default(),
            dialling: Mutex::default(),
            lost: Mutex::default(),
            began: Instant::now(),
            news: watch::Sender::new(0),
        }
    }
}

impl Links {
    pub(crate) fn begin(&self, id: u64, peer: AuthorId, commands: mpsc::Sender<Command>) {
        let up = Up { peer, commands, held: BTreeMap::new(), exchanges: BTreeMap::new(), presence: None };
        self.lock().insert(id, up);
        self.dialled(id);
    }

    pub(crate) fn end(&self, id: u64) {
        let ended = self.lock().remove(&id);
        if let Some(up) = ended {
            let mut lost = self.lock_lost();
            lost.retain(|(peer, _)| *peer != up.peer);
            lost.truncate(LOST_MAX - 1);
            lost.push_front((up.peer, Instant::now()));
        }
        self.tell();
    }

    /// A peer is dialled that was there before, or of which nobody knows yet whether it is.
    pub(crate) fn dialling(&self, id: u64) {
        self.lock_dialling().insert(id, Instant::now());
    }

    /// That has come to something, or to nothing.
    pub(crate) fn dialled(&self, id: u64) {
        self.lock_dialling().remove(&id);
        self.tell();
    }

    /// A document is not served any more.
    pub(crate) fn forget(&self, document: usize) {
        for up in self.lock().values_mut() {
            up.held.remove(&document);
            up.exchanges.remove(&document);
        }
    }

    pub(crate) fn present(&self, id: u64, presence: Bytes) {
        if let Some(up) = self.lock().get_mut(&id) {
            up.presence = Some(presence);
        }
    }

    /// Tells whether a peer can be called.
    pub(crate) fn has(&self, peer: &AuthorId) -> bool {
        self.lock().values().any(|up| up.peer == *peer)
    }

    /// The key that the peer at a place of the list has proved.
    pub(crate) fn key_of(&self, id: u64) -> Option<AuthorId> {
        self.lock().get(&id).map(|up| up.peer)
    }

    /// Wakes those who wait for a link that will not come.
    pub(crate) fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// Tells when links come, go, or say something.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn lock_dialling(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.dialling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_lost(&self) -> MutexGuard<'_, VecDeque<(AuthorId, Instant)>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Up>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport {
    /// Returns who can be called without a new session, in the order of their keys.
    #[must_use]
    pub fn linked(&self) -> BTreeSet<AuthorId> {
        self.hub.links.lock().values().map(|up| up.peer).collect()
    }

    /// Calls a peer, and waits for its reply.
    ///
    /// # Errors
    /// [`CallError`], in time in any case.
    pub async fn call(
        &self,
        peer: AuthorId,
        method: u32,
        body: Bytes,
        limit_ms: u64,
    ) -> Result<Bytes, CallError> {
        let commands =
            self.hub.links.lock().values().find(|up| up.peer == peer).map(|up| up.commands.clone());
        let commands = commands.ok_or(CallError::NotConnected(peer))?;
        let (reply, replied) = oneshot::channel();
        let call = async {
            let command = Command::Call { method, body, reply };
            commands.send(command).await.map_err(|_| CallError::Lost)?;
            replied.await.map_err(|_| CallError::Lost)?.map_err(CallError::Refused)
        };
        let limit = Duration::from_millis(limit_ms);
        timeout(limit, call).await.unwrap_or(Err(CallError::Timeout(limit_ms)))
    }

    /// Tells all peers what somebody does at this moment, in at most
    /// [`PRESENCE_BYTES_MAX`](gangline_wire::limits::PRESENCE_BYTES_MAX) bytes. A peer that is slow misses it.
    pub fn tell_presence(&self, presence: &Bytes) {
        self.hub.tell(|| Command::Presence(presence.clone()));
    }

    /// Tells all peers other grants and revocations.
    pub fn tell_records(&self, records: &[Bytes]) {
        self.hub.tell_records(records);
    }

    /// Asks all peers again for what this node lacks: it takes other authors' changes now than when they met.
    pub fn ask_again(&self) {
        self.hub.tell(|| Command::AskAgain);
    }

    /// Returns what each peer said last of what somebody does there.
    #[must_use]
    pub fn presences(&self) -> Vec<(AuthorId, Bytes)> {
        let links = self.hub.links.lock();
        links.values().filter_map(|up| Some((up.peer, up.presence.clone()?))).collect()
    }

    /// Waits until `count` nodes beside this one hold a change of this node's own on disk, and returns how many
    /// do, after `limit_ms` in any case. `document` is its place, `tip` the change, by its seq and digest. Of a document
    /// that was closed nobody is known to hold anything.
    pub async fn held_by(&self, document: usize, tip: (u64, Digest), count: usize, limit_ms: u64) -> usize {
        self.until_held(document, tip, |_| count, limit_ms).await.0
    }

    /// As [`Transport::held_by`], of all linked nodes that exchange the document and have said what they hold of it; returns
    /// whether they do.
    pub async fn held_by_all(&self, document: usize, tip: (u64, Digest), limit_ms: u64) -> bool {
        let (holders, all) = self.until_held(document, tip, |all| all, limit_ms).await;
        holders >= all
    }

    /// Waits until this node has what the linked nodes that serve a document held of it when they met, and those that it has
    /// begun to dial are linked or not to be had; and for `limit_ms` at most. Nobody is waited for longer than that from when
    /// the meeting or the first attempt began, so that one who never gets there delays nothing that comes later.
    ///
    /// `document` is its place; one that is not open has nobody to wait for. What nodes of version 1 hold is not known.
    pub async fn until_met(&self, document: usize, limit_ms: u64) {
        let limit = Duration::from_millis(limit_ms);
        let until = Instant::now() + limit;
        let mut news = self.hub.links.news.subscribe();
        loop {
            news.mark_unchanged();
            let Some(next) = self.hub.meeting_until(document, limit, until) else { return };
            // When the one who takes longest is not waited for any more, nobody is, or somebody else.
            let is_over = timeout_at(next.min(until), news.changed()).await.is_err();
            if is_over && next >= until {
                return;
            }
        }
    }

    /// Returns whether something that a linked node held of a document when they met has still to come, and they met less than
    /// `limit_ms` ago. Once it is false, all that had been taken in of what others held is whole.
    #[must_use]
    pub fn is_meeting(&self, document: usize, limit_ms: u64) -> bool {
        let (now, limit) = (Instant::now(), Duration::from_millis(limit_ms));
        let is_meeting = |up: &Up| {
            let stands = up.exchanges.get(&document);
            stands.is_some_and(|(it, since)| *it == Exchange::Meeting && *since + limit > now)
        };
        self.hub.links.lock().values().any(is_meeting)
    }

    /// Returns how long it may be yet, in milliseconds, until somebody comes back: a node that was linked less than `limit_ms`
    /// ago, or anybody, where this transport has begun less than that ago and nobody is linked. None where nobody is waited for.
    #[must_use]
    pub fn returns_within(&self, limit_ms: u64) -> Option<u64> {
        let links = &self.hub.links;
        let linked = self.linked();
        let lost = links.lock_lost().iter().find(|(peer, _)| !linked.contains(peer)).map(|(_, since)| *since);
        let began = Some(links.began).filter(|_| linked.is_empty());
        let left = lost.max(began)? + Duration::from_millis(limit_ms) - Instant::now();
        u64::try_from(left.as_millis()).ok().filter(|left| *left > 0)
    }

    /// Returns whether any linked node exchanges a document with this one. `document` is its place.
    #[must_use]
    pub fn is_shared(&self, document: usize) -> bool {
        let is_shared = |up: &Up| up.exchanges.get(&document).is_some_and(|(it, _)| *it != Exchange::Apart);
        self.hub.links.lock().values().any(is_shared)
    }

    /// How many hold it and how many might, once as many do as are wanted of these, or when the time is over.
    async fn until_held(
        &self,
        document: usize,
        tip: (u64, Digest),
        wanted: impl Fn(usize) -> usize,
        limit_ms: u64,
    ) -> (usize, usize) {
        let until = Instant::now() + Duration::from_millis(limit_ms);
        let mut news = self.hub.links.news.subscribe();
        loop {
            news.mark_unchanged();
            let (holders, all) = self.hub.holders(document, tip);
            if holders >= wanted(all) || timeout_at(until, news.changed()).await.is_err() {
                return (holders, all);
            }
        }
    }
}

impl Hub {
    pub(crate) fn tell_records(&self, records: &[Bytes]) {
        self.tell(|| Command::Records(records.to_vec()));
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for up in self.links.lock().values() {
            // One that is full misses it: it has not sent the last ones yet.
            let _ = up.commands.try_send(command());
        }
    }

    /// Until when somebody is waited for who is about to be met; none where nobody is.
    fn meeting_until(&self, document: usize, limit: Duration, until: Instant) -> Option<Instant> {
        self.document(document)?;
        let now = Instant::now();
        let own = self.identity.as_ref().map(|identity| identity.keypair.author());
        let mut waited: Vec<Instant> =
            self.links.lock_dialling().values().map(|since| *since + limit).collect();
        let links = self.links.lock();
        waited.extend(links.values().filter(|up| Some(up.peer) != own).filter_map(|up| {
            match up.exchanges.get(&document) {
                Some((Exchange::Meeting, since)) => Some(*since + limit),
                Some((Exchange::Apart | Exchange::Level, _)) => None,
                // It has not looked whether the other side serves it.
                None => Some(until),
            }
        }));
        waited.into_iter().filter(|until| *until > now).max()
    }

    /// Notes how it stands with the exchange of a document on a link.
    pub(crate) fn stands(&self, link: u64, document: usize, exchange: Exchange) {
        self.note(link, document, |up| {
            up.exchanges.insert(document, (exchange, Instant::now()));
        });
    }

    /// Notes what a peer holds on disk of this node's own chain.
    pub(crate) fn acked(&self, link: u64, document: usize, own: &AuthorId, vector: &VersionVector) {
        let Some(tips) = vector.get(own) else { return };
        self.note(link, document, |up| {
            up.held.insert(document, tips.clone());
        });
    }

    /// Notes something of a document, unless it was closed: one that is closed later is forgotten then.
    fn note(&self, link: u64, document: usize, note: impl FnOnce(&mut Up)) {
        let mut links = self.links.lock();
        if let Some(up) = links.get_mut(&link).filter(|_| self.document(document).is_some()) {
            note(up);
        }
        drop(links);
        self.links.tell();
    }

    /// How many nodes beside this one hold a change of this node's own on disk, and of how many it is known what they hold.
    fn holders(&self, document: usize, (seq, digest): (u64, Digest)) -> (usize, usize) {
        let Some(source) = self.document(document).map(|document| Arc::clone(&document.source)) else {
            return (0, 0);
        };
        let held: Vec<(AuthorId, Vec<(u64, Digest)>)> = {
            let links = self.links.lock();
            links.values().filter_map(|up| Some((up.peer, up.held.get(&document)?.clone()))).collect()
        };
        let own = self.identity.as_ref().map(|identity| identity.keypair.author());
        let (mut holders, mut all) = (BTreeSet::new(), BTreeSet::new());
        for (peer, tips) in held.into_iter().filter(|(peer, _)| Some(*peer) != own) {
            let is_above = |(at, _): &&(u64, Digest)| *at >= seq;
            let points: Vec<(Digest, u64)> =
                tips.iter().filter(is_above).map(|(_, tip)| (*tip, seq)).collect();
            let holds = source.on_chains(&points).contains(&Some(digest));
            all.insert(peer);
            if holds {
                holders.insert(peer);
            }
        }
        (holders.len(), all.len())
    }
}
