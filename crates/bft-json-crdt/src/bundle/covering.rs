//! Which signatures make every change of a bundle authentic.

use std::collections::HashMap;

use super::{COVERED_CHANGES_MAX, Signatures};
use crate::change::{Change, Digest};
use crate::keypair::AuthorId;

/// Returns for each change whether a bundle keeps its signature, as [`super::encode`] does. A signature of zeros
/// stands for one that was left out before, and is not kept. O(changes).
pub fn kept(changes: &[Change], signatures: Signatures) -> Vec<bool> {
    let has_signature = |change: &Change| *change.signature() != [0; 64];
    if signatures == Signatures::All {
        return changes.iter().map(has_signature).collect();
    }
    // Per change that a later one names as its author's previous: how far behind a signature it is.
    let mut behind: HashMap<(AuthorId, Digest), usize> = HashMap::new();
    let mut kept: Vec<bool> = Vec::with_capacity(changes.len());
    for change in changes.iter().rev() {
        let distance = behind.remove(&(change.author(), change.digest()));
        let is_due = distance.is_none_or(|distance| distance >= COVERED_CHANGES_MAX);
        let is_kept = is_due && has_signature(change);
        kept.push(is_kept);
        if let Some(prev) = change.prev() {
            // Without a signature where one is due, the next that there is serves.
            let distance = if is_kept { 1 } else { distance.unwrap_or(COVERED_CHANGES_MAX) + 1 };
            let nearest = behind.entry((change.author(), prev)).or_insert(distance);
            *nearest = distance.min(*nearest);
        }
    }
    kept.reverse();
    kept
}
