//! What a session wants done, and what it reports.

use bft_json_crdt::{Change, Digest};
use gangline_doc::{LogSeq, ReadLimit};

#[cfg(doc)]
use super::Input;
use super::{CloseReason, Outgoing};
#[cfg(doc)]
use gangline_doc::Entry;

/// What a session wants done.
#[derive(Debug)]
#[must_use]
pub enum Effect {
    /// Wait for a data frame, take what else is there within the bounds of a batch, and answer
    /// [`Input::Received`]. Without it, nothing is read from the socket.
    Receive,
    /// Apply these changes; answer [`Input::Applied`], then [`Input::Stored`]; or [`Input::Busy`].
    Apply(Vec<Change>),
    /// Read the durable log; answer [`Input::Entries`].
    Read {
        /// The first entry.
        from: LogSeq,
        /// How much.
        limit: ReadLimit,
        /// Whether each entry will travel alone, so that its own signature counts. Checking it is costly and
        /// done once per entry ([`Entry::is_vouched`]): a driver may do so where it does not hurt.
        alone: bool,
    },
    /// Hand these frames to the socket, in this order; answer [`Input::Sent`] when it has taken all.
    Send(Vec<Outgoing>),
    /// Send a ping, unless one still waits for the socket. Nothing is owed.
    Ping,
    /// Look which of these still wait in the causal queue; answer [`Input::Released`] with the others.
    CheckPending(Vec<Digest>),
    /// Tell whom it concerns. Nothing is owed.
    Notice(Notice),
    /// Close the socket. The session ignores everything from now on.
    Close(CloseReason),
}

/// What a session reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first valid frame came: there is a peer at the other end.
    Established,
    /// All that was in the log when the session began is sent.
    CaughtUp,
    /// A frame, or a part of it, was skipped.
    BadFrame {
        /// Why.
        reason: String,
    },
    /// Trust keeps changes waiting.
    HeldBack {
        /// How many.
        count: u64,
    },
    /// A change cannot be sent to this peer.
    Withheld {
        /// Which.
        digest: Digest,
        /// Why.
        reason: WithheldReason,
    },
}

/// Why a change is not sent to a peer that speaks version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WithheldReason {
    /// It does not hold exactly one op.
    #[error("it does not hold exactly one op")]
    NotOneOp,
    /// Its frame is larger than peers accept.
    #[error("its frame of {bytes} bytes is larger than peers accept")]
    TooLarge {
        /// The length of the frame.
        bytes: usize,
    },
    /// Its own signature is bad: another change of its author makes it authentic, and cannot travel with it.
    #[error("its own signature is not valid")]
    NotVouched,
}
