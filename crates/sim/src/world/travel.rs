//! What travels: from a machine into the pipe, out of it, and to the other machine.

use bytes::Bytes;
use gangline_transport::link::understand;
use gangline_transport::session::{CloseReason, RawFrame, Received};
use gangline_wire::v2::{self, Frame};

use super::{Event, World};
use crate::machine::{Machine, Told};
use crate::pipe::Parcel;

impl World {
    /// Hands frames to the pipe that leads away from a side.
    pub(super) fn send(&mut self, connection: u64, side: usize, frames: Vec<RawFrame>) {
        let Some(node) = self.end(connection, side).map(|end| end.node) else { return };
        let bytes: usize = frames.iter().map(RawFrame::bytes).sum();
        if self.is_honest(node) {
            self.tally.batch(frames.len(), bytes);
            for frame in &frames {
                self.watch(connection, side, frame);
            }
        }
        let own = self.nodes.get(node).map(|node| node.author());
        let frames: Vec<RawFrame> = match (self.actors.get_mut(&node), own) {
            (Some(actor), Some(own)) => {
                frames.into_iter().filter_map(|frame| actor.outgoing(&own, frame)).collect()
            }
            _ => frames,
        };
        for frame in frames {
            self.push(connection, side, Parcel::Data(frame));
        }
        if let Some(pipe) = self.pipe_from(connection, side) {
            pipe.owes_sent = true;
        }
        self.pump(connection, 1 - side);
    }

    /// Puts one parcel into the pipe that leads away from a side.
    pub(super) fn push(&mut self, connection: u64, side: usize, parcel: Parcel) {
        if let Some(pipe) = self.pipe_from(connection, side) {
            pipe.push(parcel);
        }
    }

    fn pipe_from(&mut self, connection: u64, side: usize) -> Option<&mut crate::pipe::Pipe> {
        self.connections.get_mut(&connection)?.pipes.get_mut(1 - side)
    }

    /// How many parcels wait to leave a side.
    pub(super) fn waiting(&mut self, connection: u64, side: usize) -> usize {
        self.pipe_from(connection, side).map_or(usize::MAX, |pipe| pipe.waiting())
    }

    /// Lets what waits go on its way to a side, as far as the window allows.
    pub(super) fn pump(&mut self, connection: u64, to: usize) {
        let (now, from) = (self.now, 1 - to);
        loop {
            let Some(it) = self.connections.get_mut(&connection) else { return };
            let Some(edge) = self.edges.get_mut(it.edge) else { return };
            let Some(pipe) = it.pipes.get_mut(to) else { return };
            let Some((arrival, parcel)) = pipe.start(now, &edge.path, &mut self.rng) else { break };
            let bytes = parcel.bytes();
            if let Some(Some(end)) = it.ends.get_mut(from) {
                end.written += bytes as u64;
            }
            if let Some(sum) = edge.bytes.get_mut(from) {
                *sum += bytes as u64;
            }
            it.is_dead |= edge.is_cut;
            if it.is_dead {
                continue; // Both ends learn of it by silence.
            }
            if self.rng.chance(self.loss_millionths) {
                it.is_dead = true;
                for side in 0..2 {
                    let reason = CloseReason::Lost { error: "a frame was lost".to_owned() };
                    self.plan(1, Event::Ended(connection, side, reason));
                }
                continue;
            }
            self.plan_at(arrival, Event::Arrive(connection, to, parcel));
        }
        let Some(pipe) = self.pipe_from(connection, from) else { return };
        if pipe.owes_sent
            && let Some(at) = pipe.is_taken_at()
        {
            pipe.owes_sent = false;
            self.plan_at(at.max(now + 1), Event::Taken(connection, from));
        }
    }

    /// Reads what has arrived at a side, if its machine wants to.
    pub(super) fn receive(&mut self, connection: u64, side: usize) {
        let (now, settings) = (self.now, &self.settings);
        let (frames_max, bytes_max) = (settings.batch_frames_max, settings.batch_bytes_max);
        let Some(end) = self.connections.get_mut(&connection).and_then(|it| it.ends.get_mut(side)?.as_mut())
        else {
            return;
        };
        let node = end.node;
        let pause = self.actors.get(&node).and_then(|actor| actor.reads_every_ms(connection));
        if !end.is_receiving || (pause.is_some() && now < end.read_at) {
            return;
        }
        let frames_max = if pause.is_some() { 1 } else { frames_max };
        let (mut bytes, mut count, mut pongs, mut heard) = (0, 0, 0, Vec::new());
        while count < frames_max
            && bytes < bytes_max
            && let Some(parcel) = end.arrived.pop_front()
        {
            bytes += parcel.bytes();
            match parcel {
                Parcel::Ping => pongs += 1,
                Parcel::Pong => {}
                Parcel::Data(frame) => {
                    count += 1;
                    heard.push(frame);
                }
            }
        }
        end.received += bytes as u64;
        if let Some(pause) = pause
            && count > 0
        {
            end.read_at = now + pause;
            self.plan(pause, Event::Read(connection, side));
        }
        for frame in &heard {
            self.tally.trace(now, connection, side, frame);
            if let (Some(actor), RawFrame::Binary(bytes)) = (self.actors.get_mut(&node), frame) {
                actor.heard(connection, bytes);
            }
        }
        if let Some(pipe) = self.connections.get_mut(&connection).and_then(|it| it.pipes.get_mut(side)) {
            pipe.read(bytes);
        }
        self.pump(connection, side);
        for _ in 0..pongs {
            self.push(connection, side, Parcel::Pong);
        }
        self.pump(connection, 1 - side);
        if let Some(end) = self.end(connection, side)
            && !heard.is_empty()
        {
            end.raw.extend(heard);
            self.understand(connection, side);
        }
    }

    /// Hands a machine what was read.
    pub(super) fn understand(&mut self, connection: u64, side: usize) {
        let Some(end) = self.end(connection, side) else { return };
        let told = match &end.machine {
            Machine::Link(_) => Told::Understood(understand(&mut end.raw)),
            Machine::Session(_) => Told::Received(Received::decode(end.raw.drain(..).collect())),
            Machine::Puppet => {
                end.raw.clear();
                return self.play(connection, side);
            }
        };
        end.is_receiving = false;
        self.tell(connection, side, told);
    }

    /// Looks at what an honest node sends: only what it has on disk.
    fn watch(&mut self, connection: u64, side: usize, frame: &RawFrame) {
        let Some((node, face)) = self.end(connection, side).map(|end| (end.node, end.face)) else { return };
        let (document, changes) = match frame {
            RawFrame::Binary(bytes) => match v2::decode(bytes) {
                Ok(Frame::Changes { document, changes }) => (document as usize, changes),
                Ok(_) | Err(_) => match gangline_wire::decode(bytes) {
                    Ok(op) => (0, vec![op.into_change()]),
                    Err(_) => return,
                },
            },
            RawFrame::Text(text) => match gangline_wire::decode_text(text) {
                Ok(bulk) => (0, bulk.ops.into_iter().map(|op| op.into_change()).collect()),
                Err(_) => return,
            },
        };
        self.tally.transmissions += changes.len() as u64;
        let to_honest = self.other(connection, side).is_some_and(|other| self.is_honest(other));
        let is_plain = self.connections.get(&connection).is_some_and(|it| !it.has_asked_again);
        if let Some(end) = self.end(connection, side) {
            let digests = changes.iter().map(bft_json_crdt::Change::digest);
            let back = digests.clone().filter(|digest| end.brought.contains(digest)).count();
            let twice = digests.filter(|digest| !end.sent.insert(*digest)).count();
            if to_honest && is_plain {
                self.tally.told_back += back as u64;
                self.tally.told_twice += twice as u64;
            }
        }
        let Some(face) = self.nodes.get(node).and_then(|it| it.faces.get(face)) else { return };
        let early = changes.iter().filter(|change| !face.holds(document, &change.digest())).count();
        self.tally.told_early += early as u64;
    }

    /// A hostile node plays frames on a connection of its own accord.
    pub(super) fn inject(&mut self, connection: u64, side: usize, frames: Vec<Bytes>) {
        for frame in frames {
            self.push(connection, side, Parcel::Data(RawFrame::Binary(frame)));
        }
        self.pump(connection, 1 - side);
    }
}
