//! What a proof signs, and what stands for a version vector.

use bft_json_crdt::Digest;
use bft_json_crdt::json_crdt::VersionVector;

use super::codec::put_vector;

/// Separates proofs from everything else that the key signs.
const PROOF_DOMAIN: &[u8] = b"gangline sync 2 proof\0";
/// Separates roots from everything else that is hashed.
const ROOT_DOMAIN: &[u8] = b"gangline sync 2 root\0";

/// What both sides said before their proofs, for one of them to sign.
///
/// ```text
/// message   "gangline sync 2 proof" and a zero | 1 byte: 00 the dialer signs, 01 the other side
///           32 bytes SHA-256 of the dialer's hello frame | 32 bytes of the other side's
///           32 bytes name of the encrypted channel, or zeros where not both hellos say that they see it
/// ```
///
/// Both nonces are in the hellos: a proof serves on one connection only, for one side only. Whatever a third party
/// changes in a hello makes both proofs fail.
#[derive(Clone, Copy, Debug)]
pub struct Transcript {
    dialer: [u8; 32],
    server: [u8; 32],
    channel: [u8; 32],
}

impl Transcript {
    /// Takes the bytes of both hello frames, and the channel's name where both see it.
    #[must_use]
    pub fn new(dialer: &[u8], server: &[u8], channel: Option<[u8; 32]>) -> Self {
        Self {
            dialer: Digest::of(&[dialer]).0,
            server: Digest::of(&[server]).0,
            channel: channel.unwrap_or_default(),
        }
    }

    /// Returns what a side signs.
    #[must_use]
    pub fn message(&self, by_dialer: bool) -> Vec<u8> {
        [PROOF_DOMAIN, &[u8::from(!by_dialer)], &self.dialer, &self.server, &self.channel].concat()
    }
}

/// Returns what stands for a version vector in a hello: replicas with the same one hold the same changes. O(authors).
#[must_use]
pub fn root(vector: &VersionVector) -> Digest {
    let mut bytes = Vec::with_capacity(64 + vector.len() * 72);
    put_vector(&mut bytes, vector);
    Digest::of(&[ROOT_DOMAIN, &bytes])
}
