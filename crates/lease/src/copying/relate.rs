//! What two logs of one space have to do with each other.

use super::{CopyError, event_at};
use crate::{
    event::Seq,
    event_store::{EventStore, StoreError},
    name::SpaceName,
    rules::SpaceState,
};

/// What theirs is to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are the same.
    Same,
    /// Ours goes on from where theirs ends.
    OursGoesOn,
    /// Theirs goes on from where ours ends, or we have none.
    TheirsGoesOn,
    /// They have different events.
    Forked {
        /// From here on.
        at: Seq,
    },
}

/// Compares two stores' logs of a space: O(log n) reads of one event, since equal hashes mean equal logs up to there.
///
/// # Errors
/// If they have no such space, or a store cannot be read.
pub async fn relate(
    ours: &dyn EventStore,
    theirs: &dyn EventStore,
    space: &SpaceName,
) -> Result<Relation, CopyError> {
    let found = theirs.state(space).await?.ok_or_else(|| CopyError::Absent(space.clone()))?;
    let Some(kept) = ours.state(space).await? else { return Ok(Relation::TheirsGoesOn) };
    if found.incarnation != kept.incarnation {
        return Ok(Relation::Forked { at: Seq::START });
    }
    let shorter = found.head.next.min(kept.head.next);
    let at = first_difference(ours, theirs, space, shorter).await?;
    Ok(match at {
        Some(at) => Relation::Forked { at },
        None => by_length(&kept, &found),
    })
}

fn by_length(ours: &SpaceState, theirs: &SpaceState) -> Relation {
    match ours.head.next.cmp(&theirs.head.next) {
        std::cmp::Ordering::Less => Relation::TheirsGoesOn,
        std::cmp::Ordering::Equal => Relation::Same,
        std::cmp::Ordering::Greater => Relation::OursGoesOn,
    }
}

/// Finds the first of the first `count` events that differs.
async fn first_difference(
    ours: &dyn EventStore,
    theirs: &dyn EventStore,
    space: &SpaceName,
    count: Seq,
) -> Result<Option<Seq>, StoreError> {
    // All before `same` are equal, all from `other` on are not.
    let (mut same, mut other) = (0, count.0);
    let mut probe = count.0.saturating_sub(1);
    while same < other {
        let (one, two) =
            (event_at(ours, space, Seq(probe)).await?, event_at(theirs, space, Seq(probe)).await?);
        if one.map(|event| event.hash) == two.map(|event| event.hash) {
            same = probe + 1;
        } else {
            other = probe;
        }
        probe = same + (other - same) / 2;
    }
    Ok((same < count.0).then_some(Seq(same)))
}
