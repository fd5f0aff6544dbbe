//! Randomness from the system, and ids of intents: UUIDs of version 7, which sort by the time when they were made.

use std::hash::{BuildHasher as _, RandomState};

use gangline_lease::IntentId;

/// 64 random bits.
pub(super) fn random() -> u64 {
    // Without the system's randomness there is still what it gave this process at its start.
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0))
}

/// Makes an id that nobody else makes.
pub(crate) fn new_id(now_ms: u64) -> IntentId {
    uuid(now_ms, random(), random())
}

/// RFC 9562, section 5.7: 48 bits of milliseconds, the version, 12 random bits, the variant, 62 random bits.
fn uuid(now_ms: u64, a: u64, b: u64) -> IntentId {
    let (high, middle) = (now_ms >> 16 & 0xffff_ffff, now_ms & 0xffff);
    let (version, variant) = (0x7000 | a & 0xfff, 0x8000 | b >> 48 & 0x3fff);
    let low = b & 0xffff_ffff_ffff;
    let made = IntentId::new(&format!("{high:08x}-{middle:04x}-{version:04x}-{variant:04x}-{low:012x}"));
    made.expect("hexadecimal digits and dashes are an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_7_and_sort_by_time() {
        // The example of the RFC's appendix A.6.
        let example = uuid(0x017F_22E2_79B0, 0xCC3, 0x18C4_DC0C_0C07_398F);
        assert_eq!(example.as_str(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        let ids: Vec<_> = (0..100).map(|n| new_id(1_795_248_339_000 + n)).collect();
        assert!(ids.is_sorted());
        assert_ne!(new_id(1), new_id(1));
    }
}
