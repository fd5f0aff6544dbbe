//! What a session is told.

use std::sync::Arc;

use bft_json_crdt::{Change, Digest, OpState};
use gangline_doc::{Entry, LogSeq};

#[cfg(doc)]
use super::Effect;
use super::{CloseReason, Received};

/// What happens to a session.
#[derive(Debug)]
pub enum Input {
    /// Answers [`Effect::Receive`].
    Received(Received),
    /// Answers [`Effect::Apply`]: one state per change, and what the causal queue evicted; or why the replica
    /// takes nothing any more.
    Applied(Result<Applied, String>),
    /// Answers [`Effect::Apply`] too: the disk does not keep up, nothing was changed. Here are the changes
    /// again, for another try a little later.
    Busy(Vec<Change>),
    /// Follows a good [`Input::Applied`]: the batch, and all that it saw, is durable or never will be.
    Stored(Result<(), String>),
    /// Answers [`Effect::Read`].
    Entries(Result<Vec<Arc<Entry>>, String>),
    /// Answers [`Effect::Send`]: the socket has taken all of it.
    Sent,
    /// Answers [`Effect::CheckPending`]: those that wait no longer.
    Released(Vec<Digest>),
    /// The log has grown to this length.
    Durable(LogSeq),
    /// The causal queue evicted changes, whoever brought them.
    Evicted(Evicted),
    /// The socket's counters since the session began, partial frames and pongs included. Goes before each
    /// [`Input::Tick`].
    Traffic {
        /// Bytes received.
        received: u64,
        /// Bytes that the socket has taken.
        written: u64,
    },
    /// A deadline may have passed.
    Tick,
    /// The session shall end once what is durable is sent.
    Stop,
    /// The socket has ended.
    Ended(CloseReason),
}

/// The document's verdict on a batch.
#[derive(Debug)]
pub struct Applied {
    /// One per change.
    pub states: Vec<OpState>,
    /// What the causal queue evicted meanwhile.
    pub evicted: Vec<Digest>,
}

/// Which changes the causal queue evicted.
#[derive(Clone, Debug)]
pub enum Evicted {
    /// These.
    Changes(Arc<[Digest]>),
    /// Too many to be told: any of those that wait may be among them.
    Unknown,
}
