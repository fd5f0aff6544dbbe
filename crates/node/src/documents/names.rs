//! Which documents are kept here, and how they are called.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use bft_json_crdt::{AuthorId, Digest, DocumentId};
use gangline_reconcile::{Note, NoteKind};
use serde::{Deserialize, Serialize};

use super::store::DocumentStore;
use crate::logs::chain;

/// A document that is kept here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: DocumentId,
    /// As its source calls it; none before its first change has come.
    pub(crate) name: Option<String>,
    /// Whose document it is.
    pub(crate) author: Option<AuthorId>,
    /// How its source is called, where the document says so and was closed here.
    pub(crate) source: Option<String>,
    /// What of it is held, as peers compare it; none where it was not closed in order.
    pub(crate) root: Option<Digest>,
}

/// As it is noted.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    name: Option<String>,
    author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    root: Option<String>,
}

/// The names of all documents, in memory: some 200 bytes each.
pub(crate) struct Names {
    store: Arc<dyn DocumentStore>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_id: BTreeMap<DocumentId, Named>,
    by_name: BTreeMap<String, BTreeSet<DocumentId>>,
    /// Names by which documents were asked for that are not here yet.
    wanted: BTreeMap<DocumentId, String>,
}

/// How many notes are read at once.
const STEP: usize = 1_000;
/// Most names that are remembered without a document.
const WANTED_MAX: usize = 4_096;
/// Notes about documents belong to no source.
const ANY_SOURCE: &str = "";

impl Known {
    fn put(&mut self, named: Named) {
        self.wanted.remove(&named.id);
        if let Some(name) = &named.name {
            self.by_name.entry(name.clone()).or_default().insert(named.id);
        }
        self.by_id.insert(named.id, named);
    }
}

impl Names {
    /// Reads what is noted, and what has a log and no note: a document that was open when the node was killed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn read(store: Arc<dyn DocumentStore>) -> Result<Self, String> {
        let mut known = Known::default();
        let mut after: Option<String> = None;
        loop {
            let notes = store.list(ANY_SOURCE, NoteKind::Document, after.as_deref(), STEP);
            let notes = notes.map_err(|error| chain(&error))?;
            let Some((last, _)) = notes.last() else { break };
            after = Some(last.clone());
            for (id, note) in notes {
                let Ok(id) = id.parse() else { continue };
                let kept: Kept = serde_json::from_slice(&note).unwrap_or_default();
                let author = kept.author.and_then(|author| author.parse().ok());
                let root = kept.root.and_then(|root| root.parse().ok());
                known.put(Named { id, name: kept.name, author, source: kept.source, root });
            }
        }
        for id in store.documents()? {
            if !known.by_id.contains_key(&id) {
                known.put(Named { id, name: None, author: None, source: None, root: None });
            }
        }
        Ok(Self { store, known: RwLock::new(known) })
    }

    /// Whether a document is kept here.
    pub(crate) fn has(&self, id: &DocumentId) -> bool {
        self.reading(|known| known.by_id.contains_key(id))
    }

    /// A document by its id.
    pub(crate) fn get(&self, id: &DocumentId) -> Option<Named> {
        self.reading(|known| known.by_id.get(id).cloned())
    }

    /// A document by its name, or by its id in hex.
    pub(crate) fn find(&self, wanted: &str) -> Option<Named> {
        self.reading(|known| {
            let by_name = known.by_name.get(wanted).and_then(|ids| ids.first()).copied();
            let id = by_name.or_else(|| wanted.parse().ok())?;
            known.by_id.get(&id).cloned()
        })
    }

    /// All of them, by id.
    pub(crate) fn all(&self) -> Vec<Named> {
        self.reading(|known| known.by_id.values().cloned().collect())
    }

    /// Visits all of them, by id, each with that which is found by its name. What visits must not ask for names.
    pub(crate) fn each(&self, mut visit: impl FnMut(&Named, Option<DocumentId>)) {
        self.reading(|known| {
            for named in known.by_id.values() {
                let of_name = named.name.as_ref().and_then(|name| known.by_name.get(name));
                visit(named, of_name.and_then(|ids| ids.first().copied()));
            }
        });
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.reading(|known| known.by_id.len())
    }

    /// What is held of those whose id begins with a byte, where that is known.
    pub(crate) fn roots_of(&self, first: u8) -> Vec<(DocumentId, Digest)> {
        let (mut from, mut to) = ([0; 32], [u8::MAX; 32]);
        (from[0], to[0]) = (first, first);
        self.reading(|known| {
            let of_bucket = known.by_id.range(DocumentId(from)..=DocumentId(to));
            of_bucket.filter_map(|(id, named)| Some((*id, named.root?))).collect()
        })
    }

    /// Remembers by which name a document was asked for.
    pub(crate) fn want(&self, id: DocumentId, name: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.by_id.contains_key(&id) {
            if known.wanted.len() >= WANTED_MAX {
                known.wanted.pop_first();
            }
            known.wanted.insert(id, name.to_owned());
        }
    }

    /// Takes in what an opened document says of itself.
    pub(crate) fn learn(&self, named: Named) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let (root, source) = match known.by_id.get(&named.id) {
            Some(known) => (known.root, known.source.clone()),
            None => (None, None),
        };
        known.put(Named { root, source, ..named });
    }

    /// By which name a document was asked for.
    pub(crate) fn wanted(&self, id: &DocumentId) -> Option<String> {
        self.reading(|known| known.wanted.get(id).cloned())
    }

    /// Keeps a document, durably. One that nobody has written to is none. May block.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub(crate) fn keep(&self, named: Named, is_empty: bool) -> Result<(), String> {
        if is_empty || self.get(&named.id).as_ref() == Some(&named) {
            return Ok(());
        }
        let kept = Kept {
            name: named.name.clone(),
            author: named.author.map(|author| author.to_string()),
            source: named.source.clone(),
            root: named.root.map(|root| root.to_string()),
        };
        let content = serde_json::to_vec(&kept).map_err(|error| error.to_string())?;
        let key = named.id.to_string();
        self.known.write().unwrap_or_else(PoisonError::into_inner).put(named);
        let note =
            Note { source: ANY_SOURCE.to_owned(), kind: NoteKind::Document, key, content: Some(content) };
        self.store.put(vec![note]).map_err(|error| chain(&error))
    }

    fn reading<R>(&self, f: impl FnOnce(&Known) -> R) -> R {
        f(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}
