//! Whether the peer is there: what was heard and sent last, when to ping, when to give up.

use super::{CloseReason, Millis, SessionSettings};

pub(crate) struct Liveness {
    heard: Millis,
    spoke: Millis,
    pinged: Millis,
    received_bytes: u64,
    written_bytes: u64,
    /// False while a batch is being applied: nothing is read then, so silence means nothing.
    is_listening: bool,
}

impl Liveness {
    pub(crate) fn new(now: Millis) -> Self {
        Self { heard: now, spoke: now, pinged: now, received_bytes: 0, written_bytes: 0, is_listening: true }
    }

    pub(crate) fn heard(&mut self, now: Millis) {
        self.heard = now;
    }

    pub(crate) fn spoke(&mut self, now: Millis) {
        self.spoke = now;
    }

    pub(crate) fn listen(&mut self, now: Millis, is_listening: bool) {
        if is_listening && !self.is_listening {
            self.heard = now;
        }
        self.is_listening = is_listening;
    }

    /// Takes the socket's counters; tells whether it has written something since the last time.
    pub(crate) fn traffic(&mut self, now: Millis, received: u64, written: u64) -> bool {
        if received != self.received_bytes {
            self.received_bytes = received;
            self.heard = now;
        }
        let has_written = written != self.written_bytes;
        if has_written {
            self.written_bytes = written;
            self.spoke = now;
        }
        has_written
    }

    /// Tells whether a ping is due, and if so counts it as sent.
    pub(crate) fn take_ping(&mut self, now: Millis, settings: &SessionSettings) -> bool {
        let due = now >= self.next_ping(settings);
        if due {
            self.pinged = now;
            self.spoke = now;
        }
        due
    }

    pub(crate) fn deadline(&self, settings: &SessionSettings) -> Millis {
        match self.is_listening {
            true => self.next_ping(settings).min(self.heard.plus(settings.idle_ms)),
            false => self.next_ping(settings),
        }
    }

    pub(crate) fn overdue(&self, now: Millis, settings: &SessionSettings) -> Option<CloseReason> {
        (self.is_listening && now >= self.heard.plus(settings.idle_ms))
            .then_some(CloseReason::Idle { ms: settings.idle_ms })
    }

    fn next_ping(&self, settings: &SessionSettings) -> Millis {
        let quiet_since = if self.is_listening { self.heard.min(self.spoke) } else { self.spoke };
        quiet_since.max(self.pinged).plus(settings.ping_ms)
    }
}
