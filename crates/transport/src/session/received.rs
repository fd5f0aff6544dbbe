//! Frames from the socket, decoded: pure work that a driver may do wherever it likes, before the session sees
//! the result.

use bft_json_crdt::{Change, SignedOp};
use bytes::Bytes;
use gangline_wire::{decode, decode_text, is_later_version};

/// A data frame as it came.
#[derive(Clone, Debug)]
pub enum RawFrame {
    /// A text frame.
    Text(Bytes),
    /// A binary frame.
    Binary(Bytes),
}

impl RawFrame {
    /// Returns the length of the payload in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(payload) | Self::Binary(payload) => payload.len(),
        }
    }
}

/// What one or more frames said: the changes of all of them, in order, and what was wrong.
#[derive(Debug, Default)]
pub struct Received {
    pub(super) changes: Vec<Change>,
    pub(super) frames: Vec<Frame>,
    pub(super) bytes: usize,
}

/// One frame: how many changes it brought, and what was wrong with it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) changes: usize,
    pub(super) bad: Option<String>,
}

impl Received {
    /// Decodes `frames`. Takes time in proportion to their bytes.
    #[must_use]
    pub fn decode(frames: Vec<RawFrame>) -> Self {
        let mut received = Self::default();
        for frame in frames {
            received.add(&frame);
        }
        received
    }

    /// Tells whether at least one frame was one of this protocol.
    pub(super) fn has_valid_frame(&self) -> bool {
        self.frames.iter().any(|frame| frame.bad.is_none() || frame.changes > 0)
    }

    fn add(&mut self, frame: &RawFrame) {
        self.bytes += frame.bytes();
        let before = self.changes.len();
        let bad = match frame {
            RawFrame::Text(payload) => self.add_text(payload),
            RawFrame::Binary(payload) => self.add_binary(payload),
        };
        self.frames.push(Frame { changes: self.changes.len() - before, bad });
    }

    fn add_text(&mut self, payload: &[u8]) -> Option<String> {
        let frame = match decode_text(payload) {
            Ok(frame) => frame,
            Err(error) => return Some(error.to_string()),
        };
        self.changes.extend(frame.ops.into_iter().map(SignedOp::into_change));
        let (index, error) = frame.bad.first.first()?;
        Some(match frame.bad.count {
            1 => format!("op {index} of the bulk: {error}"),
            count => format!("{count} ops of the bulk, the first at {index}: {error}"),
        })
    }

    fn add_binary(&mut self, payload: &[u8]) -> Option<String> {
        if is_later_version(payload) {
            return Some("a frame of a later version, which was not negotiated".to_owned());
        }
        match decode(payload) {
            Ok(op) => self.changes.push(op.into_change()),
            Err(error) => return Some(error.to_string()),
        }
        None
    }
}
