//! One direction of a connection: bytes take their time, in order, and the window stops a sender whom nobody reads.

use std::collections::VecDeque;

use gangline_transport::session::RawFrame;

use crate::rng::Rng;

/// Bytes that the two machines' buffers hold of one direction.
const WINDOW_BYTES: usize = 128 << 10;
/// What a ping or a pong takes.
const CONTROL_BYTES: usize = 6;

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Data(RawFrame),
    Ping,
    Pong,
}

impl Parcel {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Data(frame) => frame.bytes(),
            Self::Ping | Self::Pong => CONTROL_BYTES,
        }
    }
}

/// What an edge does to what travels along it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) delay_ms: u64,
    pub(crate) jitter_ms: u64,
    /// Bandwidth.
    pub(crate) bytes_per_ms: u64,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    waiting: VecDeque<Parcel>,
    /// On the way, or arrived and not read.
    flight: usize,
    /// When the sender's line is free.
    free_at: u64,
    /// When the last parcel arrives.
    arrival: u64,
    /// The sender wants to know when all is taken.
    pub(crate) owes_sent: bool,
}

impl Pipe {
    /// Nothing arrives before that.
    pub(crate) fn begin_at(&mut self, at: u64) {
        self.free_at = at;
        self.arrival = at;
    }

    pub(crate) fn push(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Data(_) => self.waiting.push_back(parcel),
            // The sender's library lets these pass.
            Parcel::Ping | Parcel::Pong => self.waiting.push_front(parcel),
        }
    }

    /// Takes the next parcel that may go, and when it arrives.
    pub(crate) fn start(&mut self, now: u64, path: &Path, rng: &mut Rng) -> Option<(u64, Parcel)> {
        let bytes = self.waiting.front()?.bytes();
        if self.flight > 0 && self.flight + bytes > WINDOW_BYTES {
            return None;
        }
        let parcel = self.waiting.pop_front()?;
        self.flight += bytes;
        self.free_at = self.free_at.max(now) + bytes as u64 / path.bytes_per_ms.max(1);
        let delay = path.delay_ms + rng.between(0, path.jitter_ms);
        self.arrival = self.arrival.max(self.free_at + delay);
        Some((self.arrival, parcel))
    }

    /// The receiver has read so many bytes.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.flight = self.flight.saturating_sub(bytes);
    }

    /// When the sender's line is free, once nothing waits.
    pub(crate) fn is_taken_at(&self) -> Option<u64> {
        self.waiting.is_empty().then_some(self.free_at)
    }

    /// How many parcels wait for the line.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the last of what is on the way arrives.
    pub(crate) fn arrival(&self) -> u64 {
        self.arrival
    }
}
