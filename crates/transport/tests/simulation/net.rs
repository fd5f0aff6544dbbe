//! A network of nodes on virtual time: links deliver frames late, twice, out of order or not at all.
//!
//! Version 1 retransmits nothing, so a lost frame is a lost connection. Beside the faults it checks what
//! must hold at every step: one batch each way, bounded, and no echo.

mod effects;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bft_json_crdt::Digest;
use bytes::Bytes;
use gangline_doc::ReplicaSettings;
use gangline_transport::session::{CloseReason, Input, Millis, RawFrame, Session, SessionSettings};
use gangline_transport::{Backoff, BackoffSettings};

use crate::node::{Node, Promise};
use crate::rng::Rng;

/// What links do to frames.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) delay_ms: (u64, u64),
    pub(crate) duplicated_percent: u64,
    pub(crate) reordered_percent: u64,
    /// Percent of frames with which the connection is lost.
    pub(crate) lost_percent: u64,
}

impl Faults {
    pub(crate) const NONE: Self =
        Self { delay_ms: (1, 5), duplicated_percent: 0, reordered_percent: 0, lost_percent: 0 };
}

pub(crate) struct Net {
    pub(crate) now: Millis,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) faults: Faults,
    pub(crate) settings: SessionSettings,
    /// Why sessions ended, with the node whose session it was.
    pub(crate) closed: Vec<(usize, CloseReason)>,
    /// Ops sent over all edges, both directions.
    pub(crate) transmissions: u64,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    events: BTreeMap<(Millis, u64), Event>,
    next_event: u64,
}

pub(crate) struct Edge {
    nodes: [usize; 2],
    backoff: Backoff,
    link: Option<u64>,
    pub(crate) is_cut: bool,
}

/// A connection; its first end dialled.
struct Link {
    edge: usize,
    ends: [Option<End>; 2],
    /// When the last frame to each end arrives.
    arrival: [Millis; 2],
    /// Swallows everything, since something was swallowed while the edge was cut.
    is_dead: bool,
}

struct End {
    node: usize,
    session: Session,
    origin: gangline_doc::OriginId,
    is_receiving: bool,
    is_sending: bool,
    inbox: VecDeque<RawFrame>,
    stored: Option<Promise>,
    received_bytes: u64,
    written_bytes: u64,
    /// Ops sent in this session.
    sent: BTreeSet<Digest>,
    /// Ops of which this session was the first to bring word.
    brought: BTreeSet<Digest>,
}

impl End {
    fn summary(&self) -> String {
        let (behind, pending) = (self.session.behind(), self.session.pending());
        format!("at {}: behind {behind}, pending {pending}, {:?}", self.node, self.session)
    }
}

enum Event {
    Deliver { link: u64, side: usize, parcel: Parcel },
    Taken { link: u64, side: usize },
    Ended { link: u64, side: usize, reason: CloseReason },
    Dial { edge: usize },
    Flush { node: usize },
}

/// What travels over a link.
#[derive(Clone)]
enum Parcel {
    Data(RawFrame),
    Ping,
    Pong,
}

/// Steps after which a simulation that does not end is taken for one that never will.
const STEPS_MAX: u64 = 3_000_000;

impl Net {
    pub(crate) fn new(seed: u64, count: usize, edges: &[(usize, usize)], settings: SessionSettings) -> Self {
        let nodes = (0..count).map(|n| Node::new(n as u8 + 1, ReplicaSettings::default())).collect();
        let backoff = Backoff::new(BackoffSettings::default());
        let edges = edges.iter().map(|(dialer, listener)| Edge {
            nodes: [*dialer, *listener],
            backoff: backoff.clone(),
            link: None,
            is_cut: false,
        });
        let mut net = Self {
            now: Millis(0),
            rng: Rng::new(seed),
            nodes,
            edges: edges.collect(),
            faults: Faults::NONE,
            settings,
            closed: Vec::new(),
            transmissions: 0,
            links: BTreeMap::new(),
            next_link: 0,
            events: BTreeMap::new(),
            next_event: 0,
        };
        for edge in 0..net.edges.len() {
            net.schedule(0, Event::Dial { edge });
        }
        net
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now.plus(ms);
        for step in 0.. {
            assert!(step < STEPS_MAX, "the net is busy for ever");
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let tick = self.next_deadline();
            let Some(next) = event.into_iter().chain(tick).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now) {
                let (_, event) = self.events.pop_first().expect("there is one");
                self.happen(event);
            } else {
                self.tick();
            }
        }
        self.now = until;
    }

    /// Edits on a node, and lets its disk know.
    pub(crate) fn edit(&mut self, node: usize) {
        let choice = self.rng.next();
        self.nodes[node].edit(choice);
        self.dirty(node);
    }

    pub(crate) fn dirty(&mut self, node: usize) {
        if !self.nodes[node].is_flush_due && self.nodes[node].log.is_dirty() {
            self.nodes[node].is_flush_due = true;
            let delay = self.rng.ms((0, 20));
            self.schedule(delay, Event::Flush { node });
        }
    }

    pub(crate) fn crash(&mut self, node: usize) {
        self.nodes[node].crash();
        let ends: Vec<(u64, usize)> = self.ends_of(node);
        for (link, side) in ends {
            self.drop_end(link, side, &CloseReason::Stopping, true);
        }
    }

    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].open();
        for edge in 0..self.edges.len() {
            if self.edges[edge].nodes[0] == node && self.edges[edge].link.is_none() {
                self.schedule(0, Event::Dial { edge });
            }
        }
    }

    /// Puts a frame into a link, as if it came from the peer.
    pub(crate) fn inject(&mut self, bytes: &[u8], is_text: bool) {
        let links: Vec<u64> = self.links.keys().copied().collect();
        if links.is_empty() {
            return;
        }
        let link = links[self.rng.below(links.len())];
        let side = self.rng.below(2);
        let payload = Bytes::copy_from_slice(bytes);
        let frame = if is_text { RawFrame::Text(payload) } else { RawFrame::Binary(payload) };
        self.schedule(0, Event::Deliver { link, side, parcel: Parcel::Data(frame) });
    }

    /// Frames that were sent, for whoever wants to send them again, changed or not.
    pub(crate) fn some_frame(&mut self) -> Option<Vec<u8>> {
        let node = self.rng.below(self.nodes.len());
        let replica = self.nodes[node].replica.as_ref()?;
        let count = replica.durable().0 as usize;
        if count == 0 {
            return None;
        }
        let from = gangline_doc::LogSeq(self.rng.below(count) as u64);
        let entries = replica.entries(from, gangline_doc::ReadLimit { count: 1, bytes: 1 }).ok()?;
        entries.first().map(|entry| entry.v1().to_vec())
    }

    /// Ends all faults, and waits until all nodes hold the same.
    pub(crate) fn heal_and_settle(&mut self, limit_ms: u64) {
        self.faults = Faults::NONE;
        for edge in &mut self.edges {
            edge.is_cut = false;
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].replica.is_none() {
                self.restart(node);
            }
        }
        for _ in 0..limit_ms / 1_000 {
            self.run(1_000);
            if self.is_quiet() && self.agrees() {
                return;
            }
        }
        let nodes: Vec<String> = self.nodes.iter().map(Node::summary).collect();
        let ends: Vec<String> =
            self.links.values().flat_map(|link| &link.ends).flatten().map(End::summary).collect();
        panic!("no agreement after {limit_ms} ms\nnodes: {nodes:#?}\nends: {ends:#?}");
    }

    pub(crate) fn agrees(&self) -> bool {
        let mut pictures = self.nodes.iter().map(Node::picture);
        let first = pictures.next();
        pictures.all(|picture| Some(&picture) == first.as_ref())
    }

    /// Tells whether all edges are connected, and nothing is on its way or on no disk.
    pub(crate) fn is_quiet(&self) -> bool {
        self.edges.iter().all(|edge| edge.link.is_some())
            && self.nodes.iter().all(|node| !node.log.is_dirty())
            && self.links.values().flat_map(|link| &link.ends).flatten().all(|end| {
                end.session.is_caught_up() && end.session.behind() == 0 && end.session.is_established()
            })
    }

    fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.schedule_at(self.now.plus(delay_ms), event);
    }

    fn schedule_at(&mut self, at: Millis, event: Event) {
        self.events.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    fn next_deadline(&self) -> Option<Millis> {
        self.links
            .values()
            .flat_map(|link| &link.ends)
            .flatten()
            .filter_map(|end| end.session.next_deadline())
            .min()
    }

    fn ends_of(&self, node: usize) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        for (id, link) in &self.links {
            for (side, end) in link.ends.iter().enumerate() {
                if end.as_ref().is_some_and(|end| end.node == node) {
                    found.push((*id, side));
                }
            }
        }
        found
    }

    fn end(&mut self, link: u64, side: usize) -> Option<&mut End> {
        self.links.get_mut(&link)?.ends[side].as_mut()
    }

    fn tick(&mut self) {
        let now = self.now;
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            for side in 0..2 {
                let Some(end) = self.end(id, side) else { continue };
                if end.session.next_deadline().is_none_or(|due| due > now) {
                    continue;
                }
                let (received, written) = (end.received_bytes, end.written_bytes);
                end.session.handle(now, Input::Traffic { received, written });
                self.feed(id, side, Input::Tick);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Dial { edge } => self.dial(edge),
            Event::Flush { node } => self.flush(node),
            Event::Taken { link, side } => {
                if let Some(end) = self.end(link, side) {
                    end.is_sending = false;
                    self.feed(link, side, Input::Sent);
                }
            }
            Event::Ended { link, side, reason } => self.drop_end(link, side, &reason, false),
            Event::Deliver { link, side, parcel } => {
                let Some(end) = self.end(link, side) else { return };
                match parcel {
                    Parcel::Data(frame) => {
                        end.received_bytes += frame.bytes() as u64;
                        end.inbox.push_back(frame);
                        self.receive(link, side);
                    }
                    Parcel::Ping => {
                        end.received_bytes += 2;
                        self.deliver(link, 1 - side, Parcel::Pong);
                    }
                    Parcel::Pong => end.received_bytes += 2,
                }
            }
        }
    }

    fn dial(&mut self, edge: usize) {
        let [dialer, listener] = self.edges[edge].nodes;
        if self.edges[edge].link.is_some() || self.nodes[dialer].replica.is_none() {
            return;
        }
        if self.edges[edge].is_cut || self.nodes[listener].replica.is_none() {
            self.edges[edge].backoff.failed();
            self.redial(edge);
            return;
        }
        let id = self.next_link;
        self.next_link += 1;
        let ends = [dialer, listener].map(|node| {
            let origin = self.nodes[node].origin();
            let durable = self.nodes[node].replica().durable();
            Some(End {
                node,
                origin,
                session: Session::new(self.now, origin, durable, self.settings.clone()),
                is_receiving: false,
                is_sending: false,
                inbox: VecDeque::new(),
                stored: None,
                received_bytes: 0,
                written_bytes: 0,
                sent: BTreeSet::new(),
                brought: BTreeSet::new(),
            })
        });
        self.links.insert(id, Link { edge, ends, arrival: [self.now; 2], is_dead: false });
        self.edges[edge].link = Some(id);
        self.pump(id, 0);
        self.pump(id, 1);
    }

    fn redial(&mut self, edge: usize) {
        let jitter = (self.rng.next() % 1_000) as f64 / 1_000.0;
        let delay = self.edges[edge].backoff.delay_ms(jitter);
        self.schedule(delay, Event::Dial { edge });
    }

    fn flush(&mut self, node: usize) {
        self.nodes[node].is_flush_due = false;
        if self.nodes[node].replica.is_none() {
            return;
        }
        let count = 1 + self.rng.below(8);
        self.nodes[node].log.flush(count);
        self.dirty(node);
        let durable = self.nodes[node].replica().durable();
        for (link, side) in self.ends_of(node) {
            self.feed(link, side, Input::Durable(durable));
            if self.end(link, side).is_some_and(|end| end.stored.take_if(|stored| stored.is_kept()).is_some())
            {
                self.feed(link, side, Input::Stored(Ok(())));
            }
        }
    }

    fn feed(&mut self, link: u64, side: usize, input: Input) {
        let now = self.now;
        if let Some(end) = self.end(link, side) {
            end.session.handle(now, input);
            self.pump(link, side);
        }
    }

    fn pump(&mut self, link: u64, side: usize) {
        while let Some(effect) = self.end(link, side).and_then(|end| end.session.poll_effect()) {
            self.perform(link, side, effect);
        }
    }

    /// Ends one end of a link. With `tell` the other one hears of it, after what is on its way.
    fn drop_end(&mut self, link: u64, side: usize, reason: &CloseReason, tell: bool) {
        let now = self.now;
        let Some(broken) = self.links.get_mut(&link) else { return };
        let Some(end) = broken.ends[side].take() else { return };
        let (edge, is_dead) = (broken.edge, broken.is_dead);
        let arrival = broken.arrival[1 - side].max(now);
        let is_over = broken.ends.iter().all(Option::is_none);
        self.closed.push((end.node, reason.clone()));
        if is_over {
            self.links.remove(&link);
        } else if tell && !self.edges[edge].is_cut && !is_dead {
            let reason = CloseReason::Lost { error: "the other end closed".to_owned() };
            self.schedule_at(arrival, Event::Ended { link, side: 1 - side, reason });
        }
        if side == 0 {
            self.edges[edge].link = None;
            if !end.session.is_established() {
                self.edges[edge].backoff.failed();
            }
            if let CloseReason::TooManyBadFrames { .. } = reason {
                self.edges[edge].backoff.penalise();
            }
            self.redial(edge);
        }
    }
}
