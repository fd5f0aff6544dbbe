//! `Idempotency-Key`: a request that is sent again gets the first one's answer, and writes nothing.
//!
//! The answers are kept in memory, bounded in number and bytes; the oldest go first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::OnceCell;

/// A finished answer that can be given again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The code of the refusal, if it is one.
    pub(crate) code: Option<&'static str>,
}

/// What a key stands for: which request, and its answer once there is one.
#[derive(Debug)]
pub(crate) struct Slot {
    fingerprint: [u8; 32],
    answer: OnceCell<Kept>,
}

/// A request with a known key that is another request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reused;

/// The keys that are remembered.
#[derive(Debug)]
pub(crate) struct Keys {
    keys_max: usize,
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: BTreeMap<String, Arc<Slot>>,
    /// Oldest first; a key stands here once.
    order: VecDeque<(String, usize)>,
    bytes: usize,
}

impl Keys {
    pub(crate) fn new(keys_max: usize, bytes_max: usize) -> Self {
        Self { keys_max, bytes_max, inner: Mutex::default() }
    }

    /// The slot of `key`: a fresh one, or that of the same request.
    ///
    /// # Errors
    /// When the key was used for a request with another fingerprint.
    pub(crate) fn slot(&self, key: &str, fingerprint: [u8; 32]) -> Result<Arc<Slot>, Reused> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = inner.slots.get(key) {
            return if slot.fingerprint == fingerprint { Ok(slot.clone()) } else { Err(Reused) };
        }
        let slot = Arc::new(Slot { fingerprint, answer: OnceCell::new() });
        inner.slots.insert(key.to_owned(), slot.clone());
        let cost = key.len();
        inner.order.push_back((key.to_owned(), cost));
        inner.bytes += cost;
        self.shrink(&mut inner);
        Ok(slot)
    }

    /// Runs `work` if the slot has no answer, and returns the answer. Others with the same slot wait.
    /// An answer that says that the node itself failed is not kept: the request may be sent again.
    pub(crate) async fn answer<F>(&self, key: &str, slot: &Arc<Slot>, work: F) -> Kept
    where
        F: Future<Output = Kept>,
    {
        let kept = slot.answer.get_or_init(|| work).await.clone();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = inner.slots.get(key).is_some_and(|known| Arc::ptr_eq(known, slot));
        if !is_ours {
            return kept;
        }
        if kept.status.is_server_error() {
            inner.slots.remove(key);
            let at = inner.order.iter().position(|(known, _)| known == key);
            if let Some((_, cost)) = at.and_then(|at| inner.order.remove(at)) {
                inner.bytes -= cost;
            }
            return kept;
        }
        let cost = key.len() + kept.body.len();
        let Inner { order, bytes, .. } = &mut *inner;
        // The newest are at the back, and this one is new.
        if let Some((_, known)) = order.iter_mut().rev().find(|(known, _)| known == key) {
            *bytes = *bytes - *known + cost;
            *known = cost;
        }
        self.shrink(&mut inner);
        kept
    }

    /// How many keys are remembered.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).slots.len()
    }

    fn shrink(&self, inner: &mut Inner) {
        while inner.order.len() > self.keys_max || inner.bytes > self.bytes_max {
            let Some((key, cost)) = inner.order.pop_front() else { return };
            inner.slots.remove(&key);
            inner.bytes -= cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn kept(status: u16, body: &str) -> Kept {
        let status = StatusCode::from_u16(status).unwrap();
        Kept { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()), code: None }
    }

    fn ask(keys: &Keys, key: &str, print: u8, answer: Kept) -> Result<Kept, Reused> {
        let slot = keys.slot(key, [print; 32])?;
        Ok(keys.answer(key, &slot, async { answer }).now_or_never().expect("ready"))
    }

    #[test]
    fn the_first_answer_is_given_again_and_another_request_is_refused() {
        let keys = Keys::new(10, 1000);
        assert_eq!(ask(&keys, "a", 1, kept(201, "first")), Ok(kept(201, "first")));
        assert_eq!(ask(&keys, "a", 1, kept(409, "second")), Ok(kept(201, "first")));
        assert_eq!(ask(&keys, "a", 2, kept(201, "third")), Err(Reused));
    }

    #[test]
    fn failures_of_the_node_are_not_kept() {
        let keys = Keys::new(10, 1000);
        assert_eq!(ask(&keys, "a", 1, kept(503, "no")), Ok(kept(503, "no")));
        assert_eq!(ask(&keys, "a", 1, kept(201, "yes")), Ok(kept(201, "yes")));
    }

    #[test]
    fn the_oldest_go_first() {
        let keys = Keys::new(2, 1000);
        for key in ["a", "b", "c"] {
            ask(&keys, key, 1, kept(200, key)).unwrap();
        }
        assert_eq!(keys.len(), 2);
        assert_eq!(ask(&keys, "c", 1, kept(200, "again")), Ok(kept(200, "c")));
        assert_eq!(ask(&keys, "a", 1, kept(200, "again")), Ok(kept(200, "again")));
        let small = Keys::new(100, 30);
        for i in 0..10 {
            ask(&small, &format!("key{i}"), 1, kept(200, "0123456789")).unwrap();
        }
        assert_eq!(small.len(), 2);
    }
}
