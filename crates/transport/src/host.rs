//! Who opens documents that peers have: the port through which a node keeps copies that nobody has open.

use bft_json_crdt::{AuthorId, Digest, DocumentId};
use gangline_wire::v2::HeldDocument;

use crate::gate::PeerRights;

/// A document that a peer holds and this node does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The document.
    pub id: DocumentId,
    /// What the peer holds of it, as [`root`](gangline_wire::v2::root) has it; none where only that it has something new
    /// is known. A node that keeps the same has nothing to open it for.
    pub root: Option<Digest>,
}

/// What a node does about an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It opens the document, or will: see [`Transport::open_document`](crate::Transport::open_document).
    Taken,
    /// It does not want the document, or holds as much of it.
    Declined,
    /// It has no room at present. It is asked again, and about nothing else of this peer's before.
    Later,
}

/// Keeps documents, and opens them when a peer has something new.
///
/// All calls may take a moment, as a look into a database does: they come on threads where they may block.
pub trait DocumentHost: Send + Sync {
    /// Tells whether this node keeps documents that it does not serve, or would. Asked once for each session.
    fn hosts(&self) -> bool {
        true
    }

    /// A peer that may write has a document which this node does not serve. Opening it makes the two exchange what they
    /// lack; when that is done, and nothing happens any more, the host may close it again.
    ///
    /// The same document may be offered again, by the same peer, as it grows there: about once in a second.
    fn offered(&self, peer: AuthorId, rights: &PeerRights, offer: &Offer) -> Offered;

    /// Returns what this node keeps and does not serve, of the documents whose id begins with this byte, in any order.
    /// What is being served is left out by the caller as well.
    ///
    /// The answer is used for all peers until a document of the bucket is opened or closed, or the host says that
    /// something has changed: see [`Transport::tell_stored`](crate::Transport::tell_stored).
    fn stored(&self, bucket: u8) -> Vec<HeldDocument>;
}

/// Keeps nothing but what the node serves.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl DocumentHost for NoHost {
    fn hosts(&self) -> bool {
        false
    }

    fn offered(&self, _peer: AuthorId, _rights: &PeerRights, _offer: &Offer) -> Offered {
        Offered::Declined
    }

    fn stored(&self, _bucket: u8) -> Vec<HeldDocument> {
        Vec::new()
    }
}
