//! What other nodes with the key of a source have signed, or are about to save: the root is looked at again when it comes.
//!
//! Their batch may be of older rows than those that the document has followed here, or say the same beside it. Whoever reads
//! the database puts that right, whether or not anybody writes there again.

use std::sync::{Arc, Weak};

use bft_json_crdt::Digest;
use gangline_doc::LogSeq;
use gangline_reconcile::{FollowInput, Standing, announced};
use tokio::sync::watch;

use super::Documents;
use super::live::LiveDocument;
use super::source::SourceRuntime;
use crate::api::blocking;

/// How often that is done while the rows stay as they are. Nodes that read different databases would not come to an end.
const ROUNDS_MAX: u32 = 8;

/// Heeds what comes into a document as long as it is open.
pub(super) fn heed(
    documents: &Documents,
    source: &Arc<SourceRuntime>,
    document: &Arc<LiveDocument>,
    root: &str,
) {
    let stop = documents.inner.stop.clone();
    let heeding = Heeding {
        document: Arc::downgrade(document),
        durable: document.durable.clone(),
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
    source: Arc<SourceRuntime>,
    root: String,
}

impl Heeding {
    async fn run(mut self) {
        let mut known = Vec::new();
        let (mut rows, mut rounds) = (None, 0);
        while self.durable.changed().await.is_ok() {
            let (document, source, root) =
                (self.document.clone(), Arc::clone(&self.source), self.root.clone());
            let Ok(tracked) = blocking(move || by_others(&document, &source)).await else { return };
            let Some(tracked) = tracked.filter(|tracked| *tracked != known) else { continue };
            known = tracked;
            let source = Arc::clone(&self.source);
            let Ok(Ok(now)) = blocking(move || source.ref_of(&root)).await else { continue };
            rounds = if now == rows { rounds + 1 } else { 0 };
            rows = now;
            if rounds < ROUNDS_MAX {
                self.source.tell(FollowInput::Dirty(self.root.clone(), Standing::Open));
            } else if rounds == ROUNDS_MAX {
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

/// What the source has signed last and what others have announced to save, if there is anything that the document did not
/// have when it followed its rows here.
fn by_others(document: &Weak<LiveDocument>, source: &SourceRuntime) -> Option<Vec<Digest>> {
    let document = document.upgrade()?;
    let own = document.replica.author();
    let (tracked, announced) =
        document.replica.read(|base| (base.last_of(&source.author()), announced(base, &own))).0;
    let is_new = !tracked.is_empty() && (document.equal_at() != tracked || !announced.is_empty());
    is_new.then(|| {
        document.note_others();
        [tracked, announced].concat()
    })
}
