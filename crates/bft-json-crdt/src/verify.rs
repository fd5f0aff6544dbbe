//! Whether a signature is valid: one rule for every path, however changes are batched.
//!
//! The rule is ZIP-215 (<https://zips.z.cash/zip-0215>): `S` is canonical, `A` and `R` are any encodings of
//! curve points, and `[8][S]B = [8]R + [8][k]A`. Being cofactored, it gives the same verdict to a signature
//! alone and in a batch, which the rules of common libraries do not for crafted torsion components.
//! No other library's `verify` is ever asked.
//!
//! This file has the rule and who applies it, [`group`] checks many signatures with one equation, [`cover`]
//! finds which ones need no look because a later one of the same author commits to them.

mod cover;
mod group;

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;

use crate::change::Change;
use crate::hash::sha512;
use crate::keypair::AuthorId;
use crate::verify::cover::Chains;
use crate::verify::group::Claim;

/// Parsed keys that a [`Checker`] keeps.
const KEYS_MAX: usize = 4_096;
/// Threads that a [`Checker`] uses unless it was told how many: others have work for the cores too.
const THREADS_MAX: usize = 8;

/// A change whose own signature was looked at, or needed no look. Nothing but a [`Checker`] makes one.
#[derive(Clone, Debug)]
pub struct CheckedChange {
    pub(crate) change: Change,
    /// Whether its own signature was looked at and is valid.
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
/// Keeps the keys that it has parsed. Shared by reference between threads. No verdict depends on how many
/// threads there are or on what else is checked beside.
#[derive(Debug, Default)]
pub struct Checker {
    keys: Mutex<BTreeMap<AuthorId, Option<VerifyingKey>>>,
    threads: OnceLock<usize>,
}

impl Checker {
    /// Makes a checker that spreads its work over `threads` threads, the calling one included and at least
    /// one. [`Checker::default`] takes as many as there are cores, at most eight.
    pub fn with_threads(threads: usize) -> Self {
        Self { keys: Mutex::default(), threads: OnceLock::from(threads) }
    }

    /// Looks at each change's own signature. What follows from it is the document's verdict.
    ///
    /// A group of valid signatures costs a quarter of what they cost one by one; forged ones among them cost
    /// at most about twice what they cost alone. From 128 on they are spread over several threads.
    pub fn check(&self, changes: Vec<Change>) -> Vec<CheckedChange> {
        self.check_new(changes, &[])
    }

    /// As [`Self::check`], but takes no look at those of which `known` says that the document has them.
    pub fn check_new(&self, changes: Vec<Change>, known: &[bool]) -> Vec<CheckedChange> {
        let looked_at: Vec<usize> = (0..changes.len()).filter(|at| !is_known(known, *at)).collect();
        let mut signed = vec![false; changes.len()];
        self.look(&changes, &looked_at, &mut signed);
        with_verdicts(changes, &signed)
    }

    /// As [`Self::check_new`], but takes no look either at what a validly signed change of the same author
    /// among them names as its previous one, or that one's previous one, and so on.
    ///
    /// The document finds the same changes authentic as after [`Self::check_new`]; fewer of them are vouched
    /// for. A chain costs one signature. Where a chain's last signature is bad, all that it was to cover are
    /// looked at together, so that a forger cannot make this cost more than one look at each.
    pub fn check_covered(&self, changes: Vec<Change>, known: &[bool]) -> Vec<CheckedChange> {
        let mut chains = Chains::new(&changes, |at| !is_known(known, at));
        let mut signed = vec![false; changes.len()];
        self.look(&changes, &chains.tops(), &mut signed);
        chains.cover(&signed);
        self.look(&changes, &chains.rest(), &mut signed);
        with_verdicts(changes, &signed)
    }

    /// Looks at the signatures of the changes at the places `looked_at` and notes which are valid.
    fn look(&self, changes: &[Change], looked_at: &[usize], signed: &mut [bool]) {
        let looked_at = || looked_at.iter().filter_map(|at| Some((*at, changes.get(*at)?)));
        let keys = self.keys(looked_at().map(|(_, change)| &change.header().author));
        let mut claims = Vec::new();
        let mut places = Vec::new();
        let mut same: Option<(&AuthorId, Option<&VerifyingKey>)> = None;
        for (at, change) in looked_at() {
            let author = &change.header().author;
            let key = match same {
                Some((before, key)) if before == author => key,
                _ => keys.get(author).and_then(Option::as_ref),
            };
            same = Some((author, key));
            // A key that is no point signs nothing, and seq 0 stands for an edit that was never signed.
            if let Some(key) = key
                && change.seq() > 0
            {
                claims.push(Claim { key, message: change.digest().0, signature: change.signature() });
                places.push(at);
            }
        }
        for (at, verdict) in places.into_iter().zip(group::verify(&claims, self.threads_for(claims.len()))) {
            if let Some(signed) = signed.get_mut(at) {
                *signed = verdict;
            }
        }
    }

    /// Returns each author's key, parsed before or just then; `None` where the bytes are no key.
    fn keys<'a>(
        &self,
        authors: impl Iterator<Item = &'a AuthorId>,
    ) -> BTreeMap<&'a AuthorId, Option<VerifyingKey>> {
        let mut wanted = BTreeMap::new();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = None;
        for author in authors {
            if before == Some(author) {
                continue;
            }
            before = Some(author);
            wanted.entry(author).or_insert_with(|| {
                if let Some(key) = keys.get(author) {
                    return *key;
                }
                if keys.len() >= KEYS_MAX {
                    keys.clear();
                }
                let key = VerifyingKey::parse(author);
                keys.insert(*author, key);
                key
            });
        }
        wanted
    }

    /// How many threads are worth their start.
    fn threads_for(&self, claims: usize) -> usize {
        let worth = claims / group::PER_THREAD_MIN;
        if worth < 2 {
            return 1;
        }
        let cores = || thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        (*self.threads.get_or_init(cores)).clamp(1, worth)
    }
}

fn is_known(known: &[bool], at: usize) -> bool {
    known.get(at).copied().unwrap_or(false)
}

fn with_verdicts(changes: Vec<Change>, signed: &[bool]) -> Vec<CheckedChange> {
    let verdicts = changes.into_iter().zip(signed);
    verdicts.map(|(change, is_signed)| CheckedChange { change, is_signed: *is_signed }).collect()
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
        let k = Scalar::from_bytes_mod_order_wide(&challenge(&r_bytes, &self.bytes, message));
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

/// The hash that binds a signature to its key and message; mod the group order it is the rule's `k`.
fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> [u8; 64] {
    sha512(&[r, key, message])
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
    use crate::change::{DocumentId, Header};
    use crate::keypair::Keypair;
    use curve25519_dalek::constants::EIGHT_TORSION;

    /// The encodings of all small-order points: the canonical ones of the eight torsion points and the
    /// six non-canonical ones, as in "Taming the many EdDSAs" and the test vectors of ZIP-215.
    pub(super) fn small_order_encodings() -> Vec<[u8; 32]> {
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
    fn no_verdict_depends_on_the_number_of_threads() {
        let changes: Vec<Change> = (0..300u64)
            .map(|n| {
                let author = Keypair::from_seed(&[n.to_le_bytes()[0] % 5; 32]);
                let header = Header {
                    document: DocumentId::DEFAULT,
                    author: author.author(),
                    seq: 1,
                    prev: None,
                    lamport: 1,
                    first_counter: n + 1,
                    deps: Vec::new(),
                };
                let change = Change::sign(
                    header,
                    |bytes| {
                        bytes.extend_from_slice(&[0, 0]);
                        Ok(())
                    },
                    0,
                    0,
                    &author,
                )
                .unwrap();
                if n % 37 == 5 { change.with_signature([7; 64]) } else { change }
            })
            .collect();
        let known: Vec<bool> = (0..300).map(|n| n % 50 == 1).collect();
        let expected: Vec<bool> = (0..300).map(|n| n % 37 != 5 && n % 50 != 1).collect();
        for threads in [0, 1, 2, 3, 8, 1_000] {
            let checker = Checker::with_threads(threads);
            for checked in
                [checker.check_new(changes.clone(), &known), checker.check_covered(changes.clone(), &known)]
            {
                let signed: Vec<bool> = checked.iter().map(|checked| checked.is_signed).collect();
                assert_eq!(signed, expected, "with {threads} threads");
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
