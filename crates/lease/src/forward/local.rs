//! Forwarding within one process: a whole team of nodes in a test or a demo.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bft_json_crdt::AuthorId;

use super::{Forward, ForwardError, Forwarder, Reply};
use crate::{
    authority::{AppendAuthority, WeakAuthority},
    clock::Answer,
    lease::Reach,
};

/// Reaches the authorities that have joined. Clones are handles on the same; it keeps no authority alive.
#[derive(Clone, Default)]
pub struct LocalForwarder {
    nodes: Arc<Mutex<BTreeMap<AuthorId, WeakAuthority>>>,
}

impl LocalForwarder {
    /// Returns a forwarder that reaches nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a node reachable.
    pub fn join(&self, authority: &AppendAuthority) {
        self.nodes().insert(authority.node(), authority.downgrade());
    }

    /// Makes a node unreachable.
    pub fn leave(&self, node: AuthorId) {
        self.nodes().remove(&node);
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<AuthorId, WeakAuthority>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Forwarder for LocalForwarder {
    fn forward<'a>(&'a self, to: &'a Reach, forward: Forward) -> Answer<'a, Result<Reply, ForwardError>> {
        let found = self.nodes().get(&to.node).and_then(WeakAuthority::upgrade);
        Box::pin(async move {
            match found {
                Some(authority) => Ok(authority.handle(forward).await),
                None => Err(ForwardError::Unreachable),
            }
        })
    }
}

impl fmt::Debug for LocalForwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalForwarder").field("nodes", &self.nodes().len()).finish()
    }
}
