//! The session of version 2 with one peer, as a machine: no socket, no clock, no randomness, no lock.
//!
//! *The drive contract* is that of the session of version 1: one [`Link::handle`], then [`Link::poll_effect`] until
//! `None`, then wait for the next input or for [`Link::next_deadline`] (answered by [`LinkInput::Tick`]).
//!
//! ```text
//! each side     hello ─► proof ─► vector, where roots differ ─► changes … end ─► live
//! ```
//!
//! Both sides do the same at the same time. A side gives the other what that lacks by its vector
//! ([`Query::Give`]), and says `end`. An author of whom the other names a tip that is unknown here is left out at
//! first: the other may just be ahead. When the other has said its `end` and the tip is still unknown, the
//! chains part, and where they do is searched (`search.rs`). From then on a document's durable log is told as it
//! grows. Sending is a pull from the log, receiving a pull from the socket: what is in memory is one batch each way,
//! whatever the peer does, and a slow peer is a number that grows late.
//!
//! Documents come and go meanwhile (`serving.rs`). What one side holds and the other does not serve is offered to the
//! other's host (`offers.rs`); what neither serves is compared when the two meet (`catalog.rs`).

mod calls;
mod catalog;
mod document;
mod documents;
mod effect;
mod give;
mod greeting;
mod incoming;
mod offers;
mod query;
mod search;
mod serving;
mod take;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use bft_json_crdt::{AuthorId, DocumentId, Keypair};
use bytes::Bytes;
use gangline_doc::{LogSeq, OriginId};
use gangline_wire::v2::{self, Frame, RefuseCode};

use self::calls::Calls;
pub(crate) use self::catalog::sorted;
pub use self::catalog::{CatalogAnswer, CatalogQuery, look_up};
use self::document::Question;
use self::documents::Documents;
pub use self::effect::{Exchange, LinkEffect, LinkInput, LinkNotice};
use self::greeting::Greeting;
use self::incoming::Content;
pub use self::incoming::{Incoming, understand};
use self::offers::Offers;
pub use self::query::{Answer, Query, answer};
use self::serving::{Named, Serving};
use self::take::Taking;
use crate::gate::PeerRights;
use crate::session::{BadFrames, CloseReason, Liveness, Millis, Pending, SessionSettings, SessionStats};

/// Frames that wait for the socket before nothing more is read from it.
const OUTBOX_FRAMES_MAX: usize = 64;

/// What a link starts with.
#[derive(Clone, Debug)]
pub struct LinkStart {
    /// Names the link in the replicas.
    pub origin: OriginId,
    /// This node dialled.
    pub is_dialer: bool,
    /// Fresh random bytes.
    pub nonce: [u8; 32],
    /// The name of the encrypted channel, if there is one that ends in this program.
    pub channel: Option<[u8; 32]>,
    /// The documents, and how much of each log is durable.
    pub documents: Vec<LinkDocument>,
    /// Documents come and go while the link is up; not so at nodes from before they did.
    pub opens_documents: bool,
    /// This node has a host, which keeps documents that are not served.
    pub hosts: bool,
    /// Grants to this node's own key, shown before the other side has proved its key.
    pub credentials: Vec<Bytes>,
    /// Grants and revocations to tell from then on.
    pub records: Vec<Bytes>,
}

/// A document that a node serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkDocument {
    /// What it goes by between a link and its shell. What comes later gets another one, also if it is the same document.
    pub place: usize,
    /// The document.
    pub id: DocumentId,
    /// How much of its log is durable.
    pub durable: LogSeq,
}

/// The session with one peer that speaks version 2.
pub struct Link {
    settings: SessionSettings,
    keypair: Keypair,
    start: LinkStart,
    started: Millis,
    documents: Documents,
    serving: Serving,
    offers: Offers,
    catalog: catalog::Comparing,
    /// Documents that are being read for the other side.
    giving: BTreeSet<usize>,
    /// Documents that owe an acknowledgement.
    to_acknowledge: BTreeSet<usize>,
    /// Whose changes the other side takes, as it said last: the same for all documents, most of the time.
    takes: Option<Arc<BTreeSet<AuthorId>>>,
    greeting: Greeting,
    rights: PeerRights,
    inbox: VecDeque<Incoming>,
    is_receiving: bool,
    taking: Taking,
    outbox: VecDeque<Bytes>,
    is_sending: bool,
    sending_since: Millis,
    presence: Option<Bytes>,
    calls: Calls,
    pending: Pending,
    liveness: Liveness,
    bad_frames: BadFrames,
    stats: SessionStats,
    effects: VecDeque<LinkEffect>,
    is_caught_up: bool,
    stops_at: Option<Millis>,
    /// Ends the link once what is in the outbox is sent.
    last_words: Option<CloseReason>,
    closed: Option<CloseReason>,
}

impl Link {
    /// Starts a link over a socket that is open.
    #[must_use]
    pub fn new(now: Millis, keypair: Keypair, start: LinkStart, settings: SessionSettings) -> Self {
        let mut start = start;
        let documents = std::mem::take(&mut start.documents);
        let mut link = Self {
            keypair,
            started: now,
            documents: Documents::default(),
            serving: Serving::default(),
            offers: Offers::default(),
            catalog: catalog::Comparing::default(),
            giving: BTreeSet::new(),
            to_acknowledge: BTreeSet::new(),
            takes: None,
            greeting: Greeting::default(),
            rights: PeerRights { read: false, write: false, name: None },
            inbox: VecDeque::new(),
            is_receiving: false,
            taking: Taking::default(),
            outbox: VecDeque::new(),
            is_sending: false,
            sending_since: now,
            presence: None,
            calls: Calls::default(),
            pending: Pending::default(),
            liveness: Liveness::new(now),
            bad_frames: BadFrames::default(),
            stats: SessionStats::default(),
            effects: VecDeque::new(),
            is_caught_up: false,
            stops_at: None,
            last_words: None,
            closed: None,
            start,
            settings,
        };
        for LinkDocument { place, id, durable } in documents {
            link.opened(place, id, durable);
        }
        link.advance(now);
        link
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Millis, input: LinkInput) {
        if self.closed.is_some() {
            return;
        }
        match input {
            LinkInput::Received(frames) => {
                self.is_receiving = false;
                self.liveness.heard(now);
                self.stats.received_frames += frames.len() as u64;
                if self.stops_at.is_none() {
                    self.inbox.extend(frames);
                }
            }
            LinkInput::Answered(place, answer) => self.answered(now, place, answer),
            LinkInput::Gone(place) => self.gone(now, place),
            LinkInput::Applied(Ok(applied)) => self.applied(now, &applied),
            LinkInput::Busy(changes) => self.busy(now, changes),
            LinkInput::Stored(Ok(())) => self.stored(now),
            LinkInput::Entries(place, Ok(entries)) => self.entries(place, entries),
            // A document that is closed is nobody's concern any more.
            LinkInput::Entries(place, Err(_)) if self.documents.get(place).is_none() => self.gone(now, place),
            LinkInput::Applied(Err(_)) | LinkInput::Stored(Err(_)) if self.is_taking_for_nobody() => {
                self.untaken(now);
            }
            LinkInput::Applied(Err(error))
            | LinkInput::Stored(Err(error))
            | LinkInput::Entries(_, Err(error)) => self.close(CloseReason::StoreFailed { error }),
            LinkInput::Opened(LinkDocument { place, id, durable }) => self.opened(place, id, durable),
            LinkInput::Closed { document, held, durable } => {
                self.closed_here(now, document, held, durable);
            }
            LinkInput::News(documents) => documents.into_iter().for_each(|held| self.tell_of(held)),
            LinkInput::ManyNews => self.show_catalog(),
            LinkInput::Offered { later } => self.offered(now, &later),
            LinkInput::LookedUp(answer) => self.looked_up(now, answer),
            LinkInput::Sent => {
                self.is_sending = false;
                self.liveness.spoke(now);
            }
            LinkInput::Admitted(verdict) => self.admitted(now, verdict),
            LinkInput::Served { id, result } => self.served(id, result),
            LinkInput::Released(digests) => {
                if let Some(reason) = self.pending.checked(now, &digests, &self.settings) {
                    self.close(reason);
                }
            }
            LinkInput::Durable(document, durable) => {
                if let Some(document) = self.documents.get_mut(document) {
                    document.durable = document.durable.max(durable);
                }
            }
            LinkInput::Evicted(evicted) => {
                if self.pending.is_hit_by(&evicted) {
                    self.close(CloseReason::Evicted);
                }
            }
            LinkInput::Presence(presence) => self.presence = Some(presence),
            LinkInput::Records(records) => self.tell_records(records),
            LinkInput::AskAgain => {
                self.effects.extend(self.greeting.peer.map(LinkEffect::Admit));
                let shared = self.documents.iter().filter(|(_, document)| document.is_shared());
                let shared: Vec<usize> = shared.map(|(place, _)| place).collect();
                for document in shared {
                    if let Some(document) = self.documents.get_mut(document) {
                        document.talk().must_ask_again = true;
                    }
                }
            }
            LinkInput::Call { id, method, body } => self.call(id, method, body),
            LinkInput::Traffic { received, written } => {
                if self.liveness.traffic(now, received, written) {
                    self.sending_since = now;
                }
            }
            LinkInput::Tick => {}
            LinkInput::Stop => {
                self.stops_at.get_or_insert(now.plus(self.settings.drain_ms));
                self.inbox.clear();
            }
            LinkInput::Ended(reason) => self.close(reason),
        }
        self.tick(now);
        self.advance(now);
    }

    /// Returns what is to be done next.
    pub fn poll_effect(&mut self) -> Option<LinkEffect> {
        self.effects.pop_front()
    }

    /// Returns when [`LinkInput::Tick`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.closed.is_some() {
            return None;
        }
        let deadlines = [
            Some(self.liveness.deadline(&self.settings)),
            self.is_sending.then(|| self.sending_since.plus(self.settings.progress_ms)),
            self.greeting.peer.is_none().then(|| self.started.plus(self.settings.hello_ms)),
            self.taking.deadline(),
            self.pending.deadline(&self.settings),
            self.serving.deadline(),
            self.offers_deadline(),
            self.catalog_deadline(),
            self.stops_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        self.stats
    }

    /// Returns the peer, once it has proved its key and was admitted.
    #[must_use]
    pub fn peer(&self) -> Option<AuthorId> {
        self.greeting.peer
    }

    /// Tells whether both sides have told each other all that they held when they met.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }

    /// Returns how many entries of the logs the peer has not been told.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.documents.behind()
    }

    /// Returns how many changes of this link are known to wait for others.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns how many frames wait in the link, to be taken in or to be sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.inbox.len() + self.outbox.len()
    }

    /// Returns why the link has ended, if it has.
    #[must_use]
    pub fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    fn ask(&mut self, at: usize, question: Question, query: Query) {
        if let Some(document) = self.documents.get_mut(at) {
            document.is_busy = true;
            document.question = question;
            self.effects.push_back(LinkEffect::Query(at, query));
        }
    }

    fn say(&mut self, frame: &Frame) {
        self.outbox.push_back(v2::encode(frame).into());
    }

    /// Goes through what came, up to something that has to be done first.
    fn read_inbox(&mut self, now: Millis) {
        while self.closed.is_none()
            && self.last_words.is_none()
            && !self.greeting.is_asking
            && self.taking.is_free()
            && self.outbox.len() < OUTBOX_FRAMES_MAX
            && let Some(incoming) = self.inbox.pop_front()
        {
            let Incoming { content, bad } = incoming;
            if let Some(reason) = bad {
                self.count_bad(now, reason);
            }
            let is_open = self.greeting.peer.is_some();
            match content {
                Content::Nothing => {}
                Content::Hello(hello, bytes) => {
                    self.hello(hello, bytes);
                    self.greet();
                }
                Content::Frame(Frame::Proof(signature)) => self.proof(&signature),
                Content::Frame(Frame::Refuse { reason, .. }) => {
                    self.close(CloseReason::RefusedByPeer { reason });
                }
                Content::Frame(Frame::Records(records))
                    if !is_open && !self.start.is_dialer && !self.greeting.has_shown =>
                {
                    self.greeting.has_shown = true;
                    self.effects.push_back(LinkEffect::Learn(records));
                }
                Content::Frame(_) | Content::Ops(_) if !is_open => self.broken("a frame before its proof"),
                Content::Ops(changes) => match self.documents.place_of(&DocumentId::DEFAULT) {
                    Some(board) => self.take(now, board, None, changes),
                    None => self.count_bad(now, "an op of the board, which is not here".to_owned()),
                },
                Content::Frame(frame) => self.frame(now, frame),
            }
        }
    }

    fn frame(&mut self, now: Millis, frame: Frame) {
        match frame {
            Frame::Vector { document, .. }
            | Frame::Changes { document, .. }
            | Frame::End { document, .. }
            | Frame::Ask { document, .. }
            | Frame::Have { document, .. }
            | Frame::Ack { document, .. }
            | Frame::Held { document, .. } => match self.named(document) {
                Named::Shared(place) => self.about(now, place, frame),
                // It was on its way when this side closed the document. What it brought is still to be had.
                Named::Over(id) if matches!(frame, Frame::Changes { .. }) => self.offer(id, None),
                Named::Over(_) => {}
                Named::Nothing => self.broken("a frame about a document that is not shared"),
            },
            Frame::Presence(presence) => {
                self.effects.push_back(LinkEffect::Notice(LinkNotice::Presence(presence)));
            }
            Frame::Call { id, method, body } => self.called(id, method, body),
            Frame::Reply { id, is_done, body } => self.replied(id, is_done, body),
            Frame::Records(records) => self.effects.push_back(LinkEffect::Learn(records)),
            Frame::Open { .. } | Frame::Close { .. } | Frame::News(_) | Frame::Catalog(_)
                if !self.greeting.may_open =>
            {
                self.broken("a frame that one of the two does not know");
            }
            Frame::Open { document, answers } => self.open(now, document, answers),
            Frame::Close { document } => self.close_number(now, document),
            Frame::News(document) => self.news(now, document),
            Frame::Catalog(catalog) => self.catalog(now, catalog),
            Frame::Hello(_) | Frame::Proof(_) | Frame::Refuse { .. } => {}
        }
    }

    /// A frame about a document that the two share.
    fn about(&mut self, now: Millis, place: usize, frame: Frame) {
        match frame {
            Frame::Vector { vector, accepts, .. } => self.vector(place, vector, accepts),
            Frame::Changes { document, changes } => self.take(now, place, Some(document), changes),
            Frame::End { is_final, vector, .. } => self.their_end(place, is_final, &vector),
            Frame::Ask { author, digests, .. } => self.asked(place, author, digests),
            Frame::Have { author, held, .. } => self.have(place, author, &held),
            Frame::Ack { vector, .. } => {
                let notice = LinkNotice::Acked { document: place, vector };
                self.effects.push_back(LinkEffect::Notice(notice));
            }
            Frame::Held { authors, .. } => {
                if let Some(document) = self.documents.get_mut(place) {
                    document.talk().not_taken.extend(&authors);
                }
                let authors = authors.into_iter().collect();
                let notice = LinkNotice::HeldThere { document: place, authors };
                self.effects.push_back(LinkEffect::Notice(notice));
            }
            Frame::Hello(_)
            | Frame::Proof(_)
            | Frame::Presence(_)
            | Frame::Call { .. }
            | Frame::Reply { .. }
            | Frame::Records(_)
            | Frame::Refuse { .. }
            | Frame::Open { .. }
            | Frame::Close { .. }
            | Frame::News(_)
            | Frame::Catalog(_) => {}
        }
    }

    fn count_bad(&mut self, now: Millis, reason: String) {
        self.stats.bad_frames += 1;
        self.effects.push_back(LinkEffect::Notice(LinkNotice::BadFrame { reason }));
        if let Some(reason) = self.bad_frames.count(now, &self.settings) {
            self.close(reason);
        }
    }

    /// Acts on deadlines that have passed.
    fn tick(&mut self, now: Millis) {
        if self.closed.is_some() {
            return;
        }
        let (progress_ms, hello_ms) = (self.settings.progress_ms, self.settings.hello_ms);
        let is_stuck = self.is_sending && now >= self.sending_since.plus(progress_ms);
        let is_silent = self.greeting.peer.is_none() && now >= self.started.plus(hello_ms);
        let overdue = is_stuck
            .then_some(CloseReason::NoProgress { ms: progress_ms })
            .or_else(|| is_silent.then_some(CloseReason::NoHello { ms: hello_ms }))
            .or_else(|| self.liveness.overdue(now, &self.settings))
            .or_else(|| self.stops_at.filter(|at| now >= *at).map(|_| CloseReason::Stopping));
        if let Some(reason) = overdue {
            return self.close(reason);
        }
        if self.liveness.take_ping(now, &self.settings) {
            self.effects.push_back(LinkEffect::Ping);
        }
        if let Some((document, changes)) = self.taking.retry(now) {
            self.effects.push_back(LinkEffect::Apply(document, changes));
        }
        self.tick_serving(now);
        let due = self.pending.check(now, &self.settings);
        self.effects.extend(due.map(LinkEffect::CheckPending));
    }

    /// Does all that can be done now.
    fn advance(&mut self, now: Millis) {
        if self.closed.is_some() {
            return;
        }
        self.greet();
        self.read_inbox(now);
        if self.greeting.peer.is_some() && self.last_words.is_none() {
            self.give(now);
            self.say_serving(now);
            self.ask_host(now);
            self.go_through_catalog(now);
        }
        self.flush(now);
        if self.closed.is_some() {
            return;
        }
        if self.greeting.peer.is_some() {
            let reports = self.documents.report(|id| self.serving.live(id).is_some());
            let notices =
                reports.into_iter().map(|(document, exchange)| LinkNotice::Exchange { document, exchange });
            self.effects.extend(notices.map(LinkEffect::Notice));
        }
        let is_level = self.documents.are_level() && self.greeting.peer.is_some();
        if !self.is_caught_up && is_level {
            self.is_caught_up = true;
            self.effects.push_back(LinkEffect::Notice(LinkNotice::CaughtUp));
        }
        let is_hungry = self.inbox.is_empty() && self.taking.is_free() && !self.greeting.is_asking;
        if is_hungry && !self.is_receiving && self.stops_at.is_none() && self.outbox.len() < OUTBOX_FRAMES_MAX
        {
            self.is_receiving = true;
            self.effects.push_back(LinkEffect::Receive);
        }
        let is_told = self.outbox.is_empty() && !self.is_sending && self.behind() == 0;
        if self.stops_at.is_some() && self.taking.is_free() && is_told {
            self.close(CloseReason::Stopping);
        }
    }

    /// Hands what waits to the socket.
    fn flush(&mut self, now: Millis) {
        if self.is_sending {
            return;
        }
        if self.greeting.peer.is_some() && self.last_words.is_none() {
            self.acknowledge();
            if let Some(presence) = self.presence.take() {
                self.say(&Frame::Presence(presence));
            }
        }
        if self.outbox.is_empty() {
            if let Some(reason) = self.last_words.take() {
                self.close(reason);
            }
            return;
        }
        self.is_sending = true;
        self.sending_since = now;
        self.effects.push_back(LinkEffect::Send(self.outbox.drain(..).collect()));
    }

    /// Tells the peer why, and then ends.
    fn refuse(&mut self, code: RefuseCode, reason: String) {
        self.say(&Frame::Refuse { code, reason: reason.clone() });
        self.last_words = Some(CloseReason::Refused { reason });
    }

    fn broken(&mut self, what: &'static str) {
        self.say(&Frame::Refuse { code: RefuseCode::Protocol, reason: what.to_owned() });
        self.last_words = Some(CloseReason::Protocol { what });
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closed.is_none() {
            self.closed = Some(reason.clone());
            self.effects.push_back(LinkEffect::Close(reason));
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.greeting.peer)
            .field("stats", &self.stats)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
