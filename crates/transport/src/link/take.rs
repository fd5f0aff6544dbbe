//! The receiving half of a link: one batch at a time, and what became of it.

use std::collections::BTreeSet;

use bft_json_crdt::{Change, DocumentId, OpState};
use gangline_wire::v2::Frame;

use super::incoming::Content;
use super::{Link, LinkEffect, LinkNotice};
use crate::session::{Applied, CloseReason, Millis};

/// The batch that is being applied.
#[derive(Debug, Default)]
pub(super) struct Taking {
    /// The document's place.
    at: usize,
    /// Which document it is.
    id: Option<DocumentId>,
    changes: Vec<Change>,
    step: TakeStep,
    /// A batch for which there was no room, and when to try it again.
    again: Option<(Millis, Vec<Change>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TakeStep {
    /// There is none.
    #[default]
    Free,
    /// Waits for the replica's verdict.
    Applying,
    /// Waits for the log.
    Storing,
}

impl Taking {
    pub(super) fn is_free(&self) -> bool {
        self.step == TakeStep::Free
    }

    pub(super) fn retry(&mut self, now: Millis) -> Option<(usize, Vec<Change>)> {
        let (_, changes) = self.again.take_if(|(due, _)| now >= *due)?;
        Some((self.at, changes))
    }

    /// Whether a batch of this document is being applied.
    pub(super) fn is_of(&self, at: usize) -> bool {
        !self.is_free() && self.at == at
    }

    /// As before, and it waits to be tried again: nobody will answer.
    pub(super) fn is_waiting_for(&self, at: usize) -> bool {
        self.is_of(at) && self.again.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        self.again.as_ref().map(|(due, _)| *due)
    }
}

impl Link {
    /// Takes changes in, together with those of the same document that came right behind them.
    pub(super) fn take(&mut self, now: Millis, at: usize, number: Option<u32>, mut changes: Vec<Change>) {
        let mut bytes: usize = changes.iter().map(|change| change.bytes().len()).sum();
        while changes.len() < self.settings.batch_frames_max
            && bytes < self.settings.batch_bytes_max
            && let Some(next) = self.inbox.front_mut()
            && let Content::Frame(Frame::Changes { document, .. }) = &next.content
            && Some(*document) == number
            && let Some(next) = self.inbox.pop_front()
            && let Content::Frame(Frame::Changes { changes: more, .. }) = next.content
        {
            bytes += more.iter().map(|change| change.bytes().len()).sum::<usize>();
            changes.extend(more);
        }
        self.stats.received_ops += changes.len() as u64;
        if changes.is_empty() {
            return;
        }
        self.liveness.listen(now, false);
        self.taking.at = at;
        self.taking.id = self.documents.get(at).map(|document| document.id);
        self.taking.changes.clone_from(&changes);
        self.taking.step = TakeStep::Applying;
        self.effects.push_back(LinkEffect::Apply(at, changes));
    }

    /// The disk does not keep up.
    pub(super) fn busy(&mut self, now: Millis, changes: Vec<Change>) {
        if self.is_taking_for_nobody() {
            return self.untaken(now);
        }
        self.taking.again = Some((now.plus(self.settings.busy_ms), changes));
    }

    /// Whether the document whose changes are being applied was closed meanwhile.
    pub(super) fn is_taking_for_nobody(&self) -> bool {
        !self.taking.is_free() && self.documents.get(self.taking.at).is_none()
    }

    /// The document was closed before the batch was in it: the changes are still to be had from the other side.
    pub(super) fn untaken(&mut self, now: Millis) {
        let id = self.taking.id.take();
        self.taking = Taking { at: self.taking.at, ..Taking::default() };
        self.liveness.listen(now, true);
        match self.documents.get_mut(self.taking.at) {
            Some(document) => document.is_cut_short = true,
            None => id.into_iter().for_each(|id| self.offer(id, None)),
        }
    }

    pub(super) fn applied(&mut self, now: Millis, applied: &Applied) {
        self.taking.step = TakeStep::Storing;
        let at = self.taking.at;
        let changes = std::mem::take(&mut self.taking.changes);
        let (mut held_back, mut is_evicted) = (0, false);
        let pending_before = self.stats.pending_ops;
        let (mut refused, mut held) = (None, BTreeSet::new());
        for (change, state) in changes.iter().zip(&applied.states) {
            if state.is_applied() || matches!(state, OpState::AlreadySeen) {
                if state.is_applied() {
                    self.stats.applied_ops += 1;
                } else {
                    self.stats.known_ops += 1;
                }
                if let Some(document) = self.documents.get_mut(at).filter(|it| it.is_shared()) {
                    document.talk().take(change.author(), change.seq(), change.digest());
                }
            } else if state.is_pending() {
                let is_untrusted = matches!(state, OpState::Untrusted);
                if self.pending.note(now, at, change, is_untrusted) {
                    held_back += 1;
                } else {
                    self.stats.pending_ops += 1;
                }
                if is_untrusted {
                    held.insert(change.author());
                }
            } else if matches!(state, OpState::QueueFull) {
                is_evicted = true;
            } else {
                self.stats.refused_ops += 1;
                refused.get_or_insert_with(|| format!("change {} refused: {state:?}", change.digest()));
            }
        }
        if self.stats.pending_ops > pending_before
            && let Some(document) = self.documents.get_mut(at).filter(|it| it.is_choosy)
        {
            // It builds on something that was not given, because this node did not take it by itself: it does now.
            document.wants_past = true;
        }
        if held_back > 0 {
            self.stats.held_back_ops += held_back;
            self.effects.push_back(LinkEffect::Notice(LinkNotice::HeldBack { count: held_back }));
        }
        let number = self.documents.get(at).filter(|it| it.is_shared()).and_then(|it| it.number);
        if let Some(number) = number.filter(|_| !held.is_empty()) {
            self.say(&Frame::Held { document: number, authors: held });
        }
        if let Some(reason) = refused {
            self.count_bad(now, reason);
        }
        if is_evicted || self.pending.has_any(&applied.evicted) {
            self.close(CloseReason::Evicted);
        }
    }

    pub(super) fn stored(&mut self, now: Millis) {
        self.taking.step = TakeStep::Free;
        self.liveness.listen(now, true);
        let at = self.taking.at;
        if let Some(talk) = self.documents.get_mut(at).and_then(|document| document.talk.as_mut()) {
            talk.stored();
            self.to_acknowledge.insert(at);
        }
    }

    /// Says what is durable of what the peer sent.
    pub(super) fn acknowledge(&mut self) {
        for at in std::mem::take(&mut self.to_acknowledge) {
            let Some(document) = self.documents.get_mut(at).filter(|it| it.is_shared()) else { continue };
            let (Some(number), Some(talk)) = (document.number, document.talk.as_mut()) else { continue };
            let acks = std::mem::take(&mut talk.acks);
            if !acks.is_empty() {
                let vector = acks.into_iter().map(|(author, tip)| (author, vec![tip])).collect();
                self.say(&Frame::Ack { document: number, vector });
            }
        }
    }
}
