//! Whether a signature is valid: one rule for every path, however changes are batched.
//!
//! The rule is ZIP-215 (<https://zips.z.cash/zip-0215>): `S` is canonical, `A` and `R` are any encodings of
//! curve points, and `[8][S]B = [8]R + [8][k]A`. Being cofactored, it gives the same verdict to a signature
//! alone and in a batch, which the rules of common libraries do not for crafted torsion components.
//! No other library's `verify` is ever asked.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use sha2::{Digest as _, Sha512};

use crate::keypair::AuthorId;

/// A public key, decompressed once (about 4 µs) and kept.
#[derive(Clone, Copy)]
pub(crate) struct VerifyingKey {
    bytes: [u8; 32],
    minus_a: EdwardsPoint,
}

impl VerifyingKey {
    /// Returns `None` where the bytes encode no point of the curve.
    pub(crate) fn parse(author: &AuthorId) -> Option<Self> {
        let a = CompressedEdwardsY(author.0).decompress()?;
        Some(Self { bytes: author.0, minus_a: -a })
    }

    /// Checks `signature` over `message` by the one rule.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let (r_bytes, s_bytes) = split(signature);
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes)) else { return false };
        let mut hash = Sha512::new();
        hash.update(r_bytes);
        hash.update(self.bytes);
        hash.update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let expected_r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &self.minus_a, &s);
        // Equal encodings are equal points; only crafted signatures need the cofactored equation.
        if expected_r.compress().0 == r_bytes {
            return true;
        }
        match CompressedEdwardsY(r_bytes).decompress() {
            Some(r) => (expected_r - r).mul_by_cofactor().is_identity(),
            None => false,
        }
    }
}

fn split(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let mut r = [0; 32];
    let mut s = [0; 32];
    let (first, second) = signature.split_at(32);
    r.copy_from_slice(first);
    s.copy_from_slice(second);
    (r, s)
}

/// Checks one signature without a cached key.
pub(crate) fn verify(author: &AuthorId, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::parse(author).is_some_and(|key| key.verify(message, signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keypair::Keypair;
    use curve25519_dalek::constants::EIGHT_TORSION;

    /// The encodings of all small-order points: the canonical ones of the eight torsion points and the
    /// six non-canonical ones, as in "Taming the many EdDSAs" and the test vectors of ZIP-215.
    fn small_order_encodings() -> Vec<[u8; 32]> {
        let mut all: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|p| p.compress().0).collect();
        let mut p = [0xff; 32];
        p[0] = 0xed;
        p[31] = 0x7f; // p = 2^255 - 19, which reads as y = 0
        let mut p_plus_1 = p;
        p_plus_1[0] = 0xee; // reads as y = 1
        let mut minus_1 = [0xff; 32];
        minus_1[0] = 0xec; // y = -1 with the sign bit set on x = 0
        let mut one = [0; 32];
        one[0] = 1;
        one[31] = 0x80; // y = 1 with the sign bit set on x = 0
        let signed = |mut e: [u8; 32]| {
            e[31] |= 0x80;
            e
        };
        all.extend([p, signed(p), p_plus_1, signed(p_plus_1), minus_1, one]);
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn all_196_corner_cases_are_valid() {
        let encodings = small_order_encodings();
        assert_eq!(encodings.len(), 14);
        for a in &encodings {
            for r in &encodings {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(r);
                assert!(verify(&AuthorId(*a), b"Zcash", &signature), "A {a:02x?} R {r:02x?}");
            }
        }
    }

    #[test]
    fn a_valid_signature_verifies_and_no_flipped_bit_does() {
        let key = Keypair::from_seed(&[7; 32]);
        let signature = key.sign(b"message");
        assert!(verify(&key.author(), b"message", &signature));
        assert!(!verify(&key.author(), b"massage", &signature));
        for bit in 0..512 {
            let mut bad = signature;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&key.author(), b"message", &bad), "bit {bit}");
        }
    }

    #[test]
    fn a_scalar_above_the_group_order_is_refused() {
        let key = Keypair::from_seed(&[7; 32]);
        let mut signature = key.sign(b"message");
        // s + L, little-endian: the classic malleation.
        let order: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0u16;
        for (byte, add) in signature[32..].iter_mut().zip(order) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert!(!verify(&key.author(), b"message", &signature));
    }
}
