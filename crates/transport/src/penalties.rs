//! Keys that broke a session, and until when they may not connect again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bft_json_crdt::AuthorId;

/// Most keys that are remembered; beyond, the one whose time is up soonest is forgotten.
const KEYS_MAX: usize = 1_024;

/// The penalties of one node. Times are milliseconds on its wall clock.
#[derive(Debug, Default)]
pub(crate) struct Penalties {
    until: Mutex<BTreeMap<AuthorId, u64>>,
}

impl Penalties {
    /// Keeps a key out for a while.
    pub(crate) fn add(&self, key: AuthorId, now_ms: u64, penalty_ms: u64) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|_, until| *until > now_ms);
        if until.len() >= KEYS_MAX
            && let Some(soonest) = until.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
        {
            until.remove(&soonest);
        }
        until.insert(key, now_ms.saturating_add(penalty_ms));
    }

    /// How long a key is kept out yet; none if it is not.
    pub(crate) fn left_ms(&self, key: &AuthorId, now_ms: u64) -> Option<u64> {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.get(key)?.checked_sub(now_ms).filter(|left| *left > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_ends_and_the_list_stays_short() {
        let penalties = Penalties::default();
        let key = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            AuthorId(key)
        };
        penalties.add(key(1), 1_000, 500);
        assert_eq!(penalties.left_ms(&key(1), 1_200), Some(300));
        assert_eq!(penalties.left_ms(&key(1), 1_500), None);
        assert_eq!(penalties.left_ms(&key(2), 1_200), None);
        for n in 0..2 * KEYS_MAX {
            penalties.add(key(n), 1_000, 1_000 + n as u64);
        }
        assert_eq!(penalties.until.lock().unwrap().len(), KEYS_MAX);
        assert!(penalties.left_ms(&key(2 * KEYS_MAX - 1), 1_000).is_some());
    }
}
