//! Ed25519 key pairs (RFC 8032): who an author is and how it signs.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::hex::hex_id;

hex_id! {
    /// Who authored a change: an Ed25519 public key.
    AuthorId
}

/// An Ed25519 key pair that authors and signs changes.
///
/// The secret is wiped from memory on drop: the seed here, and the copy that AWS-LC signs with when the last
/// clone lets it go. What a signature left on the stack is out of reach.
#[derive(Clone)]
pub struct Keypair {
    seed: Zeroizing<[u8; 32]>,
    key: Ed25519KeyPair,
    author: AuthorId,
}

impl Keypair {
    /// Derives the pair from its 32-byte secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        let author = key.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        Self { seed: Zeroizing::new(*seed), key, author: AuthorId(author) }
    }

    /// Returns the secret seed, to be stored where only the owner can read it.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    /// Returns the public key.
    pub fn author(&self) -> AuthorId {
        self.author
    }

    /// Signs `message` (about 10 µs). Deterministic: the same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keypair").field("author", &self.author).finish_non_exhaustive()
    }
}

impl AuthorId {
    /// Returns whether the key signed the message, by the rule of `change`: the cofactored one of ZIP-215. About
    /// 40 µs.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        crate::verify::verify(self, message, signature)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify;
    use data_encoding::HEXLOWER;

    /// RFC 8032, section 7.1: seed, public key, message, signature.
    const RFC_8032: [[&str; 4]; 4] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
             387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659\
             4a7c15e9716ed28dc027beceea1ec40a",
        ],
        // The message is SHA-512 of "abc".
        [
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd\
             454d4423643ce80e2a9ac94fa54ca49f",
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030\
             3dca179c138ac17ad9bef1177331a704",
        ],
    ];

    #[test]
    fn the_signatures_are_those_of_rfc_8032_and_verify_by_our_rule() {
        for [seed, public, message, signature] in RFC_8032 {
            let bytes = |hex: &str| HEXLOWER.decode(hex.as_bytes()).unwrap();
            let key = Keypair::from_seed(&bytes(seed).try_into().unwrap());
            assert_eq!(key.seed().as_slice(), bytes(seed));
            assert_eq!(HEXLOWER.encode(&key.author().0), public);
            let signed = key.sign(&bytes(message));
            assert_eq!(HEXLOWER.encode(&signed), signature);
            assert!(verify::verify(&key.author(), &bytes(message), &signed));
            assert_eq!(key.clone().sign(&bytes(message)), signed);
        }
    }
}
