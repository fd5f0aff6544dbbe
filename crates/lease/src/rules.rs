//! What a store decides, as plain functions: every backend, and the model that is checked, follows these.
//!
//! Epoch, head and incarnation are compared in the same transaction that inserts; nothing else fences. A writer
//! ([`Writer`]) moves its head by its own append only, or after it has checked that the last claim is its own.

use bft_json_crdt::Digest;

use crate::{
    access::Access,
    event::{Epoch, Head, Incarnation, Seq},
    grant::Grant,
    part::Part,
};

/// What a store keeps of a space beside its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpaceState {
    /// Which life of the log this is.
    pub incarnation: Incarnation,
    /// The highest epoch that was sealed; nothing is taken under any other.
    pub epoch: Epoch,
    /// Where the log ends.
    pub head: Head,
}

/// What a batch is offered under: it lands only on exactly this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bid {
    /// The life of the log that the writer knows.
    pub incarnation: Incarnation,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// Where the writer believes that the log ends.
    pub head: Head,
}

/// What a store says to a bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Insert, and move the head.
    Take,
    /// Some of its intents are there already. Insert nothing, return where they are.
    Duplicate,
    /// Another epoch was sealed. Insert nothing; the writer stops.
    Fenced {
        /// The epoch that was sealed.
        current: Epoch,
    },
    /// The log ends elsewhere. Insert nothing; the writer checks again.
    Moved {
        /// Where the log ends.
        head: Head,
    },
    /// It is another log. Insert nothing; the writer stops serving the space.
    OtherLife {
        /// Which life of the log the store has; none if it has no such space.
        found: Option<Incarnation>,
    },
}

/// Judges a bid. `has_known` says whether any of its intents is in the log already.
#[must_use]
pub fn judge(state: Option<&SpaceState>, bid: &Bid, has_known: bool) -> Verdict {
    let Some(state) = state else { return Verdict::OtherLife { found: None } };
    if state.incarnation != bid.incarnation {
        return Verdict::OtherLife { found: Some(state.incarnation) };
    }
    if state.epoch != bid.epoch {
        return Verdict::Fenced { current: state.epoch };
    }
    // Before the head: a writer whose acknowledgement was lost comes again with the head of then.
    if has_known {
        return Verdict::Duplicate;
    }
    if state.head != bid.head {
        return Verdict::Moved { head: state.head };
    }
    Verdict::Take
}

/// Judges a seal: returns the state with the new epoch, or the epoch that is not below it.
///
/// A space that was never sealed begins with `first`.
///
/// # Errors
/// The epoch that the store has, if the new one is not above it. Have a higher one granted.
pub fn seal(
    state: Option<&SpaceState>,
    epoch: Epoch,
    first: impl FnOnce() -> SpaceState,
) -> Result<SpaceState, Epoch> {
    let state = state.copied().unwrap_or_else(first);
    if epoch <= state.epoch {
        return Err(state.epoch);
    }
    Ok(SpaceState { epoch, ..state })
}

/// Why a space is not sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealRefusal {
    /// The store has this epoch, and the new one is not above it.
    NotAbove(Epoch),
    /// The space takes no appends.
    Closed(Access),
    /// There is no such space to open or close.
    Absent,
}

/// Judges a seal of a space that may be closed: for appending to it, or, with `wanted`, to open or close it. Returns
/// what is to be kept of the space.
///
/// # Errors
/// Why not.
pub fn seal_for(
    found: Option<(&SpaceState, &Access)>,
    epoch: Epoch,
    wanted: Option<Access>,
    first: impl FnOnce() -> SpaceState,
) -> Result<(SpaceState, Access), SealRefusal> {
    match (found, &wanted) {
        (None, Some(_)) => return Err(SealRefusal::Absent),
        (Some((_, access)), None) if !access.is_open() => return Err(SealRefusal::Closed(access.clone())),
        _ => {}
    }
    let state = seal(found.map(|(state, _)| state), epoch, first).map_err(SealRefusal::NotAbove)?;
    Ok((state, wanted.unwrap_or_default()))
}

/// Why a part of a log does not go where it was to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// The space takes appends: it is no copy. Close it first.
    #[error("the space takes appends here, so it cannot be a copy")]
    Open,
    /// It is another log. Recover the space, if this one is to take its place.
    #[error("the space has another log here, incarnation {found} instead of {expected}")]
    OtherLife {
        /// The part's.
        expected: Incarnation,
        /// The store's.
        found: Incarnation,
    },
    /// The log ends elsewhere. Begin at its end.
    #[error("the part follows {expected}, the log has {head}")]
    Moved {
        /// What the part follows.
        expected: Head,
        /// Where the log ends.
        head: Head,
    },
    /// The log that was to be replaced has changed, or is gone.
    #[error("the log that was to be replaced is not what it was")]
    Changed,
    /// An intent of the part is in the log already.
    #[error("an intent of the part stands at event {at} already")]
    IntentTwice {
        /// Where it stands.
        at: Seq,
    },
}

/// Judges a part of a log that was verified elsewhere: returns the state after it. `has_known` is where one of its
/// intents stands already.
///
/// # Errors
/// What does not fit.
pub fn adopt(
    found: Option<(&SpaceState, &Access)>,
    part: &Part,
    has_known: Option<Seq>,
) -> Result<SpaceState, Misfit> {
    let (incarnation, head) = (part.incarnation(), part.end());
    let kept = match (part.replaces(), found) {
        (Some(expected), Some((state, _))) if expected == state => None,
        (Some(_), _) => return Err(Misfit::Changed),
        (None, found) => found,
    };
    let Some((state, access)) = kept else {
        let start = Head::start(part.space(), incarnation);
        if part.before() != start {
            return Err(Misfit::Moved { expected: part.before(), head: start });
        }
        // A writer of the log that was replaced stays fenced.
        let before = found.map_or(Epoch::NONE, |(state, _)| state.epoch);
        return Ok(SpaceState { incarnation, epoch: part.epoch().max(before), head });
    };
    if access.is_open() {
        return Err(Misfit::Open);
    }
    if state.incarnation != incarnation {
        return Err(Misfit::OtherLife { expected: incarnation, found: state.incarnation });
    }
    if state.head != part.before() {
        return Err(Misfit::Moved { expected: part.before(), head: state.head });
    }
    if let Some(at) = has_known {
        return Err(Misfit::IntentTwice { at });
    }
    Ok(SpaceState { incarnation, epoch: part.epoch().max(state.epoch), head })
}

/// A holder's side of a log: its grant, and where it knows the log to end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    grant: Grant,
    head: Option<Head>,
}

/// Why a writer may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// Another epoch was sealed.
    Fenced {
        /// That epoch.
        current: Epoch,
    },
    /// The store has another log under this name.
    OtherLife {
        /// Which; none if it has no such space.
        found: Option<Incarnation>,
    },
}

impl Writer {
    /// Begins with the head that the seal has returned.
    pub(crate) fn new(grant: Grant, head: Head) -> Self {
        Self { grant, head: Some(head) }
    }

    /// Returns the grant.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Returns the head to append at; `None` means that [`Writer::check`] comes first.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Notes the head after an append of its own that was acknowledged.
    pub fn landed(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// Notes that the log may end elsewhere: the store said so, or did not answer.
    pub fn doubt(&mut self) {
        self.head = None;
    }

    /// Takes the store's head, if the last claim is the writer's own.
    ///
    /// # Errors
    /// What the store has instead; the writer is done then.
    pub fn check(&mut self, state: Option<&SpaceState>) -> Result<Head, Lost> {
        self.head = None;
        let Some(state) = state.filter(|state| state.incarnation == self.grant.incarnation()) else {
            return Err(Lost::OtherLife { found: state.map(|state| state.incarnation) });
        };
        if state.epoch != self.grant.epoch() {
            return Err(Lost::Fenced { current: state.epoch });
        }
        self.head = Some(state.head);
        Ok(state.head)
    }
}

/// What a node has seen of a log and will not have taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Which life of the log.
    pub incarnation: Incarnation,
    /// How far it went.
    pub head: Head,
}

/// What a store's state means to somebody who has seen more or less of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Agreement {
    /// It is the same log.
    Agrees,
    /// It goes on further. It is the same log if its event at the last seen position has the hash that was seen.
    AskHash,
    /// It is not what was seen.
    Diverged(Divergence),
}

/// How a log is not the one that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Divergence {
    /// Somebody has begun anew, or restored a backup.
    #[error("it has another incarnation, {found} instead of {seen}")]
    OtherLife {
        /// What was seen.
        seen: Incarnation,
        /// What is there.
        found: Incarnation,
    },
    /// Events are gone.
    #[error("it ends after {found} events, {seen} were seen")]
    Shorter {
        /// How far it went.
        seen: Seq,
        /// How far it goes.
        found: Seq,
    },
    /// It has other events.
    #[error("the event before {next} has hash {found}, seen was {seen}")]
    OtherHash {
        /// The position after the event.
        next: Seq,
        /// What was seen.
        seen: Digest,
        /// What is there.
        found: Digest,
    },
    /// The space is gone.
    #[error("it is gone, {seen} events were seen")]
    Gone {
        /// How far it went.
        seen: Seq,
    },
}

impl Seen {
    /// Compares with what a store has.
    #[must_use]
    pub fn compare(&self, state: Option<&SpaceState>) -> Agreement {
        let next = self.head.next;
        let Some(state) = state else { return Agreement::Diverged(Divergence::Gone { seen: next }) };
        if state.incarnation != self.incarnation {
            let (seen, found) = (self.incarnation, state.incarnation);
            return Agreement::Diverged(Divergence::OtherLife { seen, found });
        }
        if state.head.next < next {
            return Agreement::Diverged(Divergence::Shorter { seen: next, found: state.head.next });
        }
        if state.head.next > next {
            // The hash before event 0 follows from the incarnation.
            return if next.0 == 0 { Agreement::Agrees } else { Agreement::AskHash };
        }
        self.compare_hash(state.head.hash).map_or(Agreement::Agrees, Agreement::Diverged)
    }

    /// Compares the hash of the last event that was seen with the one that is there; `None` if they agree.
    #[must_use]
    pub fn compare_hash(&self, found: Digest) -> Option<Divergence> {
        let (seen, next) = (self.head.hash, self.head.next);
        (seen != found).then_some(Divergence::OtherHash { next, seen, found })
    }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::AuthorId;

    use super::*;
    use crate::name::SpaceName;

    const LIFE: Incarnation = Incarnation([1; 16]);

    fn state(epoch: u64, next: u64) -> SpaceState {
        let head = Head { next: Seq(next), hash: Digest([7; 32]) };
        SpaceState { incarnation: LIFE, epoch: Epoch(epoch), head }
    }

    /// A backend that compares the head alone rests on this check.
    #[test]
    fn a_writer_takes_the_head_only_if_the_last_claim_is_its_own() {
        let space = SpaceName::new("s").unwrap();
        let grant = Grant::new(space, LIFE, Epoch(3), AuthorId([1; 32]));
        let mut writer = Writer::new(grant, state(3, 0).head);
        assert_eq!(writer.head(), Some(state(3, 0).head));
        writer.doubt();
        assert_eq!(writer.head(), None, "nothing is appended before the check");
        assert_eq!(writer.check(Some(&state(3, 5))), Ok(state(3, 5).head));
        assert_eq!(writer.head(), Some(state(3, 5).head));
        for other in [2, 4] {
            assert_eq!(writer.check(Some(&state(other, 5))), Err(Lost::Fenced { current: Epoch(other) }));
            assert_eq!(writer.head(), None, "a head that is another's is not taken");
        }
        let other_life = SpaceState { incarnation: Incarnation([2; 16]), ..state(3, 5) };
        let found = Some(Incarnation([2; 16]));
        assert_eq!(writer.check(Some(&other_life)), Err(Lost::OtherLife { found }));
        assert_eq!(writer.check(None), Err(Lost::OtherLife { found: None }));
    }
}
