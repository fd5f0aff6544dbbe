//! Who may do what: the port through which a node's trust decides about peers.

use std::collections::BTreeSet;

use bft_json_crdt::AuthorId;

/// What a peer may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRights {
    /// It may be told what this node holds.
    pub read: bool,
    /// Its changes are taken.
    pub write: bool,
    /// What this node calls it.
    pub name: Option<String>,
}

/// Decides about peers that have proved their key.
pub trait Gate: Send + Sync {
    /// Says whether a peer may connect, and what it may do here.
    ///
    /// # Errors
    /// A sentence for the peer: what is wrong, and what to do.
    fn admit(&self, peer: &AuthorId) -> Result<PeerRights, String>;

    /// Returns the keys whose changes this node takes, or none for everybody's.
    fn accepts(&self) -> Option<BTreeSet<AuthorId>>;

    /// Returns grants and revocations to tell peers, encoded.
    fn records(&self) -> Vec<Vec<u8>>;

    /// Returns the grants to this node's own key, with those that they stand on: what it shows to a peer that it
    /// dialled, before that has proved its own key.
    fn credentials(&self) -> Vec<Vec<u8>>;

    /// Takes in what a peer tells, and returns how many were new. What is new is kept before it counts.
    fn learn(&self, records: &[Vec<u8>]) -> usize;
}

/// Admits everybody to everything: for a node that only its own machine reaches.
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

    fn credentials(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn learn(&self, _records: &[Vec<u8>]) -> usize {
        0
    }
}
