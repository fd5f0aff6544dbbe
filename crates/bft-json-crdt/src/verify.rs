//! Whether a signature is valid: one rule for every path, however changes are batched.
//!
//! The rule is ZIP-215 (<https://zips.z.cash/zip-0215>): `S` is canonical, `A` and `R` are any encodings of
//! curve points, and `[8][S]B = [8]R + [8][k]A`. Being cofactored, it gives the same verdict to a signature
//! alone and in a batch, which the rules of common libraries do not for crafted torsion components.
//! No other library's `verify` is ever asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};
use sha2::{Digest as _, Sha512};

use crate::change::Change;
use crate::keypair::AuthorId;

/// Signatures that are checked with one equation: enough that a key's share is small, few enough that a
/// forged one among them costs little to find.
const GROUP_MAX: usize = 256;
/// Parsed keys that a [`Checker`] keeps.
const KEYS_MAX: usize = 4_096;

/// A change whose own signature was looked at. Nothing but a [`Checker`] makes one.
#[derive(Clone, Debug)]
pub struct CheckedChange {
    pub(crate) change: Change,
    pub(crate) is_signed: bool,
}

impl CheckedChange {
    /// A change that this replica has just signed.
    pub(crate) fn own(change: Change) -> Self {
        Self { change, is_signed: true }
    }

    /// Returns the change.
    pub fn change(&self) -> &Change {
        &self.change
    }
}

/// Checks signatures, many at a time, without a document and outside of its lock.
///
/// Keeps the keys that it has parsed. Shared by reference between threads.
#[derive(Debug, Default)]
pub struct Checker {
    keys: Mutex<BTreeMap<AuthorId, Option<VerifyingKey>>>,
}

impl Checker {
    /// Looks at each change's own signature. What follows from it is the document's verdict.
    ///
    /// A group of valid signatures costs a third of what they cost one by one.
    pub fn check(&self, changes: Vec<Change>) -> Vec<CheckedChange> {
        self.check_new(changes, &[])
    }

    /// As [`Self::check`], but takes no look at those of which `known` says that the document has them.
    pub fn check_new(&self, changes: Vec<Change>, known: &[bool]) -> Vec<CheckedChange> {
        let mut claims = Vec::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            let is_known = known.get(at).copied().unwrap_or(false);
            let key = if is_known || change.seq() == 0 { None } else { self.key(&change.author()) };
            claims.push(key.map(|key| Claim {
                key,
                digest: change.digest().0,
                signature: *change.signature(),
            }));
        }
        let mut verdicts = vec![false; changes.len()];
        for (claims, verdicts) in claims.chunks(GROUP_MAX).zip(verdicts.chunks_mut(GROUP_MAX)) {
            verify_group(claims, verdicts);
        }
        let verdicts = changes.into_iter().zip(verdicts);
        verdicts.map(|(change, is_signed)| CheckedChange { change, is_signed }).collect()
    }

    fn key(&self, author: &AuthorId) -> Option<VerifyingKey> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(author) {
            return *key;
        }
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        let key = VerifyingKey::parse(author);
        keys.insert(*author, key);
        key
    }
}

/// What a signature claims.
struct Claim {
    key: VerifyingKey,
    digest: [u8; 32],
    signature: [u8; 64],
}

/// Gives each claim the verdict that it gets alone; `None` stands for a key that is no point.
fn verify_group(claims: &[Option<Claim>], verdicts: &mut [bool]) {
    let present = claims.iter().flatten().count();
    if present >= 4 && holds_together(claims) {
        for (verdict, claim) in verdicts.iter_mut().zip(claims) {
            *verdict = claim.is_some();
        }
    } else if present >= 16 {
        // Somewhere is a bad one: the halves without it are still checked together.
        let (left, right) = claims.split_at(claims.len() / 2);
        let (left_verdicts, right_verdicts) = verdicts.split_at_mut(left.len());
        verify_group(left, left_verdicts);
        verify_group(right, right_verdicts);
    } else {
        for (verdict, claim) in verdicts.iter_mut().zip(claims) {
            *verdict = claim.as_ref().is_some_and(|claim| claim.key.verify(&claim.digest, &claim.signature));
        }
    }
}

/// Whether one random combination of all equations holds: [8](Σ zᵢsᵢ B − Σ zᵢ Rᵢ − Σ zᵢkᵢ Aᵢ) = 0. Then each
/// of them does, but for a chance of 2^-128. The coefficients are hashed from the claims themselves, so
/// that nobody can choose signatures after them.
fn holds_together(claims: &[Option<Claim>]) -> bool {
    let mut transcript = Sha512::new();
    for claim in claims.iter().flatten() {
        transcript.update(claim.key.bytes);
        transcript.update(claim.digest);
        transcript.update(claim.signature);
    }
    let seed = transcript.finalize();
    let mut scalars = Vec::with_capacity(claims.len() + 8);
    let mut points = Vec::with_capacity(claims.len() + 8);
    let mut base = Scalar::ZERO;
    // All signatures of one key share its point.
    let mut by_key: BTreeMap<[u8; 32], (EdwardsPoint, Scalar)> = BTreeMap::new();
    for (index, claim) in (0u64..).zip(claims.iter().flatten()) {
        let (r_bytes, s_bytes) = split(&claim.signature);
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes)) else { return false };
        let Some(r) = CompressedEdwardsY(r_bytes).decompress() else { return false };
        let z = coefficient(&seed, index);
        let k = challenge(&r_bytes, &claim.key.bytes, &claim.digest);
        base += z * s;
        scalars.push(-z);
        points.push(r);
        by_key.entry(claim.key.bytes).or_insert((claim.key.minus_a, Scalar::ZERO)).1 += z * k;
    }
    for (minus_a, scalar) in by_key.into_values() {
        scalars.push(scalar);
        points.push(minus_a);
    }
    scalars.push(base);
    points.push(ED25519_BASEPOINT_POINT);
    EdwardsPoint::vartime_multiscalar_mul(scalars, points).mul_by_cofactor().is_identity()
}

/// A 128-bit number that depends on all claims of the group.
fn coefficient(seed: &[u8], index: u64) -> Scalar {
    let mut hash = Sha512::new();
    hash.update(seed);
    hash.update(index.to_le_bytes());
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()).take(16) {
        *to = from;
    }
    Scalar::from_bytes_mod_order(bytes)
}

fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
    let mut hash = Sha512::new();
    hash.update(r);
    hash.update(key);
    hash.update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// A public key, decompressed once (about 4 µs) and kept.
#[derive(Clone, Copy, Debug)]
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
        let k = challenge(&r_bytes, &self.bytes, message);
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
    fn a_group_gives_each_signature_the_verdict_that_it_gets_alone() {
        let encodings = small_order_encodings();
        let honest: Vec<Keypair> = (1..4).map(|n| Keypair::from_seed(&[n; 32])).collect();
        // Honest signatures, crafted ones that only a cofactored rule accepts, and bad ones, in turns.
        let mut claims: Vec<Option<Claim>> = Vec::new();
        let claim = |author: AuthorId, digest: [u8; 32], signature: [u8; 64]| {
            VerifyingKey::parse(&author).map(|key| Claim { key, digest, signature })
        };
        for n in 0..120u8 {
            let key = &honest[n as usize % 3];
            claims.push(claim(key.author(), [n; 32], key.sign(&[n; 32])));
            let mut crafted = [0; 64];
            crafted[..32].copy_from_slice(&encodings[n as usize % 14]);
            claims.push(claim(AuthorId(encodings[n as usize / 14]), [n; 32], crafted));
        }
        let check = |claims: &[Option<Claim>]| {
            let mut verdicts = vec![false; claims.len()];
            verify_group(claims, &mut verdicts);
            for (claim, verdict) in claims.iter().zip(&verdicts) {
                let alone = claim.as_ref().is_some_and(|c| c.key.verify(&c.digest, &c.signature));
                assert_eq!(*verdict, alone);
            }
            verdicts.iter().filter(|verdict| **verdict).count()
        };
        assert_eq!(check(&claims), 240);
        assert!(holds_together(&claims));
        for bad in [0, 3, 100, 239] {
            for byte in [0, 33, 63] {
                if let Some(claim) = &mut claims[bad] {
                    claim.signature[byte] ^= 0x40;
                }
                assert!(check(&claims) < 240);
                if let Some(claim) = &mut claims[bad] {
                    claim.signature[byte] ^= 0x40;
                }
            }
        }
        claims[7] = None;
        assert_eq!(check(&claims), 239);
        assert_eq!(check(&claims[..3]), 3);
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
