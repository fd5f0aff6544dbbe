//! What other nodes with the key of a source have signed, or are about to save: the root is looked at again when it comes.
//!
//! Their batch may be of older rows than those that the document has followed here, or say the same beside it. Whoever reads
//! the database puts that right, whether or not anybody writes there again.

use std::sync::{Arc, Weak};

use bft_json_crdt::BaseCrdt;
use bft_json_crdt::json_crdt::JsonCrdt;
use gangline_doc::{LogSeq, ReadLimit};
use gangline_reconcile::{FollowInput, Standing};
use tokio::sync::watch;

use super::Documents;
use super::live::LiveDocument;
use super::source::SourceRuntime;
use crate::api::blocking;

/// How often that is done while the rows stay as they are. Nodes that read different databases would not come to an end.
const ROUNDS_MAX: u32 = 8;

/// Entries of a document's log that are looked at once.
const STEP: ReadLimit = ReadLimit { count: 256, bytes: 4 << 20 };

/// Heeds what comes into a document as long as it is open. Whoever has written into it before may save, too.
pub(super) fn heed(
    documents: &Documents,
    source: &Arc<SourceRuntime>,
    document: &Arc<LiveDocument>,
    root: &str,
) {
    let (own, of_source) = (document.replica.author(), source.author());
    if document.replica.version_vector().keys().any(|author| *author != own && *author != of_source) {
        document.note_others();
    }
    let stop = documents.inner.stop.clone();
    let heeding = Heeding {
        document: Arc::downgrade(document),
        durable: document.durable.clone(),
        cursor: document.opened_at,
        source: Arc::clone(source),
        root: root.to_owned(),
    };
    documents.inner.tasks.spawn(async move {
        tokio::select! {
            () = heeding.run() => {}
            () = stop.cancelled() => {}
        }
    });
}

struct Heeding {
    document: Weak<LiveDocument>,
    durable: watch::Receiver<LogSeq>,
    /// Up to where it was looked at.
    cursor: LogSeq,
    source: Arc<SourceRuntime>,
    root: String,
}

/// What other nodes say of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// They are about to save.
    Announced,
    /// They have followed it, or saved.
    Followed,
}

impl Heeding {
    async fn run(mut self) {
        let (mut rows, mut rounds) = (None, 0);
        while self.durable.changed().await.is_ok() {
            let (document, source, cursor) = (self.document.clone(), Arc::clone(&self.source), self.cursor);
            let Ok(Some((word, cursor))) = blocking(move || heard(&document, &source, cursor)).await else {
                return;
            };
            self.cursor = cursor;
            let Some(word) = word else { continue };
            if word == Word::Followed {
                let (source, root) = (Arc::clone(&self.source), self.root.clone());
                // What is not known now is taken for other rows.
                let now = blocking(move || source.ref_of(&root)).await.ok().and_then(Result::ok).flatten();
                rounds = if now.is_some() && now == rows { rounds + 1 } else { 0 };
                rows = now;
            }
            if rounds < ROUNDS_MAX {
                self.source.tell(FollowInput::Dirty(self.root.clone(), Standing::Open));
            } else if rounds == ROUNDS_MAX && word == Word::Followed {
                tracing::warn!(
                    event = "databases_differ",
                    source = self.source.name,
                    root = self.root,
                    "another node with this source's key keeps following other rows than those here"
                );
            }
        }
    }
}

/// What others say in what has come in, and where that ends; none once the document is closed. O(what has come in).
pub(super) fn heard(
    document: &Weak<LiveDocument>,
    source: &SourceRuntime,
    mut cursor: LogSeq,
) -> Option<(Option<Word>, LogSeq)> {
    let document = document.upgrade()?;
    let own = document.replica.author();
    let mut heard = None;
    loop {
        let entries = document.replica.entries(cursor, STEP).ok()?;
        let Some(last) = entries.last() else { break };
        cursor = LogSeq(last.seq().0.saturating_add(1));
        let words = entries.iter().map(|entry| entry.change()).filter_map(|change| match change.author() {
            author if author == source.author() => Some(Word::Followed),
            author => (change.op_count() == 0 && author != own).then_some(Word::Announced),
        });
        heard = heard.max(words.max());
    }
    let is_own = |base: &BaseCrdt<JsonCrdt>| base.last_of(&source.author()) == document.views.equal_at();
    if heard == Some(Word::Followed) && document.replica.read(is_own).0 {
        heard = None;
    }
    if heard.is_some() {
        document.note_others();
    }
    Some((heard, cursor))
}
