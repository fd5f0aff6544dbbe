//! What a node notes of a source for itself: what the rows were when a document last followed them, and what was done.

use std::sync::Arc;

use bft_json_crdt::{Change, Digest, DocumentId};
use gangline_reconcile::{BadRow, Note, NoteKind, Rows, RowsDigest, Write, WriteAction};
use serde::{Deserialize, Serialize};

use super::{Counters, FollowFailed, Followed, SourceRuntime};
use crate::api::blocking;
use crate::clock;
use crate::logs::chain;

/// Audits of a document among which that of a change is, from when it was taken in.
const AUDITS_NEAR: usize = 64;

/// What a root's rows were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefNote {
    /// [`Rows::digest`], in hex.
    pub(crate) digest: String,
    /// The version of the rows, which the document need not have heard of.
    pub(crate) version: Option<i64>,
    /// How often the database had been put back from a backup by then.
    #[serde(default)]
    pub(crate) era: u64,
}

/// A batch or a save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audit {
    /// The document's id.
    pub(crate) document: String,
    /// `reconcile` or `save`.
    pub(crate) action: String,
    /// Who asked for it; none for a feed.
    pub(crate) actor: Option<String>,
    /// The version before.
    pub(crate) from: Option<i64>,
    /// The version after.
    pub(crate) to: Option<i64>,
    /// How many ops were signed.
    pub(crate) ops: usize,
    /// How many bytes.
    pub(crate) bytes: usize,
    /// Conflicts that were open afterwards.
    pub(crate) conflicts: usize,
    /// Rows that were skipped: table, key and column, without values.
    pub(crate) skipped: Vec<String>,
    /// Whether rows had changed while their version stood still.
    #[serde(default)]
    pub(crate) version_stood_still: bool,
    /// The last change, in hex.
    pub(crate) digest: Option<String>,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// A save that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Names it.
    pub(crate) save_id: String,
    /// The document's heads whose content is written, in hex.
    heads: Vec<String>,
    /// The version of the rows before.
    version: Option<i64>,
    /// What is written.
    writes: Vec<IntendedWrite>,
}

/// One row of an [`Intent`]; the values are JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct IntendedWrite {
    list: Option<usize>,
    key: String,
    /// None where the row is deleted.
    values: Option<Vec<(usize, serde_json::Value)>>,
}

impl Intent {
    /// What a save is about to write.
    pub(super) fn new(save_id: String, heads: &[Digest], version: Option<i64>, writes: &[Write]) -> Self {
        let writes = writes.iter().map(|write| IntendedWrite {
            list: write.list,
            key: write.key.clone(),
            values: match &write.action {
                WriteAction::Insert(values) | WriteAction::Update(values) => {
                    Some(values.iter().map(|(at, value)| (*at, value.clone().into())).collect())
                }
                WriteAction::Delete => None,
            },
        });
        let heads = heads.iter().map(Digest::to_string).collect();
        Self { save_id, heads, version, writes: writes.collect() }
    }

    /// The heads whose content is written.
    pub(super) fn heads(&self) -> Vec<Digest> {
        self.heads.iter().filter_map(|head| head.parse().ok()).collect()
    }

    /// Whether rows tell that it was committed: a field holds exactly what was to be written, and the version was raised.
    pub(super) fn shows_in(&self, rows: &Rows) -> bool {
        let is_raised = self.version.is_none() || rows.version > self.version;
        is_raised && self.writes.iter().any(|write| write.shows_in(rows))
    }
}

impl IntendedWrite {
    fn shows_in(&self, rows: &Rows) -> bool {
        let row = match self.list {
            None => rows.root.as_ref(),
            Some(list) => rows.lists.get(list).and_then(|rows| rows.get(&self.key)),
        };
        match (&self.values, row) {
            (None, row) => row.is_none(),
            (Some(_), None) => false,
            (Some(values), Some(row)) => values.iter().any(|(at, value)| {
                row.get(*at).is_some_and(|is| serde_json::Value::from(is.clone()) == *value)
            }),
        }
    }
}

/// A digest as it is noted.
pub(crate) fn digest_text(digest: RowsDigest) -> String {
    data_encoding::HEXLOWER.encode(&digest.0)
}

impl SourceRuntime {
    pub(super) fn note(&self, kind: NoteKind, key: &str, content: Option<&impl Serialize>) -> Note {
        let content = content.map(|content| serde_json::to_vec(content).unwrap_or_default());
        Note { source: self.name.clone(), kind, key: key.to_owned(), content }
    }

    /// Writes notes. May block.
    pub(crate) fn put(&self, notes: Vec<Note>) -> Result<(), FollowFailed> {
        self.store.put(notes).map_err(|error| FollowFailed::Store(chain(&error)))
    }

    fn get<T: for<'de> Deserialize<'de>>(
        &self,
        kind: NoteKind,
        key: &str,
    ) -> Result<Option<T>, FollowFailed> {
        let found = self.store.get(&self.name, kind, key);
        let found = found.map_err(|error| FollowFailed::Store(chain(&error)))?;
        // One that cannot be read is as good as none: what it says is found out anew.
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// What the rows of a root were when its document last followed them. May block.
    pub(crate) fn ref_of(&self, root: &str) -> Result<Option<RefNote>, FollowFailed> {
        self.get(NoteKind::Ref, root)
    }

    /// What rows were when their documents last followed them, by root, after one. Notes that cannot be read are as good as
    /// none, and have no digest. May block.
    pub(super) fn refs(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, RefNote)>, FollowFailed> {
        let found = self.store.list(&self.name, NoteKind::Ref, after, limit);
        let found = found.map_err(|error| FollowFailed::Store(chain(&error)))?.into_iter();
        Ok(found.map(|(root, note)| (root, serde_json::from_slice(&note).unwrap_or_default())).collect())
    }

    /// Notes that a document has followed its rows.
    pub(super) async fn note_followed(
        self: &Arc<Self>,
        document: DocumentId,
        root: &str,
        rows: RowsDigest,
        followed: &Followed,
        (actor, accepted): (Option<&str>, Option<u64>),
    ) -> Result<(), FollowFailed> {
        let (digest, version) = (digest_text(rows), followed.to);
        let reconciled = &followed.reconciled;
        let is_change = !reconciled.changes.is_empty();
        if is_change {
            Counters::add(&self.counters.batches, 1);
            Counters::add(&self.counters.ops, reconciled.ops);
            Counters::add(&self.counters.conflicts, followed.conflicts.len());
            Counters::add(&self.counters.stood_still, usize::from(followed.version_stood_still));
        }
        let audit = is_change.then(|| Audit {
            document: document.to_string(),
            action: "reconcile".to_owned(),
            actor: actor.map(str::to_owned),
            from: followed.from,
            to: followed.to,
            ops: reconciled.ops,
            bytes: reconciled.bytes,
            conflicts: followed.conflicts.len(),
            skipped: self.names_of(&followed.bad),
            version_stood_still: followed.version_stood_still,
            digest: last_of(&reconciled.changes),
            at_ms: clock::now_ms(),
        });
        let (this, root) = (Arc::clone(self), root.to_owned());
        blocking(move || {
            let known = this.ref_of(&root)?;
            let era = match (accepted, &known) {
                (Some(era), _) => era,
                (None, Some(known)) => known.era,
                (None, None) => this.era()?,
            };
            let now = RefNote { digest, version, era };
            let mut notes = vec![this.note(NoteKind::Mark, &root, None::<&()>)];
            if known.as_ref() != Some(&now) {
                notes.push(this.note(NoteKind::Ref, &root, Some(&now)));
            }
            notes.extend(audit.map(|audit| this.audit_note(&audit)));
            this.put(notes)
        })
        .await?
    }

    /// Names a row that a document cannot have, without its value.
    pub(crate) fn place_of(&self, bad: &BadRow) -> String {
        let list = bad.list.and_then(|list| self.shape.lists.get(list));
        let table = list.map_or(&self.shape.root.table, |list| &list.table);
        let key = bad.key.as_deref().unwrap_or("?");
        format!("{table}.{key}.{}: {}", bad.column, bad.what)
    }

    pub(super) fn audit_note(&self, audit: &Audit) -> Note {
        let digest = audit.digest.as_deref().unwrap_or_default();
        let key = format!("{}/{:020}/{}", audit.document, audit.at_ms, digest.get(..16).unwrap_or_default());
        self.note(NoteKind::Audit, &key, Some(audit))
    }

    /// What was done to a document, the oldest first. May block.
    pub(crate) fn audits(&self, document: DocumentId, limit: usize) -> Result<Vec<Audit>, FollowFailed> {
        let prefix = format!("{document}/");
        let found = self.store.list(&self.name, NoteKind::Audit, Some(&prefix), limit);
        let found = found.map_err(|error| FollowFailed::Store(chain(&error)))?;
        let own = found.into_iter().take_while(|(key, _)| key.starts_with(&prefix));
        Ok(own.filter_map(|(_, bytes)| serde_json::from_slice(&bytes).ok()).collect())
    }

    /// What was done by a change that this node took in at some time. May block.
    pub(crate) fn audit_of(
        &self,
        document: DocumentId,
        change: &Digest,
        received_at_ms: u64,
    ) -> Option<Audit> {
        // It is noted when that is on disk.
        let after = format!("{document}/{received_at_ms:020}");
        let found = self.store.list(&self.name, NoteKind::Audit, Some(&after), AUDITS_NEAR).ok()?;
        let digest = change.to_string();
        let audits = found.iter().filter_map(|(_, bytes)| serde_json::from_slice::<Audit>(bytes).ok());
        audits.into_iter().find(|audit| audit.digest.as_deref() == Some(&*digest))
    }

    /// Notes that roots are to be run, so that a restart does not forget them: after a loss of power the feed names them
    /// again, with all that is noted `also`. May block.
    pub(crate) fn mark(&self, roots: &[String], also: Vec<Note>) -> Result<(), FollowFailed> {
        let marks = roots.iter().map(|root| self.note(NoteKind::Mark, root, Some(&clock::now_ms())));
        let notes: Vec<Note> = marks.chain(also).collect();
        if notes.is_empty() {
            return Ok(());
        }
        self.store.put_soon(notes).map_err(|error| FollowFailed::Store(chain(&error)))
    }

    /// Roots that were to be run when the node stopped. May block.
    pub(crate) fn marks(&self, limit: usize) -> Result<Vec<String>, FollowFailed> {
        let found = self.store.list(&self.name, NoteKind::Mark, None, limit);
        let found = found.map_err(|error| FollowFailed::Store(chain(&error)))?;
        Ok(found.into_iter().map(|(root, _)| root).collect())
    }

    pub(super) fn intent_of(&self, root: &str) -> Result<Option<Intent>, FollowFailed> {
        self.get(NoteKind::Intent, root)
    }

    pub(super) fn put_intent(
        &self,
        root: &str,
        intent: Option<&Intent>,
        also: Option<Note>,
    ) -> Result<(), FollowFailed> {
        let mut notes = vec![self.note(NoteKind::Intent, root, intent)];
        notes.extend(also);
        self.put(notes)
    }

    /// A note about the source as a whole.
    pub(crate) fn source_note(&self, key: &str, content: Option<&impl Serialize>) -> Note {
        self.note(NoteKind::Source, key, content)
    }

    /// What was noted about the source as a whole. May block.
    pub(crate) fn noted<T: for<'de> Deserialize<'de>>(&self, key: &str) -> Result<Option<T>, FollowFailed> {
        self.get(NoteKind::Source, key)
    }
}

pub(super) fn last_of(changes: &[Change]) -> Option<String> {
    changes.last().map(|change| change.digest().to_string())
}
