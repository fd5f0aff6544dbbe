//! The sending half: a cursor in this node's durable log.
//!
//! It reads a batch, hands it to the socket, and reads the next one when the socket has taken it. So a slow
//! peer costs one batch, whatever it misses, and nothing leaves before it is durable. The first batch is the
//! bulk: as much of the log, from its start, as one text frame holds.

use std::sync::Arc;

use gangline_doc::{Entry, LogSeq, OriginId, ReadLimit};
use gangline_wire::BulkWriter;
use gangline_wire::limits::FRAME_BYTES_MAX;

use super::{CloseReason, Effect, Millis, Notice, SessionSettings, SessionStats, WithheldReason};

/// One frame to be sent.
#[derive(Debug)]
pub enum Outgoing {
    /// A text frame: the bulk.
    Bulk(String),
    /// A binary frame: [`Entry::v1`], encoded once for all peers.
    Op(Arc<Entry>),
}

impl Outgoing {
    /// Returns the length of the payload in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bulk(text) => text.len(),
            Self::Op(entry) => entry.v1().len(),
        }
    }
}

pub(super) struct Outbound {
    origin: OriginId,
    /// The bulk that is being built, until it is full or reaches `opened_at`.
    bulk: Option<BulkWriter>,
    /// Length of the log when the session began: how far the bulk goes, and from where on a peer can lag.
    opened_at: LogSeq,
    durable: LogSeq,
    /// The next entry to read.
    cursor: LogSeq,
    /// Everything before it was taken by the socket.
    sent: LogSeq,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Reading,
    Sending { since: Millis, progress: Millis },
}

impl Outbound {
    pub(super) fn new(origin: OriginId, durable: LogSeq, bulk_bytes_max: usize) -> Self {
        Self {
            origin,
            bulk: Some(BulkWriter::new(bulk_bytes_max)),
            opened_at: durable,
            durable,
            cursor: LogSeq::START,
            sent: LogSeq::START,
            state: State::Waiting,
        }
    }

    /// Asks for the next batch if there is one and nothing is under way.
    pub(super) fn advance(&mut self, now: Millis, settings: &SessionSettings) -> Option<Effect> {
        if self.state != State::Waiting {
            return None;
        }
        if self.bulk.is_some() && self.cursor >= self.opened_at {
            let bulk = self.finish_bulk();
            return Some(self.send(now, bulk.into_iter().collect()));
        }
        if self.cursor >= self.durable {
            return None;
        }
        self.state = State::Reading;
        let limit = ReadLimit { count: settings.send_ops_max, bytes: settings.send_bytes_max };
        Some(Effect::Read { from: self.cursor, limit, alone: self.bulk.is_none() })
    }

    pub(super) fn durable(&mut self, durable: LogSeq) {
        self.durable = self.durable.max(durable);
    }

    /// Takes what was read, and gives what is to be sent of it.
    pub(super) fn entries(
        &mut self,
        now: Millis,
        entries: Vec<Arc<Entry>>,
        stats: &mut SessionStats,
        notices: &mut Vec<Notice>,
    ) -> Option<Effect> {
        self.state = State::Waiting;
        if entries.is_empty() {
            // Nothing where something was promised: wait for the log to grow instead of asking at once.
            self.durable = self.cursor;
            return None;
        }
        let mut outgoing = Vec::new();
        for entry in entries {
            self.cursor = LogSeq(entry.seq().0.saturating_add(1));
            if entry.origin() == Some(self.origin) {
                continue;
            }
            let mut reason = unsendable(&entry);
            if reason.is_none()
                && let Some(bulk) = &mut self.bulk
            {
                if entry.seq() < self.opened_at && bulk.push(entry.v1()) {
                    stats.sent_ops += 1;
                    continue;
                }
                outgoing.extend(self.finish_bulk());
            }
            if reason.is_none() && !entry.is_vouched() {
                reason = Some(WithheldReason::NotVouched);
            }
            match reason {
                None => {
                    stats.sent_ops += 1;
                    outgoing.push(Outgoing::Op(entry));
                }
                Some(reason) => {
                    stats.withheld_ops += 1;
                    notices.push(Notice::Withheld { digest: entry.change().digest(), reason });
                }
            }
        }
        if outgoing.is_empty() {
            if self.bulk.is_none() {
                self.sent = self.cursor;
            }
            return None;
        }
        Some(self.send(now, outgoing))
    }

    pub(super) fn sent(&mut self) {
        self.sent = self.cursor;
        self.state = State::Waiting;
    }

    pub(super) fn progress(&mut self, now: Millis) {
        if let State::Sending { progress, .. } = &mut self.state {
            *progress = now;
        }
    }

    /// Returns how many ops, accepted since the session began, the peer has not been sent.
    pub(super) fn lag(&self) -> u64 {
        self.durable.0.saturating_sub(self.sent.max(self.opened_at).0)
    }

    /// Returns how many ops of the log the peer has not been sent.
    pub(super) fn behind(&self) -> u64 {
        self.durable.0.saturating_sub(self.sent.0)
    }

    /// Tells whether all that the log held when the session began was taken by the socket.
    pub(super) fn is_caught_up(&self) -> bool {
        self.bulk.is_none() && self.sent >= self.opened_at
    }

    /// Tells whether all that is durable was taken by the socket.
    pub(super) fn is_drained(&self) -> bool {
        self.is_caught_up() && self.sent >= self.durable
    }

    pub(super) fn deadline(&self, settings: &SessionSettings) -> Option<Millis> {
        let State::Sending { since, progress } = self.state else { return None };
        let stuck = progress.plus(settings.progress_ms);
        match self.lag() > settings.lag_ops_max {
            true => Some(stuck.min(since.plus(settings.blocked_ms))),
            false => Some(stuck),
        }
    }

    pub(super) fn overdue(&self, now: Millis, settings: &SessionSettings) -> Option<CloseReason> {
        let State::Sending { since, progress } = self.state else { return None };
        if self.lag() > settings.lag_ops_max && now >= since.plus(settings.blocked_ms) {
            return Some(CloseReason::Lagging { ops: self.lag() });
        }
        (now >= progress.plus(settings.progress_ms))
            .then_some(CloseReason::NoProgress { ms: settings.progress_ms })
    }

    fn finish_bulk(&mut self) -> Option<Outgoing> {
        self.bulk.take().map(|bulk| Outgoing::Bulk(bulk.finish()))
    }

    fn send(&mut self, now: Millis, outgoing: Vec<Outgoing>) -> Effect {
        self.state = State::Sending { since: now, progress: now };
        Effect::Send(outgoing)
    }
}

/// Says why version 1 cannot carry an entry at all.
fn unsendable(entry: &Entry) -> Option<WithheldReason> {
    match entry.v1().len() {
        0 => Some(WithheldReason::NotOneOp),
        bytes if bytes > FRAME_BYTES_MAX => Some(WithheldReason::TooLarge { bytes }),
        _ => None,
    }
}
