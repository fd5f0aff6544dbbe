//! Copies of logs: made, continued, compared. Nothing is taken that was not verified.
//!
//! A copy is made of [`Part`]s. [`copy`] takes them from another store, as a follower does; an [`Importer`] from a
//! stream of events, as of a file. [`relate`] says what two stores' logs of one space have to do with each other,
//! and [`recover()`] settles which one counts after they have diverged.

mod importer;
mod recover;
mod relate;

pub use self::{
    importer::Importer,
    recover::{RecoverError, Recovered, Shelf, recover},
    relate::{Relation, relate},
};
use crate::{
    event::{Event, Seq},
    event_store::{AdoptError, EventStore, ReadLimit, StoreError},
    limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, PAYLOAD_BYTES_MAX},
    name::SpaceName,
    part::Part,
    rules::{Agreement, Divergence, Seen, SpaceState},
    verify::{Offence, Verifier},
};

/// Events of one part: the largest batch fits, however a part begins.
const PART: ReadLimit =
    ReadLimit { count: 10 * BATCH_EVENTS_MAX, bytes: BATCH_BYTES_MAX + PAYLOAD_BYTES_MAX };

/// Why a log is not copied. What was copied before stays, and is a part of the log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// There is nothing to copy. Look at the names of the spaces that there are.
    #[error("there is no space {0}")]
    Absent(SpaceName),
    /// The copy is of another log. Look at both, then recover the space from one of them.
    #[error("the copy of space {space} is of another log: {divergence}")]
    Diverged {
        /// Which space.
        space: SpaceName,
        /// How they differ.
        divergence: Divergence,
    },
    /// What was to be copied breaks a rule.
    #[error("the log breaks a rule")]
    Offence(#[from] Offence),
    /// The copy's store does not take it.
    #[error("the copy was not written")]
    Adopt(#[from] AdoptError),
    /// One of the stores cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies what `to` lacks of a log, as far as it goes when this begins; `progress` hears how far that has come and
/// how far it goes. A log that is not in `to` becomes a copy there.
///
/// With `instead_of` the copy begins anew and takes the place of the log that `to` has in that state.
///
/// # Errors
/// See [`CopyError`].
pub async fn copy(
    from: &dyn EventStore,
    to: &dyn EventStore,
    space: &SpaceName,
    instead_of: Option<SpaceState>,
    progress: &mut (dyn FnMut(Seq, Seq) + Send),
) -> Result<SpaceState, CopyError> {
    let source = from.state(space).await?.ok_or_else(|| CopyError::Absent(space.clone()))?;
    let kept = if instead_of.is_some() { None } else { to.state(space).await? };
    let mut verifier = match &kept {
        None => Verifier::new(space.clone(), source.incarnation),
        Some(kept) => match agreed(from, space, &source, kept).await? {
            Some(last) => Verifier::resume(space.clone(), source.incarnation, &last),
            None => Verifier::new(space.clone(), source.incarnation),
        },
    };
    let mut state = match (kept, instead_of) {
        (Some(kept), _) => kept,
        // Also an empty log is one.
        (None, instead_of) => {
            let mut begin = verifier.part(Vec::new())?;
            if let Some(replaced) = instead_of {
                begin = begin.instead_of(replaced);
            }
            to.adopt(&begin).await?
        }
    };
    while state.head.next < source.head.next {
        let events = from.read(space, state.head.next, PART).await?;
        if events.is_empty() {
            let (seen, found) = (source.head.next, state.head.next);
            let divergence = Divergence::Shorter { seen, found };
            return Err(CopyError::Diverged { space: space.clone(), divergence });
        }
        let part: Part = verifier.part(events)?;
        state = to.adopt(&part).await?;
        progress(state.head.next, source.head.next);
    }
    Ok(state)
}

/// Makes sure that the source goes on from what is kept; returns the last event of both.
async fn agreed(
    from: &dyn EventStore,
    space: &SpaceName,
    source: &SpaceState,
    kept: &SpaceState,
) -> Result<Option<Event>, CopyError> {
    let diverged = |divergence| CopyError::Diverged { space: space.clone(), divergence };
    let seen = Seen { incarnation: kept.incarnation, head: kept.head };
    if let Agreement::Diverged(divergence) = seen.compare(Some(source)) {
        return Err(diverged(divergence));
    }
    let Some(last) = seen.head.next.0.checked_sub(1) else { return Ok(None) };
    let found = event_at(from, space, Seq(last)).await?;
    let found = found.ok_or_else(|| diverged(Divergence::Gone { seen: seen.head.next }))?;
    match seen.compare_hash(found.hash) {
        Some(divergence) => Err(diverged(divergence)),
        None => Ok(Some(found)),
    }
}

async fn event_at(store: &dyn EventStore, space: &SpaceName, seq: Seq) -> Result<Option<Event>, StoreError> {
    let limit = ReadLimit { count: 1, bytes: 0 };
    let events = store.read(space, seq, limit).await?;
    Ok(events.into_iter().next().filter(|event| event.seq == seq))
}
