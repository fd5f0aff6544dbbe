//! Ed25519 key pairs (RFC 8032): who an author is and how it signs.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::hex::hex_id;

hex_id! {
    /// Who authored a change: an Ed25519 public key.
    AuthorId
}

/// An Ed25519 key pair that authors and signs changes. The secret is wiped from memory on drop.
#[derive(Clone)]
pub struct Keypair {
    key: SigningKey,
    author: AuthorId,
}

impl Keypair {
    /// Derives the pair from its 32-byte secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let author = AuthorId(key.verifying_key().to_bytes());
        Self { key, author }
    }

    /// Returns the secret seed, to be stored where only the owner can read it.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// Returns the public key.
    pub fn author(&self) -> AuthorId {
        self.author
    }

    /// Signs `message`. Deterministic: the same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keypair").field("author", &self.author).finish_non_exhaustive()
    }
}

/// Makes a new key pair from the operating system's random source.
///
/// # Panics
///
/// If the operating system has no random bytes to give: no safe key can be made then.
pub fn make_keypair() -> Keypair {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).expect("the operating system provides random bytes");
    Keypair::from_seed(&seed)
}
