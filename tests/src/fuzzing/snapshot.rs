//! Snapshots that were damaged and whose checksums fit all the same.

use bft_json_crdt::bundle;
use bft_json_crdt::json_crdt::{BaseCrdt, Snapshot};

use super::fit_checksums;
use crate::kinds::{self, Part};

/// The length of the state, then the state and the history.
#[must_use]
pub fn joined(snapshot: &Snapshot) -> Vec<u8> {
    let len = u32::try_from(snapshot.state.len()).unwrap_or(u32::MAX);
    [&len.to_le_bytes()[..], &snapshot.state, &snapshot.history].concat()
}

/// A snapshot as [`joined`] writes it. It gets the checksums that fit it, because no fuzzer guesses those. What
/// opens can be shown, edited, and saved again.
pub fn snapshot(data: &[u8]) -> bool {
    /// Where a fuzzer has seen enough: of what the history says that it is.
    const BYTES_MAX: u64 = 1 << 18;
    let Some((len, rest)) = data.split_first_chunk::<4>() else { return false };
    let Some((state, history)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else {
        return false;
    };
    let mut snapshot = Snapshot { state: state.to_vec(), history: history.to_vec() };
    fit_sections(&mut snapshot.state);
    if fit_bundles(&mut snapshot.history) > BYTES_MAX {
        return false;
    }
    let [alice, bob, _] = kinds::keys();
    let mut base = match BaseCrdt::<Part>::open(&alice, &snapshot) {
        Ok(base) => base,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    let shown = kinds::portrait(&base);
    read_history(&base);
    // Saved as it is, it opens and shows the same.
    let saved = base.clone().save().expect("what was opened can be saved");
    let again = BaseCrdt::<Part>::open(&alice, &saved).expect("what was saved can be opened");
    assert_eq!(kinds::portrait(&again), shown);
    // Others' changes come in as far as they fit, or wait; and edits go on.
    let _ = base.apply_changes(kinds::history());
    for (key, n) in [(&alice, 0), (&alice, 5)] {
        base.begin();
        kinds::edit(&base.doc, n);
        let _ = base.commit(key);
        let _ = kinds::portrait(&base);
    }
    let mut opened = BaseCrdt::<Part>::open(&bob, &snapshot).expect("it did before");
    let _ = opened.apply_changes(kinds::history());
    read_history(&base);
    if let Ok(saved) = base.save() {
        let again = BaseCrdt::<Part>::open(&bob, &saved).expect("what was saved can be opened");
        let _ = kinds::portrait(&again);
    }
    true
}

/// Asks for all that is read from the compressed history.
fn read_history(base: &BaseCrdt<Part>) {
    for entry in base.history(0, usize::MAX) {
        if let Some(change) = base.change(&entry.digest) {
            let _ = base.effects(&change);
        }
    }
    let heads = base.heads();
    if let Ok(past) = base.at(&heads) {
        let _ = kinds::portrait(&past);
    }
    let _ = base.compare(&[], &heads);
}

/// Gives the sections of a state their checksums.
fn fit_sections(state: &mut [u8]) {
    const HEAD: usize = 18;
    let Some((_, mut rest)) = state.split_at_mut_checked(HEAD) else { return };
    while let Some((len, after)) = rest.split_first_chunk_mut::<4>() {
        let Some((checksum, after)) = after.split_first_chunk_mut::<4>() else { return };
        let Some((bytes, after)) = after.split_at_mut_checked(u32::from_le_bytes(*len) as usize) else {
            return;
        };
        *checksum = crc32fast::hash(bytes).to_le_bytes();
        rest = after;
    }
}

/// Gives the bundles of a history their checksums. Returns how long their changes are in all, as they say.
fn fit_bundles(history: &mut [u8]) -> u64 {
    let (mut rest, mut bytes) = (history, 0u64);
    while let Some((len, after)) = rest.split_first_chunk_mut::<4>() {
        let Some((one, after)) = after.split_at_mut_checked(u32::from_le_bytes(*len) as usize) else { break };
        fit_checksums(one);
        bytes = bytes.saturating_add(bundle::decode(one).map_or(0, |decoder| decoder.change_bytes()));
        rest = after;
    }
    bytes
}
