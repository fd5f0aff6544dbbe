//! Saving: what people did becomes rows, if the rows are still those that the document has followed.
//!
//! What is to be written is noted first, so that a node that is killed in between finds out whether it was committed.

use std::sync::Arc;

use bft_json_crdt::{Change, Digest};
use gangline_doc::EditFailed;
use gangline_reconcile::{
    BadRow, Path, ReconcileError, Rows, SaveOutcome, SavePlan, SaveProblem, SaveRequest, Source, SourceError,
    is_announced, plan_save,
};

use super::notes::{Audit, Intent, last_of};
use super::{Counters, FollowFailed, SourceRuntime};
use crate::api::{blocking, durable};
use crate::clock;
use crate::documents::live::LiveDocument;
use crate::logs::chain;

/// How often a save begins anew when somebody else has written the rows meanwhile. All but the last two tries also wait until
/// what was put right beside others is quiet.
const TRIES: usize = 4;

/// A save was committed, or there was nothing to save.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// The version now.
    pub(crate) version: Option<i64>,
    /// What was written.
    pub(crate) paths: Vec<Path>,
    /// Its name; none where nothing was written.
    pub(crate) save_id: Option<String>,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveFailed {
    /// The database does not answer, or the document does not follow it.
    #[error(transparent)]
    Follow(#[from] FollowFailed),
    /// The root row is gone, or counts as deleted.
    #[error("the row of this document is deleted in the database")]
    Deleted,
    /// Something in the document cannot be saved.
    #[error("the document has {} places that cannot be saved", .0.len())]
    Problems(Vec<SaveProblem>),
    /// The schema refuses a row.
    #[error("the database refuses {}: {}", .0.column, .0.what)]
    Refused(BadRow),
    /// The rows changed under every try.
    #[error("the rows were written by somebody else each time that this was tried")]
    Moved,
    /// It is not known whether it was committed; it is found out before anything else is done.
    #[error("the database did not say whether it has committed; the next reconcile finds out")]
    Unknown,
}

impl From<crate::api::Problem> for SaveFailed {
    fn from(problem: crate::api::Problem) -> Self {
        Self::Follow(problem.into())
    }
}

impl SourceRuntime {
    /// Saves what people did.
    pub(crate) async fn save(
        self: &Arc<Self>,
        document: &Arc<LiveDocument>,
        root: &str,
        actor: Option<&str>,
    ) -> Result<Saved, SaveFailed> {
        let _turn = document.turn.lock().await;
        document.until_met().await;
        self.recover(document, root).await?;
        let mut rows = self.read_beside_others(document, root).await?;
        for at in 0..TRIES {
            let followed;
            (followed, rows) = self.take_over(document, root, rows, actor, None).await?;
            // Others may be putting the same right in ways of their own: that is let come before anything is saved.
            if at + 2 < TRIES && document.hears_others() && followed.reconciled.ops > 0 {
                document.until_told().await;
                document.until_quiet().await;
                rows = self.read_beside_others(document, root).await?;
                continue;
            }
            let Some((plan, heads)) = self.plan_save(document, root, &rows).await? else {
                rows = self.read_beside_others(document, root).await?;
                continue;
            };
            if !plan.problems.is_empty() {
                return Err(SaveFailed::Problems(plan.problems));
            }
            if plan.writes.is_empty() {
                return Ok(Saved { version: rows.version, paths: Vec::new(), save_id: None });
            }
            // Who reads the rows next is to know where they come from, also if this node is killed upon the commit.
            document.until_told().await;
            match self.try_save(document, root, actor, (plan, heads), &rows).await? {
                Ok(saved) => return Ok(saved),
                Err(now) => rows = now,
            }
        }
        Err(SaveFailed::Moved)
    }

    /// What would be written, once it is announced, and the heads from which; none where another node has saved since the
    /// rows were followed: what was typed there shows beside what was read of it.
    async fn plan_save(
        self: &Arc<Self>,
        document: &Arc<LiveDocument>,
        root: &str,
        rows: &Arc<Rows>,
    ) -> Result<Option<(SavePlan, Vec<Digest>)>, SaveFailed> {
        if rows.root.is_none() && rows.bad.iter().all(|bad| bad.list.is_some()) {
            return Err(SaveFailed::Deleted);
        }
        let (this, replica) = (Arc::clone(self), document.replica.clone());
        let (root, rows, views) = (root.to_owned(), Arc::clone(rows), Arc::clone(&document.views));
        let (meeting, has_others) = (Arc::clone(document), document.has_others());
        let (followed, (name, _)) = (document.views.equal_at(), self.document_of(&root));
        let planned = blocking(move || {
            replica.attest(clock::now_ms(), |base| {
                let source = Source { keypair: &this.keypair, shape: &this.shape, document: &name };
                let (reading, open, is_twice) = views.track(base, |tracker| {
                    let is_twice = tracker.is_saved_elsewhere(base, source, &rows, has_others);
                    (tracker.reading(base), tracker.conflicts(base), is_twice)
                });
                if reading.tracked != followed || is_twice || meeting.is_meeting() {
                    return Ok((None, false));
                }
                if reading.layout.is_deleted(&reading.content) {
                    return Err(SaveFailed::Deleted);
                }
                let plan = plan_save(&this.shape, &root, &rows, &reading, &open);
                let writes = !plan.writes.is_empty();
                // One that came to nothing holds for the next.
                Ok((Some((plan, base.heads())), writes && !is_announced(base)))
            })
        });
        let planned = planned.await?.map_err(|failed| match failed {
            EditFailed::Refused(refused) => refused,
            EditFailed::Unsignable(_) | EditFailed::Failed { .. } | EditFailed::Busy { .. } => {
                SaveFailed::Follow(FollowFailed::Store(chain(&failed)))
            }
        })?;
        // What is written must be on disk here first: the mark that follows names these heads.
        durable(planned.ticket).await?;
        let announced = planned.changes.iter().map(Change::digest).collect::<Vec<_>>();
        Ok(planned.result.map(|(plan, heads)| (plan, if announced.is_empty() { heads } else { announced })))
    }

    /// One try; the rows as they are now where they have moved.
    async fn try_save(
        self: &Arc<Self>,
        document: &LiveDocument,
        root: &str,
        actor: Option<&str>,
        (plan, heads): (SavePlan, Vec<Digest>),
        rows: &Arc<Rows>,
    ) -> Result<Result<Saved, Arc<Rows>>, SaveFailed> {
        let save_id = fresh_id();
        let intent = Intent::new(save_id.clone(), &heads, rows.version, &plan.writes);
        let request = SaveRequest {
            root: root.to_owned(),
            save_id: save_id.clone(),
            expected: Rows::clone(rows),
            writes: plan.writes,
        };
        let (this, key) = (Arc::clone(self), root.to_owned());
        let outcome = blocking(move || {
            this.put_intent(&key, Some(&intent), None)?;
            let outcome = this.rows.save(&this.shape, &request);
            // Whatever was not committed leaves nothing behind.
            if !matches!(outcome, Ok(SaveOutcome::Saved(_)) | Err(SourceError::Unknown { .. })) {
                this.put_intent(&key, None, None)?;
            }
            Ok::<_, FollowFailed>(outcome)
        })
        .await??;
        let after = match outcome {
            Ok(SaveOutcome::Saved(after)) => after,
            Ok(SaveOutcome::Moved(now)) => return Ok(Err(Arc::new(now))),
            Ok(SaveOutcome::Refused(bad)) => return Err(SaveFailed::Refused(bad)),
            Err(SourceError::Unknown { .. }) => return Err(SaveFailed::Unknown),
            Err(error) => return Err(FollowFailed::Source(error).into()),
        };
        self.settle(document, root, &heads, &after, actor).await?;
        Counters::add(&self.counters.saves, 1);
        Ok(Ok(Saved { version: after.version, paths: plan.paths, save_id: Some(save_id) }))
    }

    /// Says that the database equals the document at some heads, and follows what it changed on the way.
    async fn settle(
        self: &Arc<Self>,
        document: &LiveDocument,
        root: &str,
        heads: &[Digest],
        after: &Rows,
        actor: Option<&str>,
    ) -> Result<(), FollowFailed> {
        let era = self.era_now().await?;
        let (name, _) = self.document_of(root);
        let (this, replica, heads) = (Arc::clone(self), document.replica.clone(), heads.to_vec());
        let (version, views) = (after.version, Arc::clone(&document.views));
        let authored = blocking(move || {
            replica.author_as(clock::now_ms(), |base| {
                let source = Source { keypair: &this.keypair, shape: &this.shape, document: &name };
                let changes =
                    views.track(base, |tracker| tracker.save_mark(base, source, &heads, version))?;
                views.set_equal_at(changes.last().map(Change::digest).into_iter().collect());
                Ok::<_, ReconcileError>(((), changes))
            })
        })
        .await?;
        let authored = authored.map_err(FollowFailed::of)?;
        let changes = authored.changes;
        durable(authored.ticket).await?;
        let audit = Audit {
            document: document.id.to_string(),
            action: "save".to_owned(),
            actor: actor.map(str::to_owned),
            from: None,
            to: version,
            ops: changes.iter().map(Change::op_count).sum(),
            bytes: changes.iter().map(|change| change.bytes().len() + change.signature().len()).sum(),
            conflicts: 0,
            skipped: Vec::new(),
            version_stood_still: false,
            digest: last_of(&changes),
            at_ms: clock::now_ms(),
        };
        let (this, key) = (Arc::clone(self), root.to_owned());
        blocking(move || {
            let note = this.audit_note(&audit);
            this.put_intent(&key, None, Some(note))
        })
        .await??;
        self.take_over(document, root, Arc::new(after.clone()), actor, Some(era)).await.map(drop)
    }

    /// Finds out what became of a save during which this node was killed, or whose answer was lost.
    pub(super) async fn recover(
        self: &Arc<Self>,
        document: &LiveDocument,
        root: &str,
    ) -> Result<(), FollowFailed> {
        let (this, key) = (Arc::clone(self), root.to_owned());
        let found = blocking(move || {
            let Some(intent) = this.intent_of(&key)? else { return Ok(None) };
            let rows = this.rows.read(&this.shape, &key)?;
            let was_saved = match this.rows.was_saved(&this.shape, &intent.save_id)? {
                Some(was_saved) => was_saved,
                None => intent.shows_in(&rows),
            };
            Ok::<_, FollowFailed>(Some((intent, rows, was_saved)))
        })
        .await??;
        let Some((intent, rows, was_saved)) = found else { return Ok(()) };
        tracing::info!(
            event = "save_recovered",
            source = self.name,
            was_saved,
            "found out what became of a save that was begun"
        );
        if was_saved {
            return self.settle(document, root, &intent.heads(), &rows, None).await;
        }
        let (this, key) = (Arc::clone(self), root.to_owned());
        blocking(move || this.put_intent(&key, None, None)).await?
    }
}

/// A name for a save, for ever.
fn fresh_id() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = u128::from(clock::now_ms()).to_be_bytes();
    }
    data_encoding::HEXLOWER.encode(&bytes)
}
