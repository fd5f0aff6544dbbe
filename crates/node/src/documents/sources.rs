//! The sources of a node: those that it reconciles, and those whose documents it only follows, for want of a key or, as
//! long as that lasts, of a database that can be read.

use std::sync::{Arc, PoisonError, RwLock};

use gangline_reconcile::DocumentName;

use super::source::SourceRuntime;

/// A source that this node does not reconcile, or not yet.
#[derive(Clone, Debug)]
pub(crate) struct Without {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) mode: String,
    /// What keeps this node from reconciling it: `no_key` or `failing`.
    pub(crate) state: &'static str,
    pub(crate) why: String,
    /// How its documents are called.
    pub(crate) document: DocumentName,
}

/// All of them.
pub(crate) struct Sources {
    known: RwLock<Known>,
}

struct Known {
    held: Vec<Arc<SourceRuntime>>,
    without: Vec<Without>,
}

impl Sources {
    /// As they are when the node starts.
    pub(super) fn new(held: Vec<Arc<SourceRuntime>>, without: Vec<Without>) -> Self {
        Self { known: RwLock::new(Known { held, without }) }
    }

    /// Those that this node reconciles.
    pub(crate) fn held(&self) -> Vec<Arc<SourceRuntime>> {
        self.reading(|known| known.held.clone())
    }

    /// Those that it does not.
    pub(crate) fn without(&self) -> Vec<Without> {
        self.reading(|known| known.without.clone())
    }

    /// One that this node reconciles, by its name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<SourceRuntime>> {
        self.reading(|known| known.held.iter().find(|source| source.name == name).cloned())
    }

    /// The source and the root of a document, by its name, where this node reconciles it.
    pub(crate) fn root_of(&self, document: &str) -> Option<(Arc<SourceRuntime>, String)> {
        self.reading(|known| {
            known.held.iter().find_map(|source| Some((Arc::clone(source), source.root_of(document)?)))
        })
    }

    /// What keeps this node from reconciling a document that one of its mappings names.
    pub(crate) fn lacking(&self, document: &str) -> Option<Without> {
        let is_of = |source: &&Without| source.document.root_of(document).is_some();
        self.reading(|known| known.without.iter().find(is_of).cloned())
    }

    /// Says anew why a source is not reconciled. Returns whether that is news.
    pub(super) fn say(&self, name: &str, why: &str) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let source = known.without.iter_mut().find(|source| source.name == name && source.why != why);
        source.map(|source| why.clone_into(&mut source.why)).is_some()
    }

    /// From now on this node reconciles a source.
    pub(super) fn take_up(&self, source: Arc<SourceRuntime>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.without.retain(|without| without.name != source.name);
        known.held.push(source);
    }

    fn reading<R>(&self, f: impl FnOnce(&Known) -> R) -> R {
        f(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}
