//! Frames from the socket, decoded: pure work that a shell may do wherever it likes.

use std::collections::VecDeque;

use bft_json_crdt::{Change, SignedOp};
use bytes::Bytes;
use gangline_wire::v2::{self, Frame};
use gangline_wire::{decode, decode_text, is_later_version};

use crate::session::RawFrame;

/// One frame, understood or not.
#[derive(Debug)]
pub struct Incoming {
    pub(super) content: Content,
    /// What was wrong with it, or with a part of it.
    pub(super) bad: Option<String>,
}

#[derive(Debug)]
pub(super) enum Content {
    /// The other side's hello, and its bytes, which the proofs sign.
    Hello(v2::Hello, Bytes),
    /// Any other frame of version 2.
    Frame(Frame),
    /// Ops of the board, from a frame of version 1.
    Ops(Vec<Change>),
    /// Nothing.
    Nothing,
}

/// Frames are decoded until their changes take this many bytes: a few compressed bytes may stand for many.
const DECODED_BYTES_MAX: usize = 4 << 20;

/// Decodes the first of some frames of either version, one at least, and leaves the rest for later if these hold
/// much. Takes time in proportion to what they hold.
#[must_use]
pub fn understand(frames: &mut VecDeque<RawFrame>) -> Vec<Incoming> {
    let (mut understood, mut bytes) = (Vec::new(), 0);
    while bytes < DECODED_BYTES_MAX
        && let Some(frame) = frames.pop_front()
    {
        let incoming = incoming(frame);
        if let Content::Ops(changes) | Content::Frame(Frame::Changes { changes, .. }) = &incoming.content {
            bytes += changes.iter().map(|change| change.bytes().len()).sum::<usize>();
        }
        understood.push(incoming);
    }
    understood
}

fn incoming(frame: RawFrame) -> Incoming {
    let bad = |reason: String| Incoming { content: Content::Nothing, bad: Some(reason) };
    match frame {
        RawFrame::Binary(payload) if is_later_version(&payload) => match v2::decode(&payload) {
            Ok(Frame::Hello(hello)) => Incoming { content: Content::Hello(hello, payload), bad: None },
            Ok(frame) => Incoming { content: Content::Frame(frame), bad: None },
            Err(error) => bad(error.to_string()),
        },
        RawFrame::Binary(payload) => match decode(&payload) {
            Ok(op) => Incoming { content: Content::Ops(vec![op.into_change()]), bad: None },
            Err(error) => bad(error.to_string()),
        },
        RawFrame::Text(payload) => match decode_text(&payload) {
            Ok(frame) => {
                let bad = frame.bad.first.first().map(|(index, error)| {
                    let count = frame.bad.count;
                    format!("{count} bad ops of the bulk, the first at {index}: {error}")
                });
                let ops = frame.ops.into_iter().map(SignedOp::into_change).collect();
                Incoming { content: Content::Ops(ops), bad }
            }
            Err(error) => bad(error.to_string()),
        },
    }
}
