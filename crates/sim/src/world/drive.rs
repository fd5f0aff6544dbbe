//! What machines want, and how the world does it: what `drive_link.rs` of the transport does with sockets.

use bft_json_crdt::json_crdt::VersionVector;
use bft_json_crdt::{AuthorId, Change, Digest};
use gangline_doc::{ApplyError, LogSeq, ReadLimit};
use gangline_transport::PeerRights;
use gangline_transport::link::{Query, answer};
use gangline_transport::session::{Applied, Evicted};

use super::{Event, World};
use crate::machine::{Machine, Told, Want};
use crate::node::{DOCUMENTS, Open};
use crate::pipe::Parcel;

impl World {
    /// Queues what a machine is told.
    pub(super) fn tell(&mut self, connection: u64, side: usize, told: Told) {
        self.inbox.push_back((connection, side, told));
    }

    /// Tells machines what they are owed, until nothing is left that happens without time.
    pub(super) fn settle(&mut self) {
        while let Some((connection, side, told)) = self.inbox.pop_front() {
            let now = self.now;
            let Some(end) =
                self.connections.get_mut(&connection).and_then(|it| it.ends.get_mut(side)?.as_mut())
            else {
                continue;
            };
            let Some(clock) = self.nodes.get(end.node).map(|node| node.clock) else { continue };
            end.machine.handle(clock.shows(now), told);
            self.work(connection, side);
        }
    }

    /// Does what a machine wants, and notes when it wants to be asked again.
    pub(super) fn work(&mut self, connection: u64, side: usize) {
        while let Some(want) = self.end(connection, side).and_then(|end| end.machine.want()) {
            self.perform(connection, side, want);
        }
        let now = self.now;
        let Some(end) = self.end(connection, side) else { return };
        let (node, queued, raw) = (end.node, end.machine.queued(), end.raw.len());
        let Some(deadline) = end.machine.next_deadline() else { return };
        let tick_at = end.tick_at;
        let Some(clock) = self.nodes.get(node).map(|node| node.clock) else { return };
        if self.is_honest(node) {
            self.tally.queued(queued, raw);
        }
        let due = clock.when(deadline).max(now + 1);
        if tick_at.is_none_or(|at| due < at) {
            if let Some(end) = self.end(connection, side) {
                end.tick_at = Some(due);
            }
            self.plan_at(due, Event::Tick(connection, side));
        }
    }

    pub(super) fn tick(&mut self, connection: u64, side: usize) {
        let now = self.now;
        let Some(end) = self.end(connection, side).filter(|end| end.tick_at == Some(now)) else { return };
        end.tick_at = None;
        let (node, received, written) = (end.node, end.received, end.written);
        self.tell(connection, side, Told::Traffic { received, written });
        self.tell(connection, side, Told::Tick);
        self.settle();
        let Some(clock) = self.nodes.get(node).map(|node| node.clock) else { return };
        let deadline = self.end(connection, side).and_then(|end| end.machine.next_deadline());
        if deadline.is_some_and(|deadline| deadline <= clock.shows(now)) && self.is_honest(node) {
            self.tally.ignored_deadlines += 1;
        }
    }

    fn open(&mut self, connection: u64, side: usize) -> Option<&Open> {
        let (node, face) = self.end(connection, side).map(|end| (end.node, end.face))?;
        self.nodes.get(node)?.faces.get(face)?.open.as_ref()
    }

    fn perform(&mut self, connection: u64, side: usize, want: Want) {
        match want {
            Want::Receive => {
                let Some(end) = self.end(connection, side) else { return };
                let is_early = end.is_receiving || end.stored.is_some();
                end.is_receiving = end.raw.is_empty();
                let has_raw = !end.is_receiving;
                self.tally.two_batches += u64::from(is_early);
                match has_raw {
                    true => self.understand(connection, side),
                    false => self.receive(connection, side),
                }
            }
            Want::Query(document, query) => self.query(connection, side, document, query),
            Want::Apply(document, changes) => self.apply(connection, side, document, changes),
            Want::Read(document, from, limit) => self.read(connection, side, document, from, limit),
            Want::Send(frames) => self.send(connection, side, frames),
            Want::Admit(key) => {
                let Some(node) = self.end(connection, side).map(|end| end.node) else { return };
                // Everybody may come who has not broken a session: what a mesh has to bear without trust lists.
                let verdict = match self.penalties.get(&(node, key)).is_some_and(|until| self.now < *until) {
                    true => Err("the key broke its last session here".to_owned()),
                    false => Ok(PeerRights { read: true, write: true, name: None }),
                };
                self.tell(connection, side, Told::Admitted(verdict));
            }
            Want::Serve(id, body) => self.tell(connection, side, Told::Served(id, body)),
            Want::CheckPending(digests) => {
                let Some(open) = self.open(connection, side) else { return };
                let waits =
                    |digest: &Digest| (0..DOCUMENTS.len()).any(|at| open.source(at).is_pending(digest));
                let released = digests.into_iter().filter(|digest| !waits(digest)).collect();
                self.tell(connection, side, Told::Released(released));
            }
            Want::Ping => {
                self.push(connection, side, Parcel::Ping);
                self.pump(connection, 1 - side);
            }
            Want::Established(peer) => self.established(connection, side, peer),
            Want::Acked(document, vector) => self.acked(connection, side, document, &vector),
            Want::BadFrame => self.tally.bad_frames += 1,
            Want::Nothing => {}
            Want::Close(reason) => self.drop_end(connection, side, &reason, true),
        }
    }

    fn query(&mut self, connection: u64, side: usize, document: usize, query: Query) {
        let Some(node) = self.end(connection, side).map(|end| end.node) else { return };
        let Some(open) = self.open(connection, side) else { return };
        let found = answer(open.source(document), query);
        let found = match self.actors.get_mut(&node) {
            Some(actor) => actor.answer(found),
            None => found,
        };
        self.tell(connection, side, Told::Answered(document, found));
    }

    fn read(&mut self, connection: u64, side: usize, document: usize, from: LogSeq, limit: ReadLimit) {
        let Some(open) = self.open(connection, side) else { return };
        let entries = open.source(document).entries(from, limit).map_err(|error| error.to_string());
        self.tell(connection, side, Told::Entries(document, entries));
    }

    fn apply(&mut self, connection: u64, side: usize, document: usize, changes: Vec<Change>) {
        let Some((node, face, origin)) =
            self.end(connection, side).map(|end| (end.node, end.face, end.origin))
        else {
            return;
        };
        if self.is_honest(node) {
            self.tally.applied_batch(&changes);
        }
        let Some(open) = self.open(connection, side) else { return };
        let digests: Vec<Digest> = changes.iter().map(Change::digest).collect();
        let held = open.source(document).contains(&digests);
        let is_news = |(digest, held): &(Digest, bool)| !held && !open.source(document).is_pending(digest);
        let news: Vec<(Digest, bool)> = digests.into_iter().zip(held).filter(is_news).collect();
        let (batch, ticket) = match open.source(document).apply(0, origin, changes.clone()) {
            Ok(both) => both,
            Err(ApplyError::Busy { .. }) => {
                self.tally.busy += 1;
                return self.tell(connection, side, Told::Busy(changes));
            }
            Err(error) => return self.tell(connection, side, Told::Applied(Err(error.to_string()))),
        };
        let evicted = batch.evicted.clone();
        let refused = batch.states.iter().zip(&changes).filter(|(state, _)| state.is_refused());
        let refused: Vec<Digest> = refused.map(|(_, change)| change.digest()).collect();
        let is_stored = ticket.is_done().is_some();
        if let Some(end) = self.end(connection, side) {
            end.brought.extend(news.into_iter().map(|(digest, _)| digest).filter(|it| !refused.contains(it)));
        }
        let applied = Applied { states: batch.states, evicted: batch.evicted };
        self.tell(connection, side, Told::Applied(Ok(applied)));
        if is_stored {
            self.tell(connection, side, Told::Stored(Ok(())));
        } else if let Some(end) = self.end(connection, side) {
            end.stored = Some(ticket);
        }
        if !evicted.is_empty() {
            for (connection, side) in self.ends_of(node, Some(face)) {
                let evicted = Evicted::Changes(evicted.as_slice().into());
                self.tell(connection, side, Told::Evicted(evicted));
            }
        }
        self.wake_disks(node);
    }

    /// Whoever passes for somebody must be that node.
    fn established(&mut self, connection: u64, side: usize, peer: Option<AuthorId>) {
        let Some(node) = self.end(connection, side).map(|end| end.node) else { return };
        let other = self.other(connection, side).and_then(|other| self.nodes.get(other));
        let is_itself = peer.is_none_or(|peer| other.is_some_and(|other| other.author() == peer));
        if self.is_honest(node) && !is_itself {
            self.tally.impostors += 1;
        }
    }

    /// What an honest peer acknowledges must be on its disk.
    fn acked(&mut self, connection: u64, side: usize, document: usize, vector: &VersionVector) {
        let Some(edge) = self.connections.get(&connection).and_then(|it| self.edges.get(it.edge)) else {
            return;
        };
        let other = edge.nodes.get(1 - side).zip(edge.faces.get(1 - side));
        let Some((other, face)) = other.map(|(node, face)| (*node, *face)) else { return };
        if !self.is_honest(other) {
            return;
        }
        let Some(face) = self.nodes.get(other).and_then(|node| node.faces.get(face)) else { return };
        let tips = vector.values().flatten();
        let early = tips.filter(|(_, digest)| !face.holds(document, digest)).count();
        self.tally.acked_early += early as u64;
    }

    /// Whether a node runs the machine of version 2 on some side of a connection.
    pub(super) fn is_link(&mut self, connection: u64, side: usize) -> bool {
        self.end(connection, side).is_some_and(|end| matches!(end.machine, Machine::Link(_)))
    }
}
