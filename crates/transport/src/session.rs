//! The sync session with one peer, as a machine: no socket, no clock, no randomness, no lock.
//!
//! *The drive contract*: one [`Session::handle`], then [`Session::poll_effect`] until `None`, then wait for
//! the next input or for [`Session::next_deadline`] (which is answered by [`Input::Tick`]). Each [`Effect`]
//! says which input it is owed. [`Effect::Close`] is the last one. The driver over real sockets is
//! `drive.rs`; the tests drive whole meshes of sessions on virtual time.
//!
//! Version 1 is symmetric: both sides send a bulk at once, and everything that becomes durable from then on,
//! except what came from this very peer. Receiving is a pull: the session asks for frames, applies them as one
//! batch, waits until it is durable, and asks again. Sending is a pull from the log. So what is in memory is
//! one batch each way, whatever the peer does.

mod bad_frames;
mod close;
mod effect;
mod inbound;
mod input;
mod liveness;
mod outbound;
mod pending;
mod received;
mod settings;
mod stats;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use gangline_doc::{Entry, LogSeq, OriginId};

pub(crate) use self::bad_frames::BadFrames;
pub use self::close::CloseReason;
pub use self::effect::{Effect, Notice, WithheldReason};
use self::inbound::{Inbound, Taken, Verdict};
pub use self::input::{Applied, Evicted, Input};
pub(crate) use self::liveness::Liveness;
use self::outbound::Outbound;
pub use self::outbound::Outgoing;
pub(crate) use self::pending::Pending;
pub use self::received::{RawFrame, Received};
pub use self::settings::SessionSettings;
pub use self::stats::SessionStats;

/// Milliseconds on the driver's monotonic clock, from any start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// Returns the moment `ms` later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The session with one peer.
pub struct Session {
    settings: SessionSettings,
    inbound: Inbound,
    bad_frames: BadFrames,
    outbound: Outbound,
    pending: Pending,
    liveness: Liveness,
    stats: SessionStats,
    effects: VecDeque<Effect>,
    is_established: bool,
    is_caught_up: bool,
    stops_at: Option<Millis>,
    closed: Option<CloseReason>,
}

impl Session {
    /// Starts a session over a socket that is open. `origin` names it in the replica, `durable` is the length
    /// of the log.
    #[must_use]
    pub fn new(now: Millis, origin: OriginId, durable: LogSeq, settings: SessionSettings) -> Self {
        let mut session = Self {
            inbound: Inbound::default(),
            bad_frames: BadFrames::default(),
            outbound: Outbound::new(origin, durable, settings.bulk_bytes_max),
            pending: Pending::default(),
            liveness: Liveness::new(now),
            stats: SessionStats::default(),
            effects: VecDeque::new(),
            is_established: false,
            is_caught_up: false,
            stops_at: None,
            closed: None,
            settings,
        };
        session.effects.push_back(Effect::Receive);
        session.advance(now);
        session
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Millis, input: Input) {
        if self.closed.is_some() {
            return;
        }
        match input {
            Input::Received(received) => self.received(now, received),
            Input::Applied(Ok(applied)) => self.applied(now, &applied),
            Input::Busy(changes) => self.inbound.busy(now, changes, &self.settings),
            Input::Stored(Ok(())) => self.stored(now),
            Input::Entries(Ok(entries)) => self.entries(now, entries),
            Input::Applied(Err(error)) | Input::Stored(Err(error)) | Input::Entries(Err(error)) => {
                self.close(CloseReason::StoreFailed { error });
            }
            Input::Sent => {
                self.outbound.sent();
                self.liveness.spoke(now);
            }
            Input::Released(digests) => {
                if let Some(reason) = self.pending.checked(now, &digests, &self.settings) {
                    self.close(reason);
                }
            }
            Input::Durable(durable) => self.outbound.durable(durable),
            Input::Evicted(evicted) => self.evicted(&evicted),
            Input::Traffic { received, written } => {
                if self.liveness.traffic(now, received, written) {
                    self.outbound.progress(now);
                }
            }
            Input::Tick => {}
            Input::Stop => {
                self.stops_at.get_or_insert(now.plus(self.settings.drain_ms));
            }
            Input::Ended(reason) => self.close(reason),
        }
        self.tick(now);
        self.advance(now);
    }

    /// Returns what is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns when [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.closed.is_some() {
            return None;
        }
        let deadlines = [
            Some(self.liveness.deadline(&self.settings)),
            self.outbound.deadline(&self.settings),
            self.inbound.deadline(),
            self.pending.deadline(&self.settings),
            self.stops_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        self.stats
    }

    /// Tells whether a valid frame has come.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.is_established
    }

    /// Tells whether all that was in the log when the session began is sent.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }

    /// Returns how many ops of the log the peer has not been sent.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.outbound.behind()
    }

    /// Returns how many ops of this session are known to wait, or waited when that was looked up last.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns why the session has ended, if it has.
    #[must_use]
    pub fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    fn received(&mut self, now: Millis, received: Received) {
        self.liveness.heard(now);
        if self.stops_at.is_some() {
            return; // The peer's next bulk brings it again.
        }
        if !self.is_established && received.has_valid_frame() {
            self.is_established = true;
            self.effects.push_back(Effect::Notice(Notice::Established));
        }
        match self.inbound.received(received, &mut self.stats) {
            Taken::Batch(changes) => {
                self.liveness.listen(now, false);
                self.effects.push_back(Effect::Apply(changes));
            }
            Taken::Nothing { bad } => {
                self.count_bad(now, bad);
                if self.closed.is_none() {
                    self.effects.push_back(Effect::Receive);
                }
            }
        }
    }

    fn applied(&mut self, now: Millis, applied: &Applied) {
        let Verdict { waiting, bad, is_evicted } = self.inbound.applied(&applied.states, &mut self.stats);
        let mut held_back = 0;
        for (change, is_untrusted) in waiting {
            match self.pending.note(now, 0, &change, is_untrusted) {
                true => held_back += 1,
                false => self.stats.pending_ops += 1,
            }
        }
        if held_back > 0 {
            self.stats.held_back_ops += held_back;
            self.effects.push_back(Effect::Notice(Notice::HeldBack { count: held_back }));
        }
        self.count_bad(now, bad);
        if is_evicted || self.pending.has_any(&applied.evicted) {
            self.close(CloseReason::Evicted);
        }
    }

    fn stored(&mut self, now: Millis) {
        self.inbound.stored();
        self.liveness.listen(now, true);
        if self.stops_at.is_none() {
            self.effects.push_back(Effect::Receive);
        }
    }

    fn entries(&mut self, now: Millis, entries: Vec<Arc<Entry>>) {
        let mut notices = Vec::new();
        let send = self.outbound.entries(now, entries, &mut self.stats, &mut notices);
        self.effects.extend(notices.into_iter().map(Effect::Notice));
        self.effects.extend(send);
    }

    fn evicted(&mut self, evicted: &Evicted) {
        if self.pending.is_hit_by(evicted) {
            self.close(CloseReason::Evicted);
        }
    }

    fn count_bad(&mut self, now: Millis, reasons: Vec<String>) {
        for reason in reasons {
            self.stats.bad_frames += 1;
            self.effects.push_back(Effect::Notice(Notice::BadFrame { reason }));
            if let Some(reason) = self.bad_frames.count(now, &self.settings) {
                self.close(reason);
                return;
            }
        }
    }

    /// Acts on deadlines that have passed.
    fn tick(&mut self, now: Millis) {
        if self.closed.is_some() {
            return;
        }
        let overdue = self
            .outbound
            .overdue(now, &self.settings)
            .or_else(|| self.liveness.overdue(now, &self.settings))
            .or_else(|| self.stops_at.filter(|at| now >= *at).map(|_| CloseReason::Stopping));
        if let Some(reason) = overdue {
            self.close(reason);
            return;
        }
        if self.liveness.take_ping(now, &self.settings) {
            self.effects.push_back(Effect::Ping);
        }
        self.effects.extend(self.inbound.retry(now));
        if let Some(waiting) = self.pending.check(now, &self.settings) {
            let digests = waiting.into_iter().map(|(_, digest)| digest).collect();
            self.effects.push_back(Effect::CheckPending(digests));
        }
    }

    /// Goes on sending, or ends a session that has sent all it will.
    fn advance(&mut self, now: Millis) {
        if self.closed.is_some() {
            return;
        }
        self.effects.extend(self.outbound.advance(now, &self.settings));
        if !self.is_caught_up && self.outbound.is_caught_up() {
            self.is_caught_up = true;
            self.effects.push_back(Effect::Notice(Notice::CaughtUp));
        }
        if self.stops_at.is_some() && self.inbound.is_receiving() && self.outbound.is_drained() {
            self.close(CloseReason::Stopping);
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closed.is_none() {
            self.closed = Some(reason.clone());
            self.effects.push_back(Effect::Close(reason));
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("stats", &self.stats)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
