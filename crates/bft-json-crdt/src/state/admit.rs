//! How changes from elsewhere become part of the document: known? authentic? let in? complete? valid?
//!
//! Authenticity has one rule on every path: a change is authentic if its own signature is valid, or if an
//! authentic change of the same author names it as its previous one. A delivery is judged as a whole, with
//! what waits in the queue. A bad signature refuses the delivery and leaves no trace of the digest.

use std::collections::{BTreeSet, HashMap};

use crate::change::{Body, Change, Digest, DocumentId};
use crate::keypair::AuthorId;
use crate::op::{Name, Op, OpKind, Slice};
use crate::state::State;
use crate::state::history::{Cast, ChangeIx, Invalidity, Made, Standing};
use crate::state::integrate::{NoEffect, Work};
use crate::verify::CheckedChange;

/// What became of a change that was applied.
#[must_use = "a change that was refused or waits has changed nothing"]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpState {
    /// It is part of the document, for the first time.
    Ok,
    /// It already was.
    AlreadySeen,
    /// It is authentic and waits in the causal queue for changes that it stands on.
    MissingCausalDependencies,
    /// It is authentic and waits in the causal queue until a trusted author builds on it.
    Untrusted,
    /// It is part of the document and its history, but this document's type cannot show it.
    NoEffect(NoEffect),
    /// Refused: no valid signature, and no authentic change of its author that names it.
    BadSignature,
    /// Refused: it was signed for another document.
    WrongDocument,
    /// Refused: an edit that failed when it was made, and so was never signed.
    NotSigned,
    /// Refused by every replica, for a reason that lies in the change and its causal past.
    Invalid(Invalidity),
    /// Refused: the causal queue is full, and this change was the one to go. Deliver it again later.
    QueueFull,
}

impl OpState {
    /// Whether the change became part of the document with this call.
    pub fn is_applied(&self) -> bool {
        matches!(self, Self::Ok | Self::NoEffect(_))
    }

    /// Whether the change waits in the causal queue.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::MissingCausalDependencies | Self::Untrusted)
    }

    /// Whether the change was refused and left no trace.
    pub fn is_refused(&self) -> bool {
        !matches!(self, Self::AlreadySeen) && !self.is_applied() && !self.is_pending()
    }
}

/// What became of changes that were applied together.
#[must_use = "changes that were refused or wait have changed nothing"]
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// What became of each change that was handed in, in that order.
    pub states: Vec<OpState>,
    /// What became part of the document, in causal order: changes that were handed in and changes that had
    /// waited for them. These are to be stored and passed on.
    pub applied: Vec<Change>,
    /// What was evicted from the causal queue and must be delivered again.
    pub evicted: Vec<Digest>,
}

/// The node's own log is not the history of one document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {position} of the log, {digest}, cannot be loaded: {state:?}")]
pub struct LoadError {
    /// Its position in what was loaded, from 0.
    pub position: usize,
    /// The change.
    pub digest: Digest,
    /// What became of it.
    pub state: OpState,
}

/// A change on its way in.
pub(crate) struct Arriving {
    pub(crate) change: Change,
    pub(crate) is_vouched: bool,
}

impl State {
    /// Applies changes that arrived together.
    pub(crate) fn apply(&mut self, arrived: Vec<CheckedChange>) -> Batch {
        let mut batch = Batch::default();
        let signed: Vec<bool> = arrived.iter().map(|checked| checked.is_signed).collect();
        let changes: Vec<Change> = arrived.into_iter().map(|checked| checked.change).collect();
        let verdicts = self.judge(&changes, &signed);
        let proof = self.prove(&changes, &verdicts);
        let ready = self.queue.prove(|digest| proof.may_enter(digest));
        let mut places: Vec<(usize, Digest)> = Vec::new();
        let mut outcome: HashMap<Digest, OpState> = HashMap::new();
        for (at, (change, verdict)) in changes.into_iter().zip(verdicts).enumerate() {
            let digest = change.digest();
            let state = match verdict {
                Verdict::Refused(state) => state,
                Verdict::Known(ix) => {
                    let row = self.history.row_mut(ix);
                    if row.is_recorded {
                        OpState::AlreadySeen
                    } else {
                        row.is_recorded = true;
                        batch.applied.push(change);
                        OpState::Ok
                    }
                }
                Verdict::Authentic { is_vouched } => {
                    if self.history.find_change(&change).is_some() {
                        OpState::AlreadySeen
                    } else {
                        places.push((at, digest));
                        // One that waited, and was refused with what it waited for, need not wait again.
                        if !outcome.get(&digest).is_some_and(OpState::is_refused) {
                            let is_proven = is_vouched || proof.may_enter(&digest);
                            let arriving = Arriving { change, is_vouched };
                            self.admit(arriving, is_proven, &mut batch, &mut outcome);
                        }
                        OpState::MissingCausalDependencies
                    }
                }
            };
            batch.states.push(state);
        }
        self.release(ready, &mut batch, &mut outcome);
        for (at, digest) in places {
            // Refused as often as it was delivered; applied only once, and known from then on.
            let refused = outcome.get(&digest).filter(|state| state.is_refused()).cloned();
            let state = match refused.or_else(|| outcome.remove(&digest)) {
                Some(state) => state,
                None if self.history.find(&digest).is_some() => OpState::AlreadySeen,
                None => match self.queue.find(&digest) {
                    Some(waiting) if waiting.is_proven && self.missing(&waiting.change).is_empty() => {
                        OpState::Untrusted
                    }
                    Some(_) => OpState::MissingCausalDependencies,
                    None => OpState::QueueFull,
                },
            };
            if let Some(place) = batch.states.get_mut(at) {
                *place = state;
            }
        }
        batch
    }

    /// Loads a history that this node has checked before, in causal order, without checking signatures.
    pub(crate) fn load(
        &mut self,
        changes: impl IntoIterator<Item = (Change, bool)>,
    ) -> Result<(), LoadError> {
        for (position, (change, is_vouched)) in changes.into_iter().enumerate() {
            let digest = change.digest();
            let failed = |state| Err(LoadError { position, digest, state });
            if change.document() != self.history.document {
                return failed(OpState::WrongDocument);
            }
            if self.history.find_change(&change).is_some() {
                return failed(OpState::AlreadySeen);
            }
            if !self.missing(&change).is_empty() {
                return failed(OpState::MissingCausalDependencies);
            }
            let state = self.take_in(&Arriving { change, is_vouched });
            if state.is_refused() {
                return failed(state);
            }
        }
        Ok(())
    }

    /// Which of the changes are authentic, given which carry a valid signature of their own.
    fn judge(&self, changes: &[Change], signed: &[bool]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(changes.len());
        // A change may come twice, with two signatures that are both bad.
        let mut unproven: HashMap<Digest, Vec<usize>> = HashMap::new();
        for (at, (change, is_signed)) in changes.iter().zip(signed).enumerate() {
            verdicts.push(if change.document() != self.history.document {
                Verdict::Refused(OpState::WrongDocument)
            } else if change.seq() == 0 {
                Verdict::Refused(OpState::NotSigned)
            } else if let Some(known) = self.history.find_change(change) {
                Verdict::Known(known)
            } else if *is_signed {
                Verdict::Authentic { is_vouched: true }
            } else if self.is_covered_by_queue(change) {
                Verdict::Authentic { is_vouched: false }
            } else {
                unproven.entry(change.digest()).or_default().push(at);
                Verdict::Refused(OpState::BadSignature)
            });
        }
        if unproven.is_empty() {
            return verdicts;
        }
        // What an authentic change names as its previous one is authentic, and so on down the chain.
        let authentic = changes.iter().zip(&verdicts);
        let mut visit: Vec<(Option<Digest>, AuthorId)> = authentic
            .filter(|(_, verdict)| matches!(verdict, Verdict::Authentic { .. }))
            .map(|(change, _)| (change.prev(), change.author()))
            .collect();
        while let Some((prev, author)) = visit.pop() {
            for at in prev.and_then(|prev| unproven.get(&prev)).into_iter().flatten() {
                let (Some(change), Some(verdict @ Verdict::Refused(_))) =
                    (changes.get(*at), verdicts.get_mut(*at))
                else {
                    continue;
                };
                if change.author() == author {
                    *verdict = Verdict::Authentic { is_vouched: false };
                    visit.push((change.prev(), author));
                }
            }
        }
        verdicts
    }

    /// Everything in the queue is authentic; does any of it name `change` as its author's previous one?
    fn is_covered_by_queue(&self, change: &Change) -> bool {
        self.queue.waiters(&change.digest()).any(|waiter| {
            waiter.change.prev() == Some(change.digest()) && waiter.change.author() == change.author()
        })
    }

    /// Whose change is let in as it is.
    pub(super) fn is_trusted(&self, author: &AuthorId) -> bool {
        *author == self.author_id
            || !self.distrust.contains(author)
                && self.trust.as_ref().is_none_or(|trust| trust.contains(author))
    }

    /// Sets whose changes are not let in, although the list of trust may name them.
    pub(crate) fn set_distrust(&mut self, distrust: BTreeSet<AuthorId>) -> Batch {
        self.distrust = distrust;
        self.let_in_trusted()
    }

    /// Sets whose changes are let in, and takes in what waits and now may.
    pub(crate) fn set_trust(&mut self, trust: Option<BTreeSet<AuthorId>>) -> Batch {
        self.trust = trust;
        self.let_in_trusted()
    }

    fn let_in_trusted(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut outcome = HashMap::new();
        let proof = self.prove(&[], &[]);
        let mut ready = self.queue.prove(|digest| proof.may_enter(digest));
        for digest in self.queue.digests() {
            let author = self.queue.find(&digest).map(|waiting| waiting.change.author());
            if author.is_some_and(|author| self.is_trusted(&author)) {
                ready.extend(self.queue.let_in(digest));
            }
        }
        self.release(ready, &mut batch, &mut outcome);
        batch
    }

    pub(super) fn missing(&self, change: &Change) -> Vec<Digest> {
        let deps = change.deps().iter().copied();
        let prev = change.prev().filter(|_| self.history.find_prev(change).is_none());
        deps.filter(|digest| self.history.find(digest).is_none()).chain(prev).collect()
    }

    /// Takes in an authentic change and all that waited for it, or lets it wait. Iterative: a chain of any
    /// length that arrived backwards needs no stack.
    fn admit(
        &mut self,
        arriving: Arriving,
        is_proven: bool,
        batch: &mut Batch,
        outcome: &mut HashMap<Digest, OpState>,
    ) {
        let digest = arriving.change.digest();
        if self.queue.contains(&digest) {
            // It came without a signature before, and with one now.
            if arriving.is_vouched {
                let ready = self.queue.vouch(arriving.change);
                self.release(ready, batch, outcome);
            }
            return;
        }
        let missing = self.missing(&arriving.change);
        let is_let_in = self.is_trusted(&arriving.change.author())
            || self.queue.waiters(&digest).any(|waiter| waiter.is_let_in);
        let mut ready = Vec::new();
        if is_let_in && !self.queue.is_empty() {
            for named in arriving.change.deps().iter().copied().chain(arriving.change.prev()) {
                ready.extend(self.queue.let_in(named));
            }
        }
        if is_let_in && is_proven && missing.is_empty() {
            self.enter(arriving, batch, outcome, &mut ready);
        } else {
            let standing = (arriving.is_vouched, is_let_in, is_proven);
            let evicted = self.queue.insert(arriving.change, standing, &missing);
            batch.evicted.extend(evicted);
        }
        self.release(ready, batch, outcome);
    }

    /// Takes in what lacks nothing any more, and what lacked nothing but that.
    fn release(&mut self, mut ready: Vec<Digest>, batch: &mut Batch, outcome: &mut HashMap<Digest, OpState>) {
        while let Some(digest) = ready.pop() {
            if let Some(waiting) = self.queue.remove(&digest) {
                let arriving = Arriving { change: waiting.change, is_vouched: waiting.is_vouched };
                self.enter(arriving, batch, outcome, &mut ready);
            }
        }
    }

    fn enter(
        &mut self,
        arriving: Arriving,
        batch: &mut Batch,
        outcome: &mut HashMap<Digest, OpState>,
        ready: &mut Vec<Digest>,
    ) {
        let digest = arriving.change.digest();
        let state = self.take_in(&arriving);
        if state.is_applied() {
            batch.applied.push(arriving.change);
            ready.extend(self.queue.satisfy(&digest));
        }
        outcome.insert(digest, state);
    }

    /// Judges a change whose prev and deps are all known, and makes it part of the document if it is valid.
    pub(crate) fn take_in(&mut self, arriving: &Arriving) -> OpState {
        let change = &arriving.change;
        let standing = match self.history.place(change) {
            Ok(standing) => standing,
            Err(invalid) => return OpState::Invalid(invalid),
        };
        let Ok(Body { authors, ops }) = Body::decode(change.body_bytes()) else {
            return OpState::BadSignature;
        };
        let mut resolved = Vec::with_capacity(ops.len());
        let mut place = 0;
        let cast = self.history.cast(&change.author(), &authors);
        let (ix, first) = (self.history.next_row(), change.header().first_counter);
        for op in ops {
            let span = op.span() as u32;
            if let OpKind::Source { name } = &op.kind
                && DocumentId::of_source(&change.author(), name) != self.history.document
            {
                return OpState::Invalid(Invalidity::NotTheSource);
            }
            match self.resolve_in(op, first, (ix, place), &cast, &standing) {
                Some(op) => resolved.push((place, op)),
                None => return OpState::Invalid(Invalidity::NameOutsidePast),
            }
            place += span;
        }
        if change.author() == self.author_id && !self.unsigned.is_empty() {
            self.give_up_all();
        }
        self.history.insert(change, standing, arriving.is_vouched);
        self.arrivals += 1;
        let mut misfit = None;
        for (place, mut op) in resolved {
            if !self.history.is_without_forks() {
                self.widen(&mut op, Some(&self.history.standing(ix)));
            }
            let rank = self.rank_in(ix, op.rank);
            let mut work = Work::new(ix, place, rank, change.body_bytes(), None);
            if let Err(reason) = self.integrate(&mut work, &op) {
                misfit.get_or_insert(reason);
            }
        }
        misfit.map_or(OpState::Ok, OpState::NoEffect)
    }

    /// Resolves an op's names in the past of its change, or among the ops before it in the change itself, which
    /// will have the number `ix`.
    fn resolve_in(
        &self,
        op: Op<Name, Slice>,
        first: u64,
        (ix, place): (ChangeIx, u32),
        cast: &Cast,
        standing: &Standing,
    ) -> Option<Op<Made, Slice>> {
        let resolve = |name: Name| {
            if name.author == 0 && name.counter >= first {
                let at = u32::try_from(name.counter - first).map_err(|_| ())?;
                if at >= place {
                    return Err(());
                }
                return Ok(Made { change: ix, place: at });
            }
            let author = cast.get(name.author as usize).copied().flatten().ok_or(())?;
            self.history.resolve(author, name.counter, standing).ok_or(())
        };
        if let OpKind::Cut { ranges, .. } = &op.kind {
            // Both ends of a range lie in the past, hence all between them: numbers rise along the chain.
            for range in ranges {
                let last = range.first.counter + range.count - 1;
                resolve(Name { author: range.first.author, counter: last }).ok()?;
            }
        }
        op.map(resolve, Ok).ok()
    }
}

/// What is known of a change before its dependencies are looked at.
pub(super) enum Verdict {
    Refused(OpState),
    Known(ChangeIx),
    Authentic { is_vouched: bool },
}
