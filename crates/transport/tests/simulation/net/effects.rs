//! What sessions want done, and how links do it.

use bft_json_crdt::{Change, Digest};
use bytes::Bytes;
use gangline_transport::session::{
    Applied, CloseReason, Effect, Evicted, Input, Notice, Outgoing, RawFrame, Received,
};

use super::{Event, Net, Parcel};
use crate::node::Promise;

impl Net {
    pub(super) fn perform(&mut self, link: u64, side: usize, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Receive => {
                let end = self.end(link, side).expect("it is there");
                assert!(!end.is_receiving && end.stored.is_none(), "one batch at a time");
                end.is_receiving = true;
                self.receive(link, side);
            }
            Effect::Apply(changes) => self.apply(link, side, changes),
            Effect::Read { from, limit, .. } => {
                let node = self.end(link, side).expect("it is there").node;
                let entries = self.nodes[node].replica().entries(from, limit).map_err(|e| e.to_string());
                self.feed(link, side, Input::Entries(entries));
            }
            Effect::Send(frames) => self.send(link, side, frames),
            Effect::Ping => self.deliver(link, 1 - side, Parcel::Ping),
            Effect::CheckPending(digests) => {
                let node = self.end(link, side).expect("it is there").node;
                let replica = self.nodes[node].replica();
                let released = digests.into_iter().filter(|digest| !replica.is_pending(digest)).collect();
                self.feed(link, side, Input::Released(released));
            }
            Effect::Notice(Notice::Established) => {
                let edge = self.links[&link].edge;
                if side == 0 {
                    self.edges[edge].backoff.established();
                }
            }
            Effect::Notice(_) => {}
            Effect::Close(reason) => {
                assert_eq!(
                    self.end(link, side).and_then(|end| end.session.closed().cloned()).as_ref(),
                    Some(&reason)
                );
                let end = self.end(link, side).expect("it is there");
                assert!(end.session.poll_effect().is_none(), "closing is the last effect");
                end.session.handle(now, Input::Tick);
                assert!(end.session.poll_effect().is_none(), "a closed session is silent");
                self.drop_end(link, side, &reason, true);
            }
        }
    }

    pub(super) fn receive(&mut self, link: u64, side: usize) {
        let max = self.settings.batch_frames_max;
        let Some(end) = self.end(link, side) else { return };
        if !end.is_receiving || end.inbox.is_empty() {
            return;
        }
        end.is_receiving = false;
        let count = end.inbox.len().min(max);
        let frames: Vec<RawFrame> = end.inbox.drain(..count).collect();
        self.feed(link, side, Input::Received(Received::decode(frames)));
    }

    fn apply(&mut self, link: u64, side: usize, changes: Vec<Change>) {
        let end = self.end(link, side).expect("it is there");
        assert!(!end.is_receiving && end.stored.is_none(), "one batch at a time");
        let (node, origin) = (end.node, end.origin);
        let digests: Vec<Digest> = changes.iter().map(Change::digest).collect();
        let is_known: Vec<bool> = digests.iter().map(|digest| self.nodes[node].knows(digest)).collect();
        let (batch, ticket) = self.nodes[node].replica().apply(0, origin, changes).expect("the log works");
        let promise = Promise::new(ticket);
        let evicted = batch.evicted.clone();
        let is_stored = promise.is_kept();
        let end = self.end(link, side).expect("it is there");
        for ((digest, state), is_known) in digests.into_iter().zip(&batch.states).zip(is_known) {
            if !is_known && !state.is_refused() {
                end.brought.insert(digest);
            }
        }
        if !is_stored {
            end.stored = Some(promise);
        }
        self.feed(link, side, Input::Applied(Ok(Applied { states: batch.states, evicted: batch.evicted })));
        if is_stored {
            self.feed(link, side, Input::Stored(Ok(())));
        }
        if !evicted.is_empty() {
            for (link, side) in self.ends_of(node) {
                self.feed(link, side, Input::Evicted(Evicted::Changes(evicted.as_slice().into())));
            }
        }
        self.dirty(node);
    }

    fn send(&mut self, link: u64, side: usize, frames: Vec<Outgoing>) {
        // One entry is sent even if it alone is larger; here none is larger than 4 KiB.
        let bytes_max = self.settings.bulk_bytes_max + 8 * self.settings.send_bytes_max + 4_096;
        let ops_max = self.settings.send_ops_max + 1;
        let bytes: usize = frames.iter().map(Outgoing::bytes).sum();
        assert!(
            bytes <= bytes_max && frames.len() <= ops_max,
            "a batch of {} frames, {bytes} bytes",
            frames.len()
        );
        let end = self.end(link, side).expect("it is there");
        assert!(!end.is_sending, "one batch at a time");
        end.is_sending = true;
        end.written_bytes += bytes as u64;
        let mut ops = 0;
        for frame in &frames {
            if let Outgoing::Op(entry) = frame {
                let digest = entry.change().digest();
                assert!(end.sent.insert(digest), "an op went twice over one edge in one direction");
                assert!(!end.brought.contains(&digest), "an op went back where it came from");
                ops += 1;
            }
        }
        self.transmissions += ops;
        for frame in frames {
            let frame = match frame {
                Outgoing::Bulk(text) => RawFrame::Text(text.into()),
                Outgoing::Op(entry) => RawFrame::Binary(Bytes::copy_from_slice(entry.v1())),
            };
            self.deliver(link, 1 - side, Parcel::Data(frame));
        }
        let delay = self.rng.ms((0, 3));
        self.schedule(delay, Event::Taken { link, side });
    }

    /// Sends something to the end at `side`, through all that may happen on the way.
    pub(super) fn deliver(&mut self, link: u64, side: usize, parcel: Parcel) {
        let Some(path) = self.links.get_mut(&link) else { return };
        path.is_dead |= self.edges[path.edge].is_cut;
        if path.is_dead {
            return; // Both ends learn of it by silence.
        }
        if self.rng.chance(self.faults.lost_percent) {
            let reason = CloseReason::Lost { error: "a frame was lost".to_owned() };
            for side in 0..2 {
                self.schedule(1, Event::Ended { link, side, reason: reason.clone() });
            }
            return;
        }
        let delay = self.rng.ms(self.faults.delay_ms);
        let is_reordered = self.rng.chance(self.faults.reordered_percent);
        let is_duplicated = self.rng.chance(self.faults.duplicated_percent);
        let now = self.now;
        let arrival = &mut self.links.get_mut(&link).expect("it is there").arrival[side];
        let at = if is_reordered { now.plus(delay * 5) } else { now.plus(delay).max(*arrival) };
        *arrival = at.max(*arrival);
        if is_duplicated {
            let parcel = parcel.clone();
            self.schedule_at(at.plus(delay), Event::Deliver { link, side, parcel });
        }
        self.schedule_at(at, Event::Deliver { link, side, parcel });
    }
}
