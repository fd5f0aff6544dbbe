//! A turn in a space's lane: take the space up if need be, then append what has gathered.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    AppendAuthority,
    fate::{Fate, LeaseError},
    space::Space,
};
use crate::{
    access::Access,
    clock::Moment,
    event::{Epoch, Head, Incarnation, Landed, Placed, Seq},
    event_store::{AppendFailed, ReadLimit, SealError, StoreError, Written},
    grant::{Batch, Grant},
    lane::{Ticket, Turn},
    lease::{Lease, Term},
    limits::RESOLVE_TRIES_MAX,
    registry::{AcquireError, Ask},
    rules::{Agreement, Divergence, Lost, Seen, SpaceState},
};

type Tickets = [Arc<Ticket<Fate>>];

impl AppendAuthority {
    /// Works for the intents at the front of the lane. Each is answered when this returns.
    pub(super) async fn drive(&self, space: &Arc<Space>, turn: &Turn<'_, Fate>) {
        let tickets = turn.batch();
        let rest = match self.hold(space).await {
            Ok(()) => self.append_all(space, turn, &tickets).await,
            Err(fate) => fate,
        };
        tickets.iter().for_each(|ticket| turn.answer(ticket, rest.clone()));
    }

    /// Makes sure that this node holds the space.
    async fn hold(&self, space: &Arc<Space>) -> Result<(), Fate> {
        let failed = |error| Fate::Failed { error, may_have_landed: false };
        if let Some(divergence) = self.still_diverged(space).await {
            return Err(Fate::Diverged(divergence));
        }
        if space.running(self.now()).is_some() {
            return Ok(());
        }
        // To look is cheaper than to ask.
        let lease =
            self.inner.parts.registry.lease(&space.name).await.map_err(|error| failed(error.into()))?;
        if let Some(lease) = lease.filter(|lease| lease.holder.node != self.node()) {
            return Err(Fate::Elsewhere(lease));
        }
        match self.take(space).await {
            Ok(()) => Ok(()),
            Err(Taken::Held(lease)) => Err(Fate::Elsewhere(lease)),
            Err(Taken::Failed(LeaseError::Diverged { divergence, .. })) => Err(Fate::Diverged(divergence)),
            Err(Taken::Failed(LeaseError::Closed { access, .. })) => Err(Fate::Closed(access)),
            Err(Taken::Failed(error)) => Err(failed(error)),
        }
    }

    /// Acquires, seals, learns the true head, serves. Only in a turn of the lane.
    pub(super) async fn take(&self, space: &Arc<Space>) -> Result<(), Taken> {
        let (asked, state) = self.sealed(space, None).await?;
        if let Err(error) = self.compare(space, Some(&state)).await {
            self.give_back(space, state.epoch).await;
            return Err(Taken::Failed(error));
        }
        let term = Term::begin(&self.inner.settings, asked, self.inner.parts.random.next());
        let grant = Grant::new(space.name.clone(), state.incarnation, state.epoch, self.node());
        space.take_up(grant, &state, term, self.now());
        self.renew_at(term.renews(), space);
        Ok(())
    }

    /// Opens or closes the space under an epoch of its own. Only in a turn of the lane.
    pub(super) async fn change_access(
        &self,
        space: &Arc<Space>,
        access: Access,
    ) -> Result<SpaceState, Taken> {
        let (_, state) = self.sealed(space, Some(access)).await?;
        self.give_back(space, state.epoch).await;
        Ok(state)
    }

    /// Has an epoch granted and seals with it, again above what the store has if need be. Returns when it asked.
    async fn sealed(
        &self,
        space: &Arc<Space>,
        access: Option<Access>,
    ) -> Result<(Moment, SpaceState), Taken> {
        space.let_go();
        let mut above = space.epoch();
        for _ in 0..RESOLVE_TRIES_MAX {
            let asked = self.now();
            let ask = Ask { holder: self.inner.parts.reach.clone(), ttl: self.inner.settings.ttl, above };
            let lease = match self.inner.parts.registry.acquire(&space.name, &ask).await {
                Ok(lease) => lease,
                Err(AcquireError::Held(lease)) => return Err(Taken::Held(lease)),
                Err(AcquireError::Registry(error)) => return Err(Taken::Failed(error.into())),
            };
            let store = &self.inner.parts.store;
            let sealed = match access.clone() {
                None => store.seal(&space.name, lease.epoch, self.incarnation()).await,
                Some(access) => store.set_access(&space.name, lease.epoch, access).await,
            };
            let error = match sealed {
                Ok(state) => return Ok((asked, state)),
                Err(SealError::NotAbove { current, .. }) => {
                    above = above.max(current);
                    continue;
                }
                Err(SealError::Store(error)) => return Err(Taken::Failed(error.into())),
                Err(SealError::Closed { access }) => LeaseError::Closed { space: space.name.clone(), access },
                Err(SealError::Absent) => LeaseError::Absent { space: space.name.clone() },
            };
            self.give_back(space, lease.epoch).await;
            return Err(Taken::Failed(error));
        }
        Err(Taken::Failed(LeaseError::NotSealed { current: above }))
    }

    /// Lets others have the space that this node will not serve; they need not wait for the lease to run out.
    async fn give_back(&self, space: &Arc<Space>, epoch: Epoch) {
        let _runs_out = self.inner.parts.registry.release(&space.name, self.node(), epoch).await;
    }

    /// Appends until every intent is answered; returns the fate of those that are not.
    async fn append_all(&self, space: &Arc<Space>, turn: &Turn<'_, Fate>, tickets: &Tickets) -> Fate {
        let mut may_have_landed = false;
        for _ in 0..RESOLVE_TRIES_MAX {
            let open = open(tickets);
            if open.is_empty() {
                break;
            }
            let (grant, head) = match self.head(space).await {
                Ok(Some(found)) => found,
                Ok(None) => return Fate::Again { may_have_landed },
                Err(Stop::Lost(lost)) => {
                    return self.lost(space, turn, &open, lost, may_have_landed).await;
                }
                Err(Stop::Failed(error)) => return Fate::Failed { error, may_have_landed },
            };
            let intents: Vec<_> = open.iter().filter_map(|ticket| ticket.work().cloned()).collect();
            let Some(batch) = grant.batch(head, &intents, &self.inner.parts.key) else { break };
            // Nothing is started after the term; what is in flight then is for the store to decide.
            if space.running(self.now()).is_none() {
                return Fate::Again { may_have_landed };
            }
            match self.inner.parts.store.append(&batch).await {
                Ok(Written::Done(end)) => {
                    space.landed(grant.epoch(), end, self.now());
                    answer_done(turn, &open, &batch);
                    may_have_landed = false;
                }
                Ok(Written::Duplicate(known)) => {
                    space.doubt();
                    for (at, placed) in known {
                        let Some(ticket) = open.get(at) else { continue };
                        turn.answer(ticket, known_fate(ticket, placed, may_have_landed));
                    }
                }
                Err(AppendFailed::Fenced { current, .. }) => {
                    let lost = Lost::Fenced { current };
                    return self.lost(space, turn, &open, lost, may_have_landed).await;
                }
                Err(AppendFailed::OtherLife { found, .. }) => {
                    let lost = Lost::OtherLife { found };
                    return self.lost(space, turn, &open, lost, may_have_landed).await;
                }
                Err(AppendFailed::Moved { .. }) => space.doubt(),
                Err(AppendFailed::Store(StoreError::Unknown { .. })) => {
                    // The same ids at the store's head of then: whichever lands first keeps the other out.
                    space.doubt();
                    may_have_landed = true;
                }
                Err(AppendFailed::Store(error)) => {
                    space.doubt();
                    return Fate::Failed { error: error.into(), may_have_landed };
                }
            }
        }
        Fate::Again { may_have_landed }
    }

    /// Returns the grant and the head to append at, after a check of the last claim where the head is in doubt;
    /// `None` when the term is over.
    async fn head(&self, space: &Arc<Space>) -> Result<Option<(Grant, Head)>, Stop> {
        let Some((grant, head)) = space.running(self.now()) else { return Ok(None) };
        if let Some(head) = head {
            return Ok(Some((grant, head)));
        }
        let state =
            self.inner.parts.store.state(&space.name).await.map_err(|error| Stop::Failed(error.into()))?;
        match space.check(state.as_ref()) {
            None => Ok(None),
            Some(Err(lost)) => Err(Stop::Lost(lost)),
            Some(Ok(head)) => {
                self.compare(space, state.as_ref()).await.map_err(Stop::Failed)?;
                Ok(Some((grant, head)))
            }
        }
    }

    /// Stops holding the space. What was in flight under the superseded epoch is decided: sealed means sealed.
    async fn lost(
        &self,
        space: &Arc<Space>,
        turn: &Turn<'_, Fate>,
        open: &Tickets,
        lost: Lost,
        may_have_landed: bool,
    ) -> Fate {
        let grant = space.let_go();
        if let (Lost::OtherLife { found }, Some(grant)) = (lost, grant) {
            let seen = space.seen();
            let divergence = match found {
                Some(found) => Divergence::OtherLife { seen: grant.incarnation(), found },
                None => Divergence::Gone { seen: seen.map(|seen| seen.head.next).unwrap_or_default() },
            };
            space.diverge(divergence);
            return Fate::Diverged(divergence);
        }
        if may_have_landed {
            for ticket in open {
                let Some((intent, _)) = ticket.work() else { continue };
                match self.inner.parts.store.find(&space.name, &intent.id).await {
                    Ok(Some(placed)) => turn.answer(ticket, known_fate(ticket, placed, true)),
                    Ok(None) => turn.answer(ticket, Fate::Again { may_have_landed: false }),
                    Err(_) => {}
                }
            }
        }
        Fate::Again { may_have_landed }
    }

    /// Compares a store's state with what was seen of the log, and notes it.
    pub(super) async fn compare(
        &self,
        space: &Arc<Space>,
        state: Option<&SpaceState>,
    ) -> Result<(), LeaseError> {
        if let Some(seen) = space.seen() {
            let divergence = match seen.compare(state) {
                Agreement::Agrees => None,
                Agreement::Diverged(divergence) => Some(divergence),
                Agreement::AskHash => self.ask_hash(space, &seen).await?,
            };
            if let Some(divergence) = divergence {
                space.diverge(divergence);
                return Err(LeaseError::Diverged { space: space.name.clone(), divergence });
            }
        }
        if let Some(state) = state {
            space.see(Seen { incarnation: state.incarnation, head: state.head });
        }
        Ok(())
    }

    /// Returns how the log has diverged, if it still has. After a recovery it may have again all that was seen: then
    /// nothing was lost, and the space is served again.
    pub(super) async fn still_diverged(&self, space: &Arc<Space>) -> Option<Divergence> {
        let divergence = space.diverged()?;
        if space.seen_before_divergence().is_some()
            && let Ok(state) = self.inner.parts.store.state(&space.name).await
            && self.compare(space, state.as_ref()).await.is_ok()
        {
            space.agree();
            return None;
        }
        Some(divergence)
    }

    async fn ask_hash(&self, space: &Arc<Space>, seen: &Seen) -> Result<Option<Divergence>, LeaseError> {
        let last = Seq(seen.head.next.0.saturating_sub(1));
        let limit = ReadLimit { count: 1, bytes: 0 };
        let events = self.inner.parts.store.read(&space.name, last, limit).await?;
        Ok(match events.first() {
            Some(event) => seen.compare_hash(event.hash),
            None => Some(Divergence::Gone { seen: seen.head.next }),
        })
    }

    fn incarnation(&self) -> Incarnation {
        let mut bytes = [0; 16];
        let words = [self.inner.parts.random.next(), self.inner.parts.random.next()];
        let random = words.iter().flat_map(|word| word.to_le_bytes());
        bytes.iter_mut().zip(random).for_each(|(out, byte)| *out = byte);
        Incarnation(bytes)
    }
}

/// Why a space could not be taken up.
pub(super) enum Taken {
    Held(Lease),
    Failed(LeaseError),
}

impl Taken {
    pub(super) fn error(self) -> LeaseError {
        match self {
            Self::Held(Lease { holder, left, .. }) => LeaseError::Held { holder, left },
            Self::Failed(error) => error,
        }
    }
}

/// Why an append cannot be started.
enum Stop {
    Lost(Lost),
    Failed(LeaseError),
}

/// Those without an answer, one for each id: the same id again waits for the first one's answer.
fn open(tickets: &Tickets) -> Vec<Arc<Ticket<Fate>>> {
    let mut ids = BTreeSet::new();
    let mut open = Vec::with_capacity(tickets.len());
    for ticket in tickets.iter().filter(|ticket| !ticket.is_answered()) {
        if ticket.work().is_some_and(|(intent, _)| ids.insert(&intent.id)) {
            open.push(Arc::clone(ticket));
        }
    }
    open
}

fn answer_done(turn: &Turn<'_, Fate>, open: &Tickets, batch: &Batch) {
    for (ticket, placed) in open.iter().zip(batch.placed()) {
        turn.answer(ticket, Fate::Landed(Landed::new(*placed)));
    }
}

/// The same id again: the first result, or a refusal. It is new if this turn may have landed it itself.
fn known_fate(ticket: &Ticket<Fate>, placed: Placed, is_new: bool) -> Fate {
    match ticket.work() {
        Some((intent, _)) if intent.content() == placed.content => Fate::Landed(Landed { placed, is_new }),
        _ => Fate::IdReused(placed),
    }
}
