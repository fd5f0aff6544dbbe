//! Who may come in: what a session asks of the node's trust.

use std::collections::BTreeSet;

use bft_json_crdt::AuthorId;

/// What a peer that has proved its key may do here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRights {
    /// Get the documents.
    pub read: bool,
    /// Have its own changes let in.
    pub write: bool,
    /// What people call it.
    pub name: Option<String>,
}

/// A node's trust, as its sessions see it. It may change at any time, so a session asks again now and then.
///
/// Calls may read files, and [`Gate::learn`] checks signatures and waits for the disk: not for a thread that others
/// wait for.
pub trait Gate: Send + Sync {
    /// Returns whether a peer that has proved its key may connect, and what it may do here.
    ///
    /// # Errors
    ///
    /// A sentence for the peer, which says what to do.
    fn admit(&self, peer: &AuthorId) -> Result<PeerRights, String>;

    /// Returns the keys whose changes this node takes in, or `None` for everybody's.
    fn accepts(&self) -> Option<BTreeSet<AuthorId>>;

    /// Returns grants and revocations to tell peers, encoded.
    fn records(&self) -> Vec<Vec<u8>>;

    /// Takes in what a peer tells, in any order, and returns how many were new. They are on disk before they count.
    fn learn(&self, records: &[Vec<u8>]) -> usize;
}

/// A gate that is open to all.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn admit(&self, _peer: &AuthorId) -> Result<PeerRights, String> {
        Ok(PeerRights { read: true, write: true, name: None })
    }

    fn accepts(&self) -> Option<BTreeSet<AuthorId>> {
        None
    }

    fn records(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn learn(&self, _records: &[Vec<u8>]) -> usize {
        0
    }
}
