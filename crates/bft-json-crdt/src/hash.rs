//! The hash functions: SHA-256 names things, SHA-512 is part of Ed25519.
//!
//! By AWS-LC, which signs as well: on processors without SHA instructions it is nearly twice as fast as code that
//! is not written for them, and hashing is most of what a covered change costs.

use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA512, digest};

/// What fits is hashed out of one buffer, in one call.
const SHORT: usize = 512;

/// Hashes the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    hash(&SHA256, parts)
}

/// Hashes the parts, one after the other.
pub(crate) fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    hash(&SHA512, parts)
}

fn hash<const N: usize>(algorithm: &'static Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut short = [0; SHORT];
    let mut len = 0;
    for part in parts {
        if let Some(free) = short.get_mut(len..len + part.len()) {
            free.copy_from_slice(part);
        }
        len += part.len();
    }
    let hash = if let Some(short) = short.get(..len) {
        digest(algorithm, short)
    } else {
        let mut context = Context::new(algorithm);
        parts.iter().for_each(|part| context.update(part));
        context.finish()
    };
    let mut out = [0; N];
    out.iter_mut().zip(hash.as_ref()).for_each(|(out, byte)| *out = *byte);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_empty_message_has_its_known_hashes() {
        let hex = |hash: &[u8]| data_encoding::HEXLOWER.encode(hash);
        assert_eq!(hex(&sha256(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(
            hex(&sha512(&[])).starts_with("cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce")
        );
    }

    proptest! {
        #[test]
        fn parts_hash_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..1_200), at in any::<prop::sample::Index>()) {
            let (front, back) = bytes.split_at(at.index(bytes.len() + 1));
            let (short, long) = (digest(&SHA256, &bytes), digest(&SHA512, &bytes));
            prop_assert_eq!(&sha256(&[front, back])[..], short.as_ref());
            prop_assert_eq!(&sha512(&[front, &[], back])[..], long.as_ref());
        }
    }
}
