//! The world: nodes, connections, and what happens when. One event at a time, in the order of time and then of
//! planning; what machines are told in answer is worked off before the next one.

mod drive;
mod faults;
mod travel;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bft_json_crdt::{AuthorId, Digest, Keypair};
use gangline_doc::{ApplyError, EditFailed, OriginId};
use gangline_transport::link::{Link, LinkDocument, LinkStart};
use gangline_transport::session::{CloseReason, RawFrame, Session, SessionSettings};
use gangline_transport::{Backoff, BackoffSettings, TransportSettings};

pub(crate) use self::faults::Fault;
use crate::hostile::Actor;
use crate::machine::{Machine, Told};
use crate::node::{BOARD, DOCUMENTS, Node, NodeError};
use crate::pipe::{Parcel, Path, Pipe};
use crate::rng::Rng;
use crate::scenario::{Hostile, Scenario};
use crate::tally::Tally;

/// Connections of a hostile node.
const HOSTILE_EDGES_MAX: usize = 3;
/// When an edit is tried again for which the disk had no room.
const BUSY_MS: u64 = 300;
/// Events at one moment after which time is taken to stand still.
const STANDSTILL: u64 = 1_000_000;

/// Everything.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) tally: Tally,
    pub(crate) loss_millionths: u64,
    pub(crate) settings: SessionSettings,
    /// Nobody makes changes any more; hostile nodes misbehave otherwise.
    is_settling: bool,
    /// Hostile nodes have gone.
    is_calm: bool,
    /// Until when a node keeps out keys that broke a session.
    penalties: BTreeMap<(usize, AuthorId), u64>,
    actors: BTreeMap<usize, Actor>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    /// What machines are to be told, before time goes on.
    inbox: VecDeque<(u64, usize, Told)>,
}

/// Two nodes, of which the first dials the second whenever it can.
pub(crate) struct Edge {
    pub(crate) nodes: [usize; 2],
    faces: [usize; 2],
    pub(crate) is_v1: bool,
    path: Path,
    backoff: Backoff,
    pub(crate) connection: Option<u64>,
    pub(crate) is_cut: bool,
    pub(crate) is_dial_due: bool,
    /// Bytes sent by each.
    pub(crate) bytes: [u64; 2],
}

/// A connection; its first end dialled.
struct Connection {
    edge: usize,
    ends: [Option<End>; 2],
    /// The pipe at a side leads to it.
    pipes: [Pipe; 2],
    /// One side has asked again: its vector may have crossed changes, which it is then told twice.
    has_asked_again: bool,
    /// Swallows everything, since something was swallowed while the edge was cut.
    is_dead: bool,
}

struct End {
    node: usize,
    face: usize,
    origin: OriginId,
    machine: Machine,
    is_receiving: bool,
    /// In the system's buffer.
    arrived: VecDeque<Parcel>,
    /// Read and not understood yet.
    raw: VecDeque<RawFrame>,
    /// Changes of which this connection brought the first word.
    brought: BTreeSet<Digest>,
    /// Changes that were sent.
    sent: BTreeSet<Digest>,
    stored: Option<gangline_doc::Ticket>,
    tick_at: Option<u64>,
    read_at: u64,
    received: u64,
    written: u64,
}

enum Event {
    Dial(usize),
    Arrive(u64, usize, Parcel),
    Taken(u64, usize),
    Ended(u64, usize, CloseReason),
    Tick(u64, usize),
    Read(u64, usize),
    Flush(usize, usize),
    Edit(usize),
    Mischief(usize),
    Fault(Fault),
}

impl World {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut rng = Rng::new(scenario.seed);
        let hostile: Vec<Hostile> = scenario.hostile.iter().copied().collect();
        let kinds = (0..scenario.nodes).map(|_| None).chain(hostile.iter().copied().map(Some));
        let mut keys = rng.fork();
        let nodes: Vec<Node> =
            kinds.map(|kind| Node::new(Keypair::from_seed(&keys.bytes()), kind, &mut rng)).collect();
        let mut pairs = scenario.topology.edges(scenario.nodes, &mut rng);
        let honest_pairs = pairs.len();
        for liar in scenario.nodes..nodes.len() {
            let mut others: Vec<usize> = (0..scenario.nodes).collect();
            for _ in 0..HOSTILE_EDGES_MAX.min(scenario.nodes) {
                let other = others.swap_remove(rng.below(others.len()));
                pairs.push(if rng.chance(500_000) { (liar, other) } else { (other, liar) });
            }
        }
        let mut faces = vec![0; nodes.len()];
        let mut face = |node: usize| {
            let count = nodes.get(node).map_or(1, |node| node.faces.len());
            faces.get_mut(node).map_or(0, |next| {
                *next += 1;
                *next % count
            })
        };
        let edges = pairs.into_iter().enumerate().map(|(n, (dialer, listener))| Edge {
            nodes: [dialer, listener],
            faces: [face(dialer), face(listener)],
            is_v1: n < honest_pairs && rng.chance(scenario.v1_percent * 10_000),
            path: Path {
                delay_ms: rng.between(1, 60),
                jitter_ms: rng.between(0, 30),
                bytes_per_ms: rng.between(20, 2_000),
            },
            backoff: Backoff::new(BackoffSettings::default()),
            connection: None,
            is_cut: false,
            is_dial_due: false,
            bytes: [0; 2],
        });
        let edges = edges.collect();
        let actors =
            nodes.iter().enumerate().filter_map(|(n, node)| Some((n, Actor::new(node.hostile?, rng.fork()))));
        let actors = actors.collect();
        let mut world = Self {
            now: 0,
            nodes,
            edges,
            tally: Tally::default(),
            loss_millionths: scenario.loss_millionths,
            settings: SessionSettings::default(),
            is_settling: false,
            is_calm: false,
            penalties: BTreeMap::new(),
            actors,
            connections: BTreeMap::new(),
            next_connection: 0,
            events: BTreeMap::new(),
            next_event: 0,
            inbox: VecDeque::new(),
            rng,
        };
        for node in 0..world.nodes.len() {
            world.start(node);
        }
        let actors: Vec<usize> = world.actors.keys().copied().collect();
        for actor in actors {
            world.plan(1_000, Event::Mischief(actor));
        }
        world
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now.saturating_add(ms);
        let (mut moment, mut at_once) = (self.now, 0);
        self.settle();
        while let Some(((at, _), _)) = self.events.first_key_value()
            && *at <= until
            && !self.tally.stands_still
        {
            let Some(((at, _), event)) = self.events.pop_first() else { break };
            at_once = if at == moment { at_once + 1 } else { 0 };
            moment = at;
            self.tally.stands_still |= at_once > STANDSTILL;
            self.now = at;
            self.happen(event);
            self.settle();
        }
        self.now = until;
    }

    fn plan(&mut self, delay_ms: u64, event: Event) {
        self.plan_at(self.now.saturating_add(delay_ms), event);
    }

    fn plan_at(&mut self, at: u64, event: Event) {
        self.events.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    pub(crate) fn plan_edit(&mut self, delay_ms: u64, node: usize) {
        self.plan(delay_ms, Event::Edit(node));
    }

    pub(crate) fn plan_fault(&mut self, delay_ms: u64, fault: Fault) {
        self.plan(delay_ms, Event::Fault(fault));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Dial(edge) => self.dial(edge),
            Event::Arrive(connection, side, parcel) => {
                if let Some(end) = self.end(connection, side) {
                    end.arrived.push_back(parcel);
                    self.receive(connection, side);
                }
            }
            Event::Taken(connection, side) => self.tell(connection, side, Told::Sent),
            Event::Ended(connection, side, reason) => self.drop_end(connection, side, &reason, false),
            Event::Tick(connection, side) => self.tick(connection, side),
            Event::Read(connection, side) => self.receive(connection, side),
            Event::Flush(node, face) => self.flush(node, face),
            Event::Edit(node) => self.edit(node),
            Event::Mischief(node) => self.mischief(node),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    /// An edit on a node, if it is up.
    pub(crate) fn edit(&mut self, node: usize) {
        let Some(it) = self.nodes.get_mut(node).filter(|it| it.is_up()) else { return };
        let is_honest = it.hostile.is_none();
        match it.edit() {
            Ok(()) => self.tally.edits += u64::from(is_honest),
            // Whoever wants it tries again.
            Err(NodeError::Apply(ApplyError::Busy { .. }) | NodeError::Board(EditFailed::Busy { .. })) => {
                self.tally.busy += 1;
                self.plan(BUSY_MS, Event::Edit(node));
            }
            // The place to edit is one whose author signed two of the same name.
            Err(NodeError::Board(EditFailed::Refused(_)) | NodeError::Sign(_)) => {
                self.tally.refused_edits += u64::from(is_honest)
            }
            Err(error) if is_honest => self.tally.broken.push(format!("node {node}: {error}")),
            Err(_) => {}
        }
        self.wake_disks(node);
    }

    /// Lets the disks of a node write what waits for them.
    fn wake_disks(&mut self, node: usize) {
        let Some(it) = self.nodes.get_mut(node) else { return };
        let mut due = Vec::new();
        for (n, face) in it.faces.iter_mut().enumerate() {
            if !face.is_flush_due && face.open.is_some() && face.is_dirty() {
                face.is_flush_due = true;
                due.push((n, it.rng.between(it.disk_ms.0, it.disk_ms.1)));
            }
        }
        for (face, delay) in due {
            self.plan(delay, Event::Flush(node, face));
        }
    }

    fn flush(&mut self, node: usize, face: usize) {
        let Some(it) = self.nodes.get_mut(node) else { return };
        let Some(shown) = it.faces.get_mut(face) else { return };
        shown.is_flush_due = false;
        shown.flush(&mut it.rng);
        let Some(open) = &shown.open else { return };
        let durable = [open.board.durable(), open.notes.durable()];
        self.wake_disks(node);
        for (connection, side) in self.ends_of(node, Some(face)) {
            for (document, durable) in durable.into_iter().enumerate() {
                self.tell(connection, side, Told::Durable(document, durable));
            }
            let is_done = |ticket: &mut gangline_doc::Ticket| ticket.is_done().is_some();
            if self.end(connection, side).is_some_and(|end| end.stored.take_if(is_done).is_some()) {
                self.tell(connection, side, Told::Stored(Ok(())));
            }
        }
    }

    fn dial(&mut self, at: usize) {
        let Some(edge) = self.edges.get_mut(at) else { return };
        edge.is_dial_due = false;
        let ([dialer, listener], faces) = (edge.nodes, edge.faces);
        let (is_cut, is_v1, round_trip) = (edge.is_cut, edge.is_v1, 2 * edge.path.delay_ms);
        let is_up = |node: usize| self.nodes.get(node).is_some_and(Node::is_up);
        if edge.connection.is_some() || !is_up(dialer) {
            return;
        }
        if is_cut || !is_up(listener) {
            edge.backoff.failed();
            return self.redial(at);
        }
        let id = self.next_connection;
        self.next_connection += 1;
        let mut ends = [None, None];
        for (side, (node, face)) in [dialer, listener].into_iter().zip(faces).enumerate() {
            let (now, settings) = (self.now, self.settings.clone());
            let nonce = self.rng.bytes();
            let is_puppet =
                self.actors.get_mut(&node).is_some_and(|actor| !self.is_calm && actor.begins_alone(id));
            let Some(it) = self.nodes.get_mut(node) else { return };
            let origin = it.origin();
            let clock = it.clock;
            let Some(open) = it.faces.get(face).and_then(|face| face.open.as_ref()) else { return };
            let documents = (0..DOCUMENTS.len()).map(|place| LinkDocument {
                place,
                id: open.source(place).document(),
                durable: open.source(place).durable(),
            });
            let machine = if is_puppet {
                Machine::Puppet
            } else if is_v1 {
                let durable = open.source(BOARD).durable();
                Machine::Session(Box::new(Session::new(clock.shows(now), origin, durable, settings)))
            } else {
                let start = LinkStart {
                    origin,
                    is_dialer: side == 0,
                    nonce,
                    channel: None,
                    documents: documents.collect(),
                    opens_documents: true,
                    hosts: false,
                    credentials: Vec::new(),
                    records: Vec::new(),
                };
                Machine::Link(Box::new(Link::new(clock.shows(now), it.keypair.clone(), start, settings)))
            };
            if let Some(slot) = ends.get_mut(side) {
                *slot = Some(End {
                    node,
                    face,
                    origin,
                    is_receiving: matches!(machine, Machine::Puppet),
                    machine,
                    arrived: VecDeque::new(),
                    raw: VecDeque::new(),
                    brought: BTreeSet::new(),
                    sent: BTreeSet::new(),
                    stored: None,
                    tick_at: None,
                    read_at: 0,
                    received: 0,
                    written: 0,
                });
            }
        }
        let mut pipes: [Pipe; 2] = Default::default();
        // The handshake takes a round trip.
        pipes.iter_mut().for_each(|pipe| pipe.begin_at(self.now + round_trip));
        self.connections
            .insert(id, Connection { edge: at, ends, pipes, has_asked_again: false, is_dead: false });
        if let Some(edge) = self.edges.get_mut(at) {
            edge.connection = Some(id);
        }
        self.tally.connections += 1;
        for side in 0..2 {
            self.work(id, side);
        }
    }

    fn redial(&mut self, at: usize) {
        let jitter = self.rng.fraction();
        let Some(edge) = self.edges.get_mut(at) else { return };
        if !edge.is_dial_due {
            edge.is_dial_due = true;
            let delay = edge.backoff.delay_ms(jitter);
            self.plan(delay, Event::Dial(at));
        }
    }

    /// Ends one end of a connection. With `tell` the other one hears of it, after what is on its way.
    fn drop_end(&mut self, connection: u64, side: usize, reason: &CloseReason, tell: bool) {
        let now = self.now;
        let Some(broken) = self.connections.get_mut(&connection) else { return };
        let Some(end) = broken.ends.get_mut(side).and_then(Option::take) else { return };
        let (at, is_dead, other) = (broken.edge, broken.is_dead, 1 - side);
        let arrival = broken.pipes.get(other).map_or(now, |pipe| pipe.arrival().max(now + 1));
        if broken.ends.iter().all(Option::is_none) {
            self.connections.remove(&connection);
        } else if tell && !is_dead && !self.edges.get(at).is_some_and(|edge| edge.is_cut) {
            let reason = CloseReason::ByPeer { code: reason.code(), reason: String::new() };
            self.plan_at(arrival, Event::Ended(connection, other, reason));
        }
        let is_honest = |node: usize| self.nodes.get(node).is_some_and(|node| node.hostile.is_none());
        if is_honest(end.node) {
            let between_honest =
                self.edges.get(at).is_some_and(|edge| edge.nodes.iter().all(|it| is_honest(*it)));
            self.tally.closed(reason, between_honest);
        }
        let is_broken = matches!(reason, CloseReason::TooManyBadFrames { .. } | CloseReason::Protocol { .. });
        if let Some(key) = end.machine.peer().filter(|_| is_broken) {
            let until = now + TransportSettings::default().penalty_ms;
            self.penalties.insert((end.node, key), until);
        }
        if side == 0 {
            let Some(edge) = self.edges.get_mut(at) else { return };
            edge.connection = None;
            if end.machine.is_established() {
                edge.backoff.established();
            } else {
                edge.backoff.failed();
            }
            if is_broken {
                edge.backoff.penalise();
            }
            self.redial(at);
        }
    }

    fn start(&mut self, node: usize) {
        let Some(it) = self.nodes.get_mut(node) else { return };
        if let Err(error) = it.start() {
            self.tally.broken.push(format!("node {node}: {error}"));
            return;
        }
        for at in 0..self.edges.len() {
            let Some(edge) = self.edges.get_mut(at) else { continue };
            if edge.nodes[0] == node && edge.connection.is_none() && !edge.is_dial_due {
                edge.is_dial_due = true;
                self.plan(0, Event::Dial(at));
            }
        }
    }

    fn end(&mut self, connection: u64, side: usize) -> Option<&mut End> {
        self.connections.get_mut(&connection)?.ends.get_mut(side)?.as_mut()
    }

    fn ends_of(&self, node: usize, face: Option<usize>) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        for (id, connection) in &self.connections {
            for (side, end) in connection.ends.iter().enumerate() {
                let is_its = |end: &End| end.node == node && face.is_none_or(|face| face == end.face);
                if end.as_ref().is_some_and(is_its) {
                    found.push((*id, side));
                }
            }
        }
        found
    }

    /// The node at the other side.
    fn other(&self, connection: u64, side: usize) -> Option<usize> {
        let edge = self.edges.get(self.connections.get(&connection)?.edge)?;
        edge.nodes.get(1 - side).copied()
    }

    pub(crate) fn is_honest(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.hostile.is_none())
    }

    /// Who an honest node is.
    pub(crate) fn honest_authors(&self) -> BTreeSet<AuthorId> {
        self.nodes.iter().filter(|node| node.hostile.is_none()).map(Node::author).collect()
    }

    /// What honest nodes signed.
    pub(crate) fn signed(&self) -> BTreeSet<Digest> {
        let honest = self.nodes.iter().filter(|node| node.hostile.is_none());
        honest.flat_map(|node| node.faces.iter().flat_map(|face| face.signed.iter().copied())).collect()
    }

    /// Tells whether a connection is up on which both sides have told each other all.
    pub(crate) fn is_level(&self, edge: usize) -> bool {
        let connection = self.edges.get(edge).and_then(|edge| self.connections.get(&edge.connection?));
        connection.is_some_and(|connection| {
            connection.ends.iter().all(|end| {
                end.as_ref().is_some_and(|end| end.machine.is_established() && end.machine.is_level())
            })
        })
    }
}
