//! Nodes, the links between them, and what happens when. One event at a time; what a shell does with sockets, tasks and
//! a mailbox takes a while here, too, so that documents are closed in the middle of everything.

use std::collections::{BTreeMap, VecDeque};

use bft_json_crdt::{Change, Digest, DocumentId};
use bytes::Bytes;
use gangline_doc::{LogSeq, OriginId, ReadLimit, SyncSource, Ticket};
use gangline_transport::link::{
    CatalogQuery, Link, LinkDocument, LinkEffect, LinkInput, LinkNotice, LinkStart, Query, answer, look_up,
    understand,
};
use gangline_transport::session::{Applied, CloseReason, Evicted, Millis, RawFrame, SessionSettings};
use gangline_transport::{Offer, Offered, PeerRights};
use gangline_wire::v2::{Catalog, Frame, decode};

use crate::node::Node;
use crate::rng::Rng;

/// How long a node takes to hear of what happened to its documents.
const MAIL_MS: u64 = 2;
/// How often a host looks for what is idle.
const LOOK_MS: u64 = 500;
/// Frames that may wait in a link.
const QUEUED_MAX: usize = 1_024 + 64 + 64;

pub(crate) struct Net {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) settings: SessionSettings,
    pub(crate) delay_ms: (u64, u64),
    /// How many of ten thousand frames take their connection with them.
    pub(crate) loss: u64,
    pub(crate) idle_ms: u64,
    /// Of a node at all others.
    pub(crate) rights: BTreeMap<usize, (bool, bool)>,
    /// Nodes from before documents came and went.
    pub(crate) old: Vec<usize>,
    pub(crate) closes: BTreeMap<&'static str, u64>,
    pub(crate) bad_frames: Vec<String>,
    /// Documents that hosts have opened.
    pub(crate) hosted: u64,
    pub(crate) sent: BTreeMap<u8, u64>,
    next_connection: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
}

pub(crate) struct Edge {
    pub(crate) nodes: [usize; 2],
    pub(crate) is_cut: bool,
    pub(crate) connection: Option<Connection>,
}

pub(crate) struct Connection {
    id: u64,
    pub(crate) ends: [End; 2],
    /// When the last frame to each side arrives.
    arrival: [u64; 2],
    is_dead: bool,
}

pub(crate) struct End {
    pub(crate) link: Link,
    inbox: VecDeque<Bytes>,
    is_receiving: bool,
    stored: Option<Ticket>,
    tick_at: Option<u64>,
    /// Sent so far.
    pub(crate) bytes: u64,
}

/// Where something happens: an edge, a connection of it, a side.
type At = (usize, u64, usize);

enum Event {
    Dial(usize),
    Arrive(At, Bytes),
    Lost(At),
    Tick(At),
    Do(At, Work),
    Tell(At, LinkInput),
    Flush(usize, DocumentId),
    Look(usize),
    Heal(usize),
    Restart(usize),
}

enum Work {
    Query(usize, Query),
    Read(usize, LogSeq, ReadLimit),
    Apply(usize, Vec<Change>),
    Offer(Vec<Offer>),
    Catalog(CatalogQuery),
    CheckPending(Vec<(usize, Digest)>),
}

impl Net {
    pub(crate) fn new(seed: u64, count: usize, edges: &[(usize, usize)], settings: SessionSettings) -> Self {
        let edges = edges.iter().map(|(a, b)| Edge { nodes: [*a, *b], is_cut: false, connection: None });
        let mut net = Self {
            now: 0,
            rng: Rng::new(seed),
            nodes: (0..count).map(|n| Node::new(n as u8)).collect(),
            edges: edges.collect(),
            settings,
            delay_ms: (1, 20),
            loss: 0,
            idle_ms: 3_000,
            rights: BTreeMap::new(),
            old: Vec::new(),
            closes: BTreeMap::new(),
            bad_frames: Vec::new(),
            hosted: 0,
            sent: BTreeMap::new(),
            next_connection: 0,
            events: BTreeMap::new(),
            next_event: 0,
        };
        (0..net.edges.len()).for_each(|edge| net.plan(1, Event::Dial(edge)));
        (0..count).for_each(|node| net.plan(LOOK_MS, Event::Look(node)));
        net
    }

    fn plan(&mut self, delay: u64, event: Event) {
        self.events.insert((self.now + delay, self.next_event), event);
        self.next_event += 1;
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some((&(at, n), _)) = self.events.first_key_value()
            && at <= until
        {
            self.now = at;
            let event = self.events.remove(&(at, n)).unwrap();
            self.happen(event);
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Dial(edge) => self.dial(edge),
            Event::Arrive(at, bytes) => {
                if let Some(end) = self.end(at) {
                    end.inbox.push_back(bytes);
                    self.receive(at);
                }
            }
            Event::Lost(at) => {
                let error = "cut".to_owned();
                self.feed(at, LinkInput::Ended(CloseReason::Lost { error }));
            }
            Event::Tick(at) => {
                let now = self.now;
                let Some(end) = self.end(at).filter(|end| end.tick_at == Some(now)) else { return };
                end.tick_at = None;
                self.feed(at, LinkInput::Tick);
            }
            Event::Do(at, work) => self.work(at, work),
            Event::Tell(at, input) => self.feed(at, input),
            Event::Flush(node, id) => self.flush(node, id),
            Event::Look(node) => {
                self.plan(LOOK_MS, Event::Look(node));
                let (now, idle) = (self.now, self.idle_ms);
                let open = self.nodes[node].open.iter();
                let idle: Vec<usize> = open
                    .filter(|(_, it)| !it.by_user && now > it.quiet_since + idle)
                    .map(|(place, _)| *place)
                    .collect();
                idle.into_iter().for_each(|place| self.close(node, place));
            }
            Event::Heal(edge) => self.edges[edge].is_cut = false,
            Event::Restart(node) => self.restart(node),
        }
    }

    fn restart(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            self.nodes[node].restart();
        }
    }

    fn dial(&mut self, edge: usize) {
        let pause = self.rng.ms((200, 2_000));
        let [a, b] = self.edges[edge].nodes;
        let is_up = |node: usize| self.nodes[node].is_up;
        if self.edges[edge].connection.is_some() || self.edges[edge].is_cut || !is_up(a) || !is_up(b) {
            return self.plan(pause, Event::Dial(edge));
        }
        let id = self.next_connection;
        self.next_connection += 1;
        let ends = [0, 1].map(|side| {
            let node = &self.nodes[[a, b][side]];
            let documents = node.open.iter().map(|(place, open)| LinkDocument {
                place: *place,
                id: open.id,
                durable: open.replica.durable(),
            });
            let start = LinkStart {
                origin: OriginId(2 * id + side as u64 + 1),
                is_dialer: side == 0,
                nonce: [(id % 251) as u8; 32],
                channel: None,
                documents: documents.collect(),
                opens_documents: !self.old.contains(&[a, b][side]),
                hosts: true,
                credentials: Vec::new(),
                records: Vec::new(),
            };
            End {
                link: Link::new(Millis(self.now), node.key.clone(), start, self.settings.clone()),
                inbox: VecDeque::new(),
                is_receiving: false,
                stored: None,
                tick_at: None,
                bytes: 0,
            }
        });
        self.edges[edge].connection = Some(Connection { id, ends, arrival: [0; 2], is_dead: false });
        (0..2).for_each(|side| self.pump((edge, id, side)));
    }

    pub(crate) fn end(&mut self, (edge, id, side): At) -> Option<&mut End> {
        self.edges[edge].connection.as_mut().filter(|it| it.id == id).map(|it| &mut it.ends[side])
    }

    fn feed(&mut self, at: At, input: LinkInput) {
        let now = Millis(self.now);
        let Some(end) = self.end(at) else { return };
        end.link.handle(now, input);
        self.pump(at);
    }

    fn receive(&mut self, at: At) {
        let Some(end) = self.end(at).filter(|end| end.is_receiving && !end.inbox.is_empty()) else { return };
        end.is_receiving = false;
        let mut frames: VecDeque<RawFrame> = end.inbox.drain(..).map(RawFrame::Binary).collect();
        let understood = understand(&mut frames);
        assert!(frames.is_empty());
        self.feed(at, LinkInput::Received(understood));
    }

    /// Does what a link wants.
    fn pump(&mut self, at: At) {
        while let Some(effect) = self.end(at).and_then(|end| end.link.poll_effect()) {
            let node = self.edges[at.0].nodes[at.2];
            match effect {
                LinkEffect::Receive => {
                    self.end(at).unwrap().is_receiving = true;
                    self.receive(at);
                }
                LinkEffect::Query(place, query) => self.later(at, Work::Query(place, query)),
                LinkEffect::Apply(place, changes) => self.later(at, Work::Apply(place, changes)),
                LinkEffect::Read { document, from, limit } => {
                    self.later(at, Work::Read(document, from, limit));
                }
                LinkEffect::Send(frames) => self.send(at, frames),
                LinkEffect::Admit(_) => {
                    let peer = self.edges[at.0].nodes[1 - at.2];
                    let (read, write) = self.rights.get(&peer).copied().unwrap_or((true, true));
                    self.plan(
                        1,
                        Event::Tell(at, LinkInput::Admitted(Ok(PeerRights { read, write, name: None }))),
                    );
                }
                LinkEffect::CheckPending(waiting) => self.later(at, Work::CheckPending(waiting)),
                LinkEffect::Offer(offers) => {
                    let peer = self.edges[at.0].nodes[1 - at.2];
                    let may_write = self.rights.get(&peer).is_none_or(|(_, write)| *write);
                    assert!(may_write, "node {peer} makes node {node} open something");
                    self.later(at, Work::Offer(offers));
                }
                LinkEffect::Catalog(query) => self.later(at, Work::Catalog(query)),
                LinkEffect::Notice(LinkNotice::BadFrame { reason }) => self.bad_frames.push(reason),
                LinkEffect::Close(reason) => {
                    *self.closes.entry(reason.name()).or_default() += 1;
                    self.hang_up(at.0);
                }
                _ => {}
            }
        }
        let Some(end) = self.end(at) else { return };
        assert!(end.link.queued() <= QUEUED_MAX, "{} frames wait", end.link.queued());
        let Some(due) = end.link.next_deadline() else { return };
        let tick_at = end.tick_at;
        let due = due.0.max(self.now + 1);
        if tick_at.is_none_or(|known| due < known) {
            self.end(at).unwrap().tick_at = Some(due);
            let delay = due - self.now;
            self.plan(delay, Event::Tick(at));
        }
    }

    /// A connection ends, for both sides.
    fn hang_up(&mut self, edge: usize) {
        self.edges[edge].connection = None;
        let pause = self.rng.ms((200, 2_000));
        self.plan(pause, Event::Dial(edge));
    }

    fn send(&mut self, at: At, frames: Vec<Bytes>) {
        let (edge, id, side) = at;
        let is_shut_out = self.rights.get(&self.edges[edge].nodes[1 - side]).is_some_and(|(read, _)| !read);
        for bytes in frames {
            *self.sent.entry(bytes[0]).or_default() += 1;
            if is_shut_out {
                let frame = decode(&bytes).unwrap();
                assert!(!tells(&frame), "whoever may not read is told {frame:?}");
            }
            self.end(at).unwrap().bytes += bytes.len() as u64;
            let delay = self.rng.ms(self.delay_ms);
            let is_lost = self.rng.next() % 10_000 < self.loss;
            let is_cut = self.edges[edge].is_cut;
            let connection = self.edges[edge].connection.as_mut().unwrap();
            connection.is_dead |= is_cut || is_lost;
            let arrival = (self.now + delay).max(connection.arrival[1 - side]);
            connection.arrival[1 - side] = arrival;
            let delay = arrival - self.now;
            match connection.is_dead {
                // Both hear of it by a reset, some time.
                true => (0..2).for_each(|side| self.plan(delay + 3_000, Event::Lost((edge, id, side)))),
                false => self.plan(delay, Event::Arrive((edge, id, 1 - side), bytes)),
            }
        }
        self.plan(1, Event::Tell(at, LinkInput::Sent));
    }

    fn later(&mut self, at: At, work: Work) {
        let delay = self.rng.ms((0, 4));
        self.plan(delay, Event::Do(at, work));
    }

    fn tell(&mut self, at: At, input: LinkInput) {
        let delay = self.rng.ms((0, 4));
        self.plan(delay, Event::Tell(at, input));
    }

    fn work(&mut self, at: At, work: Work) {
        if self.end(at).is_none() {
            return;
        }
        let node = self.edges[at.0].nodes[at.2];
        match work {
            Work::Query(place, query) => {
                let input = match self.nodes[node].open.get(&place) {
                    Some(open) => LinkInput::Answered(place, answer(&open.replica as &dyn SyncSource, query)),
                    None => LinkInput::Gone(place),
                };
                self.tell(at, input);
            }
            Work::Read(place, from, limit) => {
                let input = match self.nodes[node].open.get(&place) {
                    Some(open) => LinkInput::Entries(place, Ok(open.replica.entries(from, limit).unwrap())),
                    None => LinkInput::Gone(place),
                };
                self.tell(at, input);
            }
            Work::Apply(place, changes) => self.apply(at, node, place, changes),
            Work::Offer(offers) => {
                let mut later = Vec::new();
                for offer in offers {
                    match self.nodes[node].judge(&offer) {
                        Offered::Taken => {
                            self.hosted += 1;
                            self.open(node, offer.id, false);
                        }
                        Offered::Declined => {}
                        Offered::Later => later.push(offer.id),
                    }
                }
                self.tell(at, LinkInput::Offered { later });
            }
            Work::Catalog(query) => {
                let answer = look_up(|bucket| self.nodes[node].stored(bucket), query);
                self.tell(at, LinkInput::LookedUp(answer));
            }
            Work::CheckPending(waiting) => {
                let open = &self.nodes[node].open;
                let waits = |(place, digest): &(usize, Digest)| {
                    open.get(place).is_some_and(|open| open.replica.is_pending(digest))
                };
                let released =
                    waiting.into_iter().filter(|it| !waits(it)).map(|(_, digest)| digest).collect();
                self.tell(at, LinkInput::Released(released));
            }
        }
    }

    fn apply(&mut self, at: At, node: usize, place: usize, changes: Vec<Change>) {
        let (now, origin) = (self.now, OriginId(2 * at.1 + at.2 as u64 + 1));
        let Some(open) = self.nodes[node].open.get_mut(&place) else {
            return self.tell(at, LinkInput::Gone(place));
        };
        let (batch, ticket) = open.replica.apply(0, origin, changes).unwrap();
        open.quiet_since = now;
        let id = open.id;
        let evicted = batch.evicted.clone();
        let is_done = ticket.is_done().is_some();
        let applied = Applied { states: batch.states, evicted: batch.evicted };
        self.feed(at, LinkInput::Applied(Ok(applied)));
        if is_done {
            self.feed(at, LinkInput::Stored(Ok(())));
        } else if let Some(end) = self.end(at) {
            end.stored = Some(ticket);
        }
        if !evicted.is_empty() {
            self.mail(node, || LinkInput::Evicted(Evicted::Changes(evicted.as_slice().into())));
        }
        self.wake_disk(node, id);
    }

    fn wake_disk(&mut self, node: usize, id: DocumentId) {
        if self.nodes[node].logs[&id].is_dirty() {
            let delay = self.rng.ms((1, 30));
            self.plan(delay, Event::Flush(node, id));
        }
    }

    fn flush(&mut self, node: usize, id: DocumentId) {
        let it = &mut self.nodes[node];
        if !it.is_up {
            return;
        }
        it.logs[&id].flush(1 + self.rng.below(4));
        if let Some(place) = it.place_of(&id) {
            let durable = it.open[&place].replica.durable();
            self.mail(node, || LinkInput::Durable(place, durable));
        }
        self.tell_stored(node);
        self.wake_disk(node, id);
    }

    /// Tells links of batches that are on disk by now.
    fn tell_stored(&mut self, node: usize) {
        for at in self.ends_of(node) {
            let is_done = |ticket: &mut Ticket| ticket.is_done().is_some();
            if self.end(at).is_some_and(|end| end.stored.take_if(is_done).is_some()) {
                self.plan(1, Event::Tell(at, LinkInput::Stored(Ok(()))));
            }
        }
    }

    fn ends_of(&self, node: usize) -> Vec<At> {
        let mut found = Vec::new();
        for (edge, it) in self.edges.iter().enumerate() {
            let sides = (0..2).filter(|side| it.nodes[*side] == node);
            found.extend(sides.filter_map(|side| Some((edge, it.connection.as_ref()?.id, side))));
        }
        found
    }

    /// Tells all links of a node, in the order in which things happened.
    fn mail(&mut self, node: usize, input: impl Fn() -> LinkInput) {
        for at in self.ends_of(node) {
            self.plan(MAIL_MS, Event::Tell(at, input()));
        }
    }

    pub(crate) fn open(&mut self, node: usize, id: DocumentId, by_user: bool) -> usize {
        let place = self.nodes[node].open(self.now, id, by_user);
        let durable = self.nodes[node].open[&place].replica.durable();
        self.mail(node, || LinkInput::Opened(LinkDocument { place, id, durable }));
        place
    }

    pub(crate) fn close(&mut self, node: usize, place: usize) {
        let durable = {
            let open = &self.nodes[node].open[&place];
            self.nodes[node].logs[&open.id].flush(usize::MAX);
            open.replica.durable()
        };
        let held = self.nodes[node].close(place);
        self.tell_stored(node);
        self.mail(node, || LinkInput::Closed { document: place, held, durable });
    }

    pub(crate) fn edit(&mut self, node: usize, place: usize) {
        let now = self.now;
        self.nodes[node].edit(place);
        let open = self.nodes[node].open.get_mut(&place).unwrap();
        open.quiet_since = now;
        let id = open.id;
        self.wake_disk(node, id);
    }

    pub(crate) fn cut(&mut self, edge: usize, ms: u64) {
        self.edges[edge].is_cut = true;
        self.plan(ms, Event::Heal(edge));
    }

    pub(crate) fn crash(&mut self, node: usize, ms: u64) {
        if self.nodes[node].is_up {
            self.nodes[node].crash();
            for (edge, ..) in self.ends_of(node) {
                self.hang_up(edge);
            }
            self.plan(ms, Event::Restart(node));
        }
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) {
        self.loss = 0;
        for edge in 0..self.edges.len() {
            self.edges[edge].is_cut = false;
        }
        for node in 0..self.nodes.len() {
            self.restart(node);
        }
    }
}

/// Whether a frame says something of documents to whoever hears it, beside what it serves itself.
fn tells(frame: &Frame) -> bool {
    match frame {
        Frame::Changes { .. } | Frame::News(_) | Frame::Open { answers: None, .. } => true,
        Frame::Catalog(Catalog::Page { documents, .. }) => !documents.is_empty(),
        _ => false,
    }
}
