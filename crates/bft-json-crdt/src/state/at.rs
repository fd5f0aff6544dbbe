//! The document at past heads: as it was for somebody who had seen these and nothing else.
//!
//! Such a document is a replica of its own that was given only the past of the heads. The last one that was
//! asked for is kept, and goes on from there when later heads are asked for.

use std::collections::BTreeSet;

use crate::change::Digest;
use crate::keypair::AuthorId;
use crate::state::State;
use crate::state::admit::Arriving;
use crate::state::history::ChangeIx;
use crate::state::nodes::ROOT_NODE;
use crate::state::signing::SignError;

/// No change of this replica has the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("head {0} is not known here; apply the change first")]
pub struct UnknownHead(pub Digest);

/// The past of a replica that was asked for last. A copy of the replica begins without one.
#[derive(Default)]
pub(crate) struct Kept(Option<Box<State>>);

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Kept {
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

/// Why a replica cannot be brought to some heads of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatchUpError {
    /// The other replica has no such change.
    #[error(transparent)]
    UnknownHead(#[from] UnknownHead),
    /// This replica has what the heads have not seen. It cannot go back: begin with one of its past.
    #[error("change {0} is not in the past of the heads")]
    Ahead(Digest),
    /// Changes wait in this replica's causal queue. What comes would let them in, and nobody would be told of them.
    #[error("changes wait in the causal queue")]
    Waiting,
    /// They are replicas of two documents.
    #[error("the replicas are of two documents")]
    OtherDocument,
}

impl State {
    /// The rows of some heads.
    pub(crate) fn find_heads(&self, heads: &[Digest]) -> Result<Vec<ChangeIx>, UnknownHead> {
        heads.iter().map(|head| self.history.find(head).ok_or(UnknownHead(*head))).collect()
    }

    /// A replica with the past of some heads. O(document) and O(changes since the heads that were asked for
    /// last), or O(history) where these were not earlier.
    pub(crate) fn at(&mut self, heads: &[Digest]) -> Result<Self, UnknownHead> {
        let kept = self.past_at(heads)?;
        let state = Self::clone(&kept);
        self.keep_past(kept);
        Ok(state)
    }

    /// As [`Self::at`], with the one that is kept itself, to be given back by [`Self::keep_past`].
    pub(crate) fn past_at(&mut self, heads: &[Digest]) -> Result<Box<Self>, UnknownHead> {
        let heads = self.find_heads(heads)?;
        let kept = self.kept.0.take().and_then(|mut kept| kept.go_to(self, &heads).is_ok().then_some(kept));
        Ok(kept.unwrap_or_else(|| {
            let mut kept = Box::new(self.emptied());
            // It is ahead of nothing.
            let _ = kept.go_to(self, &heads);
            kept
        }))
    }

    /// Keeps a replica of the past for the next who asks for one, without a past that was asked of it.
    pub(crate) fn keep_past(&mut self, mut kept: Box<Self>) {
        kept.kept.forget();
        self.kept.0 = Some(kept);
    }

    /// Takes in what another replica's heads have seen and this one lacks. O(what it lacks).
    pub(crate) fn catch_up(&mut self, from: &Self, heads: &[Digest]) -> Result<(), CatchUpError> {
        if self.history.document != from.history.document {
            return Err(CatchUpError::OtherDocument);
        }
        let heads = from.find_heads(heads)?;
        self.go_to(from, &heads)
    }

    fn go_to(&mut self, from: &Self, heads: &[ChangeIx]) -> Result<(), CatchUpError> {
        if !self.queue.is_empty() {
            return Err(CatchUpError::Waiting);
        }
        let past = from.history.past_of(heads);
        let is_seen =
            |head: &Digest| from.history.find(head).is_some_and(|head| from.history.is_within(&past, head));
        if let Some(ahead) = self.history.heads().into_iter().find(|head| !is_seen(head)) {
            return Err(CatchUpError::Ahead(ahead));
        }
        self.roll_back();
        self.give_up_all();
        let is_known = |change| self.history.find(&from.history.digest(change)).is_some();
        for change in from.back_from(heads, is_known) {
            let is_vouched = from.history.row(change).is_vouched;
            let _ = self.take_in(&Arriving { change: from.history.change(change), is_vouched });
        }
        Ok(())
    }

    /// Changes that some heads have not seen, in the order of the history. O(these).
    pub(crate) fn unseen_by(&self, heads: &[Digest]) -> Result<Vec<Digest>, UnknownHead> {
        let past = self.history.past_of(&self.find_heads(heads)?);
        let all: Vec<ChangeIx> = self.history.head_numbers().collect();
        let unseen = self.back_from(&all, |change| self.history.is_within(&past, change));
        Ok(unseen.into_iter().map(|change| self.history.digest(change)).collect())
    }

    /// Changes in the past of others, these included, back to those that are known; in the order of the history.
    fn back_from(&self, heads: &[ChangeIx], is_known: impl Fn(ChangeIx) -> bool) -> Vec<ChangeIx> {
        let mut found = BTreeSet::new();
        let mut visit = heads.to_vec();
        while let Some(change) = visit.pop() {
            if !is_known(change) && found.insert((self.history.place_of(change), change)) {
                visit
                    .extend(self.history.deps_of(change).iter().copied().chain(self.history.prev_of(change)));
            }
        }
        found.into_iter().map(|(_, change)| change).collect()
    }

    /// As [`Self::at`], to author there. Edits that are not signed yet are taken back: the author's chain goes on
    /// at the heads.
    pub(crate) fn author_at(&mut self, heads: &[Digest]) -> Result<Self, SignError> {
        let rows = self.find_heads(heads)?;
        let past = self.history.past_of(&rows);
        if let Some(tip) = self.history.tip(self.author)
            && !self.history.is_within(&past, tip)
        {
            return Err(SignError::WithoutOwn(self.history.digest(tip)));
        }
        self.roll_back();
        self.give_up_all();
        let mut state = self.at(heads)?;
        state.is_past = false;
        Ok(state)
    }

    /// As [`Self::at`], to author there with a key that need not be this replica's.
    pub(crate) fn author_with(&mut self, heads: &[Digest], author: AuthorId) -> Result<Self, SignError> {
        let rows = self.find_heads(heads)?;
        let past = self.history.past_of(&rows);
        if let Some((_, tip)) = self.history.tip_of(&author)
            && let Some(at) = self.history.find(&tip)
            && !self.history.is_within(&past, at)
        {
            return Err(SignError::WithoutOwn(tip));
        }
        let mut state = self.at(heads)?;
        state.is_past = false;
        state.author = state.history.author(author);
        state.author_id = author;
        Ok(state)
    }

    /// A replica of the same document, by the same author, without a change.
    fn emptied(&self) -> Self {
        let root = self.nodes.node(ROOT_NODE).ty;
        let types = self.types.clone();
        let mut state = Self::with_types(self.history.document, self.author_id, types, root);
        state.is_past = true;
        state
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::any_crdt::JsonCrdt;
    use crate::change::DocumentId;
    use crate::json_crdt::CrdtNode as _;
    use crate::keypair::Keypair;
    use crate::op::Rank;

    #[test]
    fn a_past_that_is_kept_keeps_none_itself() {
        let key = Keypair::from_seed(&[1; 32]);
        let mut state = State::new(DocumentId([1; 32]), key.author(), JsonCrdt::describe);
        let mut heads = Vec::new();
        for n in 0..3i64 {
            state.begin(Rank::Edit);
            state.edit_put(ROOT_NODE, "n", n.into()).unwrap();
            heads.extend(state.commit(&key, false).unwrap().iter().map(|change| change.digest()));
        }
        let mut past = state.past_at(&heads[1..2]).unwrap();
        let inner = past.past_at(&heads[..1]).unwrap();
        past.keep_past(inner);
        assert!(past.kept.0.is_some());
        state.keep_past(past);
        assert!(state.kept.0.as_ref().is_some_and(|kept| kept.kept.0.is_none()));
    }
}
