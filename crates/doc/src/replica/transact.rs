//! Edits that are one change, however many ops they have: for documents of all but the board's kind.

use std::collections::BTreeSet;

use bft_json_crdt::{BaseCrdt, Change, CrdtNode, Digest, Keypair};

use super::{ApplyError, EditFailed, Replica, State};
use crate::{op_log::Record, progress::Ticket};

/// What was authored, and when it may be told.
#[derive(Debug)]
pub struct Authored<R> {
    /// What the caller's function returned.
    pub result: R,
    /// The changes, in order; none where nothing was edited.
    pub changes: Vec<Change>,
    /// Done when they are durable, and all that was in the document before.
    pub ticket: Ticket,
}

impl<T: CrdtNode> Replica<T> {
    /// Makes edits as one change of this node's author; in the default document as one change for each op.
    ///
    /// With `heads` as somebody who had seen these, and what this node itself has signed, and nothing else. If `f`
    /// fails, nothing of it stays. `f` runs under the document's lock: it must not use this replica.
    ///
    /// # Errors
    /// What `f` said, or why nothing could be edited or signed; see [`EditFailed`]. Nothing was changed.
    pub fn transact<R, E>(
        &self,
        now_ms: u64,
        heads: Option<&[Digest]>,
        f: impl FnOnce(&T) -> Result<R, E>,
    ) -> Result<Authored<R>, EditFailed<E>> {
        let keypair = &self.shared.keypair;
        self.author_with(now_ms, |state| {
            let is_past = |heads: &&[Digest]| {
                let mut heads = heads.to_vec();
                heads.sort_unstable();
                heads != state.base.heads()
            };
            let Some(heads) = heads.filter(is_past) else {
                let (result, changes) = edit(&mut state.base, keypair, f)?;
                return Ok((result, Taken { authored: changes.clone(), applied: changes }));
            };
            let own = state.base.tip_of(&keypair.author()).map(|(_, tip)| tip);
            let heads: Vec<Digest> = heads.iter().copied().chain(own).collect();
            let mut past = state.base.author_at(&heads, keypair.author()).map_err(EditFailed::Unsignable)?;
            let (result, changes) = edit(&mut past, keypair, f)?;
            Ok((result, take_in(&mut state.base, changes)))
        })
    }

    /// Takes in changes that `f` authored with another key than this node's: that of the source that the document
    /// follows. They are this node's to tell. `f` sees the document as nobody else changes it meanwhile, and must not
    /// use this replica; see [`BaseCrdt::author_at`].
    ///
    /// # Errors
    /// What `f` said, or why nothing could be taken in; see [`EditFailed`]. Nothing was changed.
    pub fn author_as<R, E>(
        &self,
        now_ms: u64,
        f: impl FnOnce(&BaseCrdt<T>) -> Result<(R, Vec<Change>), E>,
    ) -> Result<Authored<R>, EditFailed<E>> {
        self.author_with(now_ms, |state| {
            let (result, changes) = f(&state.base).map_err(EditFailed::Refused)?;
            Ok((result, take_in(&mut state.base, changes)))
        })
    }

    /// Signs, with this node's key and where `f` says so, that it has seen all that is in the document: a change without
    /// ops. `f` sees the document as that has seen it, and must not use this replica.
    ///
    /// # Errors
    /// What `f` said, or why nothing could be signed; see [`EditFailed`]. Nothing was changed.
    pub fn attest<R, E>(
        &self,
        now_ms: u64,
        f: impl FnOnce(&BaseCrdt<T>) -> Result<(R, bool), E>,
    ) -> Result<Authored<R>, EditFailed<E>> {
        self.author_with(now_ms, |state| {
            let (result, signs) = f(&state.base).map_err(EditFailed::Refused)?;
            let keypair = &self.shared.keypair;
            let attested = signs.then(|| state.base.save_mark(keypair).map_err(EditFailed::Unsignable));
            let changes: Vec<Change> = attested.transpose()?.into_iter().collect();
            Ok((result, Taken { authored: changes.clone(), applied: changes }))
        })
    }

    fn author_with<R, E>(
        &self,
        now_ms: u64,
        author: impl FnOnce(&mut State<T>) -> Result<(R, Taken), EditFailed<E>>,
    ) -> Result<Authored<R>, EditFailed<E>> {
        self.admit().map_err(|refusal| match refusal {
            ApplyError::Busy { in_flight_bytes } => EditFailed::Busy { in_flight_bytes },
            ApplyError::Failed { reason } => EditFailed::Failed { reason },
        })?;
        let mut state = self.write().map_err(|reason| EditFailed::Failed { reason })?;
        let (result, Taken { authored, applied }) = author(&mut state)?;
        let has_released = applied.len() > authored.len();
        let records = applied.into_iter().map(|change| {
            let brought_by = state.waiting.remove(&change.digest());
            let vouched = state.base.is_vouched(&change.digest());
            (brought_by, Record { change, received_at_ms: now_ms, vouched })
        });
        let records = records.collect();
        if has_released {
            state.forget_what_no_longer_waits();
            if self.shared.stops_equivocators {
                state.stop_liars();
            }
        }
        let ticket = self.keep(&mut state, records);
        drop(state);
        self.shared.outbox.pump(self.shared.log.as_ref());
        Ok(Authored { result, changes: authored, ticket })
    }
}

/// What came in by one call.
struct Taken {
    /// What the call authored and the document lacked.
    authored: Vec<Change>,
    /// All that is new in the document, in causal order: that, and what had waited for it.
    applied: Vec<Change>,
}

fn take_in<T: CrdtNode>(base: &mut BaseCrdt<T>, changes: Vec<Change>) -> Taken {
    let batch = base.apply_changes(changes.clone());
    debug_assert!(batch.states.iter().all(bft_json_crdt::OpState::is_applied), "{:?}", batch.states);
    let new: BTreeSet<Digest> = batch.applied.iter().map(Change::digest).collect();
    let is_new = |change: &Change| new.contains(&change.digest());
    Taken { authored: changes.into_iter().filter(is_new).collect(), applied: batch.applied }
}

fn edit<T: CrdtNode, R, E>(
    base: &mut BaseCrdt<T>,
    keypair: &Keypair,
    f: impl FnOnce(&T) -> Result<R, E>,
) -> Result<(R, Vec<Change>), EditFailed<E>> {
    base.begin();
    let open = Open(base);
    let result = f(&open.0.doc).map_err(EditFailed::Refused)?;
    Ok((result, open.0.commit(keypair).map_err(EditFailed::Unsignable)?))
}

/// A transaction whose edits are taken back unless they were committed: when it fails, and when it panics.
struct Open<'a, T: CrdtNode>(&'a mut BaseCrdt<T>);

impl<T: CrdtNode> Drop for Open<'_, T> {
    fn drop(&mut self) {
        self.0.roll_back();
    }
}
