//! Many signatures, one equation: the verdict that each gets alone, for a quarter of the cost.
//!
//! Of each claim the rule wants `[8](R + kA - sB) = 0`. A random combination of these sums is zero if all of
//! them are, and otherwise but for a chance of 2^-128. Where it is not, the sum of one half is computed and
//! that of the other follows, down to the claims that are bad: one that is bad costs a few looks, and where
//! all are, each costs no more than two.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use aws_lc_rs::digest::{Context, SHA512};
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};

use crate::hash::sha512;
use crate::verify::{VerifyingKey, challenge, split};

/// Signatures that are checked with one equation: enough that what a group costs in itself is little for
/// each, few enough that their points stay in a core's cache.
const GROUP_MAX: usize = 1_024;
/// Signatures that take a thread long enough to be worth its start, which costs about as much as three do.
pub(super) const PER_THREAD_MIN: usize = 64;

/// What a signature claims.
pub(super) struct Claim<'a> {
    pub(super) key: &'a VerifyingKey,
    pub(super) message: [u8; 32],
    pub(super) signature: &'a [u8; 64],
}

/// Gives each claim the verdict that it gets alone, on this thread and `threads - 1` others.
pub(super) fn verify(claims: &[Claim<'_>], threads: usize) -> Vec<bool> {
    let mut verdicts = vec![false; claims.len()];
    let groups = claims.len().div_ceil(GROUP_MAX).next_multiple_of(threads.max(1)).max(1);
    let size = claims.len().div_ceil(groups).max(1);
    let work = Mutex::new(claims.chunks(size).zip(verdicts.chunks_mut(size)));
    let run = || {
        loop {
            let group = work.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((claims, verdicts)) = group else { break };
            verify_group(claims, verdicts);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // If the system has no thread to give, the others do its share.
            let _ = thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    verdicts
}

fn verify_group(claims: &[Claim<'_>], verdicts: &mut [bool]) {
    if let ([claim], [verdict]) = (claims, &mut *verdicts) {
        // Alone, R need not be decompressed.
        *verdict = claim.key.verify(&claim.message, claim.signature);
        return;
    }
    let mut bad = Vec::new();
    let terms = terms(claims, verdicts);
    find_bad(&terms, sum(&terms), &mut bad);
    for at in bad {
        if let Some(verdict) = verdicts.get_mut(at) {
            *verdict = false;
        }
    }
}

/// A claim's part of the sum: z(R + kA - sB).
struct Term<'a> {
    /// Its place in the group.
    at: usize,
    key: &'a VerifyingKey,
    r: EdwardsPoint,
    z: Scalar,
    zk: Scalar,
    zs: Scalar,
}

/// Makes the terms of the claims that are well formed, and notes which those are.
fn terms<'a>(claims: &[Claim<'a>], is_term: &mut [bool]) -> Vec<Term<'a>> {
    let mut terms = Vec::with_capacity(claims.len());
    let mut transcript = Context::new(&SHA512);
    for (at, (claim, is_term)) in claims.iter().zip(is_term).enumerate() {
        let (r_bytes, s_bytes) = split(claim.signature);
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes)) else { continue };
        let Some(r) = CompressedEdwardsY(r_bytes).decompress() else { continue };
        let challenge = challenge(&r_bytes, &claim.key.bytes, &claim.message);
        // The challenge commits to the key, to R and to the message.
        transcript.update(&challenge);
        transcript.update(&s_bytes);
        let k = Scalar::from_bytes_mod_order_wide(&challenge);
        terms.push(Term { at, key: claim.key, r, z: Scalar::ONE, zk: k, zs: s });
        *is_term = true;
    }
    // The coefficients are 128 bits each, hashed from all claims: nobody can choose signatures after them.
    let seed = transcript.finish();
    for (index, terms) in (0u64..).zip(terms.chunks_mut(4)) {
        let hash = sha512(&[seed.as_ref(), &index.to_le_bytes()]);
        for (term, bytes) in terms.iter_mut().zip(hash.as_chunks::<16>().0) {
            term.z = Scalar::from(u128::from_le_bytes(*bytes));
            term.zk *= term.z;
            term.zs *= term.z;
        }
    }
    terms
}

/// Adds up terms. All signatures of one key share its point, and all of them the base point.
fn sum(terms: &[Term<'_>]) -> EdwardsPoint {
    let mut base = Scalar::ZERO;
    let mut by_key: BTreeMap<&[u8; 32], (&VerifyingKey, Scalar)> = BTreeMap::new();
    for term in terms {
        base -= term.zs;
        by_key.entry(&term.key.bytes).or_insert((term.key, Scalar::ZERO)).1 -= term.zk;
    }
    let (mut points, mut scalars) = (vec![ED25519_BASEPOINT_POINT], vec![base]);
    for (key, scalar) in by_key.into_values() {
        points.push(key.minus_a);
        scalars.push(scalar);
    }
    EdwardsPoint::vartime_multiscalar_mul(
        terms.iter().map(|term| &term.z).chain(&scalars),
        terms.iter().map(|term| &term.r).chain(&points),
    )
}

/// Names the places of the bad claims among `terms`, which add up to `total`. What is named is bad for
/// certain: its own term is not zero.
fn find_bad(terms: &[Term<'_>], total: EdwardsPoint, bad: &mut Vec<usize>) {
    if total.mul_by_cofactor().is_identity() {
        return;
    }
    if let [term] = terms {
        bad.push(term.at);
        return;
    }
    let (left, right) = terms.split_at(terms.len() / 2);
    let left_sum = sum(left);
    find_bad(left, left_sum, bad);
    find_bad(right, total - left_sum, bad);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keypair::{AuthorId, Keypair};
    use crate::verify::tests::small_order_encodings;

    struct Signed {
        key: VerifyingKey,
        message: [u8; 32],
        signature: [u8; 64],
    }

    /// Honest signatures, and crafted ones that only a cofactored rule accepts, in turns.
    fn valid() -> Vec<Signed> {
        let encodings = small_order_encodings();
        let honest: Vec<Keypair> = (1..4).map(|n| Keypair::from_seed(&[n; 32])).collect();
        let mut all = Vec::new();
        for n in 0..120u8 {
            let signed = |author: AuthorId, signature| Signed {
                key: VerifyingKey::parse(&author).unwrap(),
                message: [n; 32],
                signature,
            };
            let key = &honest[n as usize % 3];
            all.push(signed(key.author(), key.sign(&[n; 32])));
            let mut crafted = [0; 64];
            crafted[..32].copy_from_slice(&encodings[n as usize % 14]);
            all.push(signed(AuthorId(encodings[n as usize / 14]), crafted));
        }
        all
    }

    /// Checks together, on any number of threads, and alone; returns how many are valid.
    #[track_caller]
    fn check(all: &[Signed]) -> usize {
        let claims: Vec<Claim<'_>> = all
            .iter()
            .map(|signed| Claim { key: &signed.key, message: signed.message, signature: &signed.signature })
            .collect();
        let alone: Vec<bool> = claims.iter().map(|c| c.key.verify(&c.message, c.signature)).collect();
        for threads in 0..5 {
            assert_eq!(verify(&claims, threads), alone, "with {threads} threads");
        }
        alone.iter().filter(|verdict| **verdict).count()
    }

    #[test]
    fn a_group_gives_each_signature_the_verdict_that_it_gets_alone() {
        let mut all = valid();
        for count in [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 239, 240] {
            assert_eq!(check(&all[..count]), count);
        }
        for bad in [0, 3, 100, 239] {
            for byte in [0, 33, 63] {
                all[bad].signature[byte] ^= 0x40;
                assert_eq!(check(&all), 239, "signature {bad}, byte {byte}");
                all[bad].signature[byte] ^= 0x40;
            }
        }
        for every in [50, 7, 2, 1] {
            all.iter_mut().step_by(every).for_each(|signed| signed.message[5] ^= 1);
            // A signature by a key of small order fits any message, so only the honest ones turn bad.
            let broken = (0..240).step_by(every).filter(|at| at % 2 == 0).count();
            assert_eq!(check(&all), 240 - broken, "every {every}");
            all.iter_mut().step_by(every).for_each(|signed| signed.message[5] ^= 1);
        }
    }

    #[test]
    fn bad_signatures_that_cancel_each_other_are_found() {
        // Alone, s + 1 and s - 1 are off by B and -B: without coefficients their sum would be right.
        let key = Keypair::from_seed(&[9; 32]);
        let mut all: Vec<Signed> = (0..32)
            .map(|n| Signed {
                key: VerifyingKey::parse(&key.author()).unwrap(),
                message: [n; 32],
                signature: key.sign(&[n; 32]),
            })
            .collect();
        for (at, off) in [(4, Scalar::ONE), (21, -Scalar::ONE)] {
            let (_, s) = split(&all[at].signature);
            let s = Scalar::from_canonical_bytes(s).unwrap() + off;
            all[at].signature[32..].copy_from_slice(s.as_bytes());
        }
        assert_eq!(check(&all), 30);
    }
}
