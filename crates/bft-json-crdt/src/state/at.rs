//! The document at past heads: as it was for somebody who had seen these and nothing else.
//!
//! Such a document is a replica of its own that was given only the past of the heads. The last one that was
//! asked for is kept, and goes on from there when later heads are asked for.

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

/// A document at past heads, and how far it has read the history.
#[derive(Clone)]
pub(crate) struct Checkpoint {
    state: State,
    next: ChangeIx,
    /// Changes before `next` that it left out.
    left_out: Vec<ChangeIx>,
}

impl State {
    /// The rows of some heads.
    pub(crate) fn find_heads(&self, heads: &[Digest]) -> Result<Vec<ChangeIx>, UnknownHead> {
        heads.iter().map(|head| self.history.find(head).ok_or(UnknownHead(*head))).collect()
    }

    /// A replica with the past of some heads. O(document) and O(changes since the heads that were asked for
    /// last), or O(history) where these were not earlier.
    pub(crate) fn at(&mut self, heads: &[Digest]) -> Result<Self, UnknownHead> {
        let heads = self.find_heads(heads)?;
        let past = self.history.past_of(&heads);
        let kept = self.checkpoint.take().filter(|kept| {
            let kept_heads = kept.state.history.heads();
            let within = |head: &Digest| {
                self.history.find(head).is_some_and(|head| self.history.is_within(&past, head))
            };
            kept_heads.iter().all(within)
        });
        let mut kept = match kept {
            Some(kept) => *kept,
            None => Checkpoint { state: self.emptied(), next: 0, left_out: Vec::new() },
        };
        let end = self.history.row_count();
        let later = self.history.signed_from(kept.next).map(|(_, change)| change);
        let candidates: Vec<ChangeIx> = kept.left_out.drain(..).chain(later).collect();
        for change in candidates {
            if kept.state.history.find(&self.history.digest(change)).is_some() {
                continue;
            }
            if self.history.is_within(&past, change) {
                let is_vouched = self.history.row(change).is_vouched;
                let arriving = Arriving { change: self.history.change(change), is_vouched };
                let _ = kept.state.take_in(&arriving);
            } else {
                kept.left_out.push(change);
            }
        }
        // Edits that are not signed yet have rows too, and may be signed later.
        kept.next = self.unsigned.first().map_or(end, |edit| edit.change().min(end));
        kept.left_out.retain(|change| self.history.place_of(*change) < kept.next);
        let state = kept.state.clone();
        self.checkpoint = Some(Box::new(kept));
        Ok(state)
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
