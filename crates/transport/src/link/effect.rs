//! What a link wants done, what it is told, and what it reports.

use std::sync::Arc;

use bft_json_crdt::json_crdt::VersionVector;
use bft_json_crdt::{AuthorId, Change, Digest, DocumentId};
use bytes::Bytes;
use gangline_doc::{Entry, LogSeq, ReadLimit};
use gangline_wire::v2::HeldDocument;

#[cfg(doc)]
use super::understand;
use super::{Answer, CatalogAnswer, CatalogQuery, Incoming, LinkDocument, Query};
use crate::gate::PeerRights;
use crate::host::Offer;
use crate::session::{Applied, CloseReason, Evicted};

/// What a link wants done. Documents go by the place that its shell gave them. Whoever is to ask, read or apply finds
/// perhaps that the document was closed meanwhile, and answers [`LinkInput::Gone`].
#[derive(Debug)]
#[must_use]
pub enum LinkEffect {
    /// Wait for data frames, [`understand`] them, answer [`LinkInput::Received`]. Without it, nothing is read.
    Receive,
    /// Answer [`LinkInput::Answered`].
    Query(usize, Query),
    /// Apply these changes; answer [`LinkInput::Applied`], then [`LinkInput::Stored`]; or [`LinkInput::Busy`].
    Apply(usize, Vec<Change>),
    /// Read a document's durable log; answer [`LinkInput::Entries`].
    Read {
        /// The document.
        document: usize,
        /// The first entry.
        from: LogSeq,
        /// How much.
        limit: ReadLimit,
    },
    /// Hand these frames to the socket; answer [`LinkInput::Sent`] when it has taken all.
    Send(Vec<Bytes>),
    /// Ask the gate about the key, which was proved; answer [`LinkInput::Admitted`]. Asked again when trust changed.
    Admit(AuthorId),
    /// Let the gate take these in. Nothing is owed.
    Learn(Vec<Bytes>),
    /// Carry out a call; answer [`LinkInput::Served`].
    Serve {
        /// Of the call.
        id: u64,
        /// What is wanted.
        method: u32,
        /// The request.
        body: Bytes,
    },
    /// A call of this side was answered.
    Replied {
        /// As given with [`LinkInput::Call`].
        id: u64,
        /// The answer, or why there is none.
        result: Result<Bytes, String>,
    },
    /// Look which of these still wait in the causal queue of a document; answer [`LinkInput::Released`].
    CheckPending(Vec<(usize, Digest)>),
    /// Ask this node's host about documents of the peer; answer [`LinkInput::Offered`].
    Offer(Vec<Offer>),
    /// Look up what this node keeps and does not serve; answer [`LinkInput::LookedUp`].
    Catalog(CatalogQuery),
    /// Send a ping. Nothing is owed.
    Ping,
    /// Tell whom it concerns. Nothing is owed.
    Notice(LinkNotice),
    /// Close the socket. The link ignores everything from now on.
    Close(CloseReason),
}

/// What happens to a link.
#[derive(Debug)]
pub enum LinkInput {
    /// Answers [`LinkEffect::Receive`].
    Received(Vec<Incoming>),
    /// Answers [`LinkEffect::Query`].
    Answered(usize, Answer),
    /// Answers [`LinkEffect::Apply`]: one state per change, and what the causal queue evicted.
    Applied(Result<Applied, String>),
    /// Answers [`LinkEffect::Apply`] too: the disk does not keep up. Here are the changes again.
    Busy(Vec<Change>),
    /// Follows a good [`LinkInput::Applied`]: the batch is durable or never will be.
    Stored(Result<(), String>),
    /// Answers [`LinkEffect::Read`].
    Entries(usize, Result<Vec<Arc<Entry>>, String>),
    /// Answers [`LinkEffect::Send`].
    Sent,
    /// Answers [`LinkEffect::Admit`].
    Admitted(Result<PeerRights, String>),
    /// Answers [`LinkEffect::Serve`].
    Served {
        /// Of the call.
        id: u64,
        /// The answer, or why there is none.
        result: Result<Bytes, String>,
    },
    /// Answers [`LinkEffect::Query`], [`LinkEffect::Read`] and [`LinkEffect::Apply`]: the document is closed.
    Gone(usize),
    /// This node serves another document.
    Opened(LinkDocument),
    /// This node serves a document no longer.
    Closed {
        /// The document.
        document: usize,
        /// What it held at last.
        held: HeldDocument,
        /// How much of its log was durable.
        durable: LogSeq,
    },
    /// Documents that this node does not serve have grown.
    News(Vec<HeldDocument>),
    /// As before, and they are too many to name.
    ManyNews,
    /// Answers [`LinkEffect::Offer`].
    Offered {
        /// For these the host has no room at present.
        later: Vec<DocumentId>,
    },
    /// Answers [`LinkEffect::Catalog`].
    LookedUp(CatalogAnswer),
    /// Answers [`LinkEffect::CheckPending`]: those that wait no longer.
    Released(Vec<Digest>),
    /// A document's log has grown to this length.
    Durable(usize, LogSeq),
    /// A causal queue evicted changes, whoever brought them.
    Evicted(Evicted),
    /// This node's presence changed.
    Presence(Bytes),
    /// This node goes by other grants now.
    Records(Vec<Bytes>),
    /// This node's trust changed: the peer is judged again, and asked for what is missing by now.
    AskAgain,
    /// This side wants something of the other.
    Call {
        /// Names the call, among those of this side.
        id: u64,
        /// What is wanted.
        method: u32,
        /// The request.
        body: Bytes,
    },
    /// The socket's counters since the link began. Goes before each [`LinkInput::Tick`].
    Traffic {
        /// Bytes received.
        received: u64,
        /// Bytes that the socket has taken.
        written: u64,
    },
    /// A deadline may have passed.
    Tick,
    /// The link shall end once what is durable is sent.
    Stop,
    /// The socket has ended.
    Ended(CloseReason),
}

/// What a link reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkNotice {
    /// The other side has proved its key and may connect.
    Established {
        /// The key.
        peer: AuthorId,
        /// What this node calls it.
        name: Option<String>,
    },
    /// Both sides have told each other all that they held when they met.
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
    /// The other side's trust holds back changes by these authors.
    HeldThere {
        /// The document.
        document: usize,
        /// The authors.
        authors: Vec<AuthorId>,
    },
    /// The other side holds these, on disk.
    Acked {
        /// The document.
        document: usize,
        /// The highest of some authors.
        vector: VersionVector,
    },
    /// How it stands with the exchange of a document. Of one that is opened it is said once, and then whenever it changes.
    Exchange {
        /// The document.
        document: usize,
        /// How it stands.
        exchange: Exchange,
    },
    /// What somebody does at this moment.
    Presence(Bytes),
}

/// How it stands between two sides with a document that this one serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// The other side does not serve it.
    Apart,
    /// They have not told each other yet all that they held when they met.
    Meeting,
    /// They have: from here on they tell each other what is new.
    Level,
}
